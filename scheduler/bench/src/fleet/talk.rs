//! The log of a run on a simulated host, and what its lines say.

use std::time::Duration;

use davit_rpc::link::host_message::Message as Said;
use davit_rpc::link::{AttemptKey, HostMessage, LogBatch, LogRecord};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use crate::clock::now_ns;

/// Bytes of every line, as an ordinary one has.
pub(crate) const LINE_BYTES: usize = 100;
/// Lines ahead of those acknowledged: what the executor has read ahead.
const AHEAD_LINES_MAX: u64 = 16_000;

/// How lines are batched: as the scheduler says in its welcome.
#[derive(Clone, Copy)]
pub(super) struct Batching {
    pub(super) period_ms: u64,
    pub(super) lines_max: u64,
}

/// A line that says when it was written.
pub(crate) struct Stamp;

impl Stamp {
    fn line(now_ns: u64) -> Vec<u8> {
        format!("{now_ns:<LINE_BYTES$}").into_bytes()
    }

    /// When it was written.
    pub(crate) fn read(text: &str) -> Option<u64> {
        let digits = text.trim_start().split(|c: char| !c.is_ascii_digit());
        digits.take(1).next()?.parse().ok()
    }
}

fn record(id: u64) -> LogRecord {
    let now_ns = now_ns();
    LogRecord {
        id,
        unix_ns: now_ns,
        stream: "stdout".to_owned(),
        line: Stamp::line(now_ns),
        newline: true,
        ..LogRecord::default()
    }
}

/// A run's log on its way.
pub(super) struct Talk {
    pub(super) key: AttemptKey,
    pub(super) to: mpsc::Sender<HostMessage>,
    pub(super) acknowledged: watch::Receiver<u64>,
    pub(super) batching: Batching,
}

impl Talk {
    /// Writes so many lines as fast as they are stored; whether they all were.
    pub(super) async fn flood(mut self, lines: u64) -> bool {
        let mut sent = 0;
        while sent < lines {
            let until = (sent + self.batching.lines_max).min(lines);
            let room = |stored: &u64| until <= *stored + AHEAD_LINES_MAX;
            if self.acknowledged.wait_for(room).await.is_err() || !self.send(sent + 1, until).await
            {
                return false;
            }
            sent = until;
        }
        let done = self.acknowledged.wait_for(|stored| *stored >= lines).await;
        done.is_ok()
    }

    /// Writes so many lines at a pace, batched as a host does; whether they all were stored.
    pub(super) async fn at_pace(mut self, lines: u64, lines_per_second: u64) -> bool {
        let gap = Duration::from_nanos(1_000_000_000 / lines_per_second.max(1));
        let mut written = tokio::time::interval(gap);
        written.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut batch: Vec<LogRecord> = Vec::new();
        let mut due = Instant::now();
        for id in 1..=lines {
            written.tick().await;
            if batch.is_empty() {
                due = Instant::now() + Duration::from_millis(self.batching.period_ms);
            }
            batch.push(record(id));
            let next = Instant::now() + gap;
            let full = batch.len() as u64 >= self.batching.lines_max;
            if !(full || id == lines || next > due) {
                continue;
            }
            if !full && id < lines {
                tokio::time::sleep_until(due).await;
            }
            if !self.say(std::mem::take(&mut batch)).await {
                return false;
            }
        }
        let done = self.acknowledged.wait_for(|stored| *stored >= lines).await;
        done.is_ok()
    }

    async fn send(&self, first: u64, last: u64) -> bool {
        self.say((first..=last).map(record).collect()).await
    }

    async fn say(&self, records: Vec<LogRecord>) -> bool {
        let batch = LogBatch {
            key: Some(self.key.clone()),
            records,
        };
        let message = HostMessage {
            message: Some(Said::Log(batch)),
        };
        self.to.send(message).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_when_it_was_written() {
        let line = Stamp::line(1_234);
        assert_eq!(line.len(), LINE_BYTES);
        let text = String::from_utf8(line).unwrap();
        assert_eq!(Stamp::read(&text), Some(1_234));
        assert_eq!(Stamp::read("no number"), None);
    }
}
