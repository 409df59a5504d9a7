//! Requests about a living container: Kill, Pause, Resume, Update, Pids, Stats, ResizePty, CloseIO.

use std::time::Duration;

use containerd_shim_protos::api;
use containerd_shim_protos::events::task as event;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::shim::oci::ProcessDetails;
use rustix::io::Errno;

use super::Shim;
use crate::container::{Container, Freeze};
use crate::error::TaskError;
use crate::process::Phase;
use crate::{bundle, metrics};

/// How long freezing may take; a process in an uninterruptible sleep delays it.
const FREEZE_SECONDS_MAX: u64 = 10;

fn cgroup_failed(operation: &'static str) -> impl FnOnce(davit_cgroup::CgroupError) -> TaskError {
    move |source| TaskError::Cgroup { operation, source }
}

/// Full names of what is packed here; asking a message builds descriptors of the whole API on the heap.
const METRICS_TYPE: &str = "io.containerd.cgroups.v2.Metrics";
const DETAILS_TYPE: &str = "containerd.runc.v1.ProcessDetails";

fn packed<M: Message>(message: &M, name: &'static str) -> Result<Any, TaskError> {
    Ok(Any {
        type_url: name.to_owned(),
        value: message
            .write_to_bytes()
            .map_err(|error| TaskError::Encode(name, error))?,
        ..Any::default()
    })
}

impl Shim {
    pub(super) async fn kill(&self, request: api::KillRequest) -> Result<(), TaskError> {
        let (container, process) = self.process(&request.id, &request.exec_id)?;
        let signal = i32::try_from(request.signal).map_err(|_| TaskError::Field {
            field: "signal",
            problem: format!("{} is no signal", request.signal),
        })?;
        match process.phase() {
            Phase::Stopped => return Err(TaskError::Finished),
            Phase::Registered => {
                return Err(TaskError::Refused {
                    action: "signal the process",
                    why: "process not created",
                });
            }
            Phase::Created | Phase::Starting | Phase::Running => {}
        }
        let is_init = request.exec_id.is_empty();
        if is_init && container.runtime.is_sandboxed() {
            let (runtime, reaper) = (&container.runtime, &self.0.reaper);
            return Ok(runtime
                .kill(reaper, &container.id, signal, request.all)
                .await?);
        }
        if is_init
            && request.all
            && let Some(cgroup) = container.cgroup()
        {
            let sent = if signal == libc::SIGKILL {
                cgroup.kill()
            } else {
                cgroup.signal_all(signal)
            };
            return match sent {
                Err(error) if error.is_gone() => Err(TaskError::Finished),
                result => result.map_err(cgroup_failed("signal")),
            };
        }
        let Some(handle) = process.handle() else {
            return Err(TaskError::Finished);
        };
        match handle.signal(signal) {
            Err(Errno::SRCH) => Err(TaskError::Finished),
            result => result.map_err(TaskError::Signal),
        }
    }

    pub(super) async fn pause(&self, request: api::PauseRequest) -> Result<(), TaskError> {
        let container = self.container(&request.id)?;
        if container.init.phase() != Phase::Running || container.freeze() != Freeze::Thawed {
            return Err(TaskError::Refused {
                action: "pause the container",
                why: "it is not running",
            });
        }
        match container.run() {
            Some(run) => run.pause().await?,
            None => freeze(&container).await?,
        }
        container.publish(&event::TaskPaused {
            container_id: request.id,
            ..event::TaskPaused::default()
        });
        Ok(())
    }

    pub(super) async fn resume(&self, request: api::ResumeRequest) -> Result<(), TaskError> {
        let container = self.container(&request.id)?;
        if container.init.phase() != Phase::Running || container.freeze() != Freeze::Paused {
            return Err(TaskError::Refused {
                action: "resume the container",
                why: "it is not paused",
            });
        }
        match container.run() {
            Some(run) => run.resume().await?,
            None => {
                let cgroup = container.cgroup().ok_or(TaskError::NoCgroup)?;
                cgroup.inner().thaw().map_err(cgroup_failed("thaw"))?;
                container.set_freeze(Freeze::Thawed);
            }
        }
        container.publish(&event::TaskResumed {
            container_id: request.id,
            ..event::TaskResumed::default()
        });
        Ok(())
    }

