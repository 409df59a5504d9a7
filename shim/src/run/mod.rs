//! A run of davit: what the shim does for it beyond what any container gets.
//!
//! ```text
//!   containerd ─ttrpc─► Shim ─┐ Run (handle)               ┌─ deadline, pause limit, grace: BootTimer
//!                             ├──── commands ────► Owner ──┼─ cgroup: freeze, kill, final figures
//!   executor ─shim.sock─► Control ┘      (one task)        ├─ state.json, exit.json
//!                                                          └─ Capture: pipes ─► log.NNN
//! ```
//!
//! Life: [`Run::open`] (launch.json) → [`Run::prepare`] (log, cgroup, pipes) → runtime create →
//! [`Run::created`] (state.json, shim.sock, Owner) → letting go, see `letting` (deadline) →
//! … → [`Run::init_ended`] (exit.json, then the caller tells containerd) → [`Run::remove_files`].
//!
//! A run that is given a warm slot finds pipes, cgroup and container made: [`Run::take_over`] stands for the first
//! steps up to the runtime's create.
//!
//! Invariants:
//! - the owner task alone changes the books once the container exists; everybody else sends it a command;
//! - exit.json is durable before anybody is told of the end;
//! - the reason of a kill is in state.json, readable though not durable, before the kill is sent;
//! - a run directory is used once: one that has a state or an exit already is refused.

mod beside;
mod books;
mod capture;
mod control;
mod disk;
mod end;
mod error;
mod finish;
mod letting;
mod owner;
mod prepare;
mod streams;
mod timer;
mod traffic;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use davit_rundir::{
    ControlError, ControlErrorCode, ExitRecord, FORMAT_VERSION, LaunchRecord, RunDir, SlotId,
    Stamp, StateRecord,
};
use davit_types::Usage;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};

use crate::cgroup::ContainerCgroup;
use crate::consoles::{Beginner, CONSOLES_MAX, JobStreams, Wanted};
use crate::error::chain;
use crate::files::remove_if_there;
use crate::lock;
use crate::reaper::{Exit, ProcessHandle};
use crate::secrets::Patterns;
use beside::LateEnv;
use books::Books;
use capture::Capture;
pub(crate) use capture::Pipes;
pub(crate) use disk::own_layer;
pub(crate) use error::RunError;
use error::refused;
use letting::Letting;
pub(crate) use letting::{LetGo, Starter};
pub(crate) use owner::Signaller;
use owner::{Command, Owner};
use prepare::RESERVE_FILE;
pub(crate) use prepare::set_kill_rules;
use traffic::NetworkNamespace;

/// Commands waiting for the owner; each connection has at most one under way.
const COMMANDS_MAX: usize = 32;

/// What was made for a run before its container.
struct Prepared {
    capture: Capture,
    cgroup: Arc<ContainerCgroup>,
    /// What was used in the cgroup before it was this run's.
    used_before: Usage,
}

/// State shared by the handle, the owner and the control connections.
struct Shared {
    dir: RunDir,
    launch: LaunchRecord,
    boot_id: String,
    /// `None` until the container is created.
    books: Mutex<Option<Books>>,
    letting: watch::Sender<Letting>,
    /// Set with the books.
    starter: OnceLock<Starter>,
    /// Begins processes beside the job; set with the books.
    beginner: OnceLock<Beginner>,
    late_env: OnceLock<LateEnv>,
    streams: JobStreams,
    /// Of consoles.
    places: Arc<Semaphore>,
    /// What its log does not show; set before it has one.
    hidden: OnceLock<Arc<Patterns>>,
    /// Where it writes its files; set with its container.
    layer: OnceLock<PathBuf>,
    /// The books were changed by [`Run::started`]: look at what is due.
    changed: Notify,
    /// The end: `Some(None)` if it could not be recorded.
    end: watch::Sender<Option<Option<Arc<ExitRecord>>>>,
    prepared: Mutex<Option<Prepared>>,
    init_exit: Mutex<Option<oneshot::Sender<Exit>>>,
}

impl Shared {
    fn state(&self) -> Option<StateRecord> {
        lock(&self.books).as_ref().map(|books| books.record.clone())
    }

