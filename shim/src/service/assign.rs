//! A warm slot becomes a run: what the runtime would have done, had it known.
//!
//! ```text
//!  checked: program and arguments, host name, launch.json names this slot, directory unused
//!  taken ─► limits ─► host name ─► log, state.json, shim.sock, Owner ─► answered ─► davit-shim.json
//! ```
//!
//! Nothing is awaited from the first check to the answer, so nobody ever sees a slot that is half a run. An
//! assignment that is refused or fails costs the slot: the executor has one run less to place and another way to
//! place it, and a container of unknown condition is the worse bargain.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use davit_cgroup::CgroupError;
use davit_rundir::{Assignment, ControlError, ControlErrorCode, StateRecord};
use rustix::io::Errno;
use rustix::system::sethostname;
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};

use super::{Inner, Shim};
use crate::bundle::ShimRecord;
use crate::container::Container;
use crate::error::chain;
use crate::reaper::ProcessHandle;
use crate::run::{Run, RunError};
use crate::secrets::{self, Patterns};
use crate::slot::{self, Assign, MessageError, Parts, Program, Slot, SlotError};

/// Longest host name the kernel takes, bytes.
const HOSTNAME_BYTES_MAX: usize = 64;

/// Why a slot did not become a run.
#[derive(Debug, thiserror::Error)]
enum AssignError {
    #[error("the slot was given away or revoked before")]
    Taken,
    #[error("the slot's container is gone")]
    Gone,
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error("host name `{0}` has not 1 to {HOSTNAME_BYTES_MAX} bytes")]
    HostnameLength(String),
    #[error("launch.json in {} names cgroup {named}, and the slot is in {actual}", dir.display())]
    OtherCgroup {
        dir: PathBuf,
        named: String,
        actual: String,
    },
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("cannot limit the run")]
    Limits(#[source] CgroupError),
    #[error("cannot {operation}")]
    Hostname {
        operation: &'static str,
        #[source]
        source: Errno,
    },
}

impl AssignError {
    const fn code(&self) -> ControlErrorCode {
        match self {
            Self::Taken | Self::Gone => ControlErrorCode::NotRunning,
            Self::Message(_) | Self::HostnameLength(_) => ControlErrorCode::OutOfRange,
            Self::OtherCgroup { .. } | Self::Run(_) | Self::Limits(_) | Self::Hostname { .. } => {
                ControlErrorCode::Failed
            }
        }
    }
}

impl From<AssignError> for ControlError {
    fn from(error: AssignError) -> Self {
        Self {
            code: error.code(),
            message: chain(&error),
        }
    }
}

/// One slot's container, for its socket.
struct Assigner {
    shim: Weak<Inner>,
    container: Weak<Container>,
}

impl Assign for Assigner {
    fn assign(&self, assignment: Assignment) -> Result<StateRecord, ControlError> {
        let (Some(shim), Some(container)) = (self.shim.upgrade(), self.container.upgrade()) else {
            return Err(AssignError::Gone.into());
        };
        let shim = Shim(shim);
        let slot = container.slot.as_ref().ok_or(AssignError::Gone)?;
        let assigned = shim.assign(&container, slot, assignment);
        shim.0.idle.touch();
        Ok(assigned?)
    }

    fn run_state(&self) -> Option<StateRecord> {
        self.container.upgrade()?.run()?.state()
    }
}

impl Shim {
    /// Begins to take assignments.
    pub(super) fn serve_slot(
        &self,
        container: &Arc<Container>,
        slot: &Arc<Slot>,
    ) -> Result<(), SlotError> {
        let assigner = Assigner {
            shim: Arc::downgrade(&self.0),
            container: Arc::downgrade(container),
        };
        Ok(slot::serve(slot.clone(), assigner)?)
    }

    fn assign(
        &self,
        container: &Arc<Container>,
        slot: &Slot,
        assignment: Assignment,
    ) -> Result<StateRecord, AssignError> {
        let parts = slot.take().ok_or(AssignError::Taken)?;
        let assigned = self.make_run(container, slot, parts, assignment);
        if assigned.is_err() {
            slot.close();
            container.kill_all();
        }
        assigned
    }

