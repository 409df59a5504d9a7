//! Serving: check the host, find the runs again, then open the socket.
//!
//! ```text
//!  checks (root, state_dir + lock, cgroup v2, containerd, runtimes) ─► Host
//!     ▲ ─► Runs::reconcile ─► socket ─► serve … SIGTERM ─► followers told, slots destroyed, socket removed
//!     └──────────────────────────────────────┘ containerd was away, and answers
//! ```
//!
//! Where there are runs but no containerd, they are looked after without it: adopted, metered, ended,
//! told of. New runs are refused, and what must begin anew waits. Once containerd answers, all is begun
//! again from the checks on, in the same process: as a new executor would, which may be at any time, and
//! so that nothing has to be made up for.
//!
//! Going down ends no run: jobs, logs and deadlines are the shims'. The lock on the state directory
//! keeps a second executor from driving the same runs.

mod allotted;
mod cgroups;
mod checks;
mod error;
mod peer;
mod socket;

use std::sync::Arc;
use std::time::Duration;

use davit_rpc::local;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tower::layer::util::{Identity, Stack};

use crate::api::{
    CONNECTION_WINDOW_BYTES, ConsolesService, FilesService, HostService, ImagesService,
    RunsService, Shutdown, WINDOW_BYTES,
};
use crate::containerd::Containerd;
use crate::link::{self, Link};
use crate::metrics::Exposition;
use crate::network;
use crate::runs::{LogWatch, Runs};
use crate::settings::Settings;
use crate::warm;

pub use self::error::ServeError;
use self::peer::Peers;

/// Time that calls under way have after SIGTERM, milliseconds.
const SHUTDOWN_GRACE_MS: u64 = 2_000;
/// Time that launches under way have after that, milliseconds.
const SETTLE_MS_MAX: u64 = 5_000;
/// How often a containerd that is away is looked for, milliseconds.
const LOOK_PERIOD_MS: u64 = 1_000;
/// Time that calls under way have when it answers, milliseconds: they are told to ask again.
const RENEWAL_GRACE_MS: u64 = 200;
/// Longest wait for file operations under way before all is begun again, milliseconds.
const RENEWAL_MS_MAX: u64 = 5_000;
/// How often ended runs are looked through for those kept long enough, seconds.
const RETENTION_PERIOD_SECONDS: u64 = 60;

/// Why serving came to an end.
enum Ended {
    /// It was told to.
    Told,
    /// containerd answers, which was away when it began.
    ContainerdAnswers,
}

/// Checks the host, takes over the runs on disk and serves the local API until SIGTERM or SIGINT.
/// Blocks; the event loop is its own.
///
/// # Errors
/// A sentence that names what is missing on this host and what to do about it.
pub fn serve(settings: &Settings) -> Result<(), ServeError> {
    serve_again(settings, None)
}

/// [`serve`] of a process that heeds signals itself: until `stop` holds true, or its sender is gone.
///
/// # Errors
/// As [`serve`].
pub fn serve_until(settings: &Settings, stop: watch::Receiver<bool>) -> Result<(), ServeError> {
    serve_again(settings, Some(&stop))
}

fn serve_again(
    settings: &Settings,
    stop: Option<&watch::Receiver<bool>>,
) -> Result<(), ServeError> {
    crate::dump_no_core().map_err(ServeError::CoreDumps)?;
    loop {
        let runtime: Runtime = Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(ServeError::EventLoop)?;
        let ended = runtime.block_on(serve_once(settings.clone(), stop.cloned()));
        // Owners and their tasks go with it: a run never has two.
        runtime.shutdown_timeout(Duration::from_millis(RENEWAL_MS_MAX));
        match ended? {
            Ended::Told => return Ok(()),
            Ended::ContainerdAnswers => tracing::info!("containerd answers: beginning again"),
        }
    }
}

