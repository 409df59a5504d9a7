//! What davit says when something is wrong: field, value, limit, and what to do.

use std::path::Path;

use davit_types::FieldError;

use crate::fake::{Executor, Script, davit, text};

#[test]
fn no_executor_is_told_with_its_socket_and_what_to_do() {
    let output = davit(Path::new("/nowhere/davit.sock"))
        .args(["run", "image"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(
        text(&output.stderr),
        "error: cannot reach the executor on /nowhere/davit.sock\n  \
         No such file or directory (os error 2)\n  \
         hint: start it with `davit executor serve`, or name its socket with --socket or DAVIT_SOCKET\n"
    );
}

#[test]
fn a_refused_field_is_told_with_value_and_limit() {
    let executor = Executor::start(Script {
        refuses: Some(FieldError::new(
            "timeout_seconds",
            86_401,
            "must be 1 to 86400",
        )),
        ..Script::default()
    });
    let output = executor.davit(&["run", "--timeout", "86401", "image"]);
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(
        text(&output.stderr),
        "error: the request is not valid\n  timeout_seconds = `86401`: must be 1 to 86400\n"
    );
}

#[test]
fn what_can_be_seen_here_is_refused_before_anything_is_sent() {
    let executor = Executor::start(Script::default());
    for (arguments, says) in [
        (
            &["run", "--shell", "true", "image", "--", "true"][..],
            &["command", "argv"][..],
        ),
        (
            &["run", "-e", "DAVIT_TEST_NOT_SET", "image"],
            &["env", "DAVIT_TEST_NOT_SET"],
        ),
        (
            &["run", "--label", "no-value", "image"],
            &["label", "no-value", "KEY=VALUE"],
        ),
        (
            &["run", "--env-file", "/nowhere/env", "image"],
            &["/nowhere/env", "No such file"],
        ),
        (
            &["run", "--timeout", "soon", "image"],
            &["--timeout", "soon", "90s"],
        ),
        (
            &["run", "--cpu", "many", "image"],
            &["--cpu", "many", "0.5"],
        ),
        (
            &["run", "--memory", "a lot", "image"],
            &["--memory", "a lot", "512MiB"],
        ),
        (
            &["run", "--network", "bridged", "image"],
            &["--network", "bridged", "none, bridge or host"],
        ),
        (
            &["run", "--cap-add", "SYS_ADMIN", "image"],
            &["--cap-add", "SYS_ADMIN", "CAP_NET_BIND_SERVICE"],
        ),
        (
            &["run", "--pull", "sometimes", "image"],
            &["--pull", "sometimes", "missing"],
        ),
        (
            &["run", "--runtime", "lxc", "image"],
            &["--runtime", "lxc", "crun"],
        ),
        (
            &["run", "--registry-user", "me", "image"],
            &["--registry-password-stdin"],
        ),
        (&["run"], &["<IMAGE>"]),
        (&["inspct"], &["inspct", "inspect"]),
    ] {
        let output = executor.davit(arguments);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{arguments:?}: {told}");
        for word in says {
            assert!(
                told.contains(word),
                "{arguments:?} does not say {word}: {told}"
            );
        }
        assert!(executor.asked().is_empty(), "{arguments:?} was sent");
    }
}

#[test]
fn wrong_settings_are_told_one_a_line_with_their_place() {
    let executor = Executor::start(Script::default());
    let file = executor.path("wrong.toml");
    std::fs::write(&file, "live_runs_max = 0\n[log]\nfromat = 'json'\n").unwrap();
    let shown = file.display();
    for command in ["serve", "config"] {
        let output = executor.davit(&["executor", command, "--config", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(125));
        assert_eq!(
            text(&output.stderr),
            format!(
                "error: the settings are not valid\n  \
                 live_runs_max = `0`: is not a whole number, 1 to 100000 ({shown}:1)\n  \
                 log.fromat = `json`: is not a setting ({shown}:3); the nearest is `log.format`\n  \
                 hint: `davit executor reference` explains every setting\n"
            )
        );
    }
}
