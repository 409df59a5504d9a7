//! Why the scheduler does not serve; each says what to do about it, or its cause does.

use std::io;
use std::path::PathBuf;

use crate::KeyFileError;
use crate::credentials::CredentialError;
use crate::link::LinkError;
use crate::logs::LogError;
use crate::secrets::SecretError;
use crate::service::ServiceError;
use crate::store::StoreError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A file or directory.
    #[error("cannot {operation} {}", path.display())]
    Path {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file that holds something else than it should.
    #[error("{}: {problem}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A listener.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The certificate or its key.
    #[error("the certificate in {} cannot be used", path.display())]
    Tls {
        /// The certificate.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
    /// The collector of traces.
    #[error("traces cannot be sent to {endpoint}")]
    Traces {
        /// The setting.
        endpoint: String,
        /// Why not.
        #[source]
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// The keys of hosts.
    #[error("the scheduler's keys cannot be used")]
    Keys(#[from] KeyFileError),
    /// The keys of access tokens.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The keys of secrets, or secrets.
    #[error(transparent)]
    Secrets(#[from] SecretError),
    /// The database.
    #[error("the database cannot be used")]
    Store(#[from] StoreError),
    /// A tenant, token, region or size.
    #[error("it cannot be set up")]
    Service(#[from] ServiceError),
    /// The object store.
    #[error("the object store cannot be used")]
    Objects(#[from] LogError),
    /// The link.
    #[error("the link failed")]
    Link(#[from] LinkError),
}
