//! A process begun for a console: the runtime's exec, in a cgroup of its own below the run's.
//!
//! ```text
//!  config.json + late variables + what is wanted ─► memfd ─► crun exec --process /proc/self/fd/3 --cgroup exec-N
//! ```
//!
//! The process's description never is on a file system: it holds the job's variables, and of these some are secrets.

use std::io::{Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use davit_rundir::{ConsoleExec, ControlError, ControlErrorCode};
use rustix::fs::{MemfdFlags, memfd_create};
use serde_json::Value;
use zeroize::Zeroizing;

use super::Shim;
use crate::bundle;
use crate::cgroup::ContainerCgroup;
use crate::consoles::{Beginner, Begun, Outputs, Over, Polled, process, refusal, resize};
use crate::container::Container;
use crate::error::{TaskError, chain};
use crate::files::remove_if_there;
use crate::io::{ConsoleSocket, ExecStreams, ours};
use crate::reaper::Child;
use crate::run::{Hands, Run};
use crate::runtime::{Execution, RuntimeError, Stdio3};

/// Where the runtime finds the process's description: the first descriptor that it is given.
const PROCESS_FILE: &str = "/proc/self/fd/3";

/// Names of what execs make; never used twice.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl Shim {
    /// What the container's run needs of it.
    pub(super) fn hands(&self, container: &Arc<Container>) -> Hands {
        Hands {
            signaller: self.signaller(container),
            starter: self.starter(container),
            beginner: self.beginner(container),
        }
    }

    /// Where the runtime is to send the terminal of a run that has one.
    pub(super) fn run_console(
        &self,
        container: &Container,
    ) -> Result<Option<ConsoleSocket>, TaskError> {
        let has_one = container.run().is_some_and(Run::has_terminal);
        let bound = has_one.then(|| ConsoleSocket::bind(self.socket_dir()));
        Ok(bound.transpose()?)
    }

    /// What begins a process for a console of the container's run.
    fn beginner(&self, container: &Arc<Container>) -> Beginner {
        let (shim, container) = (Arc::downgrade(&self.0), Arc::downgrade(container));
        Box::new(move |wanted| {
            let held = shim.upgrade().map(Shim).zip(container.upgrade());
            Box::pin(async move {
                let Some((shim, container)) = held else {
                    let why = "the container is deleted";
                    return Err(refusal(ControlErrorCode::NotRunning, why));
                };
                let begun = shim.begin_beside(&container, &wanted).await;
                shim.0.idle.touch();
                begun
            })
        })
    }

    async fn begin_beside(
        &self,
        container: &Arc<Container>,
        wanted: &ConsoleExec,
    ) -> Result<Begun, ControlError> {
        if container.runtime.is_sandboxed() {
            let why = "its processes are in a kernel of their own (runtime runsc): \
                       davit begins none beside the job there";
            return Err(refusal(ControlErrorCode::Unsupported, why));
        }
        let failed = |error: &TaskError| refusal(ControlErrorCode::Failed, &chain(error));
        container.exec_begins().map_err(|error| ControlError {
            code: ControlErrorCode::NotRunning,
            ..failed(&error)
        })?;
        let held = container.clone();
        let over = Over::new(move || held.exec_over());
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let cgroup = own_cgroup(container, number).map_err(|error| failed(&error))?;
        match self.execute(container, wanted, number).await {
            Ok((child, streams)) => Ok(Begun {
                child,
                input: streams.input,
                outputs: streams.outputs,
                terminal: streams.terminal,
                cgroup,
                over,
            }),
            Err(error) => {
                // Nobody holds what may be in it.
                if let Err(error) = cgroup.kill() {
                    log::warn!("{}", chain(&error));
                }
                tokio::spawn(async move { cgroup.remove().await });
                Err(refused_by_runtime(&error))
            }
        }
    }

    async fn execute(
        &self,
        container: &Arc<Container>,
        wanted: &ConsoleExec,
        number: u64,
    ) -> Result<(Child, Held), TaskError> {
        let reaper = &self.0.reaper;
        let late = container
            .run()
            .map(|run| run.late_env())
            .unwrap_or_default();
        let description = described(&container.bundle, &late, wanted)?;
        let files = PidFile(container.bundle.join(format!("exec-{number}.pid")));
        if wanted.tty {
            return self
                .execute_with_terminal(container, wanted, (description, files, number))
                .await;
        }
        let (stdio, streams) = ExecStreams::make(wanted.stdin, container.ids)?;
        // From here to the pidfd an early death must wait for us as a zombie.
        let _birth = reaper.expect_birth();
        let execution = Execution {
            process: Path::new(PROCESS_FILE),
            pid_file: &files.0,
            console: None,
            stdio,
            passed: vec![description],
            cgroup: Some(cgroup_name(number)),
        };
        let (runtime, id) = (&container.runtime, &container.id);
        runtime.exec_with(reaper, id, execution).await?;
        let child = reaper.adopt(bundle::read_pid(&files.0)?)?;
        let held = Held {
            input: streams.input,
            outputs: Outputs {
                stdout: Some(streams.stdout),
                stderr: Some(streams.stderr),
            },
            terminal: None,
        };
        Ok((child, held))
    }
}

