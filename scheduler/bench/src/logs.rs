//! Followers of logs: how late they read a line, and that they read every one.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use futures::StreamExt as _;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::clock::now_ns;
use crate::fleet::Stamp;
use crate::load::Load;
use crate::statistics::Spread;

/// A stream has begun when its first bytes are there; its lines of before come after them.
const CATCH_UP_NS: u64 = 1_000_000_000;

/// Followers that are let in: a stream has begun when its first bytes are there.
pub(crate) struct Followers {
    tasks: JoinSet<anyhow::Result<()>>,
    late: Arc<Mutex<Vec<Late>>>,
    open: Arc<Semaphore>,
    count: usize,
    /// When all streams had begun.
    begun_ns: u64,
}

/// A line that was read.
#[derive(Clone, Copy)]
struct Late {
    written_ns: u64,
    by_ns: u64,
}

impl Followers {
    /// So many of each run, each of which will have so many lines.
    pub(crate) fn of(load: &Load, runs: &[String], each: usize, lines: u64) -> Self {
        let late = Arc::new(Mutex::new(Vec::new()));
        let open = Arc::new(Semaphore::new(0));
        let mut tasks = JoinSet::new();
        for run in runs.iter().flat_map(|run| vec![run; each]) {
            let (load, run) = (load.clone(), run.clone());
            let (late, open) = (Arc::clone(&late), Arc::clone(&open));
            tasks.spawn(async move {
                let read = follow(&load, &run, lines, &open).await;
                let read = read.with_context(|| format!("follow run {run}"))?;
                late.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(read);
                Ok(())
            });
        }
        let count = tasks.len();
        Self {
            tasks,
            late,
            open,
            count,
            begun_ns: 0,
        }
    }

    /// Waits until all streams have begun.
    pub(crate) async fn begun(&mut self) -> anyhow::Result<()> {
        let all = u32::try_from(self.count).context("a number of followers")?;
        drop(self.open.acquire_many(all).await?);
        self.begun_ns = now_ns();
        Ok(())
    }

    /// How late the lines were, once all streams have ended: those written while a thousand streams began and caught up, and
    /// those after.
    pub(crate) async fn lateness(mut self) -> anyhow::Result<(Spread, Spread)> {
        while let Some(done) = self.tasks.join_next().await {
            done??;
        }
        let late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        let steady_ns = self.begun_ns + CATCH_UP_NS;
        let (first, later): (Vec<Late>, Vec<Late>) =
            late.iter().partition(|line| line.written_ns < steady_ns);
        let spread = |lines: Vec<Late>| {
            let by_ns: Vec<u64> = lines.iter().map(|line| line.by_ns).collect();
            Spread::of(&by_ns)
        };
        Ok((spread(first), spread(later)))
    }
}

async fn follow(load: &Load, run: &str, lines: u64, open: &Semaphore) -> anyhow::Result<Vec<Late>> {
    let mut body = load.follow(run).await?.bytes_stream();
    let mut late = Vec::new();
    let mut rest = Vec::new();
    let mut begun = false;
    let mut read = 0;
    while let Some(piece) = body.next().await {
        let now_ns = now_ns();
        if !begun {
            begun = true;
            open.add_permits(1);
        }
        rest.extend_from_slice(&piece.context("read the stream")?);
        while let Some(end) = rest.windows(2).position(|two| two == b"\n\n") {
            let event: Vec<u8> = rest.drain(..end + 2).collect();
            let event = String::from_utf8_lossy(&event).into_owned();
            match heard(&event)? {
                Heard::Line { id, written_ns } => {
                    ensure!(id == read + 1, "line {id} after {read}");
                    read = id;
                    let by_ns = now_ns.saturating_sub(written_ns);
                    late.push(Late { written_ns, by_ns });
                }
                Heard::End => {
                    ensure!(read == lines, "{read} of {lines} lines");
                    return Ok(late);
                }
                Heard::Nothing => {}
            }
        }
    }
    anyhow::bail!("the stream ended after {read} of {lines} lines")
}

enum Heard {
    Line { id: u64, written_ns: u64 },
    End,
    Nothing,
}

fn heard(event: &str) -> anyhow::Result<Heard> {
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
    match field("event: ") {
        Some("log") => {
            let id = field("id: ").and_then(|id| id.parse().ok());
            let data: Value = serde_json::from_str(field("data: ").unwrap_or_default())?;
            let text = data["line"].as_str();
            let written_ns = text.and_then(Stamp::read);
            Ok(Heard::Line {
                id: id.with_context(|| format!("an id in {event}"))?,
                written_ns: written_ns.with_context(|| format!("a stamp in {event}"))?,
            })
        }
        Some("state") => Ok(Heard::End),
        Some(other) => anyhow::bail!("the stream says {other}: {event}"),
        None => Ok(Heard::Nothing),
    }
}
