//! One run's log on its way to the scheduler: from the place it has stored, each line once a session, in order.
//!
//! ```text
//!  follower ─► pump ─► a few lines ─► batch ─► sent, at most so many batches unacknowledged ─► stored
//! ```
//!
//! The first line after a quiet time goes at once; those that follow wait for company, for a period or for so many
//! lines. Nothing is dropped: what the scheduler does not take stays in the segments on disk.

use std::collections::VecDeque;
use std::time::Duration;

use davit_rundir::log::LogRecord;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::runs::{FollowItem, Run, RunError, Runs, sentence};

/// Lines read ahead of a batch.
const LINES_AHEAD_MAX: usize = 16;
/// Bytes of lines of one batch; one line more may exceed it. The link allows 1 MiB.
const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Lines of one batch.
const BATCH_LINES_MAX: usize = 4_096;
/// Batches sent and not acknowledged.
const BATCHES_UNACKED_MAX: usize = 4;

/// How long lines wait for company.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) period: Duration,
    pub(super) lines: usize,
}

enum Pumped {
    Line(LogRecord),
    /// There is no more, and never will be.
    End,
}

pub(super) struct Shipper {
    pace: Pace,
    lines: mpsc::Receiver<Pumped>,
    /// Whether more may come.
    open: bool,
    complete: bool,
    batch: Vec<LogRecord>,
    batch_bytes: usize,
    sent_at: Option<Instant>,
    /// The last line of each batch that is not acknowledged.
    unacked: VecDeque<u64>,
    last_read: u64,
    stored: u64,
    /// Ends with the shipper.
    _pump: JoinSet<()>,
}

impl Shipper {
    /// Ships what follows record `after_id`.
    pub(super) fn new(runs: &Runs, run: Run, after_id: u64, pace: Pace) -> Self {
        let (send, lines) = mpsc::channel(LINES_AHEAD_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(pump(runs.clone(), run, after_id, send));
        Self::of(lines, tasks, after_id, pace)
    }

    fn of(lines: mpsc::Receiver<Pumped>, pump: JoinSet<()>, after_id: u64, pace: Pace) -> Self {
        Self {
            pace,
            lines,
            open: true,
            complete: false,
            batch: Vec::new(),
            batch_bytes: 0,
            sent_at: None,
            unacked: VecDeque::new(),
            last_read: after_id,
            stored: after_id,
            _pump: pump,
        }
    }

    /// Returns when there may be something to take, unless what is due is `held_up` anyway: then when there is more of it.
    /// May be dropped at any time.
    pub(super) async fn turn(&mut self, held_up: bool) {
        let reads = self.open && !self.is_full();
        let due = self.due_at(Instant::now()).filter(|_| !held_up);
        let waits = async {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            line = self.lines.recv(), if reads => match line {
                Some(Pumped::Line(record)) => self.push(record),
                Some(Pumped::End) => {
                    self.complete = true;
                    self.open = false;
                }
                // The executor goes down.
                None => self.open = false,
            },
            () = waits => {}
        }
    }

    fn push(&mut self, record: LogRecord) {
        self.last_read = record.id;
        self.batch_bytes += record.line.len();
        self.batch.push(record);
    }

    fn is_full(&self) -> bool {
        self.batch.len() >= BATCH_LINES_MAX || self.batch_bytes >= BATCH_BYTES_MAX
    }

    /// When the batch is to go.
    fn due_at(&self, now: Instant) -> Option<Instant> {
        if self.batch.is_empty() || self.unacked.len() >= BATCHES_UNACKED_MAX {
            return None;
        }
        if self.complete || self.is_full() || self.batch.len() >= self.pace.lines {
            return Some(now);
        }
        Some(
            self.sent_at
                .map_or(now, |sent_at| sent_at + self.pace.period),
        )
    }

    /// The last line of the batch, if it is due.
    pub(super) fn due(&self) -> Option<u64> {
        let now = Instant::now();
        (self.due_at(now)? <= now).then_some(self.last_read)
    }

    /// The batch, to be sent.
    pub(super) fn take(&mut self) -> Vec<LogRecord> {
        self.sent_at = Some(Instant::now());
        self.batch_bytes = 0;
        self.unacked.push_back(self.last_read);
        std::mem::take(&mut self.batch)
    }

    /// All up to `last_id` is stored.
    pub(super) fn stored(&mut self, last_id: u64) {
        self.stored = self.stored.max(last_id);
        while self.unacked.front().is_some_and(|id| *id <= self.stored) {
            self.unacked.pop_front();
        }
    }

    /// The last line, once the run is over and all of its log is stored.
    pub(super) fn stored_whole(&self) -> Option<u64> {
        (self.complete && self.stored >= self.last_read).then_some(self.last_read)
    }
}

async fn pump(runs: Runs, run: Run, after_id: u64, lines: mpsc::Sender<Pumped>) {
    let id = run.view().run_id();
    let mut follower = runs.follow(run, after_id, None, true);
    let last = loop {
        let sent = match follower.next().await {
            Ok(Some(FollowItem::Log(record))) => lines.send(Pumped::Line(record)).await,
            Ok(Some(FollowItem::Pull(_))) => Ok(()),
            Ok(Some(FollowItem::State(_)) | None) => break Pumped::End,
            Err(RunError::ShuttingDown) => return,
            Err(error) => {
                // What cannot be read cannot be shipped: the log ends here, and the run must still be able to.
                tracing::error!(run = %id, problem = sentence(&error), "a log cannot be shipped further");
                break Pumped::End;
            }
        };
        if sent.is_err() {
            return;
        }
    };
    // Nobody may want it any more.
    drop(lines.send(last).await);
}

#[cfg(test)]
mod tests {
    use super::*;
    use davit_rundir::log::Stream;

