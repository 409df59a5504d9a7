//! The exit code is the run's own, and davit's failures are told apart from it.

use std::io::Write;
use std::process::Stdio;

use crate::fake::{Executor, RUN_ID, Script, ended, text};

#[test]
fn run_attach_and_wait_exit_as_the_run_did() {
    for (status, reason, code, exits, note) in [
        ("succeeded", "exited", Some(0), 0, ""),
        ("failed", "exited", Some(3), 3, ""),
        ("failed", "exited", Some(124), 124, ""),
        (
            "failed",
            "timed_out",
            Some(124),
            124,
            "davit: timed_out: because\n",
        ),
        (
            "failed",
            "oom_killed",
            Some(137),
            137,
            "davit: oom_killed: because\n",
        ),
        (
            "failed",
            "signaled",
            Some(143),
            143,
            "davit: signaled: because\n",
        ),
        (
            "canceled",
            "canceled",
            Some(137),
            137,
            "davit: canceled: because\n",
        ),
        (
            "failed",
            "image_pull_failed",
            None,
            125,
            "davit: image_pull_failed: because\n",
        ),
        (
            "failed",
            "start_failed",
            None,
            125,
            "davit: start_failed: because\n",
        ),
        (
            "failed",
            "executor_lost",
            None,
            125,
            "davit: executor_lost: because\n",
        ),
    ] {
        let executor = Executor::start(Script {
            ended: ended(status, reason, code, "because"),
            ..Script::default()
        });
        for arguments in [&["run", "image"][..], &["attach", RUN_ID]] {
            let output = executor.davit(arguments);
            assert_eq!(output.status.code(), Some(exits), "{arguments:?} {reason}");
            assert_eq!(text(&output.stderr), note);
            assert_eq!(text(&output.stdout), "");
        }
        let waited = executor.davit(&["wait", RUN_ID]);
        assert_eq!(waited.status.code(), Some(exits), "wait {reason}");
        assert_eq!(text(&waited.stdout), format!("{exits}\n"));
    }
}

#[test]
fn detached_prints_the_id_and_nothing_else() {
    let executor = Executor::start(Script::default());
    let output = executor.davit(&["run", "-d", "image", "--", "a", "", "-x"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), format!("{RUN_ID}\n"));
    assert_eq!(text(&output.stderr), "");
    assert_eq!(
        executor.asked(),
        ["submit image", "argv[0] a", "argv[1] ", "argv[2] -x"]
    );
}

#[test]
fn rm_forgets_the_run_and_keeps_its_exit_code() {
    let executor = Executor::start(Script {
        ended: ended("failed", "exited", Some(7), ""),
        ..Script::default()
    });
    assert_eq!(
        executor.davit(&["run", "--rm", "image"]).status.code(),
        Some(7)
    );
    assert_eq!(
        executor.asked(),
        ["submit image", "follow after 0", "remove"]
    );
}

#[test]
fn several_runs_are_each_tried() {
    let executor = Executor::start(Script {
        ended: ended("succeeded", "exited", Some(0), ""),
        ..Script::default()
    });
    let output = executor.davit(&["inspect", "nobody"]);
    assert_eq!(output.status.code(), Some(125));
    let told = text(&output.stderr);
    assert_eq!(told, "error: there is no run `nobody`\n");
    let output = executor.davit(&["pause", "a", "b"]);
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(text(&output.stderr).matches("the run has ended").count(), 2);
}

#[test]
fn the_password_goes_by_standard_input_to_the_executor_only() {
    let executor = Executor::start(Script::default());
    let mut command = executor.command(&[
        "run",
        "-d",
        "--registry-user",
        "me",
        "--registry-password-stdin",
        "image",
    ]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"hush hush\n")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(executor.asked()[1], "credentials me:hush hush");
    assert!(!text(&output.stderr).contains("hush"));
}

#[test]
fn an_env_file_carries_what_no_argument_can() {
    let executor = Executor::start(Script::default());
    let file = executor.path("env");
    std::fs::write(&file, "# comment\n\nA=1\nB=x\0y\nC= spaces = kept \n").unwrap();
    let arguments = [
        "run",
        "-d",
        "-e",
        "A=2",
        "--env-file",
        file.to_str().unwrap(),
        "image",
    ];
    let output = executor.davit(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    // Flags win over files: they come later.
    let wanted = ["env A=1", "env B=x\0y", "env C= spaces = kept ", "env A=2"];
    assert_eq!(executor.asked()[1..], wanted);
}
