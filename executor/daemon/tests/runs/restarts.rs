//! Killed at any instant: the executor, the shim.

use std::path::Path;
use std::time::Duration;

use davit_rpc::local::{ListRequest, ReapRequest, Run};

use super::containerd_process::ContainerdProcess;
use super::support::{Executor, output, reference};

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_killed_executor_finds_its_runs_again() {
    let mut executor = Executor::start().await;
    let counting = "i=0; while [ $i -lt 40 ]; do echo $i; i=$((i+1)); sleep 0.05; done; exit 9";
    let counter = executor.sh(counting).await;
    let frozen = executor.sh("echo up; sleep 0.2; exit 4").await;
    executor.wait_logged(&counter, 3).await;
    executor.wait_logged(&frozen, 1).await;
    executor.client.pause(reference(&frozen)).await.unwrap();
    let short = executor.sh("echo up; sleep 0.3; exit 6").await;
    executor.wait_logged(&short, 1).await;
    executor.kill();
    tokio::time::sleep(Duration::from_millis(600)).await;
    executor.restart().await;

    // It ended while nobody was there.
    let ended = executor.wait(&short).await;
    assert_eq!(
        (ended.exit_code, ended.end_reason.as_deref()),
        (Some(6), Some("exited"))
    );
    assert_eq!(executor.get(&frozen).await.phase, "paused");
    executor.client.resume(reference(&frozen)).await.unwrap();
    assert_eq!(executor.wait(&frozen).await.exit_code, Some(4));
    let (records, ended) = executor.follow(&counter, 0).await;
    assert_eq!(ended.exit_code, Some(9));
    let expected: String = (0..40).map(|i| format!("{i}\n")).collect();
    assert_eq!(output(&records, "stdout"), expected.as_bytes());
    executor.wait_clean().await;

    // Ended runs are known by their directories.
    executor.kill_and_restart().await;
    let listed = executor
        .client
        .list(ListRequest { all: true })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.runs.len(), 3);
    assert_eq!(executor.follow(&counter, 0).await.0, records);
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn killed_at_any_instant_of_a_launch_each_run_happens_once() {
    let mut executor = Executor::start().await;
    let warm = executor.sh("true").await;
    executor.wait(&warm).await;
    for delay_ms in [0, 1, 2, 3, 5, 8, 12, 16, 20, 25, 30, 40, 60] {
        let run = executor.sh("echo once; sleep 0.2; exit 5").await;
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        executor.kill_and_restart().await;
        let (records, ended) = executor.follow(&run, 0).await;
        assert_eq!(
            ended.exit_code,
            Some(5),
            "killed after {delay_ms} ms: {ended:?}"
        );
        assert_eq!(
            output(&records, "stdout"),
            b"once\n",
            "killed after {delay_ms} ms"
        );
    }
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_dead_shim_means_lost_without_an_exit_code_and_a_dead_container() {
    let mut executor = Executor::start().await;
    let run = executor.sh("echo up; sleep 600").await;
    executor.wait_logged(&run, 1).await;
    kill_shim(&run);
    assert_lost(&executor.wait(&run).await);
    executor.wait_clean().await;

    // The same with nobody watching.
    let run = executor.sh("echo up; sleep 600").await;
    executor.wait_logged(&run, 1).await;
    executor.kill();
    kill_shim(&run);
    executor.restart().await;
    assert_lost(&executor.wait(&run).await);
    let (records, _) = executor.follow(&run, 0).await;
    assert_eq!(output(&records, "stdout"), b"up\n");
    executor.finish().await;
}

fn assert_lost(run: &Run) {
    assert_eq!(run.end_reason.as_deref(), Some("executor_lost"), "{run:?}");
    assert_eq!((run.status.as_str(), run.exit_code), ("failed", None));
}

fn kill_shim(run: &Run) {
    let state = std::fs::read_to_string(format!("{}/state.json", run.run_dir)).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    let pid = i32::try_from(state["shim_pid"].as_i64().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn reap_sweeps_what_no_run_owns_and_nothing_else() {
    let mut executor = Executor::start().await;
    let kept = executor.sh("echo up; sleep 600").await;
    let orphan = executor.sh("echo up; sleep 600").await;
    executor.wait_logged(&kept, 1).await;
    executor.wait_logged(&orphan, 1).await;
    executor.kill();
    std::fs::remove_dir_all(&orphan.run_dir).unwrap();
    executor.restart().await;
    let young = ReapRequest {
        age_seconds: Some(3_600),
    };
    let swept = executor.client.reap(young).await.unwrap().into_inner();
    assert_eq!((swept.containers, swept.cgroups), (0, 0));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let swept = executor
        .client
        .reap(ReapRequest {
            age_seconds: Some(0),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (swept.containers, swept.snapshots, swept.cgroups),
        (1, 1, 1),
        "{swept:?}"
    );
    assert_eq!(executor.get(&kept).await.status, "running");
    executor.stop(&kept, 0).await;
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn without_containerd_runs_go_on_and_can_be_ended() {
    let mut executor = Executor::start().await;
    let containerd = ContainerdProcess::here();
    let short = executor.sh("echo up; sleep 0.3; exit 6").await;
    let frozen = executor.sh("echo up; sleep 600").await;
    let long = executor
        .sh("trap 'exit 3' TERM; echo up; while true; do sleep 0.05; done")
        .await;
    for run in [&short, &frozen, &long] {
        executor.wait_logged(run, 1).await;
    }
    containerd.kill();
    assert_eq!(executor.wait(&short).await.exit_code, Some(6));
    let paused = executor
        .client
        .pause(reference(&frozen))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(paused.phase, "paused");
    let canceled = executor
        .client
        .cancel(reference(&frozen))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (canceled.status.as_str(), canceled.exit_code),
        ("canceled", Some(137))
    );
    containerd.start().await;
    assert_eq!(executor.stop(&long, 10_000).await.exit_code, Some(3));
    let next = executor.sh("exit 8").await;
    assert_eq!(executor.wait(&next).await.exit_code, Some(8));
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn containerd_killed_at_any_instant_of_a_launch_each_run_happens_once() {
    let mut executor = Executor::start().await;
    let containerd = ContainerdProcess::here();
    let warm = executor.sh("true").await;
    executor.wait(&warm).await;
    for delay_ms in [0, 2, 4, 6, 8, 10, 13, 16, 20, 25] {
        let run = executor.sh("echo once; sleep 0.1; exit 5").await;
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        containerd.kill();
        containerd.start().await;
        let (records, ended) = executor.follow(&run, 0).await;
        assert_eq!(
            ended.exit_code,
            Some(5),
            "killed after {delay_ms} ms: {ended:?}"
        );
        assert_eq!(
            output(&records, "stdout"),
            b"once\n",
            "killed after {delay_ms} ms"
        );
    }
    executor.finish().await;
}

/// containerd gives a snapshot's directory its place before it records the snapshot: killed in between, it finds the
/// directory in the way of the next snapshot, which has the same number.
#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn what_a_killed_containerd_did_not_record_is_in_nobodys_way() {
    let mut executor = Executor::start().await;
    let first = executor.sh("true").await;
    executor.wait(&first).await;
    let snapshots =
        Path::new("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots");
    for code in [4, 5, 6] {
        let numbers = std::fs::read_dir(snapshots).unwrap();
        let numbers = numbers.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        let last: u64 = numbers.max().unwrap();
        // As many as a crash leaves. More would be in the way of containerd's own sweep, too: what it found to be nobody's
        // it removes a moment later, also if it became a snapshot's meanwhile. Whole from the first, like containerd's own,
        // or it would be swept while it is made. One that exists by now is a slot's.
        let left = snapshots.with_file_name("left");
        std::fs::create_dir_all(left.join("fs")).unwrap();
        if std::fs::rename(&left, snapshots.join((last + 1).to_string())).is_err() {
            std::fs::remove_dir_all(&left).unwrap();
        }
        let run = executor.sh(&format!("exit {code}")).await;
        let ended = executor.wait(&run).await;
        assert_eq!(ended.exit_code, Some(code), "{ended:?}");
    }
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn an_upgrade_in_the_middle_of_launches_loses_and_repeats_nothing() {
    let mut executor = Executor::start().await;
    let warm = executor.sh("true").await;
    executor.wait(&warm).await;
    for _ in 0..3 {
        let mut runs = Vec::new();
        for _ in 0..8 {
            runs.push(executor.sh("echo once; sleep 0.3; exit 5").await);
        }
        executor.terminate();
        executor.restart().await;
        for run in &runs {
            let (records, ended) = executor.follow(run, 0).await;
            assert_eq!(ended.exit_code, Some(5), "{ended:?}");
            assert_eq!(output(&records, "stdout"), b"once\n");
        }
    }
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_second_executor_on_the_same_runs_is_refused() {
    let executor = Executor::start().await;
    let said = executor.refused_second();
    assert!(
        said.contains("another executor serves the runs in"),
        "{said}"
    );
    executor.finish().await;
}
