//! One `davit executor serve` process: started, stopped, killed.
//!
//! Invariant: an executor that is dropped is killed and reaped; its runs go on, as they should.

use std::fs::{self, File, OpenOptions};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::command::ended;
use super::settings::{ExecutorSettings, socket_in};
use crate::wait::wait_for;

const READY_SECONDS_MAX: u64 = 60;
const STOP_SECONDS_MAX: u64 = 30;
const LOG_TAIL_BYTES: usize = 8 * 1024;

/// A running executor.
pub(crate) struct Executor {
    process: Child,
    log: PathBuf,
}

impl Executor {
    /// Writes the settings, starts the executor, waits until its socket answers.
    pub(super) fn start(
        davit: &Path,
        directory: &Path,
        settings: &ExecutorSettings,
    ) -> anyhow::Result<Self> {
        let file = directory.join("executor.toml");
        fs::write(&file, settings.to_toml())
            .with_context(|| format!("cannot write {}", file.display()))?;
        let log = log_in(directory);
        let log_file = append_to(&log)?;
        let process = Command::new(davit)
            .args(["executor", "serve", "--config"])
            .arg(&file)
            .envs(settings.environment())
            .stdin(Stdio::null())
            .stdout(log_file.try_clone().context("cannot share the log")?)
            .stderr(log_file)
            .spawn()
            .with_context(|| format!("cannot start {}", davit.display()))?;
        let mut executor = Self { process, log };
        executor.wait_until_ready(&socket_in(directory))?;
        Ok(executor)
    }

    fn wait_until_ready(&mut self, socket: &Path) -> anyhow::Result<()> {
        let limit = Duration::from_secs(READY_SECONDS_MAX);
        let exited = wait_for("the executor's socket answers", limit, || {
            if let Ok(status) = ended(&mut self.process) {
                return Ok(Some(status));
            }
            UnixStream::connect(socket)
                .with_context(|| format!("cannot connect to {}", socket.display()))
                .map(|_| None)
        })
        .with_context(|| self.log_tail())?;
        match exited {
            None => Ok(()),
            Some(status) => bail!("the executor ended with {status}:\n{}", self.log_tail()),
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it logged last.
    pub(crate) fn log_tail(&self) -> String {
        super::files::tail(&self.log, LOG_TAIL_BYTES)
    }

    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(Pid::from_raw)
            .context("no pid")?;
        kill_process(pid, Signal::TERM).context("cannot send SIGTERM to the executor")?;
        let limit = Duration::from_secs(STOP_SECONDS_MAX);
        let status = wait_for("the executor ends on SIGTERM", limit, || {
            ended(&mut self.process)
        })?;
        if !status.success() {
            bail!(
                "the executor ended on SIGTERM with {status}:\n{}",
                self.log_tail()
            );
        }
        Ok(())
    }

    pub(super) fn kill(mut self) -> anyhow::Result<()> {
        self.process.kill().context("cannot kill the executor")?;
        self.process.wait().context("cannot reap the executor")?;
        Ok(())
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // Both fail only when it is gone and reaped already.
        self.process.kill().unwrap_or_default();
        self.process.wait().map(drop).unwrap_or_default();
    }
}

/// Path of the log of a test's executors, one after the other.
pub(super) fn log_in(directory: &Path) -> PathBuf {
    directory.join("executor.log")
}

fn append_to(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))
}