    const PACE: Pace = Pace {
        period: Duration::from_secs(5),
        lines: 3,
    };

    fn line(id: u64, bytes: usize) -> Pumped {
        Pumped::Line(LogRecord {
            id,
            unix_ns: 0,
            stream: Stream::Stdout,
            partial: false,
            newline: true,
            truncated: false,
            line: vec![b'x'; bytes],
        })
    }

    fn shipper(after_id: u64) -> (mpsc::Sender<Pumped>, Shipper) {
        let (send, lines) = mpsc::channel(LINES_AHEAD_MAX);
        (send, Shipper::of(lines, JoinSet::new(), after_id, PACE))
    }

    /// Turns until a batch is due; its ids and how long that took.
    async fn batch(shipper: &mut Shipper) -> (Vec<u64>, Duration) {
        let begin = Instant::now();
        loop {
            if let Some(last_id) = shipper.due() {
                let ids: Vec<u64> = shipper.take().iter().map(|r| r.id).collect();
                assert_eq!(ids.last(), Some(&last_id));
                return (ids, begin.elapsed());
            }
            shipper.turn(false).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_line_goes_at_once_and_the_next_wait_for_company_or_time() {
        let (send, mut shipper) = shipper(0);
        send.send(line(1, 1)).await.unwrap();
        assert_eq!(batch(&mut shipper).await, (vec![1], Duration::ZERO));
        send.send(line(2, 1)).await.unwrap();
        let (ids, waited) = batch(&mut shipper).await;
        assert_eq!(ids, [2]);
        assert!(
            waited >= PACE.period && waited < PACE.period * 2,
            "{waited:?}"
        );
        for id in 3..=5 {
            send.send(line(id, 1)).await.unwrap();
        }
        assert_eq!(batch(&mut shipper).await, (vec![3, 4, 5], Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_batches_and_bytes_are_under_way() {
        let (send, mut shipper) = shipper(10);
        let feed = tokio::spawn(async move {
            for id in 11..=60 {
                send.send(line(id, BATCH_BYTES_MAX / 2)).await.unwrap();
            }
            send.send(Pumped::End).await.unwrap();
        });
        let mut last = 10;
        for _ in 0..BATCHES_UNACKED_MAX {
            let (ids, _) = batch(&mut shipper).await;
            assert!(ids.len() <= 3, "{ids:?}");
            assert_eq!(ids[0], last + 1);
            last = *ids.last().unwrap();
        }
        let stuck = tokio::time::timeout(Duration::from_secs(600), batch(&mut shipper)).await;
        assert!(stuck.is_err(), "it sent more than may be unacknowledged");
        assert_eq!(shipper.stored_whole(), None);
        while last < 60 {
            shipper.stored(last);
            last = *batch(&mut shipper).await.0.last().unwrap();
        }
        while !shipper.complete {
            shipper.turn(false).await;
        }
        assert_eq!(shipper.stored_whole(), None, "the last is not acknowledged");
        shipper.stored(60);
        assert_eq!(shipper.stored_whole(), Some(60));
        feed.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_is_held_up_grows_and_is_waited_for() {
        let (send, mut shipper) = shipper(0);
        send.send(line(1, 1)).await.unwrap();
        while shipper.due().is_none() {
            shipper.turn(false).await;
        }
        let long = Duration::from_secs(600);
        let turned = tokio::time::timeout(long, shipper.turn(true)).await;
        assert!(turned.is_err(), "it turns round and round");
        send.send(line(2, 1)).await.unwrap();
        shipper.turn(true).await;
        assert_eq!(shipper.due(), Some(2));
        assert_eq!(shipper.take().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_goes_when_the_run_is_over() {
        let (send, mut shipper) = shipper(0);
        send.send(line(1, 1)).await.unwrap();
        batch(&mut shipper).await;
        send.send(line(2, 1)).await.unwrap();
        send.send(Pumped::End).await.unwrap();
        assert_eq!(batch(&mut shipper).await, (vec![2], Duration::ZERO));
    }
}
