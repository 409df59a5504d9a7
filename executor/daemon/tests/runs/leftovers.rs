//! What an executor of the tests has in containerd and cgroupfs, and waiting until it is no more.

use std::path::Path;
use std::time::{Duration, Instant};

use davit_executor::containerd::Containerd;
use davit_rpc::local::Run;

use super::support::{CONTAINERD, Executor, WAIT};

impl Executor {
    /// Ends the executor and checks that nothing is left in containerd and cgroupfs, slots included.
    pub async fn finish(mut self) {
        self.wait_clean().await;
        self.terminate();
        let left = self.leftovers().await;
        assert!(left.is_empty(), "left over: {left:#?}\n{}", self.log());
        assert!(!self.settings().socket.exists(), "the socket is left");
        std::fs::remove_dir_all(self.settings().state_dir.parent().unwrap()).unwrap();
    }

    /// Waits until nothing is left but what `run` has.
    pub async fn wait_alone(&self, run: &Run) {
        let begin = Instant::now();
        loop {
            let mut left = self.leftovers().await;
            left.retain(|what| !what.contains(&run.id));
            if left.is_empty() {
                return;
            }
            assert!(begin.elapsed() < WAIT, "left over: {left:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until nothing is left but warm slots.
    pub async fn wait_clean(&self) {
        let begin = Instant::now();
        loop {
            let mut left = self.leftovers().await;
            left.retain(|what| !what.contains("warm-"));
            if left.is_empty() {
                return;
            }
            assert!(
                begin.elapsed() < WAIT,
                "left over: {left:#?}\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn leftovers(&self) -> Vec<String> {
        let settings = self.settings();
        let namespace = &settings.containerd.namespace;
        let containerd = Containerd::connect(Path::new(CONTAINERD), namespace, "overlayfs")
            .await
            .unwrap();
        let inventory = containerd.inventory().await.unwrap();
        let mut left: Vec<String> = Vec::new();
        left.extend(
            inventory
                .containers
                .iter()
                .map(|found| format!("container {}", found.name)),
        );
        left.extend(
            inventory
                .snapshots
                .iter()
                .map(|found| format!("snapshot {}", found.name)),
        );
        left.extend(
            inventory
                .leases
                .iter()
                .map(|found| format!("lease {}", found.name)),
        );
        left.extend(
            inventory
                .tasks
                .iter()
                .map(|found| format!("task {}", found.name)),
        );
        let cgroups = format!("/sys/fs/cgroup{}", settings.cgroup_parent);
        for entry in std::fs::read_dir(cgroups).unwrap().flatten() {
            // The shims' own, which stays.
            if entry.path().is_dir() && entry.file_name() != "shims" {
                left.push(format!("cgroup {}", entry.path().display()));
            }
        }
        for entry in std::fs::read_dir(settings.state_dir.join("shims")).unwrap() {
            left.push(format!("shim {}", entry.unwrap().path().display()));
        }
        left
    }
}
