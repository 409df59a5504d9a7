//! The whole scheduler, put together and served.
//!
//! ```text
//!  open: state_dir ─► keys ─► store ─► objects ─► logs ─► dispatch ─► link, service ─► REST; both listeners bound
//!  serve: link ∥ REST ∥ upkeep ── stop ─► hosts told to dial again, requests finished ─► logs flushed ─► store closed
//! ```
//!
//! Everything lasting is in store and objects: a scheduler that is killed loses nothing, and the next one, or another
//! replica, goes on.
//!
//! Absent on purpose: signals and the process's log (the command's), and a first tenant: [`Scheduler::service`] makes one.

mod admin;
mod development;
mod error;
mod keys;
mod place;
mod tls;
mod upkeep;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

pub use admin::first_token;
pub use error::ServeError;

use crate::consoles::Consoles;
use crate::dispatch::{Dispatch, DispatchSettings};
use crate::files::Files;
use crate::link::{Link, LinkParts, LinkSettings, Sessions};
use crate::logs::{self, Logs, open_objects};
use crate::rest::{Api, Metrics, RestSettings, follow_usage, router, serve};
use crate::secrets::Keyring;
use crate::service::Service;
use crate::settings::{RetentionSettings, Settings};
use crate::starts::Starts;
use crate::store::{self, Store};
use crate::traces::Tracer;

/// A scheduler that is ready to serve.
pub struct Scheduler {
    store: Arc<dyn Store>,
    logs: Logs,
    files: Files,
    service: Service,
    link: Link,
    router: Router,
    metrics: Arc<Metrics>,
    retention: RetentionSettings,
    rest_listener: TcpListener,
    rest_tls: Option<Arc<rustls::ServerConfig>>,
    link_listener: TcpListener,
    link_tls: Option<Arc<rustls::ServerConfig>>,
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler").finish_non_exhaustive()
    }
}

impl Scheduler {
    /// Opens everything and binds both listeners. Needs a tokio runtime.
    ///
    /// # Errors
    /// What cannot be opened, by name.
    pub async fn open(settings: &Settings) -> Result<Self, ServeError> {
        place::state_dir(&settings.state_dir)?;
        let keys = keys::open(settings)?;
        let keyring = Arc::new(keys.secrets);
        let signer = Arc::new(keys.access);
        let store = store::open(&place::store(settings)?).await?;
        let objects = open_objects(&place::objects(settings)?)?;
        let files = Files::new(
            Arc::clone(&store),
            Arc::clone(&objects),
            place::files(settings),
        );
        let logs = Logs::new(Arc::clone(&store), objects, logs::LogSettings::default());

        // New at each start: what an earlier process held is found to be nobody's.
        let replica = Uuid::now_v7();
        let sessions = Sessions::new();
        let dispatch = Dispatch::start(
            Arc::clone(&store),
            Arc::clone(&keyring),
            sessions.clone(),
            DispatchSettings {
                tracer: tracer(settings, &store)?,
                ..DispatchSettings::new(replica)
            },
        );
        let starts = Starts::default();
        let consoles = Consoles::new(replica, sessions.clone());
        let parts = LinkParts {
            store: Arc::clone(&store),
            logs: logs.clone(),
            files: files.clone(),
            keys: Arc::clone(&keyring),
            signer: Arc::clone(&signer),
            sessions,
            starts: starts.clone(),
            consoles: consoles.clone(),
        };
        let link = Link::new(parts, &dispatch, LinkSettings::new(replica, keys.hosts));
        let service = Service::new(
            Arc::clone(&store),
            keyring,
            signer,
            Arc::new(dispatch),
            &settings.currency,
        );
        let metrics = Arc::new(Metrics::new(&starts));
        let api = Api::new(
            service.clone(),
            logs.clone(),
            files.clone(),
            consoles,
            rest_settings(settings),
            Arc::clone(&metrics),
        );
        Ok(Self {
            rest_tls: tls::rest_config(&settings.rest.listener)?,
            link_tls: tls::link_config(&settings.link)?,
            rest_listener: bind(&settings.rest.listener.listen).await?,
            link_listener: bind(&settings.link.listen).await?,
            router: router(api),
            retention: settings.retention,
            store,
            logs,
            files,
            service,
            link,
            metrics,
        })
    }

