//! One process of a container as the task API sees it: the init, or one added by Exec.
//!
//! ```text
//!            Exec                Start
//!  (init:  Create) ─► Registered ─────► Running ─► Stopped
//!                     Created ──────────►
//! ```
//! `Registered`: known, no process yet (an exec, or a container to be restored). `Created`: the init waits in its
//! container. Only the owner of the [`crate::reaper::Child`] moves a process to `Stopped`.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::io::{StdioPaths, Streams};
use crate::lock;
use crate::reaper::{Exit, ProcessHandle};

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Registered,
    Created,
    Starting,
    Running,
    Stopped,
}

/// How waiting for a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Exited(Exit),
    /// It could not be started, or was deleted before.
    NeverRan,
}

struct Inner {
    phase: Phase,
    handle: Option<ProcessHandle>,
    streams: Arc<Streams>,
}

/// See the module.
pub(crate) struct Process {
    /// Empty for the init.
    pub(crate) exec_id: String,
    pub(crate) paths: StdioPaths,
    /// OCI process (JSON) of an exec; empty for the init.
    pub(crate) spec: String,
    inner: Mutex<Inner>,
    outcome: watch::Sender<Option<Outcome>>,
}

impl Process {
    /// The init of a container.
    pub(crate) fn init(paths: StdioPaths) -> Self {
        Self::exec("", paths, String::new())
    }

    /// A process to be added to a container.
    pub(crate) fn exec(exec_id: &str, paths: StdioPaths, spec: String) -> Self {
        Self {
            exec_id: exec_id.to_owned(),
            paths,
            spec,
            inner: Mutex::new(Inner {
                phase: Phase::Registered,
                handle: None,
                streams: Arc::default(),
            }),
            outcome: watch::Sender::new(None),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        lock(&self.inner).phase
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        lock(&self.inner).phase = phase;
    }

    /// Moves from `from` to `to`; false (and nothing changed) if it is elsewhere.
    pub(crate) fn advance(&self, from: Phase, to: Phase) -> bool {
        let mut inner = lock(&self.inner);
        let matches = inner.phase == from;
        if matches {
            inner.phase = to;
        }
        matches
    }

    /// Its pid, 0 before it has one.
    pub(crate) fn pid(&self) -> u32 {
        lock(&self.inner)
            .handle
            .as_ref()
            .map_or(0, |handle| handle.pid.cast_unsigned())
    }

    pub(crate) fn handle(&self) -> Option<ProcessHandle> {
        lock(&self.inner).handle.clone()
    }

    pub(crate) fn streams(&self) -> Arc<Streams> {
        lock(&self.inner).streams.clone()
    }

    pub(crate) fn set_streams(&self, streams: Streams) {
        lock(&self.inner).streams = Arc::new(streams);
    }

    /// The process exists from now on.
    pub(crate) fn born(&self, handle: ProcessHandle) {
        lock(&self.inner).handle = Some(handle);
    }

    /// How it ended, once it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match *self.outcome.borrow() {
            Some(Outcome::Exited(exit)) => Some(exit),
            _ => None,
        }
    }

    /// It is over; everybody who waits is told.
    pub(crate) fn stopped(&self, exit: Exit) {
        lock(&self.inner).phase = Phase::Stopped;
        self.outcome.send_replace(Some(Outcome::Exited(exit)));
    }

    /// It does not run; unless it has ended, nobody needs to wait any longer.
    pub(crate) fn never_ran(&self) {
        self.outcome.send_if_modified(|outcome| {
            let unknown = outcome.is_none();
            outcome.get_or_insert(Outcome::NeverRan);
            unknown
        });
    }

    /// Waits for the end; any number of callers.
    pub(crate) async fn wait(&self) -> Outcome {
        let mut outcome = self.outcome.subscribe();
        match outcome.wait_for(Option::is_some).await {
            Ok(value) => value.unwrap_or(Outcome::NeverRan),
            // The sender lives in `self`, which this borrow keeps alive.
            Err(_closed) => Outcome::NeverRan,
        }
    }
}
