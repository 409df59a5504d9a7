//! Which database, and how it is reached.

use std::path::PathBuf;

/// The database.
#[derive(Clone, Debug)]
pub enum StoreSettings {
    /// One file on this machine, for one scheduler.
    Sqlite {
        /// The file; made with its directory there already.
        path: PathBuf,
    },
    /// A server, for one or several replicas.
    Postgres(PostgresSettings),
}

/// A PostgreSQL server.
#[derive(Clone)]
pub struct PostgresSettings {
    /// `postgresql://user:password@host,host/database`. With several hosts, add
    /// `target_session_attrs=read-write`: a failover then finds the new primary.
    pub url: String,
    /// Connections at most.
    pub connections_max: usize,
    /// Whether and how the connection is encrypted.
    pub tls: Tls,
}

impl std::fmt::Debug for PostgresSettings {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresSettings")
            .field("connections_max", &self.connections_max)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// Encryption of the connection to PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// None: a socket or a network of one's own.
    Off,
    /// The server must show a certificate for its name that one of these PEM certificates signed.
    VerifyFull {
        /// File of certificate authorities.
        authorities: PathBuf,
    },
}

impl StoreSettings {
    /// For errors; never the password.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Sqlite { path } => path.display().to_string(),
            Self::Postgres(settings) => super::postgres::describe(&settings.url),
        }
    }
}
