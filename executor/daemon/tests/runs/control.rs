//! Stop, cancel, pause, resume, extend, remove, and what refuses them.

use std::time::{Duration, Instant};

use davit_rpc::local::{ExtendRequest, SubmitRequest};
use tonic::Code;

use super::support::{BUSYBOX, Executor, reference, refusal};

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn stop_returns_as_soon_as_the_job_ends() {
    let mut executor = Executor::start().await;
    let run = executor
        .sh("trap 'echo bye; exit 3' TERM; echo up; while true; do sleep 0.05; done")
        .await;
    executor.wait_logged(&run, 1).await;
    let begin = Instant::now();
    let stopped = executor.stop(&run, 30_000).await;
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "it slept through the grace"
    );
    assert_eq!(
        (stopped.status.as_str(), stopped.exit_code),
        ("canceled", Some(3))
    );
    assert_eq!(executor.follow(&run, 1).await.0[0].line, b"bye");
    // Ended runs come back unchanged.
    assert_eq!(executor.stop(&run, 0).await, stopped);
    let canceled = executor
        .client
        .cancel(reference(&run))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(canceled, stopped);
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_deaf_job_is_killed_after_its_grace_and_by_cancel_at_once() {
    let mut executor = Executor::start().await;
    let deaf = "trap '' TERM; echo up; while true; do sleep 1; done";
    let run = executor.sh(deaf).await;
    executor.wait_logged(&run, 1).await;
    let begin = Instant::now();
    let stopped = executor.stop(&run, 500).await;
    assert!((500..5_000).contains(&begin.elapsed().as_millis()));
    assert_eq!(
        (stopped.status.as_str(), stopped.exit_code),
        ("canceled", Some(137))
    );

    let run = executor.sh(deaf).await;
    executor.wait_logged(&run, 1).await;
    let begin = Instant::now();
    let canceled = executor
        .client
        .cancel(reference(&run))
        .await
        .unwrap()
        .into_inner();
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(
        (canceled.status.as_str(), canceled.exit_code),
        ("canceled", Some(137))
    );
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn stopping_at_once_never_lets_a_job_run_on() {
    let mut executor = Executor::start().await;
    for delay_ms in [0, 1, 2, 5, 10, 20, 40, 80] {
        let run = executor.sh("sleep 600").await;
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        let stopped = executor.stop(&run, 0).await;
        assert_eq!(stopped.status, "canceled", "{stopped:?}");
        assert_eq!(
            stopped.exit_code.is_some(),
            stopped.started_at_ns.is_some(),
            "{stopped:?}"
        );
    }
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_pause_stops_the_clock_and_is_metered_apart() {
    let mut executor = Executor::start().await;
    let run = executor
        .submit(SubmitRequest {
            image: BUSYBOX.into(),
            command: Some("echo up; sleep 1".into()),
            timeout_seconds: Some(2),
            ..SubmitRequest::default()
        })
        .await
        .unwrap();
    executor.wait_logged(&run, 1).await;
    let paused = executor
        .client
        .pause(reference(&run))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (paused.status.as_str(), paused.phase.as_str()),
        ("running", "paused")
    );
    assert!(paused.paused_at_ns.is_some());
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let resumed = executor
        .client
        .resume(reference(&run))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (resumed.phase.as_str(), resumed.paused_at_ns),
        ("running", None)
    );
    let ended = executor.wait(&run).await;
    assert_eq!(ended.status, "succeeded", "{ended:?}");
    let usage = ended.usage.unwrap();
    assert!(usage.paused_ms >= 2_400, "{usage:?}");
    assert_eq!(usage.billable_ms, usage.wall_ms - usage.paused_ms);
    assert!(usage.billable_ms < 2_000, "{usage:?}");
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_paused_job_can_be_stopped() {
    let mut executor = Executor::start().await;
    let run = executor
        .sh("trap 'exit 5' TERM; echo up; while true; do sleep 0.05; done")
        .await;
    executor.wait_logged(&run, 1).await;
    executor.client.pause(reference(&run)).await.unwrap();
    let stopped = executor.stop(&run, 10_000).await;
    assert_eq!(
        (stopped.status.as_str(), stopped.exit_code),
        ("canceled", Some(5))
    );
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_deadline_can_be_moved_while_the_job_runs() {
    let mut executor = Executor::start().await;
    let run = executor
        .submit(SubmitRequest {
            image: BUSYBOX.into(),
            command: Some("echo up; sleep 1.5".into()),
            timeout_seconds: Some(1),
            ..SubmitRequest::default()
        })
        .await
        .unwrap();
    executor.wait_logged(&run, 1).await;
    let extend = ExtendRequest {
        run: run.id.clone(),
        timeout_seconds: 10,
    };
    let extended = executor.client.extend(extend).await.unwrap().into_inner();
    assert_eq!(extended.timeout_seconds, 10);
    assert_eq!(executor.wait(&run).await.exit_code, Some(0));
    let late = ExtendRequest {
        run: run.id.clone(),
        timeout_seconds: 20,
    };
    assert_eq!(
        refusal(executor.client.extend(late).await).0,
        Code::FailedPrecondition
    );
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn names_are_held_by_live_runs_and_ended_runs_can_be_removed() {
    let mut executor = Executor::start().await;
    let named = SubmitRequest {
        image: BUSYBOX.into(),
        command: Some("echo up; sleep 600".into()),
        name: Some("build".into()),
        ..SubmitRequest::default()
    };
    let run = executor.submit(named.clone()).await.unwrap();
    executor.wait_logged(&run, 1).await;
    assert_eq!(
        refusal(executor.submit(named.clone()).await).0,
        Code::AlreadyExists
    );
    assert_eq!(
        refusal(executor.client.remove(reference(&run)).await).0,
        Code::FailedPrecondition
    );
    let usage = executor.get(&run).await.usage.unwrap();
    assert!(usage.wall_ms > 0 && usage.cpu_us > 0, "{usage:?}");
    executor.stop(&run, 0).await;
    let again = executor.submit(named).await.unwrap();
    executor.stop(&again, 0).await;
    executor.wait_clean().await;
    executor.client.remove(reference(&run)).await.unwrap();
    assert_eq!(
        refusal(executor.client.get(reference(&run)).await).0,
        Code::NotFound
    );
    assert!(!std::path::Path::new(&run.run_dir).exists());
    executor.finish().await;
}
