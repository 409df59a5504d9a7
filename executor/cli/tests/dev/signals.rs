//! Whoever has read where `davit dev` serves may end it, at once and in order.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::place::{davit, directory};
use crate::rest::WAIT;

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn sigterm_on_the_first_line_ends_both_in_order() {
    let dir = directory();
    let name = dir.path().file_name().unwrap().to_str().unwrap().to_owned();
    let mut dev = Command::new(davit())
        .args(["dev", "--allow-missing-controllers", "--dir"])
        .arg(dir.path())
        .args(["--listen", "127.0.0.1:0", "--link-listen", "127.0.0.1:0"])
        .args(["--set", &format!("cgroup_parent=/{name}")])
        .args(["--set", &format!("containerd.namespace={name}")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut told = BufReader::new(dev.stdout.take().unwrap());
    told.read_line(&mut first).unwrap();
    assert!(
        first.starts_with("davit dev serves on http://127.0.0.1:"),
        "{first}"
    );
    kill_process(Pid::from_child(&dev), Signal::TERM).unwrap();
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = dev.try_wait().unwrap() {
            break status;
        }
        if begin.elapsed() > WAIT {
            dev.kill().unwrap();
            panic!("SIGTERM does not end it");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{status}");
}