    /// Writes state.json. A full disk must not keep a deadline from being enforced, so failing is only told:
    /// the shim's own memory has the truth, and exit.json will.
    fn save(&self, record: &StateRecord) {
        if let Err(error) = self.dir.write_state(record) {
            log::error!("{}", chain(&error));
        }
    }
}

/// What of its container a run needs, and only the container's owner can do.
pub(crate) struct Hands {
    pub(crate) signaller: Signaller,
    pub(crate) starter: Starter,
    pub(crate) beginner: Beginner,
}

/// Handle on a run; see the module.
#[derive(Clone)]
pub(crate) struct Run {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    receiver: Arc<Mutex<Option<mpsc::Receiver<Command>>>>,
}

impl Run {
    /// Reads what the executor left in `dir` for a container of its own, or for `slot`.
    pub(crate) fn open(dir: &Path, slot: Option<&SlotId>) -> Result<Self, RunError> {
        let run_dir = RunDir::from_path(dir).ok_or_else(|| RunError::NotARun(dir.to_owned()))?;
        let launch = run_dir
            .read_launch()?
            .filter(|launch| launch.key == run_dir.key())
            .ok_or_else(|| RunError::NoLaunch(dir.to_owned()))?;
        if launch.slot.as_ref() != slot {
            return Err(RunError::OtherPlace {
                dir: dir.to_owned(),
                wanted: launch.slot,
                found: slot.cloned(),
            });
        }
        if run_dir.read_exit()?.is_some() || run_dir.read_state()?.is_some() {
            return Err(RunError::UsedBefore(dir.to_owned()));
        }
        let boot_id_path = Path::new("/proc/sys/kernel/random/boot_id");
        let boot_id = fs::read_to_string(boot_id_path).map_err(|source| RunError::Io {
            operation: "read",
            path: boot_id_path.to_owned(),
            source,
        })?;
        let wanted = Wanted {
            stdin: launch.stdin,
            tty: launch.tty,
        };
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        Ok(Self {
            shared: Arc::new(Shared {
                dir: run_dir,
                launch,
                boot_id: boot_id.trim().to_owned(),
                books: Mutex::new(None),
                letting: watch::Sender::new(Letting::NotYet),
                starter: OnceLock::new(),
                beginner: OnceLock::new(),
                late_env: OnceLock::new(),
                streams: JobStreams::new(wanted),
                places: Arc::new(Semaphore::new(CONSOLES_MAX)),
                hidden: OnceLock::new(),
                layer: OnceLock::new(),
                changed: Notify::new(),
                end: watch::Sender::new(None),
                prepared: Mutex::new(None),
                init_exit: Mutex::new(None),
            }),
            commands,
            receiver: Arc::new(Mutex::new(Some(receiver))),
        })
    }

    /// Its records.
    pub(crate) fn records(&self) -> &RunDir {
        &self.shared.dir
    }

    /// Keeps `patterns` out of the log that is to be made.
    pub(crate) fn hide(&self, patterns: Patterns) {
        if self.shared.hidden.set(Arc::new(patterns)).is_err() {
            log::error!("the run was given secrets twice");
        }
    }

    /// Its container writes to `layer`.
    pub(crate) fn writes_to(&self, layer: Option<&Path>) {
        if let Some(layer) = layer {
            // A run has one container.
            let _first = self.shared.layer.set(layer.to_owned());
        }
    }

    /// Where its records are.
    pub(crate) fn dir(&self) -> &Path {
        self.shared.dir.path()
    }

    /// Its cgroup, from the root of the cgroup v2 file system.
    pub(crate) fn cgroup_path(&self) -> &str {
        &self.shared.launch.cgroup
    }

    /// The present state; `None` until the container is created.
    pub(crate) fn state(&self) -> Option<StateRecord> {
        self.shared.state()
    }

    /// The OCI runtime the executor chose.
    pub(crate) fn runtime_binary(&self) -> &Path {
        &self.shared.launch.runtime_binary
    }

