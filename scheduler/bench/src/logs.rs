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

/// Followers that are let in: a stream has begun when its first bytes are there.
pub(crate) struct Followers {
    tasks: JoinSet<anyhow::Result<()>>,
    late_ns: Arc<Mutex<Vec<u64>>>,
    open: Arc<Semaphore>,
    count: usize,
}

impl Followers {
    /// So many of each run, each of which will have so many lines.
    pub(crate) fn of(load: &Load, runs: &[String], each: usize, lines: u64) -> Self {
        let late_ns = Arc::new(Mutex::new(Vec::new()));
        let open = Arc::new(Semaphore::new(0));
        let mut tasks = JoinSet::new();
        for run in runs.iter().flat_map(|run| vec![run; each]) {
            let (load, run) = (load.clone(), run.clone());
            let (late_ns, open) = (Arc::clone(&late_ns), Arc::clone(&open));
            tasks.spawn(async move {
                let late = follow(&load, &run, lines, &open).await;
                let late = late.with_context(|| format!("follow run {run}"))?;
                late_ns
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(late);
                Ok(())
            });
        }
        let count = tasks.len();
        Self {
            tasks,
            late_ns,
            open,
            count,
        }
    }

    /// Waits until all streams have begun.
    pub(crate) async fn begun(&self) -> anyhow::Result<()> {
        let all = u32::try_from(self.count).context("a number of followers")?;
        drop(self.open.acquire_many(all).await?);
        Ok(())
    }

    /// How late lines were, once all streams have ended.
    pub(crate) async fn lateness(mut self) -> anyhow::Result<Spread> {
        while let Some(done) = self.tasks.join_next().await {
            done??;
        }
        let late_ns = self.late_ns.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Spread::of(&late_ns))
    }
}

async fn follow(load: &Load, run: &str, lines: u64, open: &Semaphore) -> anyhow::Result<Vec<u64>> {
    let mut body = load.follow(run).await?.bytes_stream();
    let mut late = Vec::new();
    let mut rest = Vec::new();
    let mut begun_ns = None;
    let mut read = 0;
    while let Some(piece) = body.next().await {
        let now_ns = now_ns();
        let begun_ns = *begun_ns.get_or_insert_with(|| {
            open.add_permits(1);
            now_ns
        });
        rest.extend_from_slice(&piece.context("read the stream")?);
        while let Some(end) = rest.windows(2).position(|two| two == b"\n\n") {
            let event: Vec<u8> = rest.drain(..end + 2).collect();
            let event = String::from_utf8_lossy(&event).into_owned();
            match heard(&event)? {
                Heard::Line { id, written_ns } => {
                    ensure!(id == read + 1, "line {id} after {read}");
                    read = id;
                    // What was written before the stream began could not be read sooner.
                    if written_ns >= begun_ns {
                        late.push(now_ns.saturating_sub(written_ns));
                    }
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
