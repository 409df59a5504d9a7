//! One container: its processes, its cgroup, and the order in which their ends are told.
//!
//! ```text
//!  Container ─┬─ init: Process ◄── task that owns the init's Child ─┐
//!             ├─ execs: id → Process ◄── one task each              ├─► TaskExit, execs first, init last
//!             ├─ cgroup (held open)                                 │
//!             ├─ slot: Slot, if it was made before its run          │
//!             └─ run: Run, if it is a run of davit ── exit.json ────┘   (durable before TaskExit)
//! ```
//!
//! Invariants: one TaskExit a process; the init's is the last of the container; while an exec is alive or being
//! started the container counts as running. No lock is held across an await.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use containerd_shim_protos::events::task as event;
use containerd_shim_protos::protobuf::{Message, MessageField};
use davit_cgroup::Limits;
use davit_types::IdRange;

use crate::bundle::{BundleError, Config};
use crate::cgroup::ContainerCgroup;
use crate::error::TaskError;
use crate::events::{Publisher, timestamp};
use crate::io::Owner;
use crate::lock;
use crate::process::{Phase, Process};
use crate::reaper::{Child, Exit};
use crate::run::Run;
use crate::runtime::Runtime;
use crate::secrets::Place;
use crate::slot::Slot;

/// Frozen or not, for a container that is no run (a run keeps its own books).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freeze {
    Thawed,
    Pausing,
    Paused,
}

struct Life {
    freeze: Freeze,
    /// Execs being started or running.
    live_execs: usize,
    /// The init has ended; told once `live_execs` is 0.
    init_exit: Option<Exit>,
    /// `oom_kill` already told in a TaskOOM.
    oom_kills_told: u64,
}

/// A container to be restored from a checkpoint when it is started.
#[derive(Clone, Debug)]
pub(crate) struct Restore {
    pub(crate) image: PathBuf,
    pub(crate) work: PathBuf,
}

/// See the module.
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    /// The directory of its own that its root file system writes to.
    pub(crate) layer: Option<PathBuf>,
    pub(crate) runtime: Runtime,
    pub(crate) owner: Owner,
    pub(crate) init: Arc<Process>,
    pub(crate) slot: Option<Arc<Slot>>,
    /// Set at once, or when its slot is given away.
    run: OnceLock<Run>,
    pub(crate) restore: Option<Restore>,
    /// Of its user namespace, if it is davit's.
    pub(crate) ids: Option<IdRange>,
    /// The kernel kills the other processes when the init ends.
    pub(crate) private_pid_namespace: bool,
    publisher: Publisher,
    execs: Mutex<HashMap<String, Arc<Process>>>,
    cgroup: Mutex<Option<Arc<ContainerCgroup>>>,
    life: Mutex<Life>,
}

/// What a container is made of; see the fields of [`Container`].
pub(crate) struct Parts {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    /// The directory of its own that its root file system writes to.
    pub(crate) layer: Option<PathBuf>,
    pub(crate) runtime: Runtime,
    pub(crate) owner: Owner,
    pub(crate) init: Arc<Process>,
    pub(crate) slot: Option<Arc<Slot>>,
    pub(crate) run: Option<Run>,
    pub(crate) restore: Option<Restore>,
    pub(crate) ids: Option<IdRange>,
    pub(crate) private_pid_namespace: bool,
    pub(crate) publisher: Publisher,
}

impl Container {
    pub(crate) fn new(parts: Parts) -> Self {
        if let Some(run) = &parts.run {
            run.writes_to(parts.layer.as_deref());
        }
        Self {
            id: parts.id,
            bundle: parts.bundle,
            layer: parts.layer,
            runtime: parts.runtime,
            owner: parts.owner,
            init: parts.init,
            slot: parts.slot,
            run: parts.run.map_or_else(OnceLock::new, OnceLock::from),
            restore: parts.restore,
            ids: parts.ids,
            private_pid_namespace: parts.private_pid_namespace,
            publisher: parts.publisher,
            execs: Mutex::default(),
            cgroup: Mutex::default(),
            life: Mutex::new(Life {
                freeze: Freeze::Thawed,
                live_execs: 0,
                init_exit: None,
                oom_kills_told: 0,
            }),
        }
    }

