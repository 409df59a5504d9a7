//! Exec for a console: as containerd's, and in a cgroup of its own, its description passed on.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::{Runtime, RuntimeError, Stdio3};
use crate::reaper::Reaper;

/// How a process is to be begun.
pub(crate) struct Execution<'a> {
    /// Its description (OCI process).
    pub(crate) process: &'a Path,
    pub(crate) pid_file: &'a Path,
    /// The socket that the runtime sends the pty's master to, instead of using `stdio`.
    pub(crate) console: Option<&'a Path>,
    pub(crate) stdio: Stdio3,
    /// What the runtime, and it alone, has from descriptor 3 on.
    pub(crate) passed: Vec<OwnedFd>,
    /// Below the container's, by name; it is there.
    pub(crate) cgroup: Option<String>,
}

impl Runtime {
    /// Begins another process in running container `id`.
    pub(crate) async fn exec_with(
        &self,
        reaper: &Reaper,
        id: &str,
        execution: Execution<'_>,
    ) -> Result<(), RuntimeError> {
        let mut command = self.command("exec");
        command.pass(execution.passed)?;
        command.arg("--process").arg(execution.process);
        command.arg("--pid-file").arg(execution.pid_file);
        if let Some(console) = execution.console {
            command.arg("--tty").arg("--console-socket").arg(console);
        }
        if let Some(cgroup) = execution.cgroup {
            command.arg("--cgroup").arg(cgroup);
        }
        command.arg("--detach").arg(id);
        self.run(reaper, "exec", command, execution.stdio).await
    }
}
