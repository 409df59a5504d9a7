//! The streams of a process that is begun for a console: pipes whose other ends the console holds.

use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;

use davit_types::IdRange;
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::null::null_stream;
use super::{IoError, failed};
use crate::consoles::Polled;
use crate::polled::polled;
use crate::runtime::Stdio3;

/// What the console keeps.
pub(crate) struct ExecStreams {
    pub(crate) input: Option<Polled>,
    pub(crate) stdout: Polled,
    pub(crate) stderr: Polled,
}

impl ExecStreams {
    /// Makes them, and the process's ends; without `stdin` it reads the end of its input. `ids` are those of the
    /// container's user namespace: its root owns the pipes, as it does the job's.
    pub(crate) fn make(stdin: bool, ids: Option<IdRange>) -> Result<(Stdio3, Self), IoError> {
        let made = |errno: Errno| failed("make", "a pipe of an exec")(errno.into());
        let pipe = || {
            let ends = pipe_with(PipeFlags::CLOEXEC)?;
            if let Some(IdRange { first, .. }) = ids {
                let (user, group) = (Uid::from_raw(first), Gid::from_raw(first));
                rustix::fs::fchown(&ends.0, Some(user), Some(group))?;
            }
            Ok(ends)
        };
        let (stdout, its_stdout) = pipe().map_err(made)?;
        let (stderr, its_stderr) = pipe().map_err(made)?;
        let (its_stdin, input) = match stdin {
            true => {
                let (its_stdin, input) = pipe().map_err(made)?;
                (Stdio::from(its_stdin), Some(ours(input)?))
            }
            false => (null_stream()?, None),
        };
        let theirs = Stdio3 {
            stdin: its_stdin,
            stdout: its_stdout.into(),
            stderr: its_stderr.into(),
        };
        let kept = Self {
            input,
            stdout: ours(stdout)?,
            stderr: ours(stderr)?,
        };
        Ok((theirs, kept))
    }
}

/// An end of the shim's, on its loop.
pub(crate) fn ours(end: OwnedFd) -> Result<Polled, IoError> {
    let wrong = || failed("watch", "a stream of an exec");
    rustix::io::ioctl_fionbio(&end, true).map_err(|errno| wrong()(errno.into()))?;
    polled(end).map(Arc::new).map_err(wrong())
}
