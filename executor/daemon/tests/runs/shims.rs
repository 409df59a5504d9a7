//! How runs come to their shims: forked where containerd can be told their address, else executed by it.

use std::path::{Path, PathBuf};

use davit_executor::containerd::Containerd;
use davit_rpc::local::Run;

use super::support::Executor;

pub async fn containerd(executor: &Executor) -> Containerd {
    let settings = executor.settings().containerd;
    Containerd::connect(&settings.socket, &settings.namespace, &settings.snapshotter)
        .await
        .unwrap()
}

/// Whether containerd of this host can be given a shim's address.
pub async fn is_able(executor: &Executor) -> bool {
    let containerd = containerd(executor).await;
    let version = containerd.version().trim_start_matches('v').to_owned();
    ["2.1.", "2.2.", "2.3.", "2.4."]
        .iter()
        .any(|line| version.starts_with(line))
}

/// The container of a run.
pub fn name(run: &Run) -> String {
    let dir = Path::new(&run.run_dir);
    let launch = std::fs::read(dir.join("launch.json")).unwrap();
    let launch: serde_json::Value = serde_json::from_slice(&launch).unwrap();
    launch["slot"].as_str().map_or_else(
        || dir.file_name().unwrap().to_string_lossy().into_owned(),
        str::to_owned,
    )
}

pub fn shim_pid(run: &Run) -> i32 {
    let state = std::fs::read(format!("{}/state.json", run.run_dir)).unwrap();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    i32::try_from(state["shim_pid"].as_i64().unwrap()).unwrap()
}

pub fn socket(executor: &Executor, run: &Run) -> PathBuf {
    executor.settings().state_dir.join("shims").join(name(run))
}

/// A run that has begun and goes on until it is told to stop.
pub async fn lasting(executor: &mut Executor) -> Run {
    let run = executor
        .sh("trap 'exit 7' TERM; echo up; while true; do sleep 0.05; done")
        .await;
    executor.wait_logged(&run, 1).await;
    run
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn the_way_is_chosen_by_containerds_version_and_by_the_operator() {
    let mut executor = Executor::start().await;
    let able = is_able(&executor).await;
    let run = lasting(&mut executor).await;
    assert_eq!(socket(&executor, &run).exists(), able, "{}", executor.log());
    if able {
        // Shims live apart from the executor, which may be a service that is restarted.
        let cgroup = std::fs::read_to_string(format!("/proc/{}/cgroup", shim_pid(&run))).unwrap();
        let expected = format!("0::{}/shims", executor.settings().cgroup_parent);
        assert!(cgroup.lines().any(|line| line == expected), "{cgroup}");
        let shown = std::fs::read(format!("/proc/{}/cmdline", shim_pid(&run))).unwrap();
        assert!(String::from_utf8_lossy(&shown).contains(&name(&run)));
    }
    assert_eq!(executor.stop(&run, 5_000).await.exit_code, Some(7));
    executor.finish().await;

    let mut executor = Executor::start_plain().await;
    let run = lasting(&mut executor).await;
    assert!(!socket(&executor, &run).exists());
    assert_eq!(executor.stop(&run, 5_000).await.exit_code, Some(7));
    executor.finish().await;
}
