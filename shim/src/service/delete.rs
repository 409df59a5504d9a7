//! Delete: what is left of a process goes, and how it ended is told a last time.
//!
//! In this order: output drained, runtime's state removed, cgroup and mounts gone, TaskDelete, forgotten. A step
//! that fails leaves the container known, so that Delete can be called again.
//!
//! containerd takes a create back when its client goes away, and forgets the shim whatever Delete answers: so a Delete
//! waits for a create under way, rather than miss the container it makes.

use containerd_shim_protos::api;
use containerd_shim_protos::events::task as event;

use super::Shim;
use crate::container::Container;
use crate::error::TaskError;
use crate::events::timestamp;
use crate::process::Phase;
use crate::{lock, mounts};

impl Shim {
    pub(super) async fn delete(
        &self,
        request: api::DeleteRequest,
    ) -> Result<api::DeleteResponse, TaskError> {
        self.created(&request.id).await;
        let found = self.process(&request.id, &request.exec_id);
        if matches!(found, Err(TaskError::UnknownContainer(_))) {
            self.task_gone();
        }
        let (container, process) = found?;
        if matches!(process.phase(), Phase::Running | Phase::Starting) {
            return Err(TaskError::WrongPhase {
                action: "delete the process",
                phase: process.phase(),
            });
        }
        if request.exec_id.is_empty() {
            self.delete_init(&container).await?;
        } else {
            process.streams().finish().await;
            container.remove_exec(&request.exec_id);
            process.never_ran();
        }
        let exit = process.exit();
        let response = api::DeleteResponse {
            pid: process.pid(),
            exit_status: exit.map_or(0, |exit| exit.status.shell_code().into()),
            exited_at: exit.map(|exit| timestamp(exit.at.unix_ns)).into(),
            ..api::DeleteResponse::default()
        };
        if request.exec_id.is_empty() {
            container.publish(&event::TaskDelete {
                container_id: container.id.clone(),
                pid: response.pid,
                exit_status: response.exit_status,
                exited_at: response.exited_at.clone(),
                ..event::TaskDelete::default()
            });
            lock(&self.0.containers).remove(&request.id);
            self.task_gone();
        }
        Ok(response)
    }

    async fn delete_init(&self, container: &Container) -> Result<(), TaskError> {
        container.init.streams().finish().await;
        if container.is_davits() && container.runtime.is_crun() {
            self.delete_davits(container).await?;
        } else {
            let deleted = container
                .runtime
                .delete(&self.0.reaper, &container.id, true)
                .await;
            match deleted {
                Err(error) if !error.says_unknown_container() => return Err(error.into()),
                _ => {}
            }
            self.init_is_over(container).await;
            if container.is_davits()
                && let Some(cgroup) = container.cgroup()
            {
                cgroup.remove().await;
            }
        }
        if let Some(run) = container.run() {
            run.remove_files();
        }
        mounts::unmount_bundle(&container.bundle)?;
        Ok(())
    }

    /// What `crun delete --force` would do for a container without hooks whose cgroup is ours.
    async fn delete_davits(&self, container: &Container) -> Result<(), TaskError> {
        if let Some(slot) = &container.slot {
            slot.revoke();
        }
        if container.init.phase() == Phase::Created {
            container.kill_all();
        }
        self.init_is_over(container).await;
        if let Some(cgroup) = container.cgroup() {
            cgroup.remove().await;
        }
        Ok(container.runtime.forget(&container.id)?)
    }

    /// Waits for the end of an init that was killed before it was started: it is told like any other.
    async fn init_is_over(&self, container: &Container) {
        if container.init.phase() == Phase::Created {
            container.init.wait().await;
        }
        container.init.never_ran();
    }
}
