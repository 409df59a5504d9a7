//! A download: what was collected of a run, from its file, and while that is written where the caller wants to read along.
//!
//! ```text
//!  collecting ─ bytes that can be read ─► parts ... ─► the run is over: is it kept? ─► the rest, the digest ─► end
//!                                                                        └─ no ─► an error: what was read is nothing
//! ```
//!
//! A slow reader holds up nobody: collecting goes on, and the file stays.

use std::io;
use std::path::PathBuf;

use davit_rpc::local;
use davit_types::{ExtractKind, ExtractStatus, Extracted};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;
use tonic::Status;

use crate::files::collect::{self, Progress};
use crate::runs::{Run, View};

/// Bytes of one message.
const PART_BYTES: usize = 512 << 10;

/// See the module.
pub(super) struct Reading {
    view: View,
    /// Of one that is not over.
    live: Option<Live>,
    asked: local::FilesDownload,
    at: usize,
    path: PathBuf,
    file: Option<File>,
    offset: u64,
    ended: bool,
}

struct Live {
    changes: watch::Receiver<View>,
    progress: watch::Receiver<Progress>,
}

impl Reading {
    /// Refuses what is not there, or not yet where nobody wants to wait.
    pub(super) fn begin(run: &Run, asked: local::FilesDownload) -> Result<Self, Status> {
        let live = match run {
            Run::Live(handle) => Some(Live {
                changes: handle.changes(),
                progress: handle.collecting(),
            }),
            Run::Ended(_) => None,
        };
        let view = run.view();
        let at = usize::try_from(asked.index).unwrap_or(usize::MAX);
        let reading = Self {
            path: collect::kept_path(&view.dir.files_path(), at),
            view,
            live,
            asked,
            at,
            file: None,
            offset: 0,
            ended: false,
        };
        let (name, index) = (&reading.asked.run, reading.asked.index);
        if reading.view.spec.spec.extracts.get(at).is_none() {
            let problem = format!("run {name} has no extract {index}");
            return Err(Status::not_found(problem));
        }
        if !reading.asked.follow || reading.view.is_over() {
            reading.kept()?;
        }
        Ok(reading)
    }

    /// What was kept, once the run is over.
    fn kept(&self) -> Result<&Extracted, Status> {
        let local::FilesDownload { run, index, .. } = &self.asked;
        match self
            .view
            .end
            .as_ref()
            .and_then(|end| end.extracts.get(self.at))
        {
            Some(extracted) if extracted.status == ExtractStatus::Ok => Ok(extracted),
            None if !self.view.is_over() => {
                let problem = format!("run {run} has not ended: its files are collected then");
                Err(Status::failed_precondition(problem))
            }
            _ => {
                let problem =
                    format!("extract {index} of run {run} is not kept: `davit inspect` says why");
                Err(Status::failed_precondition(problem))
            }
        }
    }

    /// The next part, waiting for it where it is still collected.
    pub(super) async fn next(&mut self) -> Result<Option<local::FilesPart>, Status> {
        if self.ended {
            return Ok(None);
        }
        loop {
            let mut progress = Progress::default();
            if let Some(live) = &mut self.live {
                self.view = live.changes.borrow_and_update().clone();
                progress = *live.progress.borrow_and_update();
            }
            if self.view.is_over() {
                let kept = self.kept()?.clone();
                let mut part = self.part(kept.kind, u64::MAX).await?;
                if part.data.is_empty() {
                    self.ended = true;
                    part.sha256 = kept.sha256.unwrap_or_default();
                }
                return Ok(Some(part));
            }
            if progress.at == self.at && progress.bytes > self.offset {
                let ready = progress.bytes - self.offset;
                return self.part(progress.kind, ready).await.map(Some);
            }
            let gone = || Status::unavailable("the executor goes down");
            let live = self.live.as_mut().ok_or_else(gone)?;
            tokio::select! {
                changed = live.changes.changed() => changed.map_err(|_| gone())?,
                Ok(()) = live.progress.changed() => {}
            }
        }
    }

    /// At most so many bytes from where the last part ended; none at the end of the file.
    async fn part(
        &mut self,
        kind: Option<ExtractKind>,
        bytes_max: u64,
    ) -> Result<local::FilesPart, Status> {
        let is_first = self.offset == 0;
        let (path, run) = (self.path.display(), &self.asked.run);
        let is_sent = self.view.spec.scheduled.is_some();
        let lost = |error: io::Error| {
            if is_sent && error.kind() == io::ErrorKind::NotFound {
                let problem = format!("the files of run {run} are with its scheduler: ask there");
                return Status::failed_precondition(problem);
            }
            Status::data_loss(format!("cannot read {path}: {error}"))
        };
        let file = match &mut self.file {
            Some(file) => file,
            file => file.insert(File::open(&self.path).await.map_err(lost)?),
        };
        let mut data = Vec::with_capacity(PART_BYTES);
        let bytes = bytes_max.min(PART_BYTES as u64);
        let read = file.take(bytes).read_to_end(&mut data).await;
        self.offset += read.map_err(lost)? as u64;
        let kind = kind.filter(|_| is_first).map(ExtractKind::as_str);
        Ok(local::FilesPart {
            data,
            kind: kind.unwrap_or_default().to_owned(),
            sha256: String::new(),
        })
    }
}
