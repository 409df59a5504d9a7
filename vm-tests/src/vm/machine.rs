//! One VM of `scripts/vm`, ended when dropped.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::wait::wait_for;

/// Longest a suite's tests may take in all.
const TESTS_SECONDS_MAX: u64 = 3_600;

/// What a listener wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// To hear on.
    Go,
    /// No more.
    Enough,
}

/// A running VM.
pub(super) struct Machine {
    script: PathBuf,
    suite: &'static str,
    name: String,
}

impl Machine {
    /// Builds what is missing (minutes, once) and starts it (seconds).
    pub(super) fn up(repository: &Path, suite: &'static str) -> anyhow::Result<Self> {
        // `.pid` marks machines that go with a process: see scripts/lib/machine.sh.
        let name = format!("tests.pid{}", process::id());
        let machine = Self {
            script: repository.join("scripts/vm"),
            suite,
            name,
        };
        machine.call("up", [""; 0]).map(|_| machine)
    }

    /// Copies files into a directory of the guest.
    pub(super) fn push(&self, files: &[PathBuf], directory: &str) -> anyhow::Result<()> {
        let files = files.iter().map(|path| path.as_os_str());
        self.call("push", files.chain([OsStr::new(directory)]))
            .map(drop)
    }

    /// Copies a file or directory of the guest into a local directory.
    pub(super) fn pull(&self, remote: &str, directory: &Path) -> anyhow::Result<()> {
        self.call("pull", [OsStr::new(remote), directory.as_os_str()])
            .map(drop)
    }

    /// Runs a command in the guest and returns what it printed.
    pub(super) fn exec(&self, command: &[&str]) -> anyhow::Result<Vec<u8>> {
        self.call("exec", ["--"].iter().chain(command))
    }

    /// Runs a program in the guest, its output going straight to ours. Its exit code is not judged:
    /// the results it leaves are.
    pub(super) fn exec_live(&self, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = self.command("exec");
        let mut child = command
            .args(["--", program])
            .args(arguments)
            .spawn()
            .context("cannot start scripts/vm")?;
        let limit = Duration::from_secs(TESTS_SECONDS_MAX);
        let ended = wait_for("the end of the guest's tests", limit, || {
            child
                .try_wait()
                .context("cannot wait for scripts/vm")?
                .context("still running")
        });
        if ended.is_err() {
            child.kill().context("cannot end scripts/vm")?;
            child.wait().context("cannot reap scripts/vm")?;
        }
        ended.map(drop)
    }

    /// Runs a program in the guest and hands each line it prints to `hear`, until it ends or that says
    /// enough. Its exit code is not judged.
    pub(super) fn listen(
        &self,
        command: &[&str],
        limit: Duration,
        mut hear: impl FnMut(&str) -> anyhow::Result<Heard>,
    ) -> anyhow::Result<()> {
        let mut child = self
            .command("exec")
            .arg("--")
            .args(command)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start scripts/vm")?;
        let stdout = child.stdout.take().context("no stdout")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let all = BufReader::new(stdout).lines().map_while(Result::ok);
            // The receiver may have heard enough.
            all.map(|line| sender.send(line))
                .take_while(Result::is_ok)
                .for_each(drop);
        });
        let deadline = Instant::now() + limit;
        let heard = loop {
            let line = lines.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            match line.map(|line| hear(&line)) {
                Ok(Ok(Heard::Go)) => {}
                Ok(Ok(Heard::Enough)) | Err(mpsc::RecvTimeoutError::Disconnected) => break Ok(()),
                Ok(Err(error)) => break Err(error),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    break Err(anyhow::anyhow!("it took longer than {} s", limit.as_secs()));
                }
            }
        };
        // Fails only when it has ended.
        child.kill().unwrap_or_default();
        child.wait().context("cannot reap scripts/vm")?;
        heard
    }

    /// Lets the guest's CPUs go before all else on this machine, or no longer.
    pub(super) fn set_realtime(&self, realtime: bool) -> anyhow::Result<()> {
        let priority = if realtime { "realtime" } else { "normal" };
        self.call("priority", [priority]).map(drop)
    }

    /// A power cut: kill -9 of QEMU.
    pub(super) fn cut(&self) -> anyhow::Result<()> {
        self.call("cut", [""; 0]).map(drop)
    }

    /// Boots from the disk as the cut left it.
    pub(super) fn boot_again(&self) -> anyhow::Result<()> {
        self.call("up", ["--keep"]).map(drop)
    }

    fn call<A: AsRef<OsStr>>(
        &self,
        action: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<Vec<u8>> {
        let output = self
            .command(action)
            .args(arguments)
            .stderr(Stdio::inherit())
            .output()
            .context("cannot start scripts/vm")?;
        let suite = self.suite;
        ensure!(
            output.status.success(),
            "scripts/vm {action} {suite} ended with {}",
            output.status
        );
        Ok(output.stdout)
    }

    fn command(&self, action: &str) -> Command {
        let mut command = Command::new(&self.script);
        command
            .args([action, self.suite])
            .env("DAVIT_VM", &self.name)
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Err(error) = self.call("down", [""; 0]) {
            println!("{error:#}");
        }
    }
}