    fn make_run(
        &self,
        container: &Arc<Container>,
        slot: &Slot,
        parts: Parts,
        assignment: Assignment,
    ) -> Result<StateRecord, AssignError> {
        let secrets = redacted_of(&assignment);
        let message = slot::encode(&assignment.args, &assignment.env)?;
        if !(1..=HOSTNAME_BYTES_MAX).contains(&assignment.hostname.len()) {
            return Err(AssignError::HostnameLength(assignment.hostname));
        }
        let run = Run::open(&assignment.run_dir, Some(slot.id()))?;
        if run.cgroup_path() != slot.cgroup_path() {
            return Err(AssignError::OtherCgroup {
                dir: assignment.run_dir,
                named: run.cgroup_path().to_owned(),
                actual: slot.cgroup_path().to_owned(),
            });
        }
        if let Some(patterns) = secrets {
            run.hide(patterns);
        }
        run.remember_env(assignment.env.clone());
        let init = container.init.handle().ok_or(AssignError::Gone)?;

        let limits = slot::granted_limits(&assignment.resources, assignment.granted);
        let cgroup = parts.cgroup.inner();
        cgroup.set_limits(&limits).map_err(AssignError::Limits)?;
        set_hostname(&init, &assignment.hostname)?;
        run.take_over(parts.pipes, parts.cgroup, parts.used_before)?;
        run.created(&init, self.hands(container))?;

        let state = run.state().ok_or(AssignError::Gone)?;
        // Before anything else can happen: the init's end is the run's from now on.
        if !container.become_run(run) {
            return Err(AssignError::Taken);
        }
        let name = assignment.args.into_iter().next().unwrap_or_default();
        slot.assigned(Program::new(parts.init, name, message));
        // Behind the answer, which is on somebody's way to a start.
        let container = container.clone();
        tokio::spawn(async move { note_run(&container, assignment.run_dir) });
        Ok(state)
    }
}

/// What of the variables the log is not to show.
fn redacted_of(assignment: &Assignment) -> Option<Patterns> {
    if assignment.redacted_env.is_empty() {
        return None;
    }
    secrets::dump_no_core();
    let values = assignment.env.iter().filter_map(|variable| {
        let (key, value) = variable.split_once('=')?;
        let hidden = assignment.redacted_env.iter().any(|name| name == key);
        hidden.then_some(value.as_bytes())
    });
    Patterns::of(values)
}

/// Names the host of the init's UTS namespace. The shim's one thread visits it: nothing else runs meanwhile.
fn set_hostname(init: &ProcessHandle, name: &str) -> Result<(), AssignError> {
    let failed = |operation| move |source| AssignError::Hostname { operation, source };
    let own = std::fs::File::open("/proc/self/ns/uts").map_err(|error| {
        let source = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        failed("open the shim's UTS namespace")(source)
    })?;
    let theirs = ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME;
    move_into_thread_name_spaces(init.pidfd(), theirs)
        .map_err(failed("enter the container's UTS namespace"))?;
    let named = sethostname(name.as_bytes()).map_err(failed("name the container's host"));
    let kind = Some(LinkNameSpaceType::HostNameAndNISDomainName);
    if let Err(errno) = move_into_link_name_space(own.as_fd(), kind) {
        // The host's name means nothing to a shim; only this slot's next would, and there is none.
        log::error!("cannot leave the container's UTS namespace: {errno}");
    }
    named
}

/// Tells `delete`, which asks when this shim is gone, whose records to look at.
fn note_run(container: &Container, run_dir: PathBuf) {
    let noted = ShimRecord::read(&container.bundle).and_then(|record| match record {
        Some(mut record) => {
            record.run_dir = Some(run_dir);
            record.write(&container.bundle)
        }
        None => Ok(()),
    });
    if let Err(error) = noted {
        log::warn!("{}", chain(&error));
    }
}