async fn serve_once(
    settings: Settings,
    stop: Option<watch::Receiver<bool>>,
) -> Result<Ended, ServeError> {
    let checked = checks::check(settings).await?;
    let host = Arc::new(checked.host);
    host.network.recover(&host.containerd).await;
    let runs = Runs::new(Arc::clone(&host), LogWatch::open());
    let found = runs.reconcile().await?;
    tracing::info!(
        adopted = found.adopted,
        begun = found.begun,
        ended = found.ended,
        lost = found.lost,
        "runs on disk taken over"
    );
    // Before anybody can know that it serves.
    let signals = stop.is_none().then(Signals::heed);
    let group = host.settings.socket_group.as_deref();
    let peers = Peers {
        group: group.map(peer::group_number).transpose()?,
    };
    let bound = socket::bind(&host.settings.socket, peers.group).await?;
    let (going_down, shutdown) = watch::channel(false);
    let retention = tokio::spawn(retain(runs.clone()));
    let keeper = tokio::spawn(warm::keep(Arc::clone(&host)));
    let watched = Arc::clone(&host);
    let vigil = tokio::spawn(async move { network::keep(&watched).await });
    let mut sweeper = tokio::spawn(runs.clone().sweep_slots());
    let link = Link::start(&runs);
    let report = checked.report;
    let told = Shutdown(shutdown.clone());
    let serving = router(&runs, report, link.status(), told, peers).await?;
    let mut told = shutdown;
    let served =
        serving.serve_with_incoming_shutdown(UnixListenerStream::new(bound.listener), async move {
            // An error means that the sender is gone, which means the same.
            drop(told.wait_for(|going| *going).await);
        });
    tracing::info!(socket = %host.settings.socket.display(), "serving");
    let outcome = tokio::select! {
        outcome = served => outcome.map(|()| Ended::Told).map_err(ServeError::from),
        () = told_to_stop(stop, signals, going_down.clone()) => Ok(Ended::Told),
        outcome = answers(&host.containerd) => outcome.map(|()| Ended::ContainerdAnswers),
    };
    if matches!(outcome, Ok(Ended::ContainerdAnswers)) {
        going_down.send_replace(true);
        tokio::time::sleep(Duration::from_millis(RENEWAL_GRACE_MS)).await;
    }
    retention.abort();
    // The scheduler sees a connection that breaks, and waits for the next executor.
    drop(link);
    // Without it no launch is under way; what waits for it is not waited for.
    if host.containerd.is_known() {
        runs.settle(Duration::from_millis(SETTLE_MS_MAX)).await;
        // What an executor before this one left: there may be none after it. Cut off, it stays for the next one.
        let swept = tokio::time::timeout(Duration::from_millis(SETTLE_MS_MAX), &mut sweeper).await;
        tracing::debug!(in_time = swept.is_ok(), "old warm slots are swept");
    }
    sweeper.abort();
    host.warm.close().await;
    keeper.abort();
    vigil.abort();
    // Held to the very end: the name of the socket and the lock on the runs.
    drop((bound.name, checked.lock));
    tracing::info!("going down; runs go on");
    outcome
}

/// Returns once a containerd that was away answers; never, if it was not.
async fn answers(containerd: &Containerd) -> Result<(), ServeError> {
    if containerd.is_known() {
        return std::future::pending().await;
    }
    let mut period = tokio::time::interval(Duration::from_millis(LOOK_PERIOD_MS));
    loop {
        period.tick().await;
        match containerd.look_again().await {
            Err(error) if error.is_absence() => {}
            outcome => return Ok(outcome?),
        }
    }
}

type Routes = tonic::transport::server::Router<Stack<Peers, Identity>>;

async fn router(
    runs: &Runs,
    report: crate::api::HostReport,
    link: Option<link::Status>,
    shutdown: Shutdown,
    peers: Peers,
) -> Result<Routes, ServeError> {
    let images = ImagesService {
        images: runs.host().images.clone(),
        settings: runs.host().settings.clone(),
        shutdown: shutdown.clone(),
    };
    let host = HostService::new(report, link, Exposition::new(runs));
    let host = local::host_server::HostServer::new(host);
    let files = FilesService::server(runs, shutdown.clone());
    let consoles = ConsolesService::server(runs, shutdown.clone());
    let runs = runs.clone();
    let runs = local::runs_server::RunsServer::new(RunsService { runs, shutdown });
    let images = local::images_server::ImagesServer::new(images);
    let (health, health_service) = tonic_health::server::health_reporter();
    health
        .set_serving::<local::runs_server::RunsServer<RunsService>>()
        .await;
    health
        .set_serving::<local::images_server::ImagesServer<ImagesService>>()
        .await;
    health
        .set_serving::<local::host_server::HostServer<HostService>>()
        .await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(local::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| ServeError::Setting {
            setting: "socket",
            problem: format!("the reflection service refused its descriptors: {error}"),
        })?;
    Ok(Server::builder()
        .layer(peers)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .add_service(runs)
        .add_service(images)
        .add_service(files)
        .add_service(consoles)
        .add_service(host)
        .add_service(health_service)
        .add_service(reflection))
}

/// Waits for `stop`, else for a signal; tells `going_down`, and gives calls under way some time.
async fn told_to_stop(
    stop: Option<watch::Receiver<bool>>,
    signals: Option<Signals>,
    going_down: watch::Sender<bool>,
) {
    match (stop, signals) {
        // An error means that the sender is gone, which means the same.
        (Some(mut stop), _) => drop(stop.wait_for(|stop| *stop).await),
        (None, Some(mut signals)) => signals.next().await,
        (None, None) => std::future::pending().await,
    }
    going_down.send_replace(true);
    tokio::time::sleep(Duration::from_millis(SHUTDOWN_GRACE_MS)).await;
}

/// SIGTERM and SIGINT, heeded from the moment this is made.
struct Signals {
    term: Option<Signal>,
    int: Option<Signal>,
}

impl Signals {
    fn heed() -> Self {
        let heed = |kind| {
            let heeded = signal(kind);
            let failed = |error: &std::io::Error| {
                tracing::error!(%error, "signals cannot be handled: end the executor with SIGKILL");
            };
            heeded.inspect_err(failed).ok()
        };
        Self {
            term: heed(SignalKind::terminate()),
            int: heed(SignalKind::interrupt()),
        }
    }

    /// Either of them.
    async fn next(&mut self) {
        tokio::select! {
            () = one(&mut self.term) => {}
            () = one(&mut self.int) => {}
        }
    }
}

async fn one(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

async fn retain(runs: Runs) {
    let mut period = tokio::time::interval(Duration::from_secs(RETENTION_PERIOD_SECONDS));
    loop {
        period.tick().await;
        let removed = runs.retain().await;
        if removed > 0 {
            tracing::info!(removed, "removed runs that were kept long enough");
        }
    }
}
