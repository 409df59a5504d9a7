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
//! [`Run::created`] (state.json, shim.sock, Owner) → [`Run::starting`], runtime start, [`Run::started`] (deadline) →
//! … → [`Run::init_ended`] (exit.json, then the caller tells containerd) → [`Run::deleted`].
//!
//! Invariants:
//! - the owner task alone changes the books once the container exists; everybody else sends it a command;
//! - exit.json is durable before anybody is told of the end;
//! - the reason of a kill is in state.json before the kill is sent;
//! - a run directory is used once: one that has a state or an exit already is refused.

mod books;
mod capture;
mod control;
mod end;
mod finish;
mod owner;
mod prepare;
mod timer;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use davit_cgroup::CgroupError;
use davit_rundir::{
    ControlError, ControlErrorCode, ExitRecord, FORMAT_VERSION, LaunchRecord, RunDir, RunDirError,
    Stamp, StateRecord,
};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::cgroup::ContainerCgroup;
use crate::error::chain;
use crate::lock;
use crate::reaper::{Exit, ProcessHandle};
use crate::runtime::Stdio3;
use books::Books;
use capture::{Capture, CaptureError, Pipes};
pub(crate) use owner::Signaller;
use owner::{Command, Owner};
use prepare::{RESERVE_FILE, remove_if_there, reserve, set_kill_rules};

/// Commands waiting for the owner; each connection has at most one under way.
const COMMANDS_MAX: usize = 32;

