//! The OCI runtime's command line (crun, runc, runsc): one method a command.
//!
//! ```text
//!  <binary> --root <root> --log <bundle>/log.json --log-format json [--systemd-cgroup] <command> …
//! ```
//!
//! Runs with the bundle as working directory, dies with the shim, and is bounded in time. What went wrong is
//! told in the runtime's own words: its last `error` line in log.json, else its stderr.
//!
//! Of davit's own containers under crun, start and delete are not commands: the gate is opened and the state
//! directory removed from here ([`Runtime::open_gate`], [`Runtime::forget`]). A process less to execute each, and
//! nothing is left out: such a container has no hooks, and its cgroup is the shim's.
//!
//! Absent on purpose: `kill`, `pause`, `resume`, `ps`, `events`. The shim holds the process (pidfd) and the cgroup
//! itself; only a runtime whose processes are no host processes (runsc) is asked to deliver signals.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use davit_types::ExitStatus;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use crate::oci_log::{last_error, read_from};
use crate::reaper::{ChildError, Exit, Reaper};
use crate::sys;

/// Longest a single runtime command may take. Hooks and cold disks are slow; for ever is not an answer.
const COMMAND_SECONDS_MAX: u64 = 600;

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

/// Names looked for when the client asks for no runtime. runc first: it is what containerd's clients mean by
/// silence, and what their tools look into. Runs of davit name theirs.
const DEFAULT_BINARIES: [&str; 2] = ["runc", "crun"];

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
            sys::pass_descriptors(&mut command, creation.passed).map_err(|source| {
                RuntimeError::Execute {
                    binary: self.binary.clone(),
                    source,
                }
            })?;
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

    /// Lets a created container of crun's go as `crun start` does: its init waits at a FIFO. False if there is
    /// none, so that the command may say why.
    pub(crate) fn open_gate(&self, id: &str) -> Result<bool, RuntimeError> {
        let path = self.state_dir(id)?.join("exec.fifo");
        let failed = |operation| {
            let path = path.clone();
            move |errno: Errno| RuntimeError::State {
                operation,
                path,
                source: errno.into(),
            }
        };
        // Without a reader (ENXIO) the init is gone, and nobody waits.
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let gate = match open(&path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(false),
            gate => gate.map_err(failed("open"))?,
        };
        rustix::io::write(&gate, &[0]).map_err(failed("write"))?;
        // To crun a container is a created one as long as there is a gate.
        rustix::fs::unlink(&path).map_err(failed("remove"))?;
        Ok(true)
    }

    /// Removes what crun keeps of container `id`, which has no process any more. Fine if that is gone.
    pub(crate) fn forget(&self, id: &str) -> Result<(), RuntimeError> {
        let path = self.state_dir(id)?;
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(RuntimeError::State {
                operation: "remove",
                path,
                source,
            }),
            _ => Ok(()),
        }
    }

    /// Where crun keeps what it knows of a container.
    fn state_dir(&self, id: &str) -> Result<PathBuf, RuntimeError> {
        // Never above or beside: what is below is removed.
        if matches!(id, "" | "." | "..") || id.contains('/') {
            return Err(RuntimeError::State {
                operation: "find the state of a container below",
                path: self.root.clone(),
                source: io::Error::new(io::ErrorKind::InvalidInput, format!("id `{id}`")),
            });
        }
        Ok(self.root.join(id))
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
        command.args(arguments).arg(id);
        self.run(reaper, name, command, stdio).await
    }

    fn log_path(&self) -> PathBuf {
        self.bundle.join("log.json")
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.binary);
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
        command.arg(name).current_dir(&self.bundle);
        command
    }

    async fn run(
        &self,
        reaper: &Reaper,
        name: &str,
        mut command: Command,
        stdio: Stdio3,
    ) -> Result<(), RuntimeError> {
        let log = self.log_path();
        let log_before = fs::metadata(&log).map_or(0, |data| data.len());
        command
            .stdin(stdio.stdin)
            .stdout(stdio.stdout)
            .stderr(stdio.stderr);
        let exit = supervise(reaper, name, command, &self.binary).await?;
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

/// Spawns a command, waits for its end within the bound, reaps it.
async fn supervise(
    reaper: &Reaper,
    name: &str,
    mut command: Command,
    binary: &Path,
) -> Result<Exit, RuntimeError> {
    sys::die_with_parent(&mut command);
    // What the command leaves behind (a container's init, say) must not be taken for a stranger.
    let birth = reaper.expect_birth();
    let spawned = command.spawn().map_err(|source| RuntimeError::Execute {
        binary: binary.to_owned(),
        source,
    })?;
    // Our copies of the container's streams go with it: only the container holds them now.
    drop(command);
    let watch = |source| RuntimeError::Watch {
        command: name.to_owned(),
        source,
    };
    let child = reaper.adopt(spawned.id().cast_signed()).map_err(watch)?;
    let handle = child.handle.clone();
    let waiting = child.wait();
    tokio::pin!(waiting);
    let bound = Duration::from_secs(COMMAND_SECONDS_MAX);
    let result = match tokio::time::timeout(bound, &mut waiting).await {
        Ok(exit) => exit.map_err(watch),
        Err(_elapsed) => {
            if let Err(error) = handle.signal(libc::SIGKILL) {
                log::warn!("cannot kill OCI runtime {name}: {error}");
            }
            waiting.await.map_err(watch)?;
            Err(RuntimeError::TimedOut {
                command: name.to_owned(),
            })
        }
    };
    drop(birth);
    result
}

/// Resolves the runtime to use: a path as it is, a name through PATH, nothing through the defaults.
pub(crate) fn find_binary(wanted: &str) -> Result<PathBuf, RuntimeError> {
    if wanted.contains('/') {
        return Ok(PathBuf::from(wanted));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates: &[&str] = if wanted.is_empty() {
        &DEFAULT_BINARIES
    } else {
        &[wanted]
    };
    candidates
        .iter()
        .find_map(|name| in_path(&path, name))
        .ok_or_else(|| RuntimeError::NotFound(candidates.join(", ")))
}

fn in_path(path: &OsStr, name: &str) -> Option<PathBuf> {
    std::env::split_paths(path)
        .map(|dir| dir.join(name))
        .find(|file| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_opened_once_and_only_for_somebody_who_waits() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::new("/x/crun".into(), dir.path().into(), false, dir.path());
        assert!(!runtime.open_gate("a").unwrap(), "there is none");
        let gate = dir.path().join("a/exec.fifo");
        fs::create_dir(gate.parent().unwrap()).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &gate,
            rustix::fs::FileType::Fifo,
            Mode::RWXU,
            0,
        )
        .unwrap();
        let nobody = runtime.open_gate("a").unwrap_err();
        assert!(crate::error::chain(&nobody).contains("No such device"));
        let reader = open(&gate, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
        assert!(runtime.open_gate("a").unwrap());
        let mut byte = [1];
        assert_eq!(rustix::io::read(&reader, &mut byte), Ok(1));
        assert!(!gate.exists());
    }

    #[test]
    fn state_is_forgotten_and_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        let runtime = Runtime::new("/x/crun".into(), root.clone(), false, dir.path());
        runtime.forget("a").unwrap();
        runtime.forget("a").unwrap();
        assert!(!root.join("a").exists());
        for id in ["", ".", "..", "../root"] {
            assert!(runtime.forget(id).is_err(), "{id}");
        }
        assert!(root.exists());
    }

    #[test]
    fn binaries_are_found_by_path_name_or_default() {
        assert_eq!(find_binary("/x/crun").unwrap(), Path::new("/x/crun"));
        assert!(find_binary("sh").unwrap().ends_with("sh"));
        assert!(matches!(
            find_binary("no-such-runtime"),
            Err(RuntimeError::NotFound(name)) if name == "no-such-runtime"
        ));
    }
}
