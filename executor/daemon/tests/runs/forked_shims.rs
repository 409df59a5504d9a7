//! Forked shims: their deaths, their zygote's, the executor's and containerd's.
//!
//! Where containerd executes every shim itself (1.7), `scripts/lib/host-tests` leaves this module out.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use davit_executor::containerd::TaskStatus;
use rustix::process::{Pid, Signal, kill_process};

use super::containerd_process::ContainerdProcess;
use super::shims::{containerd, is_able, lasting, name, shim_pid, socket};
use super::support::{Executor, output};

/// Longest wait for something to come true.
const WAIT: Duration = Duration::from_secs(20);

async fn forking() -> Executor {
    let executor = Executor::start().await;
    assert!(
        is_able(&executor).await,
        "this containerd executes every shim itself"
    );
    executor
}

fn parent_of(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after = stat.rsplit(')').next().unwrap();
    after.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_forked_shim_that_dies_leaves_nothing_though_containerd_does_not_notice() {
    let mut executor = forking().await;
    for restarted in [false, true] {
        let run = lasting(&mut executor).await;
        let name = name(&run);
        let namespace = executor.settings().containerd.namespace;
        let oci_state = PathBuf::from(format!("/run/containerd/davit/{namespace}/{name}"));
        assert!(oci_state.exists(), "there is nothing to be cleared up");
        if restarted {
            executor.kill();
        }
        kill(shim_pid(&run));
        if restarted {
            executor.restart().await;
        }
        let lost = executor.wait(&run).await;
        assert_eq!(
            lost.end_reason.as_deref(),
            Some("executor_lost"),
            "{lost:?}"
        );
        assert_eq!(lost.exit_code, None);
        executor.wait_clean().await;
        assert!(!oci_state.exists(), "the OCI runtime's state is left");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&name), "a mount is left");
    }
    let next = executor.sh("exit 8").await;
    assert_eq!(executor.wait(&next).await.exit_code, Some(8));
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn without_a_zygote_runs_go_on_and_start_the_plain_way_until_there_is_one() {
    let mut executor = forking().await;
    let run = lasting(&mut executor).await;
    let zygote = parent_of(shim_pid(&run));
    kill(zygote);
    // At once, and so by containerd's hand.
    let next = executor.sh("echo next; exit 5").await;
    assert_eq!(executor.wait(&next).await.exit_code, Some(5));
    let begin = Instant::now();
    loop {
        let again = lasting(&mut executor).await;
        let is_forked = socket(&executor, &again).exists();
        assert_eq!(executor.stop(&again, 5_000).await.exit_code, Some(7));
        if is_forked {
            break;
        }
        assert!(
            begin.elapsed() < WAIT,
            "no zygote again: {}",
            executor.log()
        );
    }
    let warnings = executor
        .log()
        .matches("shims are forked from is gone")
        .count();
    assert_eq!(warnings, 1, "{}", executor.log());
    assert_eq!(executor.stop(&run, 5_000).await.exit_code, Some(7));
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn forked_shims_survive_containerd_and_are_taken_back_by_it() {
    let mut executor = forking().await;
    let process = ContainerdProcess::here();
    for violent in [true, false] {
        let run = lasting(&mut executor).await;
        let shim = shim_pid(&run);
        let short = executor.sh("echo up; sleep 0.3; exit 6").await;
        executor.wait_logged(&short, 1).await;
        if violent {
            process.kill();
        } else {
            process.terminate().await;
        }
        process.start().await;
        let key = name(&run).parse().unwrap();
        let task = containerd(&executor).await.task_state(&key).await.unwrap();
        assert_eq!(task.unwrap().status, TaskStatus::Running);
        assert_eq!(shim_pid(&run), shim);
        assert_eq!(executor.wait(&short).await.exit_code, Some(6));
        assert_eq!(executor.stop(&run, 5_000).await.exit_code, Some(7));
        executor.wait_clean().await;

        // From now on containerd watches, and executes `shim delete`.
        let run = lasting(&mut executor).await;
        process.kill();
        process.start().await;
        kill(shim_pid(&run));
        let lost = executor.wait(&run).await;
        assert_eq!(
            lost.end_reason.as_deref(),
            Some("executor_lost"),
            "{lost:?}"
        );
        executor.wait_clean().await;
    }
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn forked_shims_survive_the_executor_and_its_zygote() {
    let mut executor = forking().await;
    let run = executor
        .sh("i=0; while [ $i -lt 30 ]; do echo $i; i=$((i+1)); sleep 0.05; done; exit 9")
        .await;
    executor.wait_logged(&run, 2).await;
    let zygote = parent_of(shim_pid(&run));
    executor.kill();
    let begin = Instant::now();
    while parent_of(shim_pid(&run)) == zygote {
        assert!(begin.elapsed() < WAIT, "the zygote outlives its executor");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    executor.restart().await;
    let after = lasting(&mut executor).await;
    assert!(socket(&executor, &after).exists());
    assert_ne!(parent_of(shim_pid(&after)), zygote);
    let (records, ended) = executor.follow(&run, 0).await;
    assert_eq!(ended.exit_code, Some(9));
    let expected: String = (0..30).map(|i| format!("{i}\n")).collect();
    assert_eq!(output(&records, "stdout"), expected.as_bytes());
    assert_eq!(executor.stop(&after, 5_000).await.exit_code, Some(7));
    executor.finish().await;
}