    /// The container exists: records it and begins to hold the run. Returns the cgroup.
    pub(crate) fn created(
        &self,
        init: &ProcessHandle,
        hands: Hands,
    ) -> Result<Arc<ContainerCgroup>, RunError> {
        let prepared = lock(&self.shared.prepared)
            .take()
            .ok_or(RunError::OutOfOrder("created before it was prepared"))?;
        let cgroup = prepared.cgroup.clone();
        match self.hold(prepared, init, hands) {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                if let Err(error) = cgroup.kill() {
                    log::warn!("{}", chain(&error));
                }
                self.remove_files();
                Err(error)
            }
        }
    }

    fn hold(
        &self,
        mut prepared: Prepared,
        init: &ProcessHandle,
        hands: Hands,
    ) -> Result<(), RunError> {
        let shared = &self.shared;
        let receiver = lock(&self.receiver)
            .take()
            .ok_or(RunError::OutOfOrder("created twice"))?;
        // The runtime may have enabled controllers on its way.
        set_kill_rules(&prepared.cgroup)?;
        let record = StateRecord {
            version: FORMAT_VERSION,
            key: shared.launch.key,
            boot_id: shared.boot_id.clone(),
            shim_pid: std::process::id(),
            init_pid: init.pid.cast_unsigned(),
            created: Stamp::now(),
            started: None,
            timeout_ms: shared.launch.timeout_ms,
            deadline_boot_ns: None,
            pauses: Vec::new(),
            kill: None,
            network_before: None,
        };
        prepared.capture.start()?;
        control::serve(self.clone())?;
        let mut owner = Owner::new(
            shared.clone(),
            prepared.cgroup,
            prepared.used_before,
            prepared.capture,
            init.clone(),
            hands.signaller,
        )
        .map_err(|source| RunError::Io {
            operation: "make",
            path: PathBuf::from("the deadline timer"),
            source,
        })?;
        if shared.launch.network.is_some() {
            owner.namespace = Some(NetworkNamespace::of(init)?);
        }
        // The last that can fail: who sees the record sees a run that is held.
        shared.dir.write_state(&record)?;
        *lock(&shared.books) = Some(Books::new(record, shared.launch.max_pause_ms));
        let begins = shared.beginner.set(hands.beginner).is_ok();
        if shared.starter.set(hands.starter).is_err() || !begins {
            return Err(RunError::OutOfOrder("created twice"));
        }
        let (exit_sender, exit) = oneshot::channel();
        *lock(&shared.init_exit) = Some(exit_sender);
        tokio::spawn(owner.run(exit, receiver));
        Ok(())
    }

    /// Whether the job is frozen.
    pub(crate) fn is_paused(&self) -> bool {
        lock(&self.shared.books)
            .as_ref()
            .is_some_and(|books| books.record.is_paused())
    }

    /// Freezes the job; returns once it is.
    pub(crate) async fn pause(&self) -> Result<(), RunError> {
        self.ask(Command::Pause).await?;
        Ok(())
    }

    /// Lets the job run again.
    pub(crate) async fn resume(&self) -> Result<(), RunError> {
        self.ask(Command::Resume).await?;
        Ok(())
    }

    /// Sends a command to the owner and waits for its answer.
    async fn ask(
        &self,
        command: impl FnOnce(owner::Reply) -> Command,
    ) -> Result<StateRecord, ControlError> {
        let over = || refused(ControlErrorCode::NotRunning, "the job is over");
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(command(reply))
            .await
            .map_err(|_| over())?;
        answer.await.map_err(|_| over())?
    }

    /// The init has ended; returns when exit.json is durable (or was given up).
    pub(crate) async fn init_ended(&self, exit: Exit) {
        // The sender is taken first: from now on the job counts as over.
        let sender = lock(&self.shared.init_exit).take();
        self.letting_go_is_over().await;
        if sender.is_none_or(|sender| sender.send(exit).is_err()) {
            log::error!("the run's owner is gone");
            return;
        }
        let mut end = self.shared.end.subscribe();
        if end.wait_for(Option::is_some).await.is_err() {
            log::error!("the run's owner ended without a record");
        }
    }

    /// The container is gone: removes what only a living shim needs.
    pub(crate) fn remove_files(&self) {
        remove_if_there(&self.shared.dir.socket_path());
        remove_if_there(&self.shared.dir.path().join(RESERVE_FILE));
    }
}
