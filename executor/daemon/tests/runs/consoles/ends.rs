//! How processes beside the job end: with their clients, with their run, with the executor.

use std::time::{Duration, Instant};

use davit_rpc::console::{Exec, console_input::Input};
use davit_rpc::local::{Run, SubmitRequest};

use super::client::{begin, done, exec, sh};
use super::exec::{IDLE, idle};
use crate::support::{BUSYBOX, Executor, WAIT};

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn it_ends_with_its_client_and_all_that_it_began() {
    let mut executor = Executor::start().await;
    let run = idle(&mut executor).await;
    // Sessions of their own, and one that has neither its streams nor its parent.
    let line = "setsid sh -c 'echo in; exec sleep 601' & \
                (setsid sleep 602 </dev/null >/dev/null 2>&1 &); echo up; sleep 603";
    let mut console = begin(&executor, &run, sh(line)).await;
    console.shows("up").await;
    console.shows("in").await;
    assert_eq!(sleepers(&executor, &run).await, 3);
    drop(console);
    none_sleeps(&executor, &run).await;
    // And one that ends leaves nobody behind.
    let line = "(setsid sleep 604 </dev/null >/dev/null 2>&1 &); exit 3";
    let console = done(&executor, &run, sh(line)).await;
    assert_eq!(console.code(), Some(3));
    none_sleeps(&executor, &run).await;
    // One that does not read its input, and has a lot of it, is no exception.
    let deaf = Exec {
        stdin: true,
        ..exec(&["sleep", "605"])
    };
    flood_and_die(&executor, &run, deaf);
    none_sleeps(&executor, &run).await;
    assert_eq!(executor.get(&run).await.status, "running");
    executor.stop(&run, 0).await;
    executor.finish().await;
}

/// A client with a connection of its own, which breaks while it sends.
fn flood_and_die(executor: &Executor, run: &Run, deaf: Exec) {
    let client = async {
        let console = begin(executor, run, deaf).await;
        let piece = davit_rpc::console::ConsoleInput {
            input: Some(Input::Stdin(vec![0; 64 << 10])),
        };
        let flood = async { while console.sender().send(piece.clone()).await.is_ok() {} };
        let flooded = tokio::time::timeout(Duration::from_millis(500), flood).await;
        assert!(flooded.is_err(), "it takes all there is");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            runtime.block_on(client);
        });
    });
}

async fn sleepers(executor: &Executor, run: &Run) -> usize {
    let line = "n=0; for c in /proc/[0-9]*/cmdline; do \
                tr '\\0' ' ' <$c | grep -q '^sleep 60[0-9]' && n=$((n+1)); done; echo $n";
    done(executor, run, sh(line))
        .await
        .text()
        .trim()
        .parse()
        .unwrap()
}

pub async fn none_sleeps(executor: &Executor, run: &Run) {
    let begin = Instant::now();
    loop {
        let left = sleepers(executor, run).await;
        if left == 0 {
            return;
        }
        assert!(begin.elapsed() < WAIT, "{left} are left");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn it_ends_with_its_run_however_that_ends() {
    let mut executor = Executor::start().await;
    let stopped = idle(&mut executor).await;
    let ending = executor.sh("echo up; sleep 3").await;
    executor.wait_logged(&ending, 1).await;
    let timed = executor
        .submit(SubmitRequest {
            image: BUSYBOX.into(),
            command: Some(IDLE.into()),
            timeout_seconds: Some(3),
            ..SubmitRequest::default()
        })
        .await
        .unwrap();
    executor.wait_logged(&timed, 1).await;
    let mut consoles = Vec::new();
    for run in [&stopped, &ending, &timed] {
        consoles.push(begin(&executor, run, exec(&["sleep", "600"])).await);
    }
    executor.stop(&stopped, 0).await;
    for mut console in consoles {
        let ended = console.until_end().await;
        let seen = (ended.exit_code, ended.reason.as_str());
        assert_eq!(seen, (Some(137), "run_ended"), "{ended:?}");
    }
    assert_eq!(executor.wait(&ending).await.exit_code, Some(0));
    assert_eq!(executor.wait(&timed).await.exit_code, Some(124));
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn an_executor_that_dies_takes_the_process_along_and_not_the_job() {
    let mut executor = Executor::start().await;
    let run = idle(&mut executor).await;
    let mut console = begin(&executor, &run, sh("echo up; exec sleep 606")).await;
    console.shows("up").await;
    executor.kill_and_restart().await;
    executor.wait_running(&run).await;
    none_sleeps(&executor, &run).await;
    assert_eq!(executor.get(&run).await.status, "running");
    executor.stop(&run, 0).await;
    executor.finish().await;
}
