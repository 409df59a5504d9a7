//! Start of a container's processes; its init is started for containerd or for the executor.
//!
//! ```text
//!  a warm slot's      message to its init        its answer says whether the program runs
//!  davit's, crun      its gate is opened         no command
//!  any other          the runtime's `start`
//! ```

use std::sync::Arc;

use containerd_shim_protos::api;
use containerd_shim_protos::events::task as event;
use davit_rundir::{ControlError, ControlErrorCode};

use super::Shim;
use crate::container::Container;
use crate::error::{TaskError, chain};
use crate::process::{Phase, Process};
use crate::run::{LetGo, Run, Starter};

impl Shim {
    pub(super) async fn start(
        &self,
        request: api::StartRequest,
    ) -> Result<api::StartResponse, TaskError> {
        let (container, process) = self.process(&request.id, &request.exec_id)?;
        if process.exec_id.is_empty() {
            self.start_init(&container).await?;
        } else {
            self.start_exec(&container, &process).await?;
        }
        Ok(api::StartResponse {
            pid: process.pid(),
            ..api::StartResponse::default()
        })
    }

    /// Starts the init of a created container.
    pub(super) async fn start_init(&self, container: &Arc<Container>) -> Result<(), TaskError> {
        let init = &container.init;
        if container.restore.is_some() {
            return self.restore(container).await;
        }
        if !init.advance(Phase::Created, Phase::Starting) {
            return Err(TaskError::WrongPhase {
                action: "start the container",
                phase: init.phase(),
            });
        }
        let let_go = self.let_go(container).await;
        if let Some(run) = container.run() {
            run.started(*let_go.as_ref().unwrap_or(&LetGo::Failed));
        }
        match let_go {
            Ok(_) => {
                container.publish(&event::TaskStart {
                    container_id: container.id.clone(),
                    pid: init.pid(),
                    ..event::TaskStart::default()
                });
                // Unless it has ended meanwhile.
                init.advance(Phase::Starting, Phase::Running);
                begin_input(init);
                Ok(())
            }
            Err(error) => {
                init.advance(Phase::Starting, Phase::Created);
                Err(error)
            }
        }
    }

    async fn let_go(&self, container: &Container) -> Result<LetGo, TaskError> {
        let program = match &container.slot {
            Some(slot) => Some(slot.take_program().ok_or(TaskError::Refused {
                action: "start the container",
                why: "it is a warm slot in which no program waits to be begun",
            })?),
            None => None,
        };
        if let Some(run) = container.run() {
            run.starting();
        }
        if let Some(program) = program {
            return match program.begin().await {
                Ok(()) => Ok(LetGo::AtOnce),
                Err(error) => {
                    if error.is_undecided() {
                        // It may begin yet, when nobody counts its time.
                        container.kill_all();
                    }
                    Err(error.into())
                }
            };
        }
        let (runtime, id) = (&container.runtime, &container.id);
        if container.is_davits() && runtime.is_crun() && runtime.open_gate(id)? {
            return Ok(LetGo::AtOnce);
        }
        runtime.start(&self.0.reaper, id).await?;
        Ok(LetGo::ByCommand)
    }

    /// What Start on shim.sock does, however often it is asked.
    pub(super) fn starter(&self, container: &Arc<Container>) -> Starter {
        let (shim, container) = (Arc::downgrade(&self.0), Arc::downgrade(container));
        Box::new(move || {
            let held = shim.upgrade().map(Shim).zip(container.upgrade());
            Box::pin(async move {
                let Some((shim, container)) = held else {
                    return Err(not_running("the container is deleted"));
                };
                let started = shim.start_once(&container).await;
                shim.0.idle.touch();
                started
            })
        })
    }

    async fn start_once(&self, container: &Arc<Container>) -> Result<(), ControlError> {
        match self.start_init(container).await {
            Ok(()) => Ok(()),
            Err(TaskError::WrongPhase { .. }) => match container.run() {
                Some(run) => started_before(run).await,
                None => Err(not_running("the container is no run")),
            },
            Err(error) => Err(ControlError {
                code: ControlErrorCode::Failed,
                message: chain(&error),
            }),
        }
    }
}

/// Somebody else has let the job go, or is about to.
async fn started_before(run: &Run) -> Result<(), ControlError> {
    run.letting_go_is_over().await;
    match run.state() {
        Some(state) if state.started.is_some() => Ok(()),
        _ => Err(not_running("the job ended before it was let go")),
    }
}

fn not_running(why: &str) -> ControlError {
    ControlError {
        code: ControlErrorCode::NotRunning,
        message: why.to_owned(),
    }
}

/// The process has its output and its end; a broken input is no reason to fail what runs.
pub(super) fn begin_input(process: &Process) {
    if let Err(error) = process.streams().start_input() {
        log::error!("{}", chain(&error));
    }
}
