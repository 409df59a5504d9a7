//! What an owner's tasks do; each reports once, but for the control task, which serves in order.

use std::sync::Arc;
use std::time::Duration;

use davit_rundir::{ControlErrorCode, ControlRequest, RunDir, SpecRecord};
use tokio::sync::{mpsc, watch};

use super::backoff::Backoff;
use super::error::sentence;
use super::handle::{ControlKind, ControlOrder};
use super::host::Host;
use super::launch::{self, LaunchError, StartOutcome};
use super::offload::offload;
use super::owner::Happened;
use super::shim::{self, ShimError, ShimState};
use super::vigil::{self, Outcome};
use super::{RunError, cleanup};
use crate::containerd::{ContainerName, Mount};
use crate::credentials;
use crate::files::collect::{self, Halt, Progress};
use crate::files::intake::Upload;
use crate::images::{Credentials, ImageError, PullProgress, ResolvedImage};

/// Longest wait for a container to be out of the way of collecting, and for containerd, seconds.
const RELEASE_SECONDS_MAX: u64 = 600;
/// Times a pull is tried while containerd comes and goes.
const PULL_ATTEMPTS_MAX: u32 = 8;
/// First delay between attempts, milliseconds.
const RETRY_FIRST_MS: u64 = 250;
/// Longest delay between attempts, milliseconds.
const RETRY_LONGEST_MS: u64 = 4_000;

/// The queue on which an owner hears from its tasks.
type Report = mpsc::Sender<Happened>;

async fn tell(report: &Report, happened: Happened) {
    // An owner that is gone needs no telling: its executor goes down.
    drop(report.send(happened).await);
}

/// Having the image.
pub(super) struct Pull {
    pub(super) host: Arc<Host>,
    pub(super) dir: RunDir,
    pub(super) spec: Arc<SpecRecord>,
    /// Remove first what an earlier executor left half-made.
    pub(super) clear_first: bool,
    pub(super) credentials: Option<Credentials>,
    pub(super) progress: watch::Sender<PullProgress>,
}

impl Pull {
    pub(super) async fn run(self, report: Report) {
        let run = &self.spec.spec;
        self.host.containerd.when_known().await;
        if self.clear_first
            && let Err(error) = launch::clear(&self.host, &self.dir).await
        {
            return tell(&report, Happened::ImageFailed(sentence(&error))).await;
        }
        let mut asked = self.credentials;
        if self
            .spec
            .scheduled
            .as_ref()
            .is_some_and(|its| its.has_secrets)
        {
            let Some(given) = self.host.given.when_given(run.key()).await else {
                let problem = "its secrets went with the executor that had heard them";
                return tell(&report, Happened::ImageFailed(problem.to_owned())).await;
            };
            asked = given.credentials;
        }
        let credentials = match asked {
            None => match credentials::configured(&self.host.settings, &run.image).await {
                Ok(credentials) => credentials,
                Err(error) => return tell(&report, Happened::ImageFailed(sentence(&error))).await,
            },
            given => given,
        };
        let mut backoff = Backoff::new(RETRY_FIRST_MS, RETRY_LONGEST_MS);
        let mut attempt = 1;
        let found = loop {
            let progress = self.progress.clone();
            let images = &self.host.images;
            let found = images.ensure(&run.image, run.pull_policy, credentials.clone(), progress);
            match found.await {
                // A registry's failures are the image store's to judge; a containerd that restarts
                // is none.
                Err(ImageError::Containerd(error))
                    if error.is_transient() && attempt < PULL_ATTEMPTS_MAX =>
                {
                    let problem = sentence(&*error);
                    tracing::warn!(key = %run.key(), attempt, problem, "a pull failed; trying again");
                    backoff.wait().await;
                    attempt += 1;
                }
                found => break found,
            }
        };
        let happened = match found {
            Ok(image) => Happened::ImageReady(Box::new(image)),
            Err(error) => Happened::ImageFailed(sentence(&error)),
        };
        tell(&report, happened).await;
    }
}

/// Making everything up to the task.
pub(super) struct Prepare {
    pub(super) host: Arc<Host>,
    pub(super) dir: RunDir,
    pub(super) spec: Arc<SpecRecord>,
    pub(super) image: ResolvedImage,
    /// An earlier launch was cut off.
    pub(super) anew: bool,
    /// The files it comes with.
    pub(super) files: Option<Upload>,
}

impl Prepare {
    pub(super) async fn run(self, report: Report) {
        let Self {
            host,
            dir,
            spec,
            image,
            anew,
            mut files,
        } = self;
        let mut prepared = launch::prepare(&host, &dir, &spec, &image, anew, &mut files).await;
        let again = files.is_some() || !spec.spec.files_in;
        if again && prepared.as_ref().is_err_and(LaunchError::is_not_found) {
            // Somebody else removed the image's layers: they are unpacked again, or pulled.
            host.images.look_again();
            let (progress, _) = watch::channel(PullProgress::default());
            let run = &spec.spec;
            let found = host
                .images
                .ensure(&run.image, run.pull_policy, None, progress);
            prepared = match found.await {
                Ok(image) => launch::prepare(&host, &dir, &spec, &image, true, &mut files).await,
                Err(_) => prepared,
            };
        }
        let happened = match prepared {
            Ok(prepared) => Happened::Prepared(prepared),
            Err(error) => Happened::PrepareFailed(sentence(&error)),
        };
        tell(&report, happened).await;
    }
}

