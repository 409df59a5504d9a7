//! `davit --server … run`: what it prints and exits with is the run's own, whatever becomes of the server meanwhile.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::place::{Dev, IMAGE};

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_run_through_a_server_has_its_own_bytes_and_code() {
    let dev = Dev::start();
    let script = r"echo out; printf 'no \377 newline'; echo err >&2; exit 7";
    let run = ["run", "--type", "small", IMAGE, "--", "sh", "-c", script];
    let output = dev.command(&run).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{stderr}");
    assert_eq!(output.stdout, b"out\nno \xff newline");
    assert_eq!(stderr, "err\n");
    let listed = dev.command(&["ps", "-a", "-q"]).output().unwrap();
    let id = String::from_utf8(listed.stdout).unwrap();
    let again = dev.command(&["logs", id.trim()]).output().unwrap();
    assert_eq!(again.stdout, output.stdout);
    let timed = ["run", "--type", "small", "--timeout", "1s", IMAGE, "--"];
    let timed = [&timed[..], &["sleep", "60"]].concat();
    assert_eq!(dev.command(&timed).status().unwrap().code(), Some(124));
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_kill_of_the_server_is_a_pause_to_who_follows() {
    let mut dev = Dev::start();
    let script = "for n in $(seq 100); do echo beat $n; sleep 0.1; done; exit 7";
    let run = ["run", "--type", "small", IMAGE, "--", "sh", "-c", script];
    let mut attached = dev
        .command(&run)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(attached.stdout.take().unwrap());
    let mut seen = String::new();
    for _ in 0..5 {
        output.read_line(&mut seen).unwrap();
    }
    dev.kill_and_restart();
    output.read_to_string(&mut seen).unwrap();
    let mut said = String::new();
    attached
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(attached.wait().unwrap().code(), Some(7), "{said}");
    let wanted: String = (1..=100).map(|n| format!("beat {n}\n")).collect();
    assert_eq!(seen, wanted);
    assert!(said.contains("waiting for the scheduler"), "{said}");
    dev.finish();
}
