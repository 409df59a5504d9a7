//! `davit exec` on the host's own executor: the process's own bytes and code, and an end with the command.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::place::{Dev, IMAGE};
use crate::rest::WAIT;

fn begin(dev: &Dev, more: &[&str], script: &str) -> String {
    let run = [&["run", "-d"], more, &[IMAGE, "--", "sh", "-c", script]].concat();
    let output = dev.local(&run).output().unwrap();
    let run = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let started = Instant::now();
    while !exec(dev, &[&run, "true"]).status.success() {
        assert!(started.elapsed() < WAIT, "it never runs");
        std::thread::sleep(Duration::from_millis(50));
    }
    run
}

fn exec(dev: &Dev, arguments: &[&str]) -> Output {
    dev.local(&[&["exec"], arguments].concat())
        .output()
        .unwrap()
}

pub(crate) fn fed(mut command: Command, input: &'static [u8]) -> Output {
    let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = streams.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    std::thread::spawn(move || stdin.write_all(input).unwrap());
    process.wait_with_output().unwrap()
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_process_beside_the_job_has_its_own_bytes_and_code() {
    let dev = Dev::start();
    let run = begin(&dev, &["--name", "beside"], "sleep 600");
    let script = r"printf 'no \377 newline'; echo err >&2; exit 7";
    let output = exec(&dev, &["beside", "--", "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(
        (output.stdout, output.stderr),
        (b"no \xff newline".to_vec(), b"err\n".to_vec())
    );
    let options = ["-e", "A=b", "-w", "/tmp", "-u", "7:8", &run];
    let output = exec(
        &dev,
        &[&options[..], &["sh", "-c", "echo $A; pwd; id -u"]].concat(),
    );
    assert_eq!(output.stdout, b"b\n/tmp\n7\n");
    // Input is passed on when it is asked for, and not before.
    let output = fed(dev.local(&["exec", "-i", &run, "cat"]), b"typed");
    assert_eq!(output.stdout, b"typed");
    let output = fed(dev.local(&["exec", &run, "cat"]), b"typed");
    assert_eq!((output.status.code(), output.stdout), (Some(0), Vec::new()));

    for (arguments, words) in [
        (&[&run, "nosuchprogram"][..], "nosuchprogram"),
        (&["-w", "tmp", &run, "true"], "workdir"),
        (&["nosuchrun", "true"], "no run"),
    ] {
        let output = exec(&dev, arguments);
        assert_eq!(output.status.code(), Some(125), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(words), "{words}: {said}");
    }
    dev.local(&["pause", &run]).output().unwrap();
    let output = exec(&dev, &[&run, "true"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125));
    assert!(
        said.contains("paused") && said.contains("davit resume"),
        "{said}"
    );
    dev.local(&["cancel", &run]).output().unwrap();
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_signal_is_the_processs_and_the_end_of_the_command_its_end() {
    let dev = Dev::start();
    let run = begin(&dev, &[], "sleep 600");
    let script = "trap 'exit 9' TERM; touch /tmp/up; while true; do sleep 0.05; done";
    for (signal, code) in [(Signal::TERM, Some(9)), (Signal::KILL, None)] {
        let mut command = dev.local(&["exec", &run, "sh", "-c", script]);
        let mut process = command.spawn().unwrap();
        wait_for(&dev, &run, "rm /tmp/up");
        kill_process(Pid::from_child(&process), signal).unwrap();
        assert_eq!(process.wait().unwrap().code(), code);
        // The pattern does not match itself.
        wait_for(&dev, &run, "! grep -l 'tra[p] ' /proc/[0-9]*/cmdline");
    }
    dev.local(&["cancel", &run]).output().unwrap();
    dev.finish();
}

fn wait_for(dev: &Dev, run: &str, line: &str) {
    let begin = Instant::now();
    loop {
        let output = exec(dev, &[run, "sh", "-c", line]);
        if output.status.success() {
            return;
        }
        assert!(begin.elapsed() < WAIT, "{line}: {output:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn standard_input_is_the_jobs_when_it_is_to_be() {
    let dev = Dev::start();
    let input: &'static [u8] = Vec::leak((0..3_u32 << 18).flat_map(u32::to_le_bytes).collect());
    let run = ["run", "-i", IMAGE, "--", "sh", "-c", "cat; exit 4"];
    let output = fed(dev.local(&run), input);
    assert_eq!(output.status.code(), Some(4));
    assert!(
        output.stdout == input,
        "{} bytes came back",
        output.stdout.len()
    );
    let run = ["run", IMAGE, "--", "cat"];
    let output = fed(dev.local(&run), b"typed");
    assert_eq!((output.status.code(), output.stdout), (Some(0), Vec::new()));
    let run = ["run", "-i", "--dir", "-", IMAGE, "--", "cat"];
    let output = dev.local(&run).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--interactive"));
    dev.finish();
}
