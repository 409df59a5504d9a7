//! A wrong request is refused whole: the field, the value and the limit are named, nothing is made.

use std::fs;

use anyhow::{Context, ensure};

use super::Test;
use super::story::{Run, expect_says, run_directories};
use crate::host::Host;
use crate::outcome::TestResult;

pub(crate) const TESTS: &[Test] =
    tests![a_wrong_request_is_refused_and_leaves_nothing, unknown_runs_and_words_are_named];

fn a_wrong_request_is_refused_and_leaves_nothing(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let image = host.image("busybox");
    let image = image.as_str();
    let long_command = "x".repeat(4_001);
    let long_argument = "y".repeat(8_001);
    let long_entrypoint = "z".repeat(501);
    let nul_file = host.directory().join("nul.env");
    fs::write(&nul_file, "FINE=1\nBROKEN=a\0b\n").context("cannot write the env file")?;
    let nul_file = nul_file.to_string_lossy();
    let many: Vec<_> = ["run", image, "--"].into_iter().chain([":"; 201]).collect();

    let cases: &[(&[&str], &[&str])] = &[
        (&["run", "--shell", "true", image, "--", "true"], &["command", "argv"]),
        (&["run", "--shell", &long_command, image], &["command", "4001", "4000"]),
        (&["run", image, "--", &long_argument], &["argv", "8001", "8000"]),
        (&many, &["argv", "201", "200"]),
        (&["run", "--entrypoint", &long_entrypoint, image], &["entrypoint", "501", "500"]),
        (&["run", "--env-file", &nul_file, image], &["BROKEN", "NUL"]),
        (&["run", "-e", "1ST=x", image], &["env", "1ST", "[a-zA-Z_]"]),
        (&["run", "-e", "A-B=x", image], &["env", "A-B", "[a-zA-Z_]"]),
        (&["run", "--instance-type", "huge", image], &["instance_type", "huge", "small"]),
        (&["run", "--timeout", "0s", image], &["timeout", "0", "1", "86400"]),
        (&["run", "--timeout", "86401s", image], &["timeout", "86401", "86400"]),
        (&["run", "--timeout", "soon", image], &["timeout", "soon"]),
        (&["run", "--cpu", "0.001", image], &["cpu", "10"]),
        (&["run", "--cpu", "many", image], &["cpu", "many"]),
        (&["run", "--memory", "1KiB", image], &["memory", "1KiB", "4MiB"]),
        (&["run", "--memory", "a lot", image], &["memory", "a lot"]),
        (&["run", "--pids", "0", image], &["pids", "0", "1"]),
        (&["run", "--log-cap", "1", image], &["log", "1", "4KiB"]),
        (&["run", "--workdir", "relative", image], &["workdir", "relative", "absolute"]),
        (&["run", "--hostname", "no blanks", image], &["hostname", "no blanks"]),
        (&["run", "--network", "bridged", image], &["network", "bridged", "none"]),
        (&["run", "--network", "bridge", "--egress", "10.0.0.1/8", image], &["egress[0]", "10.0.0.0/8"]),
        (&["run", "--network", "bridge", "--publish", "80", image], &["publish[0]", "HOST-PORT:PORT"]),
        (&["run", "--egress", "192.0.2.0/24", image], &["egress", "network bridge"]),
        (&["run", "--pull", "sometimes", image], &["pull", "sometimes", "missing"]),
        (&["run", "UPPER/case:1"], &["image", "UPPER/case:1"]),
        (&["run", "busybox:"], &["image", "busybox:"]),
        (&["run", "host:port/busybox"], &["image", "host:port"]),
        (&["run", "busybox@sha256:12"], &["image", "sha256:12"]),
        (&["run", ""], &["image", "empty"]),
        (&["pull", "not an image"], &["image", "not an image"]),
    ];
    let mut wrong = Vec::new();
    for (arguments, says) in cases {
        let shown: String = arguments.join(" ").chars().take(80).collect();
        let refused = host.davit(*arguments)?;
        if let Err(error) = refused.refused().and_then(|refused| expect_says(&refused.error_text(), says))
        {
            wrong.push(format!("`{shown}`: {error:#}"));
        }
    }
    ensure!(wrong.is_empty(), "{} of {}: {}", wrong.len(), cases.len(), wrong.join("\n"));
    let left = run_directories(host)?;
    ensure!(left.is_empty(), "a refused request left {left:?}");
    Ok(())
}

fn unknown_runs_and_words_are_named(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let nobody = "01890000-0000-7000-8000-00000000ffff";
    for command in ["inspect", "logs", "attach", "wait", "stop", "pause", "resume", "cancel", "rm"] {
        let refused = host.davit([command, nobody])?.refused()?;
        expect_says(&refused.error_text(), &[nobody])?;
    }
    let run = Run::submit(host, &["--name", "once"], "exec sleep 300")?;
    let refused = host.davit(["run", "--name", "once", &host.image("busybox")])?.refused()?;
    expect_says(&refused.error_text(), &["name", "once"])?;
    let refused = run.davit(host, "stop", &["--signal", "NOPE"])?.refused()?;
    expect_says(&refused.error_text(), &["signal", "NOPE", "TERM"])?;
    // By name and by the beginning of its id it is found.
    host.davit(["inspect", &run.id()[..13]])?.success()?;
    host.davit(["cancel", "once"])?.success()?;
    let refused = run.davit(host, "pause", &[])?.refused()?;
    expect_says(&refused.error_text(), &["pause", "ended"])
}