/// Why a run could not be held.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("annotation davit.run-dir: {} is not named <run id>.<attempt>", .0.display())]
    NotARun(PathBuf),
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    #[error("run directory {} has no launch.json", .0.display())]
    NoLaunch(PathBuf),
    #[error("run directory {} was used before", .0.display())]
    UsedBefore(PathBuf),
    #[error("cannot capture output")]
    Capture(#[from] CaptureError),
    #[error("cannot {operation} the run's cgroup")]
    Cgroup {
        operation: &'static str,
        #[source]
        source: CgroupError,
    },
    #[error("cannot {operation} {}", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{0}")]
    Control(#[from] ControlError),
    #[error("run is in the wrong state: {0}")]
    OutOfOrder(&'static str),
}

/// How far letting the job go has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Letting {
    NotYet,
    Begun(Stamp),
    Done,
}

/// What was made for a run before its container.
struct Prepared {
    capture: Capture,
    cgroup: Arc<ContainerCgroup>,
}

/// State shared by the handle, the owner and the control connections.
struct Shared {
    dir: RunDir,
    launch: LaunchRecord,
    boot_id: String,
    /// `None` until the container is created.
    books: Mutex<Option<Books>>,
    letting: watch::Sender<Letting>,
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

fn refused(code: ControlErrorCode, message: &str) -> ControlError {
    ControlError {
        code,
        message: message.to_owned(),
    }
}

/// Handle on a run; see the module.
#[derive(Clone)]
pub(crate) struct Run {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    receiver: Arc<Mutex<Option<mpsc::Receiver<Command>>>>,
}

impl Run {
    /// Reads what the executor left in `dir`.
    pub(crate) fn open(dir: &Path) -> Result<Self, RunError> {
        let run_dir = RunDir::from_path(dir).ok_or_else(|| RunError::NotARun(dir.to_owned()))?;
        let launch = run_dir
            .read_launch()?
            .filter(|launch| launch.key == run_dir.key())
            .ok_or_else(|| RunError::NoLaunch(dir.to_owned()))?;
        if run_dir.read_exit()?.is_some() || run_dir.read_state()?.is_some() {
            return Err(RunError::UsedBefore(dir.to_owned()));
        }
        let boot_id_path = Path::new("/proc/sys/kernel/random/boot_id");
        let boot_id = fs::read_to_string(boot_id_path).map_err(|source| RunError::Io {
            operation: "read",
            path: boot_id_path.to_owned(),
            source,
        })?;
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        Ok(Self {
            shared: Arc::new(Shared {
                dir: run_dir,
                launch,
                boot_id: boot_id.trim().to_owned(),
                books: Mutex::new(None),
                letting: watch::Sender::new(Letting::NotYet),
                changed: Notify::new(),
                end: watch::Sender::new(None),
                prepared: Mutex::new(None),
                init_exit: Mutex::new(None),
            }),
            commands,
            receiver: Arc::new(Mutex::new(Some(receiver))),
        })
    }

    /// Where its records are.
    pub(crate) fn dir(&self) -> &Path {
        self.shared.dir.path()
    }

    /// The OCI runtime the executor chose.
    pub(crate) fn runtime_binary(&self) -> &Path {
        &self.shared.launch.runtime_binary
    }

    /// Makes log, cgroup and pipes; returns the job's streams.
    pub(crate) fn prepare(&self) -> Result<Stdio3, RunError> {
        let shared = &self.shared;
        reserve(&shared.dir.path().join(RESERVE_FILE))?;
        let (pipes, stdio) = Pipes::make()?;
        let capture = Capture::begin(&shared.dir, shared.launch.log_bytes_max, pipes)?;
        let cgroup =
            ContainerCgroup::create(&shared.launch.cgroup).map_err(|source| RunError::Cgroup {
                operation: "create",
                source,
            })?;
        set_kill_rules(&cgroup)?;
        *lock(&shared.prepared) = Some(Prepared {
            capture,
            cgroup: Arc::new(cgroup),
        });
        Ok(stdio)
    }

    /// Undoes [`Self::prepare`], except for the log: it may say why.
    pub(crate) fn create_failed(&self) {
        let Some(prepared) = lock(&self.shared.prepared).take() else {
            return;
        };
        if let Err(error) = prepared.cgroup.kill() {
            log::warn!("{}", chain(&error));
        }
        self.remove_cgroup(&prepared.cgroup);
    }

    fn remove_cgroup(&self, cgroup: &ContainerCgroup) {
        match cgroup.inner().try_remove() {
            Ok(true) => {}
            Ok(false) => log::warn!("cgroup {} is still occupied", self.shared.launch.cgroup),
            Err(error) => log::warn!("{}", chain(&error)),
        }
    }

    /// The container exists: records it and begins to hold the run. Returns the cgroup.
    pub(crate) fn created(
        &self,
        init: &ProcessHandle,
        signaller: Signaller,
    ) -> Result<Arc<ContainerCgroup>, RunError> {
        let prepared = lock(&self.shared.prepared)
            .take()
            .ok_or(RunError::OutOfOrder("created before it was prepared"))?;
        let cgroup = prepared.cgroup.clone();
        match self.hold(prepared, init, signaller) {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                if let Err(error) = cgroup.kill() {
                    log::warn!("{}", chain(&error));
                }
                Err(error)
            }
        }
    }

    fn hold(
        &self,
        mut prepared: Prepared,
        init: &ProcessHandle,
        signaller: Signaller,
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
        };
        shared.dir.write_state(&record)?;
        *lock(&shared.books) = Some(Books::new(record, shared.launch.max_pause_ms));
        prepared.capture.start()?;
        control::serve(self.clone())?;
        let (exit_sender, exit) = oneshot::channel();
        *lock(&shared.init_exit) = Some(exit_sender);
        let owner = Owner::new(
            shared.clone(),
            prepared.cgroup,
            prepared.capture,
            init.clone(),
            signaller,
        )
        .map_err(|source| RunError::Io {
            operation: "make",
            path: PathBuf::from("the deadline timer"),
            source,
        })?;
        tokio::spawn(owner.run(exit, receiver));
        Ok(())
    }

    /// The runtime is about to let the job go.
    pub(crate) fn starting(&self) {
        self.shared
            .letting
            .send_replace(Letting::Begun(Stamp::now()));
    }

    /// The runtime has let the job go: its time begins. (Or it could not: then nothing began.)
    pub(crate) fn started(&self, let_go: bool) {
        let shared = &self.shared;
        let begun = *shared.letting.borrow();
        if let (true, Letting::Begun(begun)) = (let_go, begun) {
            // A job may be over before the runtime's command is; then it began with the command.
            let over = lock(&shared.init_exit).is_none();
            let at = if over { begun } else { Stamp::now() };
            let record = lock(&shared.books).as_mut().map(|books| {
                books.started(at);
                books.record.clone()
            });
            if let Some(record) = record {
                shared.save(&record);
            }
            shared.changed.notify_one();
        }
        let letting = if let_go {
            Letting::Done
        } else {
            Letting::NotYet
        };
        shared.letting.send_replace(letting);
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
        let mut letting = self.shared.letting.subscribe();
        if letting
            .wait_for(|letting| !matches!(letting, Letting::Begun(_)))
            .await
            .is_err()
        {
            log::error!("run handle vanished");
        }
        if sender.is_none_or(|sender| sender.send(exit).is_err()) {
            log::error!("the run's owner is gone");
            return;
        }
        let mut end = self.shared.end.subscribe();
        if end.wait_for(Option::is_some).await.is_err() {
            log::error!("the run's owner ended without a record");
        }
    }

    /// The container is gone; so are socket and cgroup.
    pub(crate) fn deleted(&self, cgroup: Option<&ContainerCgroup>) {
        if let Some(cgroup) = cgroup {
            self.remove_cgroup(cgroup);
        }
        remove_if_there(&self.shared.dir.socket_path());
        remove_if_there(&self.shared.dir.path().join(RESERVE_FILE));
    }
}
