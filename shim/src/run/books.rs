//! The books of a run: its state record and the arithmetic of time on it. Pure: the clock comes in as a
//! [`Stamp`], nothing is written here.
//!
//! ```text
//!  deadline = started + timeout + time paused so far        (stands still while paused)
//!  due      = earliest of: deadline | pause limit | end of grace | end of freezing
//! ```

use davit_rundir::{KillReason, PAUSES_MAX, Pause, Stamp, StateRecord};

const MS: u64 = 1_000_000;

/// What is to happen next by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Kill: the job has had its time.
    Deadline,
    /// Kill: it has been paused too long.
    PauseLimit,
    /// Kill: it was asked to stop and did not.
    GraceOver,
    /// Give up freezing.
    FreezeLimit,
}

impl Due {
    /// The reason to record for the kill this calls for.
    pub(crate) const fn kill_reason(self) -> Option<KillReason> {
        match self {
            Self::Deadline => Some(KillReason::TimedOut),
            Self::PauseLimit => Some(KillReason::PausedTooLong),
            Self::GraceOver => Some(KillReason::Canceled),
            Self::FreezeLimit => None,
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Books {
    pub(crate) record: StateRecord,
    max_pause_ms: u64,
    /// When the kill after a stop is due, CLOCK_BOOTTIME.
    pub(crate) grace_due_ns: Option<u64>,
    /// When freezing is given up.
    pub(crate) freeze_due_ns: Option<u64>,
    /// The cgroup has been told to die; nothing is due any more.
    pub(crate) kill_sent: bool,
}

impl Books {
    pub(crate) const fn new(record: StateRecord, max_pause_ms: u64) -> Self {
        Self {
            record,
            max_pause_ms,
            grace_due_ns: None,
            freeze_due_ns: None,
            kill_sent: false,
        }
    }

    /// The job was let go at `at`.
    pub(crate) fn started(&mut self, at: Stamp) {
        self.record.started = Some(at);
        self.set_deadline();
    }

    /// Whether another pause may be recorded.
    pub(crate) fn may_pause(&self) -> bool {
        self.record.pauses.len() < PAUSES_MAX
    }

    /// Everything has stood still since `at`.
    pub(crate) fn paused(&mut self, at: Stamp) {
        self.freeze_due_ns = None;
        if !self.record.is_paused() {
            self.record.pauses.push(Pause {
                begin: at,
                end: None,
            });
        }
        self.set_deadline();
    }

    /// It runs again since `at`.
    pub(crate) fn resumed(&mut self, at: Stamp) {
        self.freeze_due_ns = None;
        if let Some(pause) = self.record.pauses.last_mut() {
            pause.end.get_or_insert(at);
        }
        self.set_deadline();
    }

    /// The job may run `timeout_ms` in all; false (and nothing changed) if that is over already.
    pub(crate) fn extend(&mut self, timeout_ms: u64, now: Stamp) -> bool {
        if self.record.started.is_some() && self.ran_ns(now) >= timeout_ms.saturating_mul(MS) {
            return false;
        }
        self.record.timeout_ms = timeout_ms;
        self.set_deadline();
        true
    }

    /// Time frozen up to `now`, nanoseconds.
    pub(crate) fn paused_ns(&self, now: Stamp) -> u64 {
        self.record
            .pauses
            .iter()
            .map(|pause| {
                let end = pause.end.unwrap_or(now).boot_ns;
                end.saturating_sub(pause.begin.boot_ns)
            })
            .sum()
    }

    /// Time from start to `now`, pauses included, nanoseconds.
    pub(crate) fn wall_ns(&self, now: Stamp) -> u64 {
        self.record
            .started
            .map_or(0, |started| now.boot_ns.saturating_sub(started.boot_ns))
    }

    fn ran_ns(&self, now: Stamp) -> u64 {
        self.wall_ns(now).saturating_sub(self.paused_ns(now))
    }

    fn set_deadline(&mut self) {
        let record = &self.record;
        self.record.deadline_boot_ns = match record.started {
            Some(started) if !record.is_paused() => {
                // All pauses are closed here, so the time handed in counts for nothing.
                let paused = self.paused_ns(started);
                let timeout = record.timeout_ms.saturating_mul(MS);
                Some(
                    started
                        .boot_ns
                        .saturating_add(timeout)
                        .saturating_add(paused),
                )
            }
            _ => None,
        };
    }

    /// What is due next and when (CLOCK_BOOTTIME); `None` when nothing happens by itself.
    pub(crate) fn next_due(&self) -> Option<(u64, Due)> {
        if self.kill_sent {
            return None;
        }
        let pause_limit = self
            .record
            .pauses
            .last()
            .filter(|pause| pause.end.is_none())
            .map(|pause| {
                let limit = self.max_pause_ms.saturating_mul(MS);
                pause.begin.boot_ns.saturating_add(limit)
            });
        [
            (self.record.deadline_boot_ns, Due::Deadline),
            (pause_limit, Due::PauseLimit),
            (self.grace_due_ns, Due::GraceOver),
            (self.freeze_due_ns, Due::FreezeLimit),
        ]
        .into_iter()
        .filter_map(|(at, due)| at.map(|at| (at, due)))
        .min_by_key(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use davit_types::{Attempt, RunId, RunKey};
    use proptest::prelude::*;

    const S: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Stamp {
        Stamp {
            boot_ns: seconds * S,
            unix_ns: seconds * S,
        }
    }

    fn books(timeout_seconds: u64) -> Books {
        let record = StateRecord {
            version: 1,
            key: RunKey {
                run: RunId::generate(),
                attempt: Attempt::FIRST,
            },
            boot_id: String::new(),
            shim_pid: 1,
            init_pid: 2,
            created: at(0),
            started: None,
            timeout_ms: timeout_seconds * 1000,
            deadline_boot_ns: None,
            pauses: Vec::new(),
            kill: None,
            network_before: None,
        };
        Books::new(record, 60_000)
    }

    #[test]
    fn nothing_is_due_before_the_start() {
        assert_eq!(books(10).next_due(), None);
    }

    #[test]
    fn paused_time_moves_the_deadline() {
        let mut books = books(10);
        books.started(at(100));
        assert_eq!(books.next_due(), Some((110 * S, Due::Deadline)));
        books.paused(at(104));
        assert_eq!(books.record.deadline_boot_ns, None);
        assert_eq!(books.next_due(), Some((164 * S, Due::PauseLimit)));
        books.resumed(at(134));
        assert_eq!(books.next_due(), Some((140 * S, Due::Deadline)));
        assert_eq!(books.paused_ns(at(139)), 30 * S);
        assert_eq!(books.ran_ns(at(139)), 9 * S);
    }

    #[test]
    fn pausing_twice_or_resuming_a_running_job_changes_nothing() {
        let mut books = books(10);
        books.started(at(0));
        books.resumed(at(1));
        assert!(books.record.pauses.is_empty());
        books.paused(at(2));
        books.paused(at(3));
        assert_eq!(books.record.pauses.len(), 1);
        books.resumed(at(4));
        books.resumed(at(5));
        assert_eq!(books.paused_ns(at(9)), 2 * S);
    }

    #[test]
    fn an_extension_must_be_ahead() {
        let mut books = books(10);
        books.started(at(100));
        assert!(books.extend(20_000, at(105)));
        assert_eq!(books.next_due(), Some((120 * S, Due::Deadline)));
        assert!(!books.extend(5_000, at(105)), "5 s are over already");
        assert_eq!(books.record.timeout_ms, 20_000);
        assert!(
            books.extend(6_000, at(105)),
            "a shorter time that is ahead is fine"
        );
        assert_eq!(books.next_due(), Some((106 * S, Due::Deadline)));
    }

    #[test]
    fn the_earliest_is_next_and_a_kill_is_the_last() {
        let mut books = books(10);
        books.started(at(0));
        books.grace_due_ns = Some(3 * S);
        assert_eq!(books.next_due(), Some((3 * S, Due::GraceOver)));
        books.freeze_due_ns = Some(2 * S);
        assert_eq!(books.next_due(), Some((2 * S, Due::FreezeLimit)));
        books.kill_sent = true;
        assert_eq!(books.next_due(), None);
    }

    proptest! {
        /// Whatever the pauses, the job never gets more or less running time than its timeout.
        #[test]
        fn running_time_at_the_deadline_is_the_timeout(
            timeout in 1u64..1000,
            steps in proptest::collection::vec((0u64..50, 0u64..50), 0..20),
        ) {
            let mut books = books(timeout);
            books.started(at(1000));
            let mut now = 1000;
            for (run, pause) in steps {
                now += run;
                books.paused(at(now));
                now += pause;
                books.resumed(at(now));
            }
            let deadline = books.record.deadline_boot_ns.unwrap();
            let then = Stamp { boot_ns: deadline, unix_ns: deadline };
            prop_assert_eq!(books.ran_ns(then), timeout * S);
        }
    }
}