    /// The limits that its runtime leaves to whoever made the cgroup.
    pub(crate) fn limits(&self) -> Result<Limits, BundleError> {
        if !self.runtime.is_sandboxed() {
            return Ok(Limits::default());
        }
        Ok(Config::read(&self.bundle)?.limits())
    }

    /// The init exists: hold its cgroup open and see it to its end.
    pub(crate) fn adopt_init(self: &Arc<Self>, child: Child, cgroup: Option<Arc<ContainerCgroup>>) {
        self.init.born(child.handle.clone());
        *lock(&self.cgroup) =
            cgroup.or_else(|| ContainerCgroup::of_process(child.handle.pid).map(Arc::new));
        if let Some(cgroup) = self.cgroup() {
            tokio::spawn(watch_memory(Arc::downgrade(self), cgroup));
        }
        let container = self.clone();
        tokio::spawn(async move {
            match child.wait().await {
                Ok(exit) => container.init_ended(exit).await,
                // Not ours to reap: nothing is known of its end, so nothing is told.
                Err(error) => log::error!("init: {}", crate::error::chain(&error)),
            }
        });
    }

    /// The run it is, if it is one by now.
    pub(crate) fn run(&self) -> Option<&Run> {
        self.run.get()
    }

    /// It is this run from now on; false (and it is not) if it is one already.
    pub(crate) fn become_run(&self, run: Run) -> bool {
        run.writes_to(self.layer.as_deref());
        self.run.set(run).is_ok()
    }

    /// Its secrets are with it by now, and nowhere else.
    pub(crate) fn forget_secrets(&self, place: Place) -> Result<(), TaskError> {
        if self.runtime.is_crun() {
            let config = place.plain_config();
            self.runtime.replace_kept_config(&self.id, config)?;
        }
        Ok(())
    }

    /// Whether it is davit's own, and so without hooks and in a cgroup that the shim has made.
    pub(crate) fn is_davits(&self) -> bool {
        self.slot.is_some() || self.run().is_some()
    }

    /// The cgroup, once there is a process.
    pub(crate) fn cgroup(&self) -> Option<Arc<ContainerCgroup>> {
        lock(&self.cgroup).clone()
    }

    async fn init_ended(self: &Arc<Self>, exit: Exit) {
        log::debug!("init ended: {:?}", exit.status);
        if let Some(run) = self.run() {
            run.init_ended(exit).await;
        } else if let Some(slot) = &self.slot {
            // Nobody can be given what is dead.
            slot.revoke();
        } else if !self.private_pid_namespace {
            self.kill_all();
        }
        lock(&self.life).init_exit = Some(exit);
        self.tell_end_if_last();
    }

    /// Kills whatever is in the cgroup.
    pub(crate) fn kill_all(&self) {
        if let Some(cgroup) = self.cgroup()
            && let Err(error) = cgroup.kill()
        {
            log::warn!("{}", crate::error::chain(&error));
        }
    }

    /// Whether the init's process has ended, told or not.
    pub(crate) fn init_is_gone(&self) -> bool {
        lock(&self.life).init_exit.is_some() || self.init.phase() == Phase::Stopped
    }

    fn tell_end_if_last(&self) {
        let exit = {
            let mut life = lock(&self.life);
            if life.live_execs > 0 {
                return;
            }
            life.freeze = Freeze::Thawed;
            life.init_exit.take()
        };
        if let Some(exit) = exit {
            self.check_oom();
            self.init.stopped(exit);
            self.tell_exit(&self.init, exit);
        }
    }

    fn tell_exit(&self, process: &Process, exit: Exit) {
        let id = if process.exec_id.is_empty() {
            &self.id
        } else {
            &process.exec_id
        };
        self.publisher.publish(&event::TaskExit {
            container_id: self.id.clone(),
            id: id.clone(),
            pid: process.pid(),
            exit_status: exit.status.shell_code().into(),
            exited_at: MessageField::some(timestamp(exit.at.unix_ns)),
            ..event::TaskExit::default()
        });
    }

