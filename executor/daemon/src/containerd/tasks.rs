//! Tasks: the running side of a container.

use std::time::SystemTime;

use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::{
    CreateTaskRequest, DeleteTaskRequest, GetRequest, KillRequest, ListTasksRequest, StartRequest,
};
use containerd_client::tonic::transport::Channel;
use containerd_client::types::v1::{Process, Status};

use super::error::gone_is_fine;
use super::labels::time_of;
use super::{
    Call, ContainerName, Containerd, ContainerdError, Mount, REPLY_BYTES_MAX, RuncOptions,
    TASK_CREATE_DEADLINE_MS, TASK_DEADLINE_MS,
};

/// What containerd says a task is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskStatus {
    /// containerd does not know.
    Unknown,
    /// Made, not let go yet.
    Created,
    /// Running.
    Running,
    /// Its first process ended.
    Stopped,
    /// Frozen.
    Paused,
    /// Being frozen.
    Pausing,
}

/// A task as containerd sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskState {
    /// Its first process, in the host's pid namespace.
    pub pid: u32,
    /// What it is doing.
    pub status: TaskStatus,
}

/// What containerd returns of a deleted task. A hint only: the exit record of the run directory is
/// the truth, for containerd invents a status when the shim has died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskExit {
    /// As containerd reports it.
    pub exit_status: u32,
    /// When.
    pub exited_at: SystemTime,
}

impl TaskState {
    pub(super) fn of(process: &Process) -> Self {
        let status = match process.status() {
            Status::Unknown => TaskStatus::Unknown,
            Status::Created => TaskStatus::Created,
            Status::Running => TaskStatus::Running,
            Status::Stopped => TaskStatus::Stopped,
            Status::Paused => TaskStatus::Paused,
            Status::Pausing => TaskStatus::Pausing,
        };
        Self {
            pid: process.pid,
            status,
        }
    }
}

impl Containerd {
    fn tasks(&self) -> TasksClient<Channel> {
        TasksClient::new(self.channel()).max_decoding_message_size(REPLY_BYTES_MAX)
    }

    /// Starts the shim, or takes the one at `address` (of a container that is in the sandbox), and lets the OCI
    /// runtime create the container `name` upon `rootfs`.
    /// Returns the pid of its first process, which waits for [`Self::task_start`]. The task has no
    /// stdio of containerd's: davit's shim writes the log itself.
    ///
    /// # Errors
    /// [`ContainerdError::AlreadyExists`] when it has a task; [`ContainerdError::Refused`] with the
    /// runtime's words when it cannot be created.
    pub async fn task_create(
        &self,
        name: &ContainerName,
        rootfs: Vec<Mount>,
        address: Option<&str>,
    ) -> Result<u32, ContainerdError> {
        let id = name.to_string();
        let request = self.request(CreateTaskRequest {
            container_id: id.clone(),
            rootfs: rootfs.into_iter().map(never_synced).collect(),
            options: address.map(|address| RuncOptions::for_shim_at(address).to_any()),
            ..CreateTaskRequest::default()
        });
        Call::task("create task", &id, TASK_CREATE_DEADLINE_MS)
            .bound(self.tasks().create(request))
            .await
            .map(|reply| reply.pid)
    }

    /// Lets the created task go; returns its pid.
    ///
    /// # Errors
    /// When it is not in the created state, or its program cannot be executed.
    pub async fn task_start(&self, name: &ContainerName) -> Result<u32, ContainerdError> {
        let id = name.to_string();
        let request = self.request(StartRequest {
            container_id: id.clone(),
            ..StartRequest::default()
        });
        Call::task("start task", &id, TASK_DEADLINE_MS)
            .bound(self.tasks().start(request))
            .await
            .map(|reply| reply.pid)
    }

    /// The state of the task; `None` if there is none.
    ///
    /// # Errors
    /// When containerd fails.
    pub async fn task_state(
        &self,
        name: &ContainerName,
    ) -> Result<Option<TaskState>, ContainerdError> {
        let id = name.to_string();
        let request = self.request(GetRequest {
            container_id: id.clone(),
            ..GetRequest::default()
        });
        let found = Call::task("ask the state of task", &id, TASK_DEADLINE_MS)
            .bound(self.tasks().get(request))
            .await;
        match found {
            Ok(reply) => Ok(reply.process.as_ref().map(TaskState::of)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends `signal` to the first process, or to `all` of the container; fine if it has ended.
    ///
    /// # Errors
    /// When containerd or the shim fails.
    pub async fn task_kill(
        &self,
        name: &ContainerName,
        signal: u32,
        all: bool,
    ) -> Result<(), ContainerdError> {
        let id = name.to_string();
        let request = self.request(KillRequest {
            container_id: id.clone(),
            signal,
            all,
            ..KillRequest::default()
        });
        gone_is_fine(
            Call::task("signal task", &id, TASK_DEADLINE_MS)
                .bound(self.tasks().kill(request))
                .await,
        )
    }

    /// Removes an ended task and ends its shim; `None` if there is no task.
    ///
    /// # Errors
    /// [`ContainerdError::Refused`] while it runs.
    pub async fn task_delete(
        &self,
        name: &ContainerName,
    ) -> Result<Option<TaskExit>, ContainerdError> {
        let id = name.to_string();
        let request = self.request(DeleteTaskRequest {
            container_id: id.clone(),
        });
        let deleted = Call::task("delete task", &id, TASK_CREATE_DEADLINE_MS)
            .bound(self.tasks().delete(request))
            .await
            .map(|reply| {
                Some(TaskExit {
                    exit_status: reply.exit_status,
                    exited_at: time_of(reply.exited_at.as_ref()),
                })
            });
        gone_is_fine(deleted)
    }

    pub(super) async fn list_tasks(&self) -> Result<Vec<Process>, ContainerdError> {
        let request = self.request(ListTasksRequest::default());
        Call::task("list", "tasks", TASK_DEADLINE_MS)
            .bound(self.tasks().list(request))
            .await
            .map(|reply| reply.tasks)
    }
}

/// The root file system goes with its run, so nothing of it need reach the disk: without this option taking it
/// down syncs the whole file system below, whoever wrote to it.
fn never_synced(mut mount: Mount) -> Mount {
    let is_written = |option: &String| option.starts_with("upperdir=");
    if mount.r#type == "overlay" && mount.options.iter().any(is_written) {
        mount.options.push("volatile".to_owned());
    }
    mount
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_written_and_thrown_away_is_not_synced() {
        let options = |kind: &str, options: &[&str]| {
            let mount = never_synced(Mount {
                r#type: kind.to_owned(),
                options: options.iter().map(|&option| option.to_owned()).collect(),
                ..Mount::default()
            });
            mount.options.join(",")
        };
        let written = ["lowerdir=/a", "upperdir=/u", "workdir=/w"];
        assert_eq!(
            options("overlay", &written),
            "lowerdir=/a,upperdir=/u,workdir=/w,volatile"
        );
        assert_eq!(options("overlay", &["lowerdir=/a:/b"]), "lowerdir=/a:/b");
        assert_eq!(options("bind", &["rbind", "rw"]), "rbind,rw");
    }
}
