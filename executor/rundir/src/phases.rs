//! How long each part of a start took, from when its steps were passed.
//!
//! ```text
//!  accepted ─queue─► begun ─pull─► pulled ─prepare─► prepared ─create─► created ─start─► started
//!  └────────────────────────────────── total ─────────────────────────────────────────────┘
//! ```
//!
//! A phase both of whose ends are known has a length; nothing is guessed over a missing step.

use std::time::Duration;

use crate::{Stamp, Timings};

/// A part of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Accepted, until its owner begins with it.
    Queue,
    /// Until its image is here.
    Pull,
    /// Until its root file system and spec are made, or a warm slot is taken.
    Prepare,
    /// Until its task exists, or the warm slot is its own.
    Create,
    /// Until the job is let go.
    Start,
}

impl Phase {
    /// All, in order.
    pub const ALL: [Self; 5] = [
        Self::Queue,
        Self::Pull,
        Self::Prepare,
        Self::Create,
        Self::Start,
    ];

    /// The word in metrics and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Pull => "pull",
            Self::Prepare => "prepare",
            Self::Create => "create",
            Self::Start => "start",
        }
    }
}

impl Timings {
    /// How long `phase` took.
    #[must_use]
    pub fn phase(&self, phase: Phase) -> Option<Duration> {
        let (from, to) = match phase {
            Phase::Queue => (self.accepted, self.begun),
            Phase::Pull => (self.begun, self.pulled),
            Phase::Prepare => (self.pulled, self.prepared),
            Phase::Create => (self.prepared, self.created),
            Phase::Start => (self.created, self.started),
        };
        between(from, to)
    }

    /// From accepting the run to letting its job go.
    #[must_use]
    pub fn total(&self) -> Option<Duration> {
        between(self.accepted, self.started)
    }
}

fn between(from: Option<Stamp>, to: Option<Stamp>) -> Option<Duration> {
    let ns = to?.boot_ns.saturating_sub(from?.boot_ns);
    Some(Duration::from_nanos(ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot_ns: u64) -> Option<Stamp> {
        let unix_ns = 1_700_000_000_000_000_000 + boot_ns;
        Some(Stamp { boot_ns, unix_ns })
    }

    #[test]
    fn the_phases_of_a_whole_start_add_up_to_its_total() {
        let timings = Timings {
            accepted: at(1_000),
            begun: at(1_100),
            pulled: at(1_500),
            prepared: at(4_000),
            created: at(9_000),
            started: at(9_700),
            warm: false,
        };
        let phases: Vec<_> = Phase::ALL.map(|phase| timings.phase(phase)).into();
        let nanoseconds = [100, 400, 2_500, 5_000, 700].map(|ns| Some(Duration::from_nanos(ns)));
        assert_eq!(phases, nanoseconds);
        let sum: Duration = phases.into_iter().flatten().sum();
        assert_eq!(timings.total(), Some(sum));
    }

    #[test]
    fn a_missing_step_leaves_the_phases_beside_it_unknown() {
        let replaced = Timings {
            accepted: at(1_000),
            created: at(9_000),
            started: at(9_700),
            ..Timings::default()
        };
        assert_eq!(replaced.phase(Phase::Create), None);
        assert_eq!(
            replaced.phase(Phase::Start),
            Some(Duration::from_nanos(700))
        );
        assert_eq!(replaced.total(), Some(Duration::from_nanos(8_700)));
    }
}