    /// Publishes an event of this container.
    pub(crate) fn publish<M: Message>(&self, message: &M) {
        self.publisher.publish(message);
    }

    /// Adds an exec that has not been started.
    pub(crate) fn add_exec(&self, process: Process) -> Result<(), TaskError> {
        let mut execs = lock(&self.execs);
        if execs.contains_key(&process.exec_id) {
            return Err(TaskError::ExecExists {
                container: self.id.clone(),
                exec: process.exec_id,
            });
        }
        execs.insert(process.exec_id.clone(), Arc::new(process));
        Ok(())
    }

    /// The init for an empty id, else the exec of that id.
    pub(crate) fn process(&self, exec_id: &str) -> Result<Arc<Process>, TaskError> {
        if exec_id.is_empty() {
            return Ok(self.init.clone());
        }
        let execs = lock(&self.execs);
        execs
            .get(exec_id)
            .cloned()
            .ok_or_else(|| TaskError::UnknownExec {
                container: self.id.clone(),
                exec: exec_id.to_owned(),
            })
    }

    /// Forgets an exec.
    pub(crate) fn remove_exec(&self, exec_id: &str) {
        lock(&self.execs).remove(exec_id);
    }

    /// Which exec a pid belongs to.
    pub(crate) fn exec_of_pid(&self, pid: u32) -> Option<String> {
        lock(&self.execs)
            .values()
            .find(|process| process.pid() == pid && process.phase() == Phase::Running)
            .map(|process| process.exec_id.clone())
    }

    /// An exec is about to be started; holds back the init's end until [`Self::exec_over`].
    pub(crate) fn exec_begins(&self) -> Result<(), TaskError> {
        if self.init_is_gone() {
            return Err(TaskError::Refused {
                action: "start the process",
                why: "init process is not running",
            });
        }
        lock(&self.life).live_execs += 1;
        Ok(())
    }

    /// An exec has ended, or could not be started.
    pub(crate) fn exec_over(&self) {
        lock(&self.life).live_execs -= 1;
        self.tell_end_if_last();
    }

    /// An exec has a process: see it to its end.
    pub(crate) fn adopt_exec(self: &Arc<Self>, process: &Arc<Process>, child: Child) {
        let (container, process) = (self.clone(), process.clone());
        tokio::spawn(async move {
            match child.wait().await {
                Ok(exit) => {
                    process.stopped(exit);
                    container.tell_exit(&process, exit);
                }
                Err(error) => {
                    log::error!("exec {}: {}", process.exec_id, crate::error::chain(&error));
                }
            }
            container.exec_over();
        });
    }

    pub(crate) fn freeze(&self) -> Freeze {
        match self.run() {
            Some(run) if run.is_paused() => Freeze::Paused,
            Some(_) => Freeze::Thawed,
            None => lock(&self.life).freeze,
        }
    }

    pub(crate) fn set_freeze(&self, freeze: Freeze) {
        lock(&self.life).freeze = freeze;
    }

    /// Tells containerd about OOM kills not told yet.
    fn check_oom(&self) {
        let Some(cgroup) = self.cgroup() else { return };
        let kills = match cgroup.inner().memory_events() {
            Ok(Some(events)) => events.oom_kill,
            // No controller, or the cgroup has gone: nothing new to be known.
            Ok(None) | Err(_) => return,
        };
        let mut life = lock(&self.life);
        if kills > life.oom_kills_told {
            life.oom_kills_told = kills;
            self.publisher.publish(&event::TaskOOM {
                container_id: self.id.clone(),
                ..event::TaskOOM::default()
            });
        }
    }
}

/// Tells about OOM kills as they happen, until the container or its cgroup is gone.
async fn watch_memory(container: std::sync::Weak<Container>, cgroup: Arc<ContainerCgroup>) {
    let Ok(Some(mut watch)) = cgroup.memory_events() else {
        return;
    };
    drop(cgroup);
    loop {
        if watch.read().is_err() {
            return;
        }
        match container.upgrade() {
            Some(container) if container.init.phase() != Phase::Stopped => container.check_oom(),
            _ => return,
        }
        watch.changed().await;
    }
}
