//! Reaching the server: the pool, its settings, the schema.

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use deadpool_postgres::{
    Client, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime,
};
use tokio_postgres::config::LoadBalanceHosts;
use tokio_postgres::{Config, NoTls};

use super::super::error::Failure;
use super::super::limits::{IDLE_TRANSACTION_MS_MAX, POOL_WAIT_MS_MAX, STATEMENT_MS_MAX};
use super::super::migrations;
use super::super::settings::{PostgresSettings, Tls};
use super::error::{Trouble, trouble};
use super::tls::Connector;
use super::transaction::PostgresTx;

/// Keepalive probes of a connection that is silent for [`POOL_WAIT_MS_MAX`], and how many may go unanswered.
const PROBE_MS: u64 = 1_000;
const PROBES_MAX: u32 = 5;

/// Everything it takes to connect.
#[derive(Clone)]
pub(super) struct Reach {
    pub(super) config: Config,
    pub(super) connector: Option<Connector>,
}

impl Reach {
    pub(super) fn new(settings: &PostgresSettings) -> Result<Self, Failure> {
        let wrong = |problem: String| Failure::Setting {
            path: PathBuf::from("the PostgreSQL URL"),
            problem,
        };
        // The error of the parser names the option, never its value.
        let mut config: Config = settings
            .url
            .parse()
            .map_err(|error: tokio_postgres::Error| wrong(error.to_string()))?;
        let bounds = format!(
            "-c statement_timeout={STATEMENT_MS_MAX} -c idle_in_transaction_session_timeout={IDLE_TRANSACTION_MS_MAX}"
        );
        let options = match config.get_options() {
            Some(theirs) => format!("{bounds} {theirs}"),
            None => bounds,
        };
        config.options(options);
        config.application_name("davit");
        let wait = Duration::from_millis(POOL_WAIT_MS_MAX);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(wait);
        }
        // A server that vanished without a word is noticed: by what it does not acknowledge, and while it is waited for.
        config.tcp_user_timeout(wait * 2);
        config.keepalives_idle(wait);
        config.keepalives_interval(Duration::from_millis(PROBE_MS));
        config.keepalives_retries(PROBES_MAX);
        // One that takes connections and does not answer must not be the first each time.
        if config.get_hosts().len() > 1 {
            config.load_balance_hosts(LoadBalanceHosts::Random);
        }
        let connector = match &settings.tls {
            Tls::Off => None,
            Tls::VerifyFull { authorities } => {
                config.ssl_mode(tokio_postgres::config::SslMode::Require);
                Some(Connector::trusting(authorities)?)
            }
        };
        Ok(Self { config, connector })
    }

    pub(super) fn pool(&self, connections_max: usize) -> Result<Pool, Failure> {
        let config = self.config.clone();
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = match &self.connector {
            None => Manager::from_config(config, NoTls, recycling),
            Some(connector) => Manager::from_config(config, connector.clone(), recycling),
        };
        let wait = Some(Duration::from_millis(POOL_WAIT_MS_MAX));
        Pool::builder(manager)
            .max_size(connections_max.max(1))
            .wait_timeout(wait)
            .create_timeout(wait)
            .recycle_timeout(wait)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| Failure::Setting {
                path: PathBuf::from("connections_max"),
                problem: error.to_string(),
            })
    }
}

/// What a connection is used through.
pub(super) trait Loan {
    /// Ends the connection, and whatever it waits for.
    fn close(self);
}

impl Loan for Client {
    fn close(self) {
        drop(Self::take(self));
    }
}

impl Loan for PostgresTx<Client> {
    fn close(self) {
        self.into_parts().0.close();
    }
}

/// A connection that goes back to the pool when it is said to be in order, and is closed otherwise.
pub(super) struct Lent<T: Loan>(Option<T>);

impl<T: Loan> Lent<T> {
    pub(super) const fn new(loan: T) -> Self {
        Self(Some(loan))
    }

    pub(super) fn loan(&mut self) -> &mut T {
        self.0.as_mut().expect("it is lent until it is given back")
    }

    /// Everything that was asked of it is answered.
    pub(super) fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl<T: Loan> Drop for Lent<T> {
    fn drop(&mut self) {
        if let Some(loan) = self.0.take() {
            loan.close();
        }
    }
}

/// Hosts and database of a URL, for errors: never the password.
pub(in super::super) fn describe(url: &str) -> String {
    match url.parse::<Config>() {
        Ok(config) => format!(
            "PostgreSQL at {}, database {}",
            debug_list(config.get_hosts()),
            config.get_dbname().unwrap_or("of the user's name")
        ),
        Err(_) => "PostgreSQL at a URL that cannot be read".to_owned(),
    }
}

fn debug_list<T: Debug>(items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(|item| format!("{item:?}")).collect();
    items.join(", ")
}

/// No connection to be had.
pub(super) fn not_lent(error: PoolError) -> Trouble {
    match error {
        PoolError::Backend(error) => trouble(error),
        PoolError::Timeout(deadpool_postgres::TimeoutType::Wait) => {
            Trouble::Failed(Failure::Busy {
                what: "a connection of the pool",
            })
        }
        PoolError::Closed => Trouble::Failed(Failure::Closed),
        error => Trouble::Failed(Failure::Unavailable {
            source: error.into(),
        }),
    }
}

/// Brings the schema up to date; replicas that start together take turns.
pub(super) async fn migrate(pool: &Pool) -> Result<(), Failure> {
    migrate_once(pool).await.map_err(Trouble::into_failure)
}

/// Any number that no other program uses for its lock.
const MIGRATION_LOCK: i64 = 0x6461_7669_7400_0001;

async fn migrate_once(pool: &Pool) -> Result<(), Trouble> {
    let mut client = pool.get().await.map_err(not_lent)?;
    let tx = client.transaction().await.map_err(trouble)?;
    tx.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK])
        .await
        .map_err(trouble)?;
    tx.batch_execute("CREATE TABLE IF NOT EXISTS davit_schema (version BIGINT NOT NULL)")
        .await
        .map_err(trouble)?;
    let row = tx
        .query_one("SELECT COALESCE(MAX(version), 0) FROM davit_schema", &[])
        .await
        .map_err(trouble)?;
    let found: i64 = row.try_get(0).map_err(trouble)?;
    for (version, step) in migrations::pending(found)? {
        tx.batch_execute(step.postgres).await.map_err(trouble)?;
        tx.execute(
            "INSERT INTO davit_schema (version) VALUES ($1)",
            &[&version],
        )
        .await
        .map_err(trouble)?;
        tracing::info!(version, "the schema was brought up to date");
    }
    tx.commit().await.map_err(trouble)
}
