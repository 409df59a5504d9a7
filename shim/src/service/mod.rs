//! The task API, apart from its transport: what each request does to which container.
//!
//! ```text
//!  rpc.rs (ttrpc, v2 and v3) ──► Shim ──► Container ──► Process / Run / Runtime / Cgroup
//!    create.rs   Create                                   exec.rs     Exec and its Start
//!    start.rs    Start of the init                        checkpoint.rs
//!    assign.rs   a warm slot becomes a run                delete.rs   Delete of init and exec
//!    control.rs  Kill, Pause, Resume, Update, Stats, …
//! ```
//!
//! Invariants: requests run side by side; no lock is held across an await; a request that has begun runs to its
//! end even if containerd goes away in the middle of it (see `rpc`).

mod assign;
mod checkpoint;
mod console;
mod control;
mod create;
mod delete;
mod exec;
pub(crate) mod rpc;
mod start;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::MessageField;
use davit_rundir::bundle_link;
use tokio::sync::Notify;

use crate::container::{Container, Freeze};
use crate::daemon::Lifetime;
use crate::error::TaskError;
use crate::events::{Publisher, timestamp};
use crate::files::remove_if_there;
use crate::idle::Idle;
use crate::lock;
use crate::process::{Outcome, Phase, Process};
use crate::reaper::Reaper;

/// The one shim of this process; cheap to clone.
#[derive(Clone)]
pub(crate) struct Shim(Arc<Inner>);

struct Inner {
    namespace: String,
    /// The shim's own socket; consoles get theirs beside it.
    socket: PathBuf,
    lifetime: Lifetime,
    reaper: Reaper,
    publisher: Publisher,
    idle: Idle,
    containers: Mutex<HashMap<String, Arc<Container>>>,
    /// Ids being created: a second Create of the same id is refused at once.
    creating: Mutex<std::collections::HashSet<String>>,
    /// Told when one of them is created, or not to be.
    settled: Notify,
    shutdown: Notify,
}

impl Shim {
    pub(crate) fn new(
        namespace: &str,
        socket: PathBuf,
        lifetime: Lifetime,
        reaper: Reaper,
        publisher: Publisher,
        idle: Idle,
    ) -> Self {
        Self(Arc::new(Inner {
            namespace: namespace.to_owned(),
            socket,
            lifetime,
            reaper,
            publisher,
            idle,
            containers: Mutex::default(),
            creating: Mutex::default(),
            settled: Notify::new(),
            shutdown: Notify::new(),
        }))
    }

    fn container(&self, id: &str) -> Result<Arc<Container>, TaskError> {
        lock(&self.0.containers)
            .get(id)
            .cloned()
            .ok_or_else(|| TaskError::UnknownContainer(id.to_owned()))
    }

    fn process(
        &self,
        id: &str,
        exec_id: &str,
    ) -> Result<(Arc<Container>, Arc<Process>), TaskError> {
        let container = self.container(id)?;
        let process = container.process(exec_id)?;
        Ok((container, process))
    }

    /// Returns once somebody has asked for the end and no container is left.
    pub(crate) async fn shut_down(&self) {
        self.0.shutdown.notified().await;
    }

    fn state(&self, request: &api::StateRequest) -> Result<api::StateResponse, TaskError> {
        let (container, process) = self.process(&request.id, &request.exec_id)?;
        let status = match (process.phase(), container.freeze()) {
            (Phase::Registered | Phase::Created | Phase::Starting, _) => api::Status::CREATED,
            (Phase::Stopped, _) => api::Status::STOPPED,
            (Phase::Running, Freeze::Thawed) => api::Status::RUNNING,
            (Phase::Running, Freeze::Pausing) => api::Status::PAUSING,
            (Phase::Running, Freeze::Paused) => api::Status::PAUSED,
        };
        let exit = process.exit();
        Ok(api::StateResponse {
            id: if request.exec_id.is_empty() {
                container.id.clone()
            } else {
                request.exec_id.clone()
            },
            exec_id: request.exec_id.clone(),
            bundle: container.bundle.to_string_lossy().into_owned(),
            pid: process.pid(),
            status: status.into(),
            stdin: process.paths.stdin.clone(),
            stdout: process.paths.stdout.clone(),
            stderr: process.paths.stderr.clone(),
            terminal: process.paths.terminal,
            exit_status: exit.map_or(0, |exit| exit.status.shell_code().into()),
            exited_at: exit.map(|exit| timestamp(exit.at.unix_ns)).into(),
            ..api::StateResponse::default()
        })
    }

    async fn wait(&self, request: &api::WaitRequest) -> Result<api::WaitResponse, TaskError> {
        let (_, process) = self.process(&request.id, &request.exec_id)?;
        match process.wait().await {
            Outcome::Exited(exit) => Ok(api::WaitResponse {
                exit_status: exit.status.shell_code().into(),
                exited_at: MessageField::some(timestamp(exit.at.unix_ns)),
                ..api::WaitResponse::default()
            }),
            Outcome::NeverRan => Err(TaskError::Refused {
                action: "wait for the process",
                why: "it was never started",
            }),
        }
    }

    /// Never an error: containerd asks this at its restart to find out whether the shim is alive.
    fn connect(&self, request: &api::ConnectRequest) -> api::ConnectResponse {
        api::ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: self
                .container(&request.id)
                .map_or(0, |container| container.init.pid()),
            ..api::ConnectResponse::default()
        }
    }

    /// Removes the shim's socket and what stands beside it; fine if they are gone.
    pub(crate) fn remove_socket(&self) {
        let beside = bundle_link(&self.0.socket);
        for path in [&beside, &self.0.socket] {
            remove_if_there(path);
        }
    }

    /// Notes beside the socket which bundle this shim is about to fill: nobody at containerd would clear up after
    /// a death here, so the executor must find it.
    fn note_bundle(&self, bundle: &Path) -> Result<(), TaskError> {
        if self.0.lifetime == Lifetime::Group {
            return Ok(());
        }
        self.link_bundle(bundle).map_err(|error| TaskError::Field {
            field: "bundle",
            problem: format!("cannot be noted: {error}"),
        })
    }

    fn link_bundle(&self, bundle: &Path) -> std::io::Result<()> {
        let link = bundle_link(&self.0.socket);
        match std::fs::remove_file(&link) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::os::unix::fs::symlink(bundle, link)
    }

    /// A task is gone, or could not be made: the end of a shim that was there for it alone.
    fn task_gone(&self) {
        if self.0.lifetime == Lifetime::OneTask {
            self.shutdown();
        }
    }

    /// Where the sockets of consoles are made.
    fn socket_dir(&self) -> &Path {
        self.0.socket.parent().unwrap_or(Path::new("/run"))
    }

    /// Whether no container is held.
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.0.containers).is_empty() && lock(&self.0.creating).is_empty()
    }

    /// Ends the shim unless a container is left. The socket goes before the answer: whoever has it may count on that.
    fn shutdown(&self) {
        if self.is_empty() {
            self.remove_socket();
            self.0.shutdown.notify_one();
        }
    }
}
