//! An executor that begins while containerd is away looks after what is there, and is whole again once
//! containerd answers.

use std::time::{Duration, Instant};

use davit_rpc::local::{Empty, ListRequest, Run, SubmitRequest, host_client::HostClient};
use tonic::Code;

use super::containerd_process::ContainerdProcess;
use super::support::{BUSYBOX, Executor, output, reference, refusal};

/// Longest wait for containerd to be back and noticed.
const WAIT: Duration = Duration::from_secs(30);

fn exits_with(code: u32) -> SubmitRequest {
    SubmitRequest {
        image: BUSYBOX.into(),
        command: Some(format!("exit {code}")),
        ..SubmitRequest::default()
    }
}

/// Submits until it is accepted: the executor begins again when it has noticed containerd.
async fn accepted(executor: &mut Executor, request: SubmitRequest) -> Run {
    let begin = Instant::now();
    loop {
        match executor.submit(request.clone()).await {
            Ok(run) => return run,
            Err(status) => assert!(begin.elapsed() < WAIT, "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn begun_without_containerd_it_looks_after_what_runs() {
    let mut executor = Executor::start().await;
    let containerd = ContainerdProcess::here();
    let counter = executor
        .sh("i=0; while [ $i -lt 60 ]; do echo $i; i=$((i+1)); sleep 0.1; done; exit 9")
        .await;
    let frozen = executor.sh("echo up; sleep 600").await;
    let stopped = executor
        .sh("trap 'exit 3' TERM; echo up; while true; do sleep 0.05; done")
        .await;
    let ended = executor.sh("echo up; sleep 0.5; exit 6").await;
    for run in [&counter, &frozen, &stopped, &ended] {
        executor.wait_logged(run, 1).await;
    }
    executor.kill();
    containerd.kill();
    tokio::time::sleep(Duration::from_millis(600)).await;
    executor.restart().await;

    let list = ListRequest { all: true };
    let listed = executor.client.list(list).await.unwrap().into_inner().runs;
    assert_eq!(listed.len(), 4);
    assert_eq!(executor.wait(&ended).await.exit_code, Some(6));
    assert_eq!(executor.stop(&stopped, 10_000).await.exit_code, Some(3));
    let paused = executor.client.pause(reference(&frozen)).await.unwrap();
    assert_eq!(paused.into_inner().phase, "paused");
    let (code, told) = refusal(executor.submit(exits_with(0)).await);
    assert_eq!(code, Code::Unavailable);
    assert!(told.contains("containerd does not answer on"), "{told}");
    let mut host = HostClient::new(executor.channel());
    let info = host.info(Empty {}).await.unwrap().into_inner();
    assert_eq!(info.containerd_version, "");
    assert!(info.warnings.contains(&told), "{info:?}");

    containerd.start().await;
    let next = accepted(&mut executor, exits_with(8)).await;
    assert_eq!(executor.wait(&next).await.exit_code, Some(8));
    assert_eq!(executor.get(&frozen).await.phase, "paused");
    let canceled = executor.client.cancel(reference(&frozen)).await.unwrap();
    assert_eq!(canceled.into_inner().status, "canceled");
    let (records, run) = executor.follow(&counter, 0).await;
    assert_eq!(run.exit_code, Some(9));
    let expected: String = (0..60).map(|i| format!("{i}\n")).collect();
    assert_eq!(output(&records, "stdout"), expected.as_bytes());
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_launch_cut_off_with_containerd_happens_once_when_it_is_back() {
    let mut executor = Executor::start().await;
    let containerd = ContainerdProcess::here();
    let first = executor.sh("true").await;
    executor.wait(&first).await;
    for delay_ms in [0, 5, 10, 15, 20, 30] {
        let run = executor.sh("echo once; sleep 0.1; exit 5").await;
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        executor.kill();
        containerd.kill();
        executor.restart().await;
        containerd.start_soon();
        accepted(&mut executor, exits_with(0)).await;
        let (records, ended) = executor.follow(&run, 0).await;
        assert_eq!(ended.exit_code, Some(5), "after {delay_ms} ms: {ended:?}");
        assert_eq!(output(&records, "stdout"), b"once\n", "after {delay_ms} ms");
    }
    executor.finish().await;
}
