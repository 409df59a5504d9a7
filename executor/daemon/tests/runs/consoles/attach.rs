//! Beside the job itself: its input, its terminal, and clients that come, go and sleep.

use std::time::{Duration, Instant};

use davit_rpc::console::{
    Attach, ConsoleInput, Exec, StdinEnd, WindowSize, console_input::Input, open::With,
};
use davit_rpc::local::{EnvVar, Run, SubmitRequest};
use tonic::Code;

use super::client::{Console, attach, begin, open, open_sized, sh};
use crate::support::{BUSYBOX, Executor, output};
use crate::warm::{is_warm, wait_ready};

fn job(command: &str) -> SubmitRequest {
    SubmitRequest {
        image: BUSYBOX.into(),
        command: Some(command.into()),
        stdin: true,
        ..SubmitRequest::default()
    }
}

fn with_terminal(command: &str) -> SubmitRequest {
    SubmitRequest {
        tty: true,
        ..job(command)
    }
}

async fn submit(executor: &mut Executor, request: SubmitRequest) -> Run {
    let run = executor.submit(request).await.unwrap();
    executor.wait_running(&run).await;
    run
}

async fn each_runtime(executor: &mut Executor, request: SubmitRequest) -> Vec<Run> {
    let mut runs = Vec::new();
    for runtime in ["crun", "runc"] {
        let runtime = runtime.into();
        let request = SubmitRequest {
            runtime,
            ..request.clone()
        };
        runs.push(submit(executor, request).await);
    }
    runs
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn ten_megabytes_reach_the_job_unchanged_and_then_the_end() {
    let mut executor = Executor::start().await;
    let bytes: Vec<u8> = (0..10_u32 << 18).flat_map(u32::to_le_bytes).collect();
    for run in each_runtime(&mut executor, job("cat | sha256sum; echo the end >&2")).await {
        let mut console = attach(&executor, &run, true).await;
        assert!(!console.tty);
        let (sender, sent) = (console.sender(), bytes.clone());
        tokio::spawn(async move {
            let end = Input::StdinEnd(StdinEnd {});
            let pieces = sent
                .chunks(64 << 10)
                .map(|piece| Input::Stdin(piece.to_vec()));
            for input in pieces.chain([end]) {
                let input = ConsoleInput { input: Some(input) };
                sender.send(input).await.unwrap();
            }
        });
        console.until_end().await;
        assert_eq!((console.code(), console.reason()), (Some(0), "exited"));
        assert_eq!(console.stderr, b"the end\n");
        let (records, ended) = executor.follow(&run, 0).await;
        assert_eq!(ended.exit_code, Some(0));
        assert_eq!(output(&records, "stdout"), console.stdout);
        let sum = std::process::Command::new("sha256sum")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn();
        let mut sum = sum.unwrap();
        std::io::Write::write_all(&mut sum.stdin.take().unwrap(), &bytes).unwrap();
        assert_eq!(sum.wait_with_output().unwrap().stdout, console.stdout);
    }
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn the_input_stays_open_while_clients_come_and_go_and_the_executor_dies() {
    let mut executor = Executor::start().await;
    let echo = "while read line; do echo got $line; done; echo end";
    let run = submit(&mut executor, job(echo)).await;
    let mut first = attach(&executor, &run, true).await;
    first.types("one\n").await;
    first.shows("got one").await;
    drop(first);
    let mut second = attach(&executor, &run, true).await;
    second.types("two\n").await;
    second.shows("got two").await;
    executor.kill_and_restart().await;
    executor.wait_running(&run).await;
    let mut third = attach(&executor, &run, true).await;
    third.types("three\n").await;
    third.shows("got three").await;
    assert!(!third.text().contains("two"), "it began before it came");
    third.ends_input().await;
    third.until_end().await;
    assert_eq!((third.code(), third.reason()), (Some(0), "exited"));
    let (records, _) = executor.follow(&run, 0).await;
    let log = output(&records, "stdout");
    assert_eq!(log, b"got one\ngot two\ngot three\nend\n");
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_terminal_is_one_with_a_size_that_changes() {
    let mut executor = Executor::start().await;
    let script = "test -t 0 && test -t 1 && test -t 2 && echo all; read x; stty size; \
                  trap 'stty size; exit 5' WINCH; echo ready; while true; do sleep 0.05; done";
    for run in each_runtime(&mut executor, with_terminal(script)).await {
        let with = With::Attach(Attach { stdin: true });
        let console = open_sized(&executor, &run, with, Some((40, 123))).await;
        let mut console = console.unwrap();
        assert!(console.tty);
        // Whatever it showed before: a screen is kept.
        console.shows("all").await;
        console.types("\n").await;
        console.shows("40 123").await;
        console.shows("ready").await;
        let size = WindowSize {
            rows: 50,
            columns: 99,
        };
        console.send(Input::WindowSize(size)).await;
        console.shows("50 99").await;
        console.until_end().await;
        assert_eq!((console.code(), console.reason()), (Some(5), "exited"));
        assert!(console.stderr.is_empty());
        let (records, _) = executor.follow(&run, 0).await;
        let log = output(&records, "stdout");
        assert_eq!(String::from_utf8_lossy(&log), console.text());
    }
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn what_is_typed_at_a_terminal_is_heeded_as_there() {
    let mut executor = Executor::start().await;
    // The first process of a container heeds no signal that it has not asked for.
    let script = "cat; code=$?; trap 'exit 3' INT; echo code $code; sleep 600; exit 4";
    let run = submit(&mut executor, with_terminal(script)).await;
    let mut console = attach(&executor, &run, true).await;
    console.types("hello\r").await;
    console.shows("hello\r\nhello\r\n").await;
    // Control-D ends cat's input, control-C the sleep, and with it the shell.
    console.types("\u{4}").await;
    console.shows("code 0").await;
    console.types("\u{3}").await;
    let ended = console.until_end().await;
    assert_eq!(ended.exit_code, Some(3), "{ended:?}");
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_process_beside_the_job_has_a_terminal_when_it_wants_one() {
    let mut executor = Executor::start().await;
    for run in each_runtime(&mut executor, job("cat")).await {
        let shell = Exec {
            tty: true,
            stdin: true,
            ..sh("stty size; echo $TERM; read x; stty size; exit 9")
        };
        let console = open_sized(&executor, &run, With::Exec(shell), Some((10, 20))).await;
        let mut console = console.unwrap();
        assert!(console.tty);
        console.shows("10 20\r\nxterm\r\n").await;
        let size = WindowSize {
            rows: 30,
            columns: 40,
        };
        console.send(Input::WindowSize(size)).await;
        console.types("\r").await;
        console.until_end().await;
        assert!(console.text().contains("30 40"), "{}", console.text());
        assert_eq!((console.code(), console.reason()), (Some(9), "exited"));
        // It is gone with its client here, too.
        let sleeper = Exec {
            tty: true,
            ..sh("echo up; sleep 607")
        };
        let mut console = begin(&executor, &run, sleeper).await;
        console.shows("up").await;
        drop(console);
        let begin = Instant::now();
        while sleeps(&executor, &run).await {
            assert!(begin.elapsed() < Duration::from_secs(30), "it is left");
        }
        executor.stop(&run, 0).await;
    }
    executor.finish().await;
}

async fn sleeps(executor: &Executor, run: &Run) -> bool {
    let mut console = begin(executor, run, sh("ps | grep '[s]leep 607'")).await;
    console.until_end().await;
    console.code() == Some(0)
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn many_look_on_and_the_last_one_types() {
    let mut executor = Executor::start().await;
    let run = submit(&mut executor, job("while read x; do echo got $x; done")).await;
    let mut looker = attach(&executor, &run, false).await;
    let mut first = attach(&executor, &run, true).await;
    first.types("one\n").await;
    for console in [&mut first, &mut looker] {
        console.shows("got one").await;
    }
    let mut second = attach(&executor, &run, true).await;
    assert_eq!(first.until_end().await.reason, "taken_over");
    second.types("two\n").await;
    for console in [&mut second, &mut looker] {
        console.shows("got two").await;
    }
    looker.types("three\n").await;
    let ended = looker.until_end().await;
    assert_eq!(ended.reason, "error", "{ended:?}");
    assert_eq!(executor.get(&run).await.status, "running");
    second.ends_input().await;
    assert_eq!(second.until_end().await.exit_code, Some(0));
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_client_that_sleeps_holds_nobody_up_and_is_told_what_it_missed() {
    let mut executor = Executor::start().await;
    let flood = "read x; echo begun; head -c 4000000 /dev/zero | tr '\\0' x | fold -w 99; sleep 2";
    let run = submit(&mut executor, job(flood)).await;
    let mut sleeper: Console = attach(&executor, &run, false).await;
    let mut typist = attach(&executor, &run, true).await;
    typist.types("go\n").await;
    typist.shows("begun").await;
    drop(typist);
    let (records, ended) = executor.follow(&run, 0).await;
    assert_eq!(ended.exit_code, Some(0));
    let log = output(&records, "stdout");
    assert_eq!(log.len(), "begun\n".len() + 4_000_000 + 4_000_000 / 99);
    let ended = sleeper.until_end().await;
    // Unless the shim went first, it knows how much.
    if ended.reason == "exited" {
        assert!(ended.dropped_bytes > 0, "{ended:?}");
        let shown = sleeper.stdout.len() as u64;
        assert_eq!(shown + ended.dropped_bytes, log.len() as u64);
    } else {
        assert_eq!(ended.reason, "run_ended", "{ended:?}");
    }
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn who_cannot_attach_hears_why_and_such_runs_take_no_slot() {
    let mut executor = Executor::start().await;
    let plain = executor.sh("echo up; sleep 600").await;
    executor.wait_logged(&plain, 1).await;
    let attached = |stdin| With::Attach(Attach { stdin });
    let status = open(&executor, &plain, attached(false))
        .await
        .err()
        .unwrap();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("without stdin"), "{status}");
    executor.stop(&plain, 0).await;
    wait_ready(&executor, 1).await;

    let only_tty = SubmitRequest {
        stdin: false,
        ..with_terminal("echo up; sleep 600")
    };
    let run = submit(&mut executor, only_tty).await;
    assert!(!is_warm(&executor.get(&run).await));
    let status = open(&executor, &run, attached(true)).await.err().unwrap();
    assert!(status.message().contains("without stdin"), "{status}");
    let mut looker = attach(&executor, &run, false).await;
    looker.shows("up").await;
    executor.stop(&run, 0).await;
    assert_eq!(looker.until_end().await.exit_code, Some(137));

    let run = submit(&mut executor, job("cat; sleep 600")).await;
    assert!(!is_warm(&executor.get(&run).await));
    let console = attach(&executor, &run, true).await;
    console.types("x\n").await;
    console.ends_input().await;
    executor.wait_logged(&run, 1).await;
    drop(console);
    let status = open(&executor, &run, attached(true)).await.err().unwrap();
    assert!(status.message().contains("has ended"), "{status}");
    executor.stop(&run, 0).await;
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn who_looks_on_sees_no_secret_that_the_log_does_not_show() {
    let mut executor = Executor::start().await;
    let secret = EnvVar {
        key: "TOKEN".into(),
        value: "hush-hush".into(),
    };
    let request = SubmitRequest {
        secret_env: vec![secret],
        ..job("read x; echo say $TOKEN")
    };
    let run = submit(&mut executor, request).await;
    let mut console = attach(&executor, &run, true).await;
    console.types("\n").await;
    console.until_end().await;
    assert_eq!(console.text(), "say [redacted]\n");
    executor.finish().await;
}
