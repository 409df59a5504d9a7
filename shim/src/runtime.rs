//! The OCI runtime's command line (crun, runc, runsc): one method a command.
//!
//! ```text
//!  <binary> --root <root> --log <bundle>/log.json --log-format json [--systemd-cgroup] <command> …
//! ```
//!
//! Runs with the bundle as working directory, dies with the shim, and is bounded in time. What went wrong is
//! told in the runtime's own words: its last `error` line in log.json, else its stderr.
//!
//! Of davit's own containers under crun, start and delete are not commands: [`crun`] does them.
//!
//! Absent on purpose: `kill`, `pause`, `resume`, `ps`, `events`. The shim holds the process (pidfd) and the cgroup
//! itself; only a runtime whose processes are no host processes (runsc) is asked to deliver signals.

mod binary;
mod crun;
mod exec;
mod supervise;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use davit_types::ExitStatus;

use self::binary::Invocation;
pub(crate) use self::binary::find_binary;
pub(crate) use self::exec::Execution;
use self::supervise::{COMMAND_SECONDS_MAX, supervise};
use crate::io::{IoError, null_streams};
use crate::oci_log::{last_error, read_from};
use crate::reaper::{ChildError, Reaper};

/// A failed runtime command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RuntimeError {
    #[error("no OCI runtime found in PATH (looked for {0})")]
    NotFound(String),
    #[error("cannot execute OCI runtime {}", binary.display())]
    Execute {
        binary: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot watch OCI runtime command {command}")]
    Watch {
        command: String,
        #[source]
        source: ChildError,
    },
    #[error("OCI runtime {command} failed: {message}")]
    Failed { command: String, message: String },
    #[error("cannot {operation} {}", path.display())]
    State {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("OCI runtime {command} took longer than {COMMAND_SECONDS_MAX} s and was killed")]
    TimedOut { command: String },
}

impl RuntimeError {
    /// Whether the runtime says that it knows no such container (any more).
    pub(crate) fn says_unknown_container(&self) -> bool {
        matches!(self, Self::Failed { message, .. }
            if message.contains("does not exist") || message.contains("No such file or directory"))
    }
}

/// Standard streams of a runtime command; `create` and `exec` hand them to the container.
#[derive(Debug)]
pub(crate) struct Stdio3 {
    pub(crate) stdin: Stdio,
    pub(crate) stdout: Stdio,
    pub(crate) stderr: Stdio,
}

impl Stdio3 {
    /// For a container that has a terminal, or nothing.
    pub(crate) fn of_container() -> Result<Self, IoError> {
        let [stdin, stdout, stderr] = null_streams()?;
        Ok(Self {
            stdin,
            stdout,
            stderr,
        })
    }

    /// For a command that makes no container.
    pub(crate) fn null() -> Self {
        Self {
            stdin: Stdio::null(),
            stdout: Stdio::null(),
            stderr: Stdio::null(),
        }
    }
}

/// How a container is to be created.
#[derive(Debug)]
pub(crate) struct Creation<'a> {
    /// Where the runtime writes the pid of its init.
    pub(crate) pid_file: &'a Path,
    /// The socket it sends the pty's master to, instead of using `stdio`.
    pub(crate) console: Option<&'a Path>,
    pub(crate) stdio: Stdio3,
    /// What the init has from descriptor 3 on.
    pub(crate) passed: Vec<OwnedFd>,
    pub(crate) no_pivot: bool,
    pub(crate) no_new_keyring: bool,
}

/// One runtime with one state directory, for one container.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    binary: PathBuf,
    root: PathBuf,
    systemd_cgroup: bool,
    bundle: PathBuf,
    sandbox_network: Option<&'static str>,
}

impl Runtime {
    /// `binary` as found by [`find_binary`]; `root` is the state directory, namespace included.
    pub(crate) fn new(binary: PathBuf, root: PathBuf, systemd_cgroup: bool, bundle: &Path) -> Self {
        Self {
            binary,
            root,
            systemd_cgroup,
            bundle: bundle.to_owned(),
            sandbox_network: None,
        }
    }

    /// The same, and what a sandboxing runtime is told of the network.
    pub(crate) fn with_sandbox_network(mut self, network: Option<&'static str>) -> Self {
        self.sandbox_network = network;
        self
    }

    /// The binary in use.
    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    /// Whether the container's processes are invisible to the host's kernel, so that signals and process
    /// lists must go through the runtime.
    pub(crate) fn is_sandboxed(&self) -> bool {
        self.binary.file_name() == Some(OsStr::new("runsc"))
    }

    /// Whether it is crun, whose state directory the shim knows.
    pub(crate) fn is_crun(&self) -> bool {
        self.binary.file_name() == Some(OsStr::new("crun"))
    }

    /// Creates container `id`.
    pub(crate) async fn create(
        &self,
        reaper: &Reaper,
        id: &str,
        creation: Creation<'_>,
    ) -> Result<(), RuntimeError> {
        let mut command = self.command("create");
        if !creation.passed.is_empty() {
            command.arg(format!("--preserve-fds={}", creation.passed.len()));
            command.pass(creation.passed)?;
        }
        command.arg("--bundle").arg(&self.bundle);
        command.arg("--pid-file").arg(creation.pid_file);
        if let Some(console) = creation.console {
            command.arg("--console-socket").arg(console);
        }
        if creation.no_pivot {
            command.arg("--no-pivot");
        }
        if creation.no_new_keyring {
            command.arg("--no-new-keyring");
        }
        command.arg(id);
        self.run(reaper, "create", command, creation.stdio).await
    }