    /// What commands beside the API work with.
    #[must_use]
    pub const fn service(&self) -> &Service {
        &self.service
    }

    /// Where the API listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn rest_address(&self) -> Result<SocketAddr, ServeError> {
        address(&self.rest_listener)
    }

    /// Where hosts dial.
    ///
    /// # Errors
    /// The system does not say.
    pub fn link_address(&self) -> Result<SocketAddr, ServeError> {
        address(&self.link_listener)
    }

    /// Serves until `stop` is ready, then ends in order.
    ///
    /// # Errors
    /// The link's listener failed.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let mut tasks = JoinSet::new();
        tasks.spawn(upkeep::run(
            Arc::clone(&self.store),
            self.logs.clone(),
            self.files,
            self.retention,
        ));
        tasks.spawn(follow_usage(self.service.clone(), self.metrics));
        let (stopping, stopped) = watch::channel(false);
        let rest = serve(
            self.rest_listener,
            self.rest_tls,
            self.router,
            when(stopped.clone()),
        );
        let rest = tokio::spawn(rest);
        let link = self
            .link
            .serve(self.link_listener, self.link_tls, when(stopped));
        let mut link = std::pin::pin!(link);
        let served = tokio::select! {
            () = stop => None,
            served = &mut link => Some(served),
        };
        stopping.send_replace(true);
        let served = match served {
            Some(served) => served,
            None => link.await,
        };
        if let Err(panicked) = rest.await {
            tracing::error!(%panicked, "the API did not end in order");
        }
        // What fails to be stored now, its host sends again to whom it finds next.
        self.logs.flush_all().await;
        drop(tasks);
        self.store.close().await;
        Ok(served?)
    }
}

/// What sends traces, where the settings say so.
fn tracer(settings: &Settings, store: &Arc<dyn Store>) -> Result<Option<Tracer>, ServeError> {
    let Some(endpoint) = &settings.traces.endpoint else {
        return Ok(None);
    };
    let started = Tracer::start(endpoint, Arc::clone(store));
    let failed = |source| ServeError::Traces {
        endpoint: endpoint.clone(),
        source,
    };
    started.map(Some).map_err(failed)
}

fn rest_settings(settings: &Settings) -> RestSettings {
    RestSettings {
        requests_per_second: settings.rest.requests_per_second,
        requests_burst: settings.rest.requests_burst,
        ..RestSettings::default()
    }
}

/// Ready once it is time to stop.
async fn when(mut stopped: watch::Receiver<bool>) {
    // Gone without a word is a stop, too.
    drop(stopped.wait_for(|stopped| *stopped).await);
}

async fn bind(listen: &str) -> Result<TcpListener, ServeError> {
    TcpListener::bind(listen)
        .await
        .map_err(|source| ServeError::Listen {
            address: listen.to_owned(),
            source,
        })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, ServeError> {
    listener.local_addr().map_err(|source| ServeError::Listen {
        address: "the address that was bound".to_owned(),
        source,
    })
}

/// Adds newer keys beside those of the settings: for secrets and for access tokens. They are used from the next start
/// on; give them to every replica first.
///
/// # Errors
/// They cannot be made or written.
pub fn rotate_keys(settings: &Settings) -> Result<(), ServeError> {
    keys::rotate(settings)
}

/// Wraps every stored secret under the newest key; how many were. Older keys are then needed no more.
///
/// # Errors
/// The store's, or a secret that does not open.
pub async fn rewrap_secrets(settings: &Settings, actor: &str) -> Result<usize, ServeError> {
    let keyring = Keyring::open(&place::keys(settings))?;
    let store = store::open(&place::store(settings)?).await?;
    let wrapped =
        crate::secrets::rewrap_all(&keyring, &*store, actor, crate::service::now_ms()).await;
    store.close().await;
    Ok(wrapped?)
}
