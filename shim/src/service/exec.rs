//! Exec and the Start of what it added.

use std::path::PathBuf;
use std::sync::Arc;

use containerd_shim_protos::api;
use containerd_shim_protos::events::task as event;

use super::Shim;
use super::start::begin_input;
use crate::bundle;
use crate::container::{Container, Freeze};
use crate::error::{TaskError, chain};
use crate::io::{ConsoleSocket, StdioPaths, Streams};
use crate::process::{Phase, Process};
use crate::runtime::Stdio3;

/// Files of one exec in the bundle.
struct ExecFiles {
    process: PathBuf,
    pid: PathBuf,
}

impl ExecFiles {
    fn of(container: &Container, exec_id: &str) -> Self {
        Self {
            process: container.bundle.join(format!("{exec_id}.process.json")),
            pid: container.bundle.join(format!("{exec_id}.pid")),
        }
    }
}

impl Drop for ExecFiles {
    fn drop(&mut self) {
        for path in [&self.process, &self.pid] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    log::warn!("cannot remove {}: {error}", path.display());
                }
                _ => {}
            }
        }
    }
}

impl Shim {
    /// Registers a process; it is started by Start.
    pub(super) fn add_exec(&self, request: api::ExecProcessRequest) -> Result<(), TaskError> {
        let container = self.container(&request.id)?;
        let id_is_name = !request.exec_id.is_empty()
            && !request.exec_id.contains('/')
            && !request.exec_id.starts_with('.');
        if !id_is_name {
            return Err(TaskError::Field {
                field: "exec_id",
                problem: format!("`{}` cannot be a file name", request.exec_id),
            });
        }
        let refused = match (container.init.phase(), container.freeze()) {
            (Phase::Stopped, _) => Some("container is stopped"),
            (_, Freeze::Pausing | Freeze::Paused) => Some("container is paused"),
            _ => None,
        };
        if let Some(why) = refused {
            return Err(TaskError::Refused {
                action: "add a process",
                why,
            });
        }
        let spec = process_spec(&request)?;
        let process = Process::exec(
            &request.exec_id,
            StdioPaths {
                stdin: request.stdin,
                stdout: request.stdout,
                stderr: request.stderr,
                terminal: request.terminal,
            },
            spec,
        );
        container.add_exec(process)?;
        container.publish(&event::TaskExecAdded {
            container_id: request.id,
            exec_id: request.exec_id,
            ..event::TaskExecAdded::default()
        });
        Ok(())
    }

    pub(super) async fn start_exec(
        &self,
        container: &Arc<Container>,
        process: &Arc<Process>,
    ) -> Result<(), TaskError> {
        if container.freeze() != Freeze::Thawed {
            return Err(TaskError::Refused {
                action: "start the process",
                why: "container is paused",
            });
        }
        if !process.advance(Phase::Registered, Phase::Starting) {
            return Err(TaskError::WrongPhase {
                action: "start the process",
                phase: process.phase(),
            });
        }
        let result = match container.exec_begins() {
            Ok(()) => {
                let result = self.exec(container, process).await;
                if result.is_err() {
                    process.set_phase(Phase::Registered);
                    container.exec_over();
                }
                result
            }
            Err(error) => {
                process.set_phase(Phase::Registered);
                Err(error)
            }
        };
        if let Err(error) = &result {
            log::info!("exec {}: {}", process.exec_id, chain(error));
            process.never_ran();
        }
        result
    }

    async fn exec(
        &self,
        container: &Arc<Container>,
        process: &Arc<Process>,
    ) -> Result<(), TaskError> {
        let reaper = &self.0.reaper;
        let files = ExecFiles::of(container, &process.exec_id);
        bundle::write_whole(&files.process, process.spec.as_bytes())?;
        let _birth = reaper.expect_birth();
        let (runtime, id) = (&container.runtime, &container.id);
        if process.paths.terminal {
            let socket = ConsoleSocket::bind(self.socket_dir())?;
            let console = Some(socket.path());
            runtime
                .exec(
                    reaper,
                    id,
                    &files.process,
                    &files.pid,
                    console,
                    Stdio3::of_container()?,
                )
                .await?;
            let streams =
                Streams::open_console(&process.paths, &container.owner, reaper, socket).await?;
            process.set_streams(streams);
        } else {
            let (stdio, streams) = Streams::open(&process.paths, &container.owner, reaper).await?;
            process.set_streams(streams);
            let ran = runtime
                .exec(reaper, id, &files.process, &files.pid, None, stdio)
                .await;
            if let Err(error) = ran {
                process.set_streams(Streams::default());
                return Err(error.into());
            }
        }
        let child = reaper.adopt(bundle::read_pid(&files.pid)?)?;
        process.born(child.handle.clone());
        process.advance(Phase::Starting, Phase::Running);
        begin_input(process);
        container.publish(&event::TaskExecStarted {
            container_id: container.id.clone(),
            exec_id: process.exec_id.clone(),
            pid: process.pid(),
            ..event::TaskExecStarted::default()
        });
        container.adopt_exec(process, child);
        Ok(())
    }
}

/// The OCI process of the request, with `terminal` as the request has it.
fn process_spec(request: &api::ExecProcessRequest) -> Result<String, TaskError> {
    let wrong = |problem: String| TaskError::Field {
        field: "spec",
        problem,
    };
    let any = request
        .spec
        .as_ref()
        .ok_or_else(|| wrong("missing".to_owned()))?;
    let mut spec: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&any.value).map_err(|error| wrong(error.to_string()))?;
    spec.insert("terminal".to_owned(), request.terminal.into());
    serde_json::to_string(&spec).map_err(|error| wrong(error.to_string()))
}