    /// Lets a created container go.
    pub(crate) async fn start(&self, reaper: &Reaper, id: &str) -> Result<(), RuntimeError> {
        let mut command = self.command("start");
        command.arg(id);
        self.run(reaper, "start", command, Stdio3::null()).await
    }

    /// Starts another process (described by file `process`) in a running container.
    pub(crate) async fn exec(
        &self,
        reaper: &Reaper,
        id: &str,
        process: &Path,
        pid_file: &Path,
        console: Option<&Path>,
        stdio: Stdio3,
    ) -> Result<(), RuntimeError> {
        let mut command = self.command("exec");
        command.arg("--process").arg(process);
        command.arg("--pid-file").arg(pid_file);
        if let Some(console) = console {
            command.arg("--tty").arg("--console-socket").arg(console);
        }
        command.arg("--detach").arg(id);
        self.run(reaper, "exec", command, stdio).await
    }

    /// Removes what the runtime keeps of a container.
    pub(crate) async fn delete(
        &self,
        reaper: &Reaper,
        id: &str,
        force: bool,
    ) -> Result<(), RuntimeError> {
        let mut command = self.command("delete");
        if force {
            command.arg("--force");
        }
        command.arg(id);
        self.run(reaper, "delete", command, Stdio3::null()).await
    }

    /// Changes limits to those in file `resources` (JSON of the OCI type).
    pub(crate) async fn update(
        &self,
        reaper: &Reaper,
        id: &str,
        resources: &Path,
    ) -> Result<(), RuntimeError> {
        let mut command = self.command("update");
        command.arg("--resources").arg(resources).arg(id);
        self.run(reaper, "update", command, Stdio3::null()).await
    }

    /// Has the runtime deliver a signal: only for sandboxed ones.
    pub(crate) async fn kill(
        &self,
        reaper: &Reaper,
        id: &str,
        signal: i32,
        all: bool,
    ) -> Result<(), RuntimeError> {
        let mut command = self.command("kill");
        if all {
            command.arg("--all");
        }
        command.arg(id).arg(signal.to_string());
        self.run(reaper, "kill", command, Stdio3::null()).await
    }

    /// Any other command with its arguments, `id` last; for checkpoint and restore.
    pub(crate) async fn other(
        &self,
        reaper: &Reaper,
        name: &str,
        arguments: &[String],
        id: &str,
        stdio: Stdio3,
    ) -> Result<(), RuntimeError> {
        let mut command = self.command(name);
        for argument in arguments {
            command.arg(argument);
        }
        command.arg(id);
        self.run(reaper, name, command, stdio).await
    }

    fn log_path(&self) -> PathBuf {
        self.bundle.join("log.json")
    }

    fn command(&self, name: &str) -> Invocation {
        let mut invocation = if self.is_crun() {
            Invocation::read_only(&self.binary)
        } else {
            Invocation::by_path(&self.binary)
        };
        let command = &mut invocation.command;
        // systemd's, inherited through containerd: crun would hold the start until the job reports itself
        // ready, and pass on sockets that are not the job's.
        for variable in [
            "NOTIFY_SOCKET",
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
        ] {
            command.env_remove(variable);
        }
        command.arg("--root").arg(&self.root);
        command.arg("--log").arg(self.log_path());
        command.args(["--log-format", "json"]);
        if self.systemd_cgroup {
            command.arg("--systemd-cgroup");
        }
        if let Some(network) = self.sandbox_network.filter(|_| self.is_sandboxed()) {
            command.arg(format!("--network={network}"));
        }
        if self.is_sandboxed() {
            // Without it, the job may call all that gVisor knows.
            command.arg("--oci-seccomp");
        }
        command.arg(name).current_dir(&self.bundle);
        invocation
    }

    async fn run(
        &self,
        reaper: &Reaper,
        name: &str,
        mut invocation: Invocation,
        stdio: Stdio3,
    ) -> Result<(), RuntimeError> {
        let log = self.log_path();
        let log_before = fs::metadata(&log).map_or(0, |data| data.len());
        invocation
            .command
            .stdin(stdio.stdin)
            .stdout(stdio.stdout)
            .stderr(stdio.stderr);
        let exit = supervise(reaper, name, invocation).await?;
        if exit.status == ExitStatus::Code(0) {
            return Ok(());
        }
        let said = read_from(&log, log_before).unwrap_or_default();
        Err(RuntimeError::Failed {
            command: name.to_owned(),
            message: last_error(&said).unwrap_or_else(|| match exit.status {
                ExitStatus::Code(code) => format!("exit status {code} without a message"),
                ExitStatus::Signal(signal) => format!("killed by signal {signal}"),
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crun_alone_is_executed_from_a_mount() {
        let dir = tempfile::tempdir().unwrap();
        let program = |name: &str| {
            let binary = dir.path().join(name);
            fs::copy("/bin/true", &binary).unwrap();
            let runtime = Runtime::new(binary.clone(), "/x".into(), false, dir.path());
            let command = runtime.command("create").command;
            (PathBuf::from(command.get_program()), binary)
        };
        let (executed, binary) = program("runc");
        assert_eq!(executed, binary);
        let (executed, binary) = program("crun");
        if rustix::process::geteuid().is_root() {
            assert!(executed.starts_with("/proc/self/fd"), "{executed:?}");
        } else {
            assert_eq!(executed, binary, "root alone makes mounts");
        }
    }
}