    pub(super) async fn update(&self, request: api::UpdateTaskRequest) -> Result<(), TaskError> {
        let container = self.container(&request.id)?;
        let resources = request.resources.as_ref().ok_or(TaskError::Field {
            field: "resources",
            problem: "missing".to_owned(),
        })?;
        let path = container.bundle.join("update.json");
        bundle::write_whole(&path, &resources.value)?;
        let (runtime, reaper) = (&container.runtime, &self.0.reaper);
        Ok(runtime.update(reaper, &container.id, &path).await?)
    }

    pub(super) fn pids(&self, request: &api::PidsRequest) -> Result<api::PidsResponse, TaskError> {
        let container = self.container(&request.id)?;
        let mut pids = match container.cgroup() {
            Some(cgroup) => cgroup.inner().procs().unwrap_or_default(),
            None => Vec::new(),
        };
        // containerd takes an empty list for a shim without a task and ends it.
        let init = container.init.pid();
        if pids.is_empty() && init != 0 && container.init.phase() != Phase::Stopped {
            pids.push(init);
        }
        let processes = pids
            .into_iter()
            .map(|pid| {
                let info = match container.exec_of_pid(pid) {
                    Some(exec_id) => {
                        let details = ProcessDetails {
                            exec_id,
                            ..ProcessDetails::default()
                        };
                        MessageField::some(packed(&details, DETAILS_TYPE)?)
                    }
                    None => MessageField::none(),
                };
                Ok(api::ProcessInfo {
                    pid,
                    info,
                    ..api::ProcessInfo::default()
                })
            })
            .collect::<Result<_, TaskError>>()?;
        Ok(api::PidsResponse {
            processes,
            ..api::PidsResponse::default()
        })
    }

    pub(super) fn stats(
        &self,
        request: &api::StatsRequest,
    ) -> Result<api::StatsResponse, TaskError> {
        let container = self.container(&request.id)?;
        let cgroup = container.cgroup().ok_or(TaskError::NoCgroup)?;
        let path = cgroup.inner().path();
        if !path.exists() {
            return Err(TaskError::NoCgroup);
        }
        Ok(api::StatsResponse {
            stats: MessageField::some(packed(&metrics::read(path), METRICS_TYPE)?),
            ..api::StatsResponse::default()
        })
    }

    pub(super) fn resize_pty(&self, request: &api::ResizePtyRequest) -> Result<(), TaskError> {
        let (_, process) = self.process(&request.id, &request.exec_id)?;
        let cells = |count: u32| u16::try_from(count).unwrap_or(u16::MAX);
        Ok(process
            .streams()
            .resize(cells(request.width), cells(request.height))?)
    }

    pub(super) fn close_io(&self, request: &api::CloseIORequest) -> Result<(), TaskError> {
        let (_, process) = self.process(&request.id, &request.exec_id)?;
        if request.stdin {
            process.streams().close_stdin();
        }
        Ok(())
    }
}

async fn freeze(container: &Container) -> Result<(), TaskError> {
    let cgroup = container.cgroup().ok_or(TaskError::NoCgroup)?;
    cgroup.inner().freeze().map_err(cgroup_failed("freeze"))?;
    container.set_freeze(Freeze::Pausing);
    let bound = Duration::from_secs(FREEZE_SECONDS_MAX);
    if cgroup.wait_for(bound, |events| events.frozen).await {
        container.set_freeze(Freeze::Paused);
        return Ok(());
    }
    container.set_freeze(Freeze::Thawed);
    cgroup.inner().thaw().map_err(cgroup_failed("thaw"))?;
    Err(TaskError::Refused {
        action: "pause the container",
        why: "it did not freeze in time",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use containerd_shim_protos::cgroups_v2::metrics::Metrics;
    use containerd_shim_protos::protobuf::MessageFull;

    #[test]
    fn types_are_named_as_their_packages_name_them() {
        assert_eq!(Metrics::descriptor().full_name(), METRICS_TYPE);
        assert_eq!(ProcessDetails::descriptor().full_name(), DETAILS_TYPE);
    }
}
