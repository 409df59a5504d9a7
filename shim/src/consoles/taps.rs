//! What the job writes, for whoever looks on: beside its log, and never in its way.
//!
//! ```text
//!  job ─► log pump ─► Taps: to each Tap what fits in it ─► its console, in the console's own time
//! ```
//!
//! Invariants:
//! - giving output to taps never waits; what does not fit in one is counted and dropped, for that one alone;
//! - taps see what the log sees: without secrets;
//! - of a terminal's output a little is kept, so that who comes later sees a screen.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};

use davit_rundir::log::Stream;
use davit_rundir::{CONSOLE_DATA_BYTES_MAX, ConsoleFrame};
use tokio::sync::Notify;

use crate::lock;

/// Bytes that wait for one console.
const TAP_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a terminal's output that are kept for consoles to come.
const REPLAY_BYTES_MAX: usize = 16 * 1024;

/// All consoles that look at a job's output.
pub(crate) struct Taps(Mutex<All>);

struct All {
    list: Vec<Weak<Tap>>,
    replay: Option<VecDeque<u8>>,
    over: bool,
}

/// One of them.
pub(crate) struct Tap {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(Stream, Arc<[u8]>)>,
    bytes: usize,
    dropped_bytes: u64,
    over: bool,
}

impl Taps {
    /// Of a job, with a terminal or not.
    pub(crate) fn new(terminal: bool) -> Self {
        Self(Mutex::new(All {
            list: Vec::new(),
            replay: terminal.then(VecDeque::new),
            over: false,
        }))
    }

    /// One more, which begins with what was kept.
    pub(crate) fn add(&self) -> Arc<Tap> {
        let mut all = lock(&self.0);
        let mut state = State {
            over: all.over,
            ..State::default()
        };
        if let Some(replay) = all.replay.as_mut().filter(|replay| !replay.is_empty()) {
            let bytes: &[u8] = replay.make_contiguous();
            state.bytes = bytes.len();
            for piece in bytes.chunks(CONSOLE_DATA_BYTES_MAX) {
                state.queue.push_back((Stream::Stdout, piece.into()));
            }
        }
        let tap = Arc::new(Tap {
            state: Mutex::new(state),
            changed: Notify::new(),
        });
        all.list.push(Arc::downgrade(&tap));
        tap
    }

    /// The job wrote `bytes`.
    pub(crate) fn give(&self, stream: Stream, bytes: &[u8]) {
        let mut all = lock(&self.0);
        if let Some(replay) = &mut all.replay {
            let kept = &bytes[bytes.len().saturating_sub(REPLAY_BYTES_MAX)..];
            let room = REPLAY_BYTES_MAX - kept.len();
            let surplus = replay.len().saturating_sub(room);
            replay.drain(..surplus);
            replay.extend(kept);
        }
        if all.list.is_empty() {
            return;
        }
        all.list.retain(|tap| tap.strong_count() > 0);
        for piece in bytes.chunks(CONSOLE_DATA_BYTES_MAX) {
            let piece: Arc<[u8]> = piece.into();
            for tap in all.list.iter().filter_map(Weak::upgrade) {
                tap.give(stream, &piece);
            }
        }
    }

    /// Nothing follows.
    pub(crate) fn end(&self) {
        let mut all = lock(&self.0);
        all.over = true;
        for tap in all.list.drain(..).filter_map(|tap| tap.upgrade()) {
            lock(&tap.state).over = true;
            tap.changed.notify_one();
        }
    }
}

impl Tap {
    fn give(&self, stream: Stream, piece: &Arc<[u8]>) {
        let mut state = lock(&self.state);
        if state.bytes + piece.len() > TAP_BYTES_MAX {
            state.dropped_bytes += piece.len() as u64;
            return;
        }
        state.bytes += piece.len();
        state.queue.push_back((stream, piece.clone()));
        self.changed.notify_one();
    }

    /// What comes next; `None` at the end. Cancel-safe, for one caller.
    pub(crate) async fn next(&self) -> Option<ConsoleFrame> {
        loop {
            {
                let mut state = lock(&self.state);
                if let Some((stream, piece)) = state.queue.pop_front() {
                    state.bytes -= piece.len();
                    return Some(match stream {
                        Stream::Stdout => ConsoleFrame::Stdout(piece.to_vec()),
                        Stream::Stderr => ConsoleFrame::Stderr(piece.to_vec()),
                    });
                }
                if state.over {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    pub(crate) fn dropped_bytes(&self) -> u64 {
        lock(&self.state).dropped_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all_of(tap: &Tap) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(frame) = tap.next().await {
            match frame {
                ConsoleFrame::Stdout(bytes) | ConsoleFrame::Stderr(bytes) => all.extend(bytes),
                other => panic!("{other:?}"),
            }
        }
        all
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_does_not_fit_is_counted_for_the_slow_one_alone() {
        let taps = Taps::new(false);
        let (slow, quick) = (taps.add(), taps.add());
        let piece = [7; CONSOLE_DATA_BYTES_MAX];
        let pieces = TAP_BYTES_MAX / piece.len() + 3;
        for _ in 0..pieces {
            taps.give(Stream::Stdout, &piece);
            assert!(matches!(quick.next().await, Some(ConsoleFrame::Stdout(_))));
        }
        taps.end();
        assert_eq!(all_of(&slow).await.len(), TAP_BYTES_MAX);
        assert_eq!(slow.dropped_bytes(), 3 * piece.len() as u64);
        assert_eq!((quick.next().await, quick.dropped_bytes()), (None, 0));
        assert_eq!(taps.add().next().await, None, "it is over");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn of_a_terminal_the_last_of_it_is_shown_to_who_comes_later() {
        let (plain, terminal) = (Taps::new(false), Taps::new(true));
        let mut written = Vec::new();
        for round in 0..40_u8 {
            let bytes = vec![round; 1_000];
            plain.give(Stream::Stdout, &bytes);
            terminal.give(Stream::Stdout, &bytes);
            written.extend(bytes);
        }
        let (none, late) = (plain.add(), terminal.add());
        plain.end();
        terminal.end();
        assert!(all_of(&none).await.is_empty());
        let shown = all_of(&late).await;
        assert_eq!(shown, written[written.len() - REPLAY_BYTES_MAX..]);
        let huge = Taps::new(true);
        huge.give(Stream::Stdout, &vec![1; 3 * REPLAY_BYTES_MAX]);
        huge.give(Stream::Stdout, &[2]);
        let tap = huge.add();
        huge.end();
        let shown = all_of(&tap).await;
        assert_eq!((shown.len(), shown.last()), (REPLAY_BYTES_MAX, Some(&2)));
    }
}
