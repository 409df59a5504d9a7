//! `binary://`: a program that reads the container's output itself.
//!
//! Protocol (containerd's): descriptors 3 and 4 are the read ends of stdout and stderr, 5 is a pipe the
//! program closes when it is ready (`binary-v2`: after writing a byte). The container is not created before.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::task::JoinHandle;

use super::{IoError, Outputs, Owner, failed};
use crate::polled::{polled, read};
use crate::reaper::{ProcessHandle, Reaper};
use crate::sys;

/// How long the program may take to get ready.
const READY_SECONDS_MAX: u64 = 10;

/// How long it may go on after the streams have ended, before SIGTERM and again before SIGKILL.
const END_SECONDS_MAX: u64 = 10;

/// A running log program.
pub(super) struct LogProcess {
    handle: ProcessHandle,
    ended: JoinHandle<()>,
}

impl LogProcess {
    /// Starts the program and waits until it is ready; returns the container's ends of the streams.
    pub(super) async fn spawn(
        program: &Path,
        arguments: &[String],
        must_report: bool,
        owner: &Owner,
        reaper: &Reaper,
    ) -> Result<(Self, Outputs), IoError> {
        let shown = program.display().to_string();
        let pipe = || {
            pipe_with(PipeFlags::CLOEXEC)
                .map_err(|errno| failed("make a pipe for", &shown)(errno.into()))
        };
        let (stdout_read, stdout) = pipe()?;
        let (stderr_read, stderr) = pipe()?;
        let (ready, ready_write) = pipe()?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("CONTAINER_ID", &owner.id)
            .env("CONTAINER_NAMESPACE", &owner.namespace)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        sys::pass_descriptors(&mut command, vec![stdout_read, stderr_read, ready_write])
            .map_err(failed("hand descriptors to", &shown))?;
        let spawned = command.spawn().map_err(failed("execute", &shown))?;
        drop(command);
        let child = reaper
            .adopt(spawned.id().cast_signed())
            .map_err(|error| IoError::Logger {
                path: shown.clone(),
                problem: error.to_string(),
            })?;
        let process = Self {
            handle: child.handle.clone(),
            ended: tokio::spawn(async move {
                if let Err(error) = child.wait().await {
                    log::warn!("log process: {error}");
                }
            }),
        };
        if let Err(problem) = is_ready(ready, must_report).await {
            process.signal(libc::SIGKILL);
            return Err(IoError::Logger {
                path: shown,
                problem,
            });
        }
        let outputs = Outputs {
            stdout: Some(stdout),
            stderr: Some(stderr),
        };
        Ok((process, outputs))
    }

    fn signal(&self, signal: i32) {
        if let Err(error) = self.handle.signal(signal) {
            log::debug!("log process: {error}");
        }
    }

    /// Lets the program come to its end, then makes it.
    pub(super) async fn finish(mut self) {
        for signal in [libc::SIGTERM, libc::SIGKILL] {
            let bound = Duration::from_secs(END_SECONDS_MAX);
            if tokio::time::timeout(bound, &mut self.ended).await.is_ok() {
                return;
            }
            self.signal(signal);
        }
    }
}

async fn is_ready(pipe: OwnedFd, must_report: bool) -> Result<(), String> {
    let wait = async {
        rustix::io::ioctl_fionbio(&pipe, true)?;
        read(&polled(pipe)?, &mut [0]).await
    };
    let bound = Duration::from_secs(READY_SECONDS_MAX);
    let result: Result<io::Result<usize>, _> = tokio::time::timeout(bound, wait).await;
    match result {
        Ok(Ok(0)) if must_report => Err("it ended without reporting ready".to_owned()),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_elapsed) => Err(format!("nothing heard within {READY_SECONDS_MAX} s")),
    }
}
