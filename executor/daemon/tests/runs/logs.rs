//! Logs: whole, in order, byte-exact, before the end.

use davit_rpc::local::SubmitRequest;

use super::support::{BUSYBOX, Executor, output};

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn attaching_at_once_misses_nothing_and_attaching_late_tells_the_same() {
    let mut executor = Executor::start().await;
    let run = executor
        .sh("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; printf tail; printf err >&2")
        .await;
    let (records, ended) = executor.follow(&run, 0).await;
    assert_eq!(ended.status, "succeeded");
    let mut expected: String = (0..3000).map(|i| format!("line {i}\n")).collect();
    expected.push_str("tail");
    assert_eq!(output(&records, "stdout"), expected.as_bytes());
    assert_eq!(output(&records, "stderr"), b"err");
    let ids: Vec<u64> = records.iter().map(|record| record.id).collect();
    assert_eq!(ids, (1..=3002).collect::<Vec<_>>());
    assert_eq!(ended.log.unwrap().records, 3002);

    assert_eq!(executor.follow(&run, 0).await.0, records);
    assert_eq!(executor.follow(&run, 2990).await.0, records[2990..]);
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn bytes_are_the_jobs_own() {
    let mut executor = Executor::start().await;
    let run = executor
        .sh(r"printf '\n\377\376\0x\r\n\n'; printf 'no end'")
        .await;
    let (records, _) = executor.follow(&run, 0).await;
    assert_eq!(output(&records, "stdout"), b"\n\xff\xfe\0x\r\n\nno end");
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn lines_are_told_while_the_job_runs() {
    let mut executor = Executor::start().await;
    let run = executor
        .sh("echo first; read forever < /dev/zero; sleep 60")
        .await;
    executor.wait_logged(&run, 1).await;
    let stopped = executor.stop(&run, 0).await;
    assert_eq!(stopped.status, "canceled");
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_silent_job_has_an_empty_log() {
    let mut executor = Executor::start().await;
    let run = executor
        .submit(SubmitRequest {
            image: BUSYBOX.into(),
            argv: vec!["true".into()],
            ..SubmitRequest::default()
        })
        .await
        .unwrap();
    let (records, ended) = executor.follow(&run, 0).await;
    assert_eq!((records.len(), ended.exit_code), (0, Some(0)));
    executor.finish().await;
}
