//! What the job reads and has for a terminal, made with its container.

use std::os::fd::OwnedFd;
use std::process::Stdio;

use davit_types::IdRange;
use rustix::fs::{Gid, Uid};
use rustix::pipe::{PipeFlags, pipe_with};

use super::capture::CaptureError;
use super::{Pipes, Run, RunError};
use crate::consoles::JobStreams;
use crate::io::null_streams;
use crate::lock;
use crate::runtime::Stdio3;

impl Run {
    /// What consoles have of it.
    pub(crate) fn streams(&self) -> &JobStreams {
        &self.shared.streams
    }

    /// Whether the runtime makes it a terminal.
    pub(crate) fn has_terminal(&self) -> bool {
        self.shared.launch.tty
    }

    /// The job's streams, `ids` being those of its user namespace. With a terminal there are none but that.
    pub(super) fn job_pipes(&self, ids: Option<IdRange>) -> Result<(Pipes, Stdio3), RunError> {
        let wanted = self.streams().wanted();
        if wanted.tty {
            let nothing = |error| RunError::Capture(CaptureError::Streams(error));
            let [stdin, stdout, stderr] = null_streams().map_err(nothing)?;
            let stdio = Stdio3 {
                stdin,
                stdout,
                stderr,
            };
            return Ok((Pipes::none(), stdio));
        }
        let (pipes, mut stdio) = Pipes::make(ids)?;
        if wanted.stdin {
            stdio.stdin = self.make_input(ids).map_err(CaptureError::Pipe)?;
        }
        Ok((pipes, stdio))
    }

    fn make_input(&self, ids: Option<IdRange>) -> Result<Stdio, rustix::io::Errno> {
        let (job, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        if let Some(IdRange { first, .. }) = ids {
            let (user, group) = (Uid::from_raw(first), Gid::from_raw(first));
            rustix::fs::fchown(&job, Some(user), Some(group))?;
        }
        self.streams().keep_input(ours)?;
        Ok(job.into())
    }

    /// The runtime has made its terminal: this is the shim's side.
    pub(crate) fn take_terminal(&self, master: OwnedFd) -> Result<(), RunError> {
        let read = self.streams().keep_terminal(master);
        let read = read.map_err(CaptureError::Pipe)?;
        let mut prepared = lock(&self.shared.prepared);
        let prepared = prepared.as_mut();
        let prepared = prepared.ok_or(RunError::OutOfOrder("a terminal before it was prepared"))?;
        Ok(prepared.capture.read_terminal(read)?)
    }

    /// The code of its job, once the end is known.
    pub(crate) async fn exit_code(&self) -> Option<u8> {
        let mut end = self.shared.end.subscribe();
        let end = end.wait_for(Option::is_some).await.ok()?.clone();
        end.flatten().map(|record| record.status.shell_code())
    }
}
