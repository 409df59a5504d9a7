//! All that davit made in its namespace: what reconcile compares with the run directories and reap
//! sweeps.

use std::time::SystemTime;

use containerd_client::services::v1::ListRequest;
use davit_types::RunKey;

use super::labels::{LabelMap, managed_filter, run_of, time_of};
use super::{Call, ContainerName, Containerd, ContainerdError, TaskState};

/// An object of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which container's; also its own name.
    pub name: ContainerName,
    /// The execution that its labels name.
    pub run: Option<RunKey>,
    /// When it was made, by containerd's clock.
    pub created_at: SystemTime,
}

/// A task of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundTask {
    /// Which container's.
    pub name: ContainerName,
    /// Pid and status.
    pub state: TaskState,
}

/// Everything of davit's runs and slots in containerd. Objects whose name and labels do not agree are
/// not in it: they are somebody else's.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// Container records.
    pub containers: Vec<Found>,
    /// Root file systems.
    pub snapshots: Vec<Found>,
    /// Leases, which executors of old took for each run.
    pub leases: Vec<Found>,
    /// Tasks, ended ones included.
    pub tasks: Vec<FoundTask>,
}

impl Containerd {
    /// Lists what davit's runs and slots have here.
    ///
    /// # Errors
    /// When one of the listings fails; a partial inventory would make reap wrong.
    pub async fn inventory(&self) -> Result<Inventory, ContainerdError> {
        let filters = vec![managed_filter()];
        let lease_request = self.request(ListRequest {
            filters: filters.clone(),
        });
        let mut lease_client = self.leases();
        let leases = Call::metadata("list", "leases").bound(lease_client.list(lease_request));
        let (containers, snapshots, leases, tasks) = tokio::try_join!(
            self.list_containers(filters.clone()),
            self.list_snapshots(filters.clone()),
            leases,
            self.list_tasks(),
        )?;
        let found = |name: &str, labels: &LabelMap, created_at| {
            ContainerName::of_object(name, labels).map(|name| Found {
                name,
                run: run_of(labels),
                created_at: time_of(created_at),
            })
        };
        Ok(Inventory {
            containers: containers
                .iter()
                .filter_map(|c| found(&c.id, &c.labels, c.created_at.as_ref()))
                .collect(),
            snapshots: snapshots
                .iter()
                .filter_map(|s| found(&s.name, &s.labels, s.created_at.as_ref()))
                .collect(),
            leases: leases
                .leases
                .iter()
                .filter_map(|l| found(&l.id, &l.labels, l.created_at.as_ref()))
                .collect(),
            // Tasks carry no labels; their container id is the name, and the namespace is davit's.
            tasks: tasks
                .iter()
                .filter_map(|task| {
                    let name = if task.container_id.is_empty() {
                        &task.id
                    } else {
                        &task.container_id
                    };
                    Some(FoundTask {
                        name: name.parse().ok()?,
                        state: TaskState::of(task),
                    })
                })
                .collect(),
        })
    }
}
