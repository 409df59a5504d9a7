//! containerd on the host under test: asked through `ctr`, killed and started again.
//!
//! Two kinds: systemd's service (VM), or a process started by hand, named by a pid file
//! (`DAVIT_TEST_CONTAINERD_PID_FILE`, as in scripts/native).

use std::env;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use super::command::{CommandOutput, run_command};
use super::{NAMESPACE, files};
use crate::wait::wait_for;

const CTR_SECONDS_MAX: u64 = 120;
const READY_SECONDS_MAX: u64 = 90;
const SYSTEMCTL_SECONDS_MAX: u64 = 120;
const END_SECONDS_MAX: u64 = 30;
const SOCKET: &str = "/run/containerd/containerd.sock";
const PID_FILE: &str = "/run/containerd.pid";

/// containerd and how it is controlled here.
pub(crate) struct Containerd {
    socket: PathBuf,
    keeper: Keeper,
}

enum Keeper {
    Systemd,
    Process {
        pid_file: PathBuf,
        config: Option<PathBuf>,
        log: PathBuf,
    },
}

impl Containerd {
    /// The one whose socket `DAVIT_TEST_CONTAINERD_SOCKET` names, or the host's own.
    pub(super) fn of_this_host() -> anyhow::Result<Self> {
        let path = |name: &str| env::var_os(name).map(PathBuf::from);
        let socket = path("DAVIT_TEST_CONTAINERD_SOCKET").unwrap_or_else(|| SOCKET.into());
        let pid_file = path("DAVIT_TEST_CONTAINERD_PID_FILE").unwrap_or_else(|| PID_FILE.into());
        let keeper = if pid_file.exists() {
            let config = path("DAVIT_TEST_CONTAINERD_CONFIG");
            let log = pid_file.with_extension("log");
            Keeper::Process {
                pid_file,
                config,
                log,
            }
        } else {
            Keeper::Systemd
        };
        Ok(Self { socket, keeper })
    }

    /// Its gRPC socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// `ctr ARGUMENTS…` in the tests' namespace.
    pub(crate) fn ctr<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<CommandOutput> {
        let mut command = Command::new("ctr");
        command
            .arg("--address")
            .arg(&self.socket)
            .args(["--namespace", NAMESPACE])
            .args(arguments);
        run_command(&mut command, Duration::from_secs(CTR_SECONDS_MAX))
    }

    /// Waits until it answers.
    pub(crate) fn wait_until_ready(&self) -> anyhow::Result<()> {
        let limit = Duration::from_secs(READY_SECONDS_MAX);
        wait_for("containerd answers", limit, || {
            self.ctr(["version"])?.success().map(drop)
        })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        let text = match &self.keeper {
            Keeper::Process { pid_file, .. } => files::read(pid_file)?,
            Keeper::Systemd => {
                systemctl(&["show", "--property", "MainPID", "--value", "containerd"])?.text()
            }
        };
        text.trim()
            .parse()
            .with_context(|| format!("containerd's pid is {text:?}"))
    }

    /// kill -9; it stays down until [`Containerd::start`].
    pub(crate) fn kill(&self) -> anyhow::Result<()> {
        self.end("KILL")
    }

    /// SIGTERM, as an upgrade does; it stays down until [`Containerd::start`].
    pub(crate) fn stop(&self) -> anyhow::Result<()> {
        self.end("TERM")
    }

    fn end(&self, signal: &str) -> anyhow::Result<()> {
        let pid = self.pid()?;
        let mut kill = Command::new("kill");
        kill.args(["-s", signal, &pid.to_string()]);
        run_command(&mut kill, Duration::from_secs(END_SECONDS_MAX))?.success()?;
        wait_for(
            "containerd ends",
            Duration::from_secs(END_SECONDS_MAX),
            || {
                if is_alive(pid) {
                    Err(format!("process {pid} lives"))
                } else {
                    Ok(())
                }
            },
        )?;
        // systemd would start it again: this cancels that, and kills nothing else (KillMode=process).
        if matches!(self.keeper, Keeper::Systemd) {
            systemctl(&["stop", "containerd"])?;
        }
        Ok(())
    }

    /// Starts it again and waits until it answers.
    pub(crate) fn start(&self) -> anyhow::Result<()> {
        match &self.keeper {
            Keeper::Systemd => {
                // Tests restart it more often than systemd's start limit likes.
                systemctl(&["reset-failed", "containerd"])?;
                systemctl(&["start", "containerd"])?;
            }
            Keeper::Process {
                pid_file,
                config,
                log,
            } => {
                let log = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(log)
                    .with_context(|| format!("cannot open {}", log.display()))?;
                // `sh` goes away at once: containerd must not be a child of the test, which ends.
                let config = config.as_deref().map_or(String::new(), |path| {
                    format!("--config '{}'", path.display())
                });
                let line = format!("containerd {config} & echo $! >'{}'", pid_file.display());
                let status = Command::new("setsid")
                    .args(["sh", "-c", &line])
                    .stdin(Stdio::null())
                    .stdout(log.try_clone().context("cannot share containerd's log")?)
                    .stderr(log)
                    .status()
                    .context("cannot start containerd")?;
                anyhow::ensure!(status.success(), "`{line}` ended with {status}");
            }
        }
        self.wait_until_ready()
    }
}

fn systemctl(arguments: &[&str]) -> anyhow::Result<CommandOutput> {
    let mut command = Command::new("systemctl");
    run_command(
        command.args(arguments),
        Duration::from_secs(SYSTEMCTL_SECONDS_MAX),
    )?
    .success()
}

/// Does the process exist and is it not a zombie?
fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        // The name may hold anything but ends at the last parenthesis.
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| !rest.trim_start().starts_with('Z'))
    })
}
