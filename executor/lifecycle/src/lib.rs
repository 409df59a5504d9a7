//! The life of one execution as a table: (state, event) → (next state, actions).
//!
//! ```text
//!  accepted ─► pulling ─► preparing ─► starting ─► running ◄─► paused
//!     │           │        │   stop       │ stop      │           │ stop, cancel
//!     │           │        ▼              ▼           ▼           ▼
//!     │           │   unpreparing     unstarting ─► stopping ◄────┘
//!     └───────────┴────────┴──────────────┴───────────┴──► closing ─► ended
//!                                              (end recorded, cleaning)
//! ```
//!
//! The owner task of a run feeds events into [`step`] and carries out the actions it answers with;
//! the table alone decides. `table.txt` and `graph.mmd` beside this crate show it whole.
//!
//! Invariants (each held by a property test):
//! - an end is recorded at most once, and always before it is published and before cleanup begins;
//! - an execution is pulled, prepared and started at most once each;
//! - every way out leads through `closing`, so cleanup always follows; nothing follows `ended`;
//! - every event is defined in every state: what is ignored is ignored on purpose.
//!
//! Absent on purpose: I/O, clocks, timers (the deadline is the shim's), parameters of requests
//! (signal and grace stay with the owner), and the verdict's wording.

#![forbid(unsafe_code)]

mod render;
mod table;

use std::fmt;

use davit_types::RunStatus;

pub use render::{graph, table_text};
pub use table::step;

/// Where an execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Its specification is durable; nothing else exists. Recovered runs begin here too.
    Accepted,
    /// The image is being had.
    Pulling,
    /// Lease, snapshot, container and task are being made.
    Preparing,
    /// As preparing, but to be ended as soon as the call in flight has returned.
    Unpreparing,
    /// The task exists and is being let go.
    Starting,
    /// As starting, but to be stopped as soon as the call in flight has returned.
    Unstarting,
    /// The job executes.
    Running,
    /// The job is frozen.
    Paused,
    /// The shim was told to end it; its exit is awaited.
    Stopping,
    /// The end is durable; what the execution made is being removed.
    Closing,
    /// Nothing is left but the run directory.
    Ended,
}

/// What happened to an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Event {
    /// A new execution, or one found with nothing made: drive it from the start.
    Begin,
    /// Found after a restart: created, never let go.
    FoundCreated,
    /// Found after a restart: executing.
    FoundRunning,
    /// Found after a restart: frozen.
    FoundPaused,
    /// Found after a restart: told to end.
    FoundStopping,
    /// Found after a restart: its end is on disk.
    FoundEnd,
    /// The image is here.
    ImageReady,
    /// The image cannot be had.
    ImageFailed,
    /// The task exists.
    Prepared,
    /// The task cannot be made.
    PrepareFailed,
    /// The job was let go.
    Started,
    /// The job cannot be let go.
    StartFailed,
    /// The shim froze it.
    Paused,
    /// The shim thawed it.
    Resumed,
    /// A user asks it to end, with a signal first.
    StopRequested,
    /// A user asks it to end at once.
    CancelRequested,
    /// Its exit record is durable.
    Exited,
    /// Its shim is gone and left no exit record.
    ShimLost,
    /// Everything it made is removed.
    Cleaned,
}

/// What the owner has to do, in the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Begin to have the image.
    Pull,
    /// Give up having it.
    AbortPull,
    /// Make lease, snapshot, container and task.
    Prepare,
    /// Connect to the shim and await the exit.
    Watch,
    /// Let the job go.
    Start,
    /// Tell the shim to stop it: signal, then kill after the grace.
    SignalStop,
    /// Tell the shim to kill it.
    Kill,
    /// Make the end durable.
    RecordEnd(Verdict),
    /// Tell everybody the new state.
    Publish,
    /// Remove what it made, for as long as that takes.
    Cleanup,
}

/// What kind of end to record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// As the exit record says.
    FromExit,
    /// `image_pull_failed`.
    PullFailed,
    /// `start_failed`.
    StartFailed,
    /// `canceled` before it ran.
    Canceled,
    /// `executor_lost`: no exit record, hence no exit code.
    Lost,
}

/// A row of the table: where to go and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The next state.
    pub next: State,
    /// To be carried out in this order.
    pub actions: &'static [Action],
}

impl State {
    /// Every state, in the order of an ordinary life.
    pub const ALL: [Self; 11] = [
        Self::Accepted,
        Self::Pulling,
        Self::Preparing,
        Self::Unpreparing,
        Self::Starting,
        Self::Unstarting,
        Self::Running,
        Self::Paused,
        Self::Stopping,
        Self::Closing,
        Self::Ended,
    ];

    /// The public phase: finer than the status, for people.
    #[must_use]
    pub const fn phase(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Pulling => "pulling",
            Self::Preparing => "preparing",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Unpreparing | Self::Unstarting | Self::Stopping => "stopping",
            Self::Closing | Self::Ended => "ended",
        }
    }

    /// The public status while the run lives; `None` once it has ended: the end record has it then.
    #[must_use]
    pub const fn live_status(self) -> Option<RunStatus> {
        match self {
            Self::Accepted
            | Self::Pulling
            | Self::Preparing
            | Self::Unpreparing
            | Self::Starting
            | Self::Unstarting => Some(RunStatus::Pending),
            Self::Running | Self::Paused | Self::Stopping => Some(RunStatus::Running),
            Self::Closing | Self::Ended => None,
        }
    }

    /// Whether the end is durable.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Closing | Self::Ended)
    }
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 19] = [
        Self::Begin,
        Self::FoundCreated,
        Self::FoundRunning,
        Self::FoundPaused,
        Self::FoundStopping,
        Self::FoundEnd,
        Self::ImageReady,
        Self::ImageFailed,
        Self::Prepared,
        Self::PrepareFailed,
        Self::Started,
        Self::StartFailed,
        Self::Paused,
        Self::Resumed,
        Self::StopRequested,
        Self::CancelRequested,
        Self::Exited,
        Self::ShimLost,
        Self::Cleaned,
    ];
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{self:?}").to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_words_follow_the_contract() {
        for state in State::ALL {
            let words = [
                "accepted",
                "pulling",
                "preparing",
                "starting",
                "running",
                "paused",
                "stopping",
                "ended",
            ];
            assert!(words.contains(&state.phase()));
            assert_eq!(state.live_status().is_none(), state.phase() == "ended");
        }
        assert_eq!(State::Paused.live_status(), Some(RunStatus::Running));
        assert_eq!(State::Unpreparing.live_status(), Some(RunStatus::Pending));
    }
}