/// Letting the job go.
pub(super) async fn start(host: Arc<Host>, dir: RunDir, name: ContainerName, report: Report) {
    host.containerd.when_known().await;
    match launch::start(&host, &dir, &name).await {
        StartOutcome::Started(Some(state)) => {
            tell(&report, Happened::Started(Some(state))).await;
        }
        StartOutcome::Started(None) => {
            let state = match shim::ask(&dir.socket_path(), ControlRequest::State).await {
                Ok(ShimState::Live(state)) => Some(state),
                _ => None,
            };
            tell(&report, Happened::Started(state)).await;
        }
        StartOutcome::Failed(problem) => {
            tell(&report, Happened::StartFailed(problem)).await;
        }
        StartOutcome::Elsewhere => tell(&report, Happened::StartUnknown).await,
    }
}

/// Awaiting the end.
pub(super) async fn watch(host: Arc<Host>, dir: RunDir, name: ContainerName, report: Report) {
    let happened = match vigil::keep(&host, &dir, &name).await {
        Outcome::Exited(exit) => Happened::Exited(exit),
        Outcome::Found(exit) => Happened::FoundExit(exit),
        Outcome::Lost(how) => Happened::Lost(how),
    };
    tell(&report, happened).await;
}

/// Collecting what was asked for of its files, once nothing of it is alive.
pub(super) async fn collect(
    host: Arc<Host>,
    dir: RunDir,
    spec: Arc<SpecRecord>,
    name: ContainerName,
    halt: Halt,
    progress: watch::Sender<Progress>,
    report: Report,
) {
    let extracts = spec.spec.extracts.clone();
    let mounts = match left_by(&host, &name, &halt).await {
        Ok(mounts) => mounts,
        Err(problem) => {
            let collected = collect::none(&extracts, &problem);
            return tell(&report, Happened::Collected(collected)).await;
        }
    };
    let bytes_max = host.settings.files.extract_bytes_max;
    let collected = offload(move || {
        let launch = dir.read_launch().ok().flatten();
        let order = collect::Order {
            extracts,
            workdir: launch
                .and_then(|launch| launch.workdir)
                .unwrap_or_else(|| "/".to_owned()),
            mounts,
            keep_in: dir.files_path(),
            bytes_max,
            progress,
        };
        collect::collect(&order, &halt)
    });
    tell(&report, Happened::Collected(collected.await)).await;
}

/// The root file system that the container `name` left, with nothing of it alive.
async fn left_by(
    host: &Arc<Host>,
    name: &ContainerName,
    halt: &Halt,
) -> Result<Vec<Mount>, String> {
    let mut backoff = Backoff::new(RETRY_FIRST_MS, RETRY_LONGEST_MS);
    let left = async {
        host.containerd.when_known().await;
        loop {
            let problem = match cleanup::release(host, name).await {
                Err(error) => sentence(&error),
                Ok(()) => match host.containerd.snapshot_mounts(name).await {
                    Ok(mounts) => return Ok(mounts),
                    Err(error) if error.is_not_found() => {
                        return Err("its root file system is gone".to_owned());
                    }
                    Err(error) => sentence(&error),
                },
            };
            tracing::debug!(%name, problem, "the files of a run cannot be collected yet");
            backoff.wait().await;
        }
    };
    let limit = Duration::from_secs(RELEASE_SECONDS_MAX);
    let given_up = || {
        halt.reason()
            .unwrap_or_else(|| "it was given up".to_owned())
    };
    let left = async {
        tokio::select! {
            left = left => left,
            () = halt.canceled() => Err(given_up()),
        }
    };
    match tokio::time::timeout(limit, left).await {
        Ok(left) => left,
        Err(_) => Err(format!(
            "its container was not to be had for {RELEASE_SECONDS_MAX} s"
        )),
    }
}

/// Removing what the run made; `empty` says that its shim saw its cgroup empty.
pub(super) async fn clean(host: Arc<Host>, name: ContainerName, empty: bool, report: Report) {
    if empty {
        cleanup::of_empty(&host, &name).await;
    } else {
        cleanup::until_done(&host, &name).await;
    }
    tell(&report, Happened::Cleaned).await;
}

/// A stop or cancel: what comes of it is heard from the vigil.
pub(super) async fn order(dir: RunDir, request: ControlRequest) {
    if let Err(error) = shim::ask(&dir.socket_path(), request.clone()).await {
        let late =
            matches!(&error, ShimError::Refused(e) if e.code == ControlErrorCode::NotRunning);
        if !late {
            let problem = sentence(&error);
            tracing::warn!(key = %dir.key(), ?request, problem, "a shim did not take an order");
        }
    }
}

/// Asks the shim to pause, resume and extend, one after the other.
pub(super) async fn control(dir: RunDir, mut orders: mpsc::Receiver<ControlOrder>, report: Report) {
    let run = dir.key().run;
    while let Some(ControlOrder { kind, done }) = orders.recv().await {
        let operation = kind.operation();
        let request = match kind {
            ControlKind::Pause => ControlRequest::Pause,
            ControlKind::Resume => ControlRequest::Resume,
            ControlKind::Extend { timeout_ms } => ControlRequest::Extend { timeout_ms },
        };
        let refusal = match shim::ask(&dir.socket_path(), request).await {
            Ok(ShimState::Live(state)) => {
                tell(&report, Happened::Controlled(state, done)).await;
                continue;
            }
            Ok(ShimState::Exited(_)) => RunError::WrongPhase {
                operation,
                run,
                phase: "ended",
            },
            Err(ShimError::Refused(source)) => RunError::Refused {
                operation,
                run,
                source,
            },
            Err(source) => RunError::Shim {
                operation,
                run,
                source,
            },
        };
        // The asker may have gone.
        drop(done.send(Err(refusal)));
    }
}
