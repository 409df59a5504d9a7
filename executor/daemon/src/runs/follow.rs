//! Following a run: how its pull gets on, every log record, then its end.
//!
//! Invariant 5: whether the run is over is looked at *before* the log is read to its end. The shim
//! completes the log before it records the exit, so what is read then is all there will ever be.
//!
//! Pull-based: the follower reads the next batch when the last one was taken, so a client that does
//! not read holds one batch and delays nobody.

use std::collections::VecDeque;

use davit_rundir::RunDir;
use davit_rundir::log::{LogError, LogReader, LogRecord, Stream};
use davit_types::RunId;
use tokio::sync::watch;

use super::log_watch::Interest;
use super::offload::offload;
use super::{LogWatch, Run, RunError, Runs, View};
use crate::images::PullProgress;

/// Records read at a time.
const BATCH_RECORDS_MAX: usize = 256;
/// Bytes of lines read at a time; one record more may exceed it.
const BATCH_BYTES_MAX: usize = 256 * 1024;

/// What a follower is told, in this order: progress, records, the run.
#[derive(Clone, Debug)]
pub enum FollowItem {
    /// How the pull gets on.
    Pull(PullProgress),
    /// The next record.
    Log(LogRecord),
    /// The last item: the run, ended if it was followed to its end.
    State(Box<View>),
}

/// A place in a run's story.
#[derive(Debug)]
pub struct Follower {
    run: RunId,
    dir: RunDir,
    /// Only this stream's records, if any.
    stream: Option<Stream>,
    /// Go on until the run is over.
    to_the_end: bool,
    live: Option<Live>,
    view: View,
    reader: Option<LogReader>,
    after_id: u64,
    waiting: VecDeque<LogRecord>,
    told_state: bool,
}

#[derive(Debug)]
struct Live {
    changes: watch::Receiver<View>,
    progress: watch::Receiver<PullProgress>,
    interest: Interest,
}

impl Runs {
    /// Follows a run from behind record `after_id`.
    #[must_use]
    pub fn follow(
        &self,
        run: Run,
        after_id: u64,
        stream: Option<Stream>,
        to_the_end: bool,
    ) -> Follower {
        let view = run.view();
        let live = match &run {
            Run::Live(handle) if !view.is_over() => Some(live(&self.logs, &view, handle)),
            _ => None,
        };
        Follower {
            run: view.run_id(),
            dir: view.dir.clone(),
            stream,
            to_the_end,
            live,
            view,
            reader: None,
            after_id,
            waiting: VecDeque::new(),
            told_state: false,
        }
    }
}

fn live(logs: &LogWatch, view: &View, handle: &super::RunHandle) -> Live {
    Live {
        changes: handle.changes(),
        progress: handle.progress(),
        // Watched before the first read: what is written in between is ticked.
        interest: logs.follow(view.dir.path()),
    }
}

impl Follower {
    /// The next item; `None` after [`FollowItem::State`].
    ///
    /// # Errors
    /// [`RunError::Log`] when the log is damaged, [`RunError::ShuttingDown`].
    pub async fn next(&mut self) -> Result<Option<FollowItem>, RunError> {
        loop {
            if let Some(record) = self.waiting.pop_front() {
                return Ok(Some(FollowItem::Log(record)));
            }
            if self.told_state {
                return Ok(None);
            }
            // In this order: see the module.
            self.refresh();
            let done = self.view.is_over() || !self.to_the_end;
            if self.view.has_final_log() && self.read_batch().await? {
                continue;
            }
            if done {
                self.told_state = true;
                self.live = None;
                return Ok(Some(FollowItem::State(Box::new(self.view.clone()))));
            }
            if let Some(progress) = self.wait().await? {
                return Ok(Some(FollowItem::Pull(progress)));
            }
        }
    }

    fn refresh(&mut self) {
        if let Some(live) = &mut self.live {
            self.view = live.changes.borrow_and_update().clone();
        }
    }

    /// Waits for more log, another state, or progress of the pull.
    async fn wait(&mut self) -> Result<Option<PullProgress>, RunError> {
        let Some(live) = &mut self.live else {
            return Ok(None);
        };
        let Live {
            changes,
            progress,
            interest,
        } = live;
        // What the pull still has to say once it is over interests nobody.
        let pulling = !self.view.has_final_log();
        let pull = async {
            if progress.changed().await.is_ok() {
                *progress.borrow_and_update()
            } else {
                std::future::pending().await
            }
        };
        tokio::select! {
            changed = changes.changed() => match changed {
                Ok(()) => Ok(None),
                // The owner is gone: with the verdict told, or with the executor.
                Err(_) if changes.borrow().is_over() => Ok(None),
                Err(_) => Err(RunError::ShuttingDown),
            },
            () = interest.written() => Ok(None),
            progress = pull, if pulling => Ok(Some(progress)),
        }
    }

    /// Reads more of the log; whether there may be more still.
    async fn read_batch(&mut self) -> Result<bool, RunError> {
        let (dir, after_id, stream) = (self.dir.clone(), self.after_id, self.stream);
        let reader = self.reader.take();
        let (reader, read) = offload(move || {
            let mut reader = match reader {
                Some(reader) => reader,
                None => match LogReader::open(&dir, after_id) {
                    Ok(reader) => reader,
                    Err(error) => return (None, Err(error)),
                },
            };
            let read = batch(&mut reader, stream);
            (Some(reader), read)
        })
        .await;
        self.reader = reader;
        let (records, more) = read.map_err(|source| RunError::Log {
            run: self.run,
            source,
        })?;
        self.waiting.extend(records);
        Ok(more || !self.waiting.is_empty())
    }
}

/// Some records of `stream`, and whether the batch rather than the log ended there.
fn batch(
    reader: &mut LogReader,
    stream: Option<Stream>,
) -> Result<(Vec<LogRecord>, bool), LogError> {
    let (mut records, mut bytes, mut seen) = (Vec::new(), 0, 0);
    while seen < BATCH_RECORDS_MAX && bytes < BATCH_BYTES_MAX {
        let Some(record) = reader.next()? else {
            return Ok((records, false));
        };
        seen += 1;
        bytes += record.line.len();
        // davit's own marks concern everybody.
        if record.truncated || stream.is_none_or(|wanted| wanted == record.stream) {
            records.push(record);
        }
    }
    Ok((records, true))
}
