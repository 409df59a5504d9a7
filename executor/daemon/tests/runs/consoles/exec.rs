//! Processes begun beside the job: exact codes, its lock, its limits, and an end with the console and with the run.

use std::time::{Duration, Instant};

use davit_rpc::console::{Exec, console_input::Input, open::With};
use davit_rpc::local::{EnvVar, Run, SubmitRequest};
use tonic::Code;

use super::client::{Console, begin, done, exec, open, sh};
use super::ends::none_sleeps;
use crate::support::{BUSYBOX, Executor, WAIT, reference, refusal};
use crate::warm::{is_warm, wait_ready};

pub const IDLE: &str = "echo up; while true; do sleep 0.1; done";

pub async fn idle(executor: &mut Executor) -> Run {
    let run = executor.sh(IDLE).await;
    executor.wait_logged(&run, 1).await;
    run
}

/// Runs whose container is their own, and one in a warm slot.
async fn each(executor: &mut Executor) -> Vec<Run> {
    let mut runs = Vec::new();
    for runtime in ["crun", "runc"] {
        let run = executor
            .submit(SubmitRequest {
                image: BUSYBOX.into(),
                command: Some(IDLE.into()),
                runtime: runtime.into(),
                ..SubmitRequest::default()
            })
            .await
            .unwrap();
        executor.wait_logged(&run, 1).await;
        runs.push(run);
    }
    // It has shown what the profile is.
    let first = idle(executor).await;
    executor.stop(&first, 0).await;
    wait_ready(executor, 1).await;
    let warm = idle(executor).await;
    assert!(is_warm(&executor.get(&warm).await));
    runs.push(warm);
    runs
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_process_has_its_own_exact_code_and_its_streams_apart() {
    let mut executor = Executor::start().await;
    for run in each(&mut executor).await {
        for (line, code) in [
            ("exit 0", 0),
            ("exit 7", 7),
            ("nosuchprogram", 127),
            ("/etc/passwd", 126),
            ("kill -9 $$", 137),
            ("kill -TERM $$", 143),
        ] {
            let console = done(&executor, &run, sh(line)).await;
            let seen = (console.code(), console.reason());
            assert_eq!(seen, (Some(code), "exited"), "{line}");
            assert!(!console.tty);
        }
        let console = done(
            &executor,
            &run,
            sh("echo out; echo err >&2; read x || echo eof"),
        )
        .await;
        assert_eq!(console.text(), "out\neof\n");
        assert_eq!(console.stderr, b"err\n");
        // Nothing of it is in the run's log, or in its cgroup.
        assert_eq!(executor.logged(&run).await, 1);
        assert_eq!(cgroups_below(&run).await, Vec::<String>::new());
        executor.stop(&run, 0).await;
    }
    executor.finish().await;
}

async fn cgroups_below(run: &Run) -> Vec<String> {
    let launch = std::fs::read_to_string(format!("{}/launch.json", run.run_dir)).unwrap();
    let launch: serde_json::Value = serde_json::from_str(&launch).unwrap();
    let path = format!("/sys/fs/cgroup{}", launch["cgroup"].as_str().unwrap());
    let begin = Instant::now();
    loop {
        let entries = std::fs::read_dir(&path).unwrap().map(Result::unwrap);
        let dirs = entries.filter(|entry| entry.file_type().unwrap().is_dir());
        let names: Vec<_> = dirs
            .map(|dir| dir.file_name().to_string_lossy().into_owned())
            .collect();
        if names.is_empty() || begin.elapsed() > Duration::from_secs(5) {
            return names;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn it_is_locked_in_as_the_job_is() {
    let mut executor = Executor::start().await;
    for run in each(&mut executor).await {
        let status = "grep -E '^(Cap|Seccomp:|NoNewPrivs|Uid|Gid|Groups)' /proc/$1/status";
        let of = |pid: &str| exec(&["sh", "-c", status, "sh", pid]);
        let job = done(&executor, &run, of("1")).await.text();
        let own = done(&executor, &run, of("self")).await.text();
        assert_eq!(own, job);
        for wanted in [
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
        ] {
            assert!(own.contains(wanted), "{wanted} is not in {own}");
        }
        // Nothing of the runtime's is left to it: 3 is the listing's own.
        let open = done(&executor, &run, exec(&["ls", "/proc/self/fd"]))
            .await
            .text();
        assert_eq!(open, "0\n1\n2\n3\n");
        // The filter, and not only that there is one.
        let refused = done(&executor, &run, exec(&["unshare", "-U", "true"])).await;
        assert_ne!(refused.code(), Some(0));
        let places = "for n in mnt pid net ipc uts cgroup user; do readlink /proc/$1/ns/$n; done";
        let of = |pid: &str| exec(&["sh", "-c", places, "sh", pid]);
        let job = done(&executor, &run, of("1")).await.text();
        assert_eq!(done(&executor, &run, of("self")).await.text(), job);
        executor.stop(&run, 0).await;
    }
    executor.finish().await;
}

fn variable(key: &str, value: &str) -> EnvVar {
    EnvVar {
        key: key.into(),
        value: value.into(),
    }
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn it_has_the_jobs_variables_secrets_too_and_what_it_was_given() {
    let mut executor = Executor::start().await;
    let request = |secret| SubmitRequest {
        image: BUSYBOX.into(),
        command: Some(IDLE.into()),
        env: ["A", "B"].map(|key| variable(key, "job")).into(),
        workdir: Some("/tmp".into()),
        secret_env: secret,
        ..SubmitRequest::default()
    };
    for secrets in [vec![], vec![variable("TOKEN", "hush-hush")]] {
        let has_secret = !secrets.is_empty();
        let run = executor.submit(request(secrets)).await.unwrap();
        executor.wait_logged(&run, 1).await;
        let asked = Exec {
            env: [
                ("B".to_owned(), "own".to_owned()),
                ("C".to_owned(), "own".to_owned()),
            ]
            .into(),
            ..sh("echo $A $B $C $TOKEN; pwd; id -u")
        };
        let console = done(&executor, &run, asked).await;
        let token = if has_secret { " hush-hush" } else { "" };
        assert_eq!(console.text(), format!("job own own{token}\n/tmp\n0\n"));
        let asked = Exec {
            user: Some("7:8".into()),
            workdir: Some("/proc".into()),
            ..sh("id -u; id -g; pwd")
        };
        let console = done(&executor, &run, asked).await;
        assert_eq!(console.text(), "7\n8\n/proc\n");
        let found = std::process::Command::new("grep")
            .args(["-rls", "hush-hush", "/run/containerd", "/run/davit"])
            .arg(executor.dir())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "");
        executor.stop(&run, 0).await;
    }
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn ten_megabytes_go_through_it_unchanged_and_its_input_ends() {
    let mut executor = Executor::start().await;
    let run = idle(&mut executor).await;
    let with_input = Exec {
        stdin: true,
        ..sh("cat; echo the end >&2")
    };
    let mut console = begin(&executor, &run, with_input).await;
    let bytes: Vec<u8> = (0..10_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let (sender, sent) = (console.sender(), bytes.clone());
    tokio::spawn(async move {
        let end = Input::StdinEnd(davit_rpc::console::StdinEnd {});
        let pieces = sent
            .chunks(64 << 10)
            .map(|piece| Input::Stdin(piece.to_vec()));
        for input in pieces.chain([end]) {
            let input = davit_rpc::console::ConsoleInput { input: Some(input) };
            sender.send(input).await.unwrap();
        }
    });
    console.until_end().await;
    assert_eq!(console.code(), Some(0));
    assert!(
        console.stdout == bytes,
        "{} bytes came back",
        console.stdout.len()
    );
    assert_eq!(console.stderr, b"the end\n");
    executor.stop(&run, 0).await;
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn fifty_at_once_and_no_more_than_there_may_be() {
    let mut executor = Executor::start().await;
    let run = idle(&mut executor).await;
    let many = (0..50).map(|number| {
        let line = format!("echo {number}; sleep 0.2; exit {number}");
        done_owned(&executor, &run, line)
    });
    for (number, console) in futures::future::join_all(many)
        .await
        .into_iter()
        .enumerate()
    {
        let code = u32::try_from(number).unwrap();
        assert_eq!(
            (console.code(), console.text()),
            (Some(code), format!("{number}\n"))
        );
    }
    let mut held = Vec::new();
    let full = loop {
        match open(&executor, &run, With::Exec(exec(&["sleep", "600"]))).await {
            Ok(console) => held.push(console),
            Err(status) => break status,
        }
    };
    assert_eq!(full.code(), Code::ResourceExhausted, "{full}");
    assert!(full.message().contains("64"), "{full}");
    assert_eq!(held.len(), 64);
    // Whoever leaves makes room.
    drop(held);
    let begin = Instant::now();
    while open(&executor, &run, With::Exec(exec(&["true"])))
        .await
        .is_err()
    {
        assert!(begin.elapsed() < WAIT, "no place becomes free");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    executor.stop(&run, 0).await;
    executor.finish().await;
}

async fn done_owned(executor: &Executor, run: &Run, line: String) -> Console {
    done(executor, run, sh(&line)).await
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_signal_reaches_it_and_not_the_job() {
    let mut executor = Executor::start().await;
    let run = idle(&mut executor).await;
    let line = "trap 'echo got; exit 9' USR1; echo up; while true; do sleep 0.05; done";
    let mut console = begin(&executor, &run, sh(line)).await;
    console.shows("up").await;
    console.send(Input::Signal("USR1".into())).await;
    console.until_end().await;
    assert_eq!(
        (console.code(), console.text().as_str()),
        (Some(9), "up\ngot\n")
    );
    // What cannot be understood ends the console, and says why.
    let mut console = begin(&executor, &run, exec(&["sleep", "600"])).await;
    console.send(Input::Signal("LOUD".into())).await;
    let ended = console.until_end().await;
    assert_eq!(ended.reason, "error");
    assert!(ended.message.contains("LOUD"), "{ended:?}");
    none_sleeps(&executor, &run).await;
    executor.stop(&run, 0).await;
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn what_cannot_be_is_refused_in_a_sentence() {
    let mut executor = Executor::start().await;
    let run = idle(&mut executor).await;
    let long = vec!["x".to_owned(); 201];
    for (asked, code, word) in [
        (exec(&[]), Code::InvalidArgument, "argv"),
        (
            Exec {
                argv: long,
                ..Exec::default()
            },
            Code::InvalidArgument,
            "argv",
        ),
        (exec(&["/no/such"]), Code::InvalidArgument, "/no/such"),
        (
            exec(&["nosuchprogram"]),
            Code::InvalidArgument,
            "nosuchprogram",
        ),
        (exec(&["/etc/passwd"]), Code::InvalidArgument, "/etc/passwd"),
        (
            Exec {
                user: Some("nobodyhere".into()),
                ..sh("true")
            },
            Code::InvalidArgument,
            "user",
        ),
        (
            Exec {
                workdir: Some("tmp".into()),
                ..sh("true")
            },
            Code::InvalidArgument,
            "workdir",
        ),
    ] {
        let shown = format!("{asked:?}");
        let status = open(&executor, &run, With::Exec(asked))
            .await
            .err()
            .expect(&shown);
        assert_eq!(status.code(), code, "{shown}: {status}");
        let said = format!(
            "{} {:?}",
            status.message(),
            davit_rpc::field_errors(&status)
        );
        assert!(said.contains(word), "{shown}: {said}");
    }
    assert_eq!(cgroups_below(&run).await, Vec::<String>::new());
    executor.stop(&run, 0).await;
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_run_that_is_paused_or_over_or_nobodys_is_refused() {
    let mut executor = Executor::start().await;
    let run = idle(&mut executor).await;
    executor.client.pause(reference(&run)).await.unwrap();
    let asked = || With::Exec(exec(&["true"]));
    let status = open(&executor, &run, asked()).await.err().unwrap();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("paused"), "{status}");
    executor.client.resume(reference(&run)).await.unwrap();
    assert_eq!(done(&executor, &run, exec(&["true"])).await.code(), Some(0));

    executor.stop(&run, 0).await;
    let status = open(&executor, &run, asked()).await.err().unwrap();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("ended"), "{status}");
    let nobody = Run {
        id: "nosuchrun".into(),
        ..run
    };
    let (code, _) = refusal(open(&executor, &nobody, asked()).await.map(|_| ()));
    assert_eq!(code, Code::NotFound);
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn one_that_is_not_read_waits_and_keeps_nobody_else() {
    let mut executor = Executor::start().await;
    let job = "echo up; i=0; while [ $i -lt 20 ]; do i=$((i+1)); echo line $i; sleep 0.05; done";
    let run = executor.sh(job).await;
    executor.wait_logged(&run, 1).await;
    let mut held = begin(&executor, &run, sh("yes | head -c 50000000; echo done >&2")).await;
    let ended = executor.wait(&run).await;
    assert_eq!(ended.exit_code, Some(0));
    assert_eq!(executor.follow(&run, 0).await.0.len(), 21);
    let ended = held.until_end().await;
    assert!(held.stdout.len() < 50_000_000, "nothing held it back");
    assert_eq!(ended.reason, "run_ended");
    executor.finish().await;
}