impl Shim {
    async fn execute_with_terminal(
        &self,
        container: &Arc<Container>,
        wanted: &ConsoleExec,
        (description, pid_file, number): (OwnedFd, PidFile, u64),
    ) -> Result<(Child, Held), TaskError> {
        let reaper = &self.0.reaper;
        let socket = ConsoleSocket::bind(self.socket_dir())?;
        // From here to the pidfd an early death must wait for us as a zombie.
        let _birth = reaper.expect_birth();
        let execution = Execution {
            process: Path::new(PROCESS_FILE),
            pid_file: &pid_file.0,
            console: Some(socket.path()),
            stdio: Stdio3::of_container()?,
            passed: vec![description],
            cgroup: Some(cgroup_name(number)),
        };
        let (runtime, id) = (&container.runtime, &container.id);
        runtime.exec_with(reaper, id, execution).await?;
        let terminal = ours(socket.receive()?)?;
        if let Some(window) = wanted.window {
            resize(&terminal, window);
        }
        let child = reaper.adopt(bundle::read_pid(&pid_file.0)?)?;
        let held = Held {
            input: wanted.stdin.then(|| terminal.clone()),
            outputs: Outputs {
                stdout: Some(terminal.clone()),
                stderr: None,
            },
            terminal: Some(terminal),
        };
        Ok((child, held))
    }
}

/// Gives a run the terminal that the runtime has made for it.
pub(super) fn take_terminal(
    container: &Container,
    console: Option<ConsoleSocket>,
) -> Result<(), TaskError> {
    match (container.run(), console) {
        (Some(run), Some(console)) => Ok(run.take_terminal(console.receive()?)?),
        _ => Ok(()),
    }
}

/// What the shim holds of a process's streams.
struct Held {
    input: Option<Polled>,
    outputs: Outputs,
    terminal: Option<Polled>,
}

/// Removed when the pid was read.
struct PidFile(PathBuf);

impl Drop for PidFile {
    fn drop(&mut self) {
        remove_if_there(&self.0);
    }
}

fn cgroup_name(number: u64) -> String {
    format!("exec-{number}")
}

fn own_cgroup(container: &Container, number: u64) -> Result<Arc<ContainerCgroup>, TaskError> {
    let path = container.run().map(Run::cgroup_path);
    let path = path.ok_or(TaskError::Refused {
        action: "begin a process",
        why: "the container is no run",
    })?;
    let path = format!("{path}/{}", cgroup_name(number));
    let made = ContainerCgroup::create(&path).map_err(crate::run::RunError::exec_cgroup)?;
    Ok(Arc::new(made))
}

/// The process in memory, where the runtime reads it.
fn described(bundle: &Path, late: &[&str], wanted: &ConsoleExec) -> Result<OwnedFd, TaskError> {
    let wrong = |problem: String| TaskError::Field {
        field: "config.json",
        problem,
    };
    let path = bundle.join("config.json");
    let bytes = std::fs::read(&path).map_err(|error| wrong(error.to_string()))?;
    let config: Value = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    let process = process(&config, late, wanted).map_err(|error| wrong(error.to_string()))?;
    let text = serde_json::to_vec(&process).map_err(|error| wrong(error.to_string()))?;
    let text = Zeroizing::new(text);
    let memory = memfd_create("davit-exec", MemfdFlags::CLOEXEC)
        .map_err(|errno| wrong(format!("no memory for the process: {errno}")))?;
    let mut file = std::fs::File::from(memory);
    file.write_all(&text)
        .and_then(|()| file.rewind())
        .map_err(|error| wrong(error.to_string()))?;
    Ok(file.into())
}

/// In the runtime's words, with the kind of refusal that they mean.
fn refused_by_runtime(error: &TaskError) -> ControlError {
    let message = chain(error);
    let asked_for_wrong = matches!(error, TaskError::Runtime(RuntimeError::Failed { .. }))
        && [
            "not found",
            "o such file",
            "ermission denied",
            "not executable",
            "ot a directory",
            "xec format",
        ]
        .iter()
        .any(|words| message.contains(words));
    let code = if asked_for_wrong {
        ControlErrorCode::OutOfRange
    } else {
        ControlErrorCode::Failed
    };
    refusal(code, &message)
}
