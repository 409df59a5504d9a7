//! A warm slot: a container made before its run is known, whose first process waits to be told its program.
//!
//! ```text
//!  New ─prepare─► Making ─created─► Waiting ─take─► (service::assign) ─assigned─► Assigned ─program─► Over
//!                    │                 │                   │                         (a run like any other)
//!                    └── failed ───────┴── revoke, ────────┴── failed ───────────────────────────────► Over
//!                                          end of the init
//!
//!  shim ── socket (init.rs) ──► init        slot.json, slot.sock (socket.rs) ◄── executor
//! ```
//!
//! Invariants:
//! - a slot is taken once: by one assignment, by a revocation, or by the end of its init;
//! - slot.sock is gone as soon as it was taken; who had connected is still answered;
//! - nothing of a run is made before everything that can be refused was checked, and a slot whose assignment
//!   fails is killed: it is of no use to anybody;
//! - the init has the user, capabilities, filter and namespaces of the job, and holds no descriptor it could leave
//!   to it; if the shim dies it ends by itself.
//!
//! Absent on purpose: a pool (the executor's), a check that slot and run are of one profile (the executor's, who
//! made both), any way back.

mod init;
mod limits;
mod message;
mod program;
#[path = "../../init/protocol.rs"]
mod protocol;
mod socket;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use davit_cgroup::CgroupError;
use davit_rundir::{RunDirError, SlotDir, SlotId, SlotRecord};
use davit_types::{IdRange, Usage};
use tokio::sync::watch;

use crate::cgroup::ContainerCgroup;
use crate::error::chain;
use crate::files::remove_if_there;
use crate::lines::ListenError;
use crate::lock;
use crate::oci_log::last_error;
use crate::run::{Pipes, RunError, set_kill_rules};
use crate::runtime::{Runtime, RuntimeError, Stdio3};
use init::{Init, InitError};
pub(crate) use limits::granted_limits;
pub(crate) use message::{MessageError, encode};
pub(crate) use program::{Program, ProgramError};
pub(crate) use socket::{Assign, serve};

/// Why there is no slot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SlotError {
    #[error("annotation davit.slot-dir: {} is not named after a slot", .0.display())]
    NotASlot(PathBuf),
    #[error(transparent)]
    Record(#[from] RunDirError),
    #[error("slot directory {} has no slot.json", .0.display())]
    NoRecord(PathBuf),
    #[error("container {id} is not named after its slot {slot}")]
    OtherName { id: String, slot: SlotId },
    #[error("{} cannot hold a slot: only crun does", .0.display())]
    OtherRuntime(PathBuf),
    #[error("the container of a slot needs a {0} namespace of its own")]
    SharedNamespace(&'static str),
    #[error("cannot {operation} the slot's cgroup")]
    Cgroup {
        operation: &'static str,
        #[source]
        source: CgroupError,
    },
    #[error(transparent)]
    Init(#[from] InitError),
    #[error("{problem}: {said}")]
    Said { problem: InitError, said: String },
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error("crun has left no gate to let its init through")]
    NoGate,
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Prepare(#[from] RunError),
    #[error("slot is in the wrong state: {0}")]
    OutOfOrder(&'static str),
}

/// What a slot has that its run will need.
pub(crate) struct Parts {
    pub(crate) pipes: Pipes,
    pub(crate) cgroup: Arc<ContainerCgroup>,
    /// What making the container has used.
    pub(crate) used_before: Usage,
    pub(crate) init: Init,
}

enum State {
    New,
    Making(Parts),
    Waiting(Parts),
    Assigned(Program),
    Over,
}

/// See the module.
pub(crate) struct Slot {
    dir: SlotDir,
    record: SlotRecord,
    state: Mutex<State>,
    /// Nobody can be given it any more.
    taken: watch::Sender<bool>,
}

impl Slot {
    /// Reads what the executor left in `dir` for container `id`.
    pub(crate) fn open(dir: &Path, id: &str) -> Result<Self, SlotError> {
        let slot_dir =
            SlotDir::from_path(dir).ok_or_else(|| SlotError::NotASlot(dir.to_owned()))?;
        let record = slot_dir
            .read_slot()?
            .filter(|record| record.slot == *slot_dir.slot())
            .ok_or_else(|| SlotError::NoRecord(dir.to_owned()))?;
        if record.slot.as_str() != id {
            return Err(SlotError::OtherName {
                id: id.to_owned(),
                slot: record.slot,
            });
        }
        Ok(Self {
            dir: slot_dir,
            record,
            state: Mutex::new(State::New),
            taken: watch::Sender::new(false),
        })
    }

    /// Its name.
    pub(crate) const fn id(&self) -> &SlotId {
        &self.record.slot
    }

    /// Where its record is.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its cgroup, from the root of the cgroup v2 file system.
    pub(crate) fn cgroup_path(&self) -> &str {
        &self.record.cgroup
    }

    /// The OCI runtime the executor chose.
    pub(crate) fn runtime_binary(&self) -> &Path {
        &self.record.runtime_binary
    }

    /// Makes cgroup, pipes and the init's needs, `ids` being those of its user namespace: what the runtime is to be given.
    pub(crate) fn prepare(
        &self,
        ids: Option<IdRange>,
    ) -> Result<(Stdio3, Vec<OwnedFd>), SlotError> {
        let (init, descriptors) = Init::prepare()?;
        let (pipes, stdio) = Pipes::make(ids).map_err(RunError::from)?;
        let cgroup =
            ContainerCgroup::create(&self.record.cgroup).map_err(|source| SlotError::Cgroup {
                operation: "create",
                source,
            })?;
        *lock(&self.state) = State::Making(Parts {
            pipes,
            cgroup: Arc::new(cgroup),
            used_before: Usage::default(),
            init,
        });
        Ok((stdio, descriptors))
    }

    /// Undoes [`Self::prepare`], and what came after it.
    pub(crate) async fn create_failed(&self) {
        let (State::Making(parts) | State::Waiting(parts)) = self.replace(State::Over) else {
            return;
        };
        self.close();
        if let Err(error) = parts.cgroup.kill() {
            log::warn!("{}", chain(&error));
        }
        parts.cgroup.remove().await;
    }

    /// The runtime has made the container: has its init exchanged for ours, and that one in place. Returns the
    /// cgroup.
    pub(crate) async fn created(
        &self,
        runtime: &Runtime,
    ) -> Result<Arc<ContainerCgroup>, SlotError> {
        let State::Making(mut parts) = self.replace(State::Over) else {
            return Err(SlotError::OutOfOrder("created before it was prepared"));
        };
        let made = self.put_in_place(runtime, &mut parts).await;
        let cgroup = parts.cgroup.clone();
        match made {
            Ok(()) => {
                self.replace(State::Waiting(parts));
                Ok(cgroup)
            }
            Err(error) => {
                self.replace(State::Making(parts));
                Err(error)
            }
        }
    }

    async fn put_in_place(&self, runtime: &Runtime, parts: &mut Parts) -> Result<(), SlotError> {
        if !runtime.open_gate(self.id().as_str())? {
            return Err(SlotError::NoGate);
        }
        if let Err(problem) = parts.init.ready().await {
            // Behind its gate crun's own init has no other way to tell.
            return Err(match last_error(&parts.pipes.said()) {
                Some(said) => SlotError::Said { problem, said },
                None => problem.into(),
            });
        }
        set_kill_rules(&parts.cgroup)?;
        // Some microseconds later it sleeps: what was used is what making it has cost.
        parts.used_before = parts
            .cgroup
            .inner()
            .usage()
            .map_err(|source| SlotError::Cgroup {
                operation: "read the figures of",
                source,
            })?;
        Ok(())
    }

    /// Takes it for an assignment; `None` if it was taken before. What follows ends in [`Self::assigned`], or the
    /// container is killed.
    pub(crate) fn take(&self) -> Option<Parts> {
        let mut state = lock(&self.state);
        match std::mem::replace(&mut *state, State::Over) {
            State::Waiting(parts) => Some(parts),
            other => {
                *state = other;
                None
            }
        }
    }

    /// It is a run's from now on, and this is what it will be.
    pub(crate) fn assigned(&self, program: Program) {
        self.replace(State::Assigned(program));
        self.close();
    }

    /// Takes it so that nobody can be given it; its init ends. Nothing if it was taken before.
    pub(crate) fn revoke(&self) {
        if self.take().is_some() {
            self.close();
        }
    }

    /// Nobody can be given it any more, and nobody else can ask.
    pub(crate) fn close(&self) {
        remove_if_there(&self.dir.socket_path());
        self.taken.send_replace(true);
    }

    /// The program to begin, once.
    pub(crate) fn take_program(&self) -> Option<Program> {
        let mut state = lock(&self.state);
        match std::mem::replace(&mut *state, State::Over) {
            State::Assigned(program) => Some(program),
            other => {
                *state = other;
                None
            }
        }
    }

    fn replace(&self, state: State) -> State {
        std::mem::replace(&mut *lock(&self.state), state)
    }
}
