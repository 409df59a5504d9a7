//! Jobs at our terminal: `davit run -it`, `attach -i` and `exec -it` on a real one, on the host and through its scheduler alike.

use std::process::{Command, Output};

use rustix::process::Signal;

use crate::consoles::fed;
use crate::place::{Dev, IMAGE};
use crate::pty::{OnPty, Pty};

/// The keys that detach.
const LEAVE: &[u8] = b"\x10\x11";

/// Whom `davit` asks.
#[derive(Clone, Copy)]
pub(crate) enum By {
    Host,
    Server,
}

impl By {
    pub(crate) fn davit(self, dev: &Dev, arguments: &[&str]) -> Command {
        match self {
            Self::Host => dev.local(arguments),
            Self::Server => dev.command(arguments),
        }
    }

    /// `davit run` of a script.
    pub(crate) fn run(self, dev: &Dev, flags: &[&str], script: &str) -> Command {
        let all = [
            &["run", "--type", "small"],
            flags,
            &[IMAGE, "--", "sh", "-c", script],
        ];
        self.davit(dev, &all.concat())
    }

    /// The only run.
    fn id(self, dev: &Dev) -> String {
        let listed = self.davit(dev, &["ps", "-a", "-q"]).output().unwrap();
        String::from_utf8(listed.stdout).unwrap().trim().to_owned()
    }

    fn log(self, dev: &Dev) -> Vec<u8> {
        let logs = ["logs", &self.id(dev)];
        self.davit(dev, &logs).output().unwrap().stdout
    }
}

fn begin(dev: &Dev, by: By, flags: &[&str], script: &str) -> (Pty, OnPty) {
    let pty = Pty::new(33, 101);
    let process = pty.spawn(&by.run(dev, flags, script));
    (pty, process)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// It asks for all that a terminal does, and ends with 7.
const TALK: &str = "trap 'echo interrupted' INT; test -t 0 && test -t 1 && test -t 2 && echo all; read x; stty size; \
                    read x; until stty size | grep '^40 120'; do sleep 0.05; done; echo asleep; sleep 600; printf 'no \\377 newline'; exit 7";

fn a_talk(by: By) {
    let dev = Dev::start();
    let (pty, mut process) = begin(&dev, by, &["-it"], TALK);
    let before = Pty::new(33, 101).settings();
    pty.shows("all\r\n");
    assert_ne!(pty.settings(), before, "it is not raw");
    pty.types(b"\r");
    pty.shows("33 101\r\n");
    pty.resize(40, 120);
    pty.types(b"\x10x\r");
    pty.shows("40 120\r\n");
    pty.shows("asleep");
    pty.types(b"\x03");
    pty.shows("interrupted\r\n");
    assert_eq!(process.code(), Some(7), "{}", process.said());
    assert_eq!(pty.settings(), before);
    let seen = pty.seen();
    assert!(seen.ends_with(b"no \xff newline"), "{:?}", text(&seen));
    // What was kept back of the keys that leave went on, and its echo came back.
    assert!(text(&seen).contains("^Px\r\n"), "{:?}", text(&seen));
    assert_eq!(text(&by.log(&dev)), text(&seen));
    assert!(!process.said().contains("stopping"), "{}", process.said());
    // One that is over before anybody can be at its side is shown all the same.
    let (pty, mut process) = begin(&dev, by, &["-it"], "echo quick; exit 4");
    assert_eq!(process.code(), Some(4), "{}", process.said());
    pty.shows("quick");
    assert_eq!(pty.settings(), before);
    // From its log it comes to a terminal that is not raw, which adds what the job's own did.
    assert_eq!(pty.text().replace("\r\r", "\r"), "quick\r\n");
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_job_has_this_terminal_while_it_runs() {
    a_talk(By::Host);
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_scheduled_job_has_this_terminal_while_it_runs() {
    a_talk(By::Server);
}

fn a_leave(by: By) {
    let dev = Dev::start();
    let script = "echo up; while read x; do echo got $x; test $x = end && exit 5; done";
    let (pty, mut process) = begin(&dev, by, &["-it"], script);
    let before = Pty::new(33, 101).settings();
    pty.shows("up\r\n");
    pty.types(b"one\r");
    pty.shows("got one\r\n");
    pty.types(&LEAVE[..1]);
    pty.types(&LEAVE[1..]);
    assert_eq!(process.code(), Some(0), "{}", process.said());
    let run = by.id(&dev);
    let way = format!("detached; the run goes on: davit attach -i {run}");
    assert!(process.said().contains(&way), "{}", process.said());
    assert_eq!(pty.settings(), before);

    // Others keys for who comes back, and what was shown is shown.
    let back = |keys: &str| {
        let pty = Pty::new(50, 80);
        let attach = ["attach", "-i", "--detach-keys", keys, &run];
        let process = pty.spawn(&by.davit(&dev, &attach));
        pty.shows("got one\r\n");
        (pty, process)
    };
    let (pty, mut process) = back("ctrl-x,a");
    pty.types(b"\x10\x11two\r");
    pty.shows("two\r\n");
    pty.types(b"\x18a");
    assert_eq!(process.code(), Some(0), "{}", process.said());
    let (pty, mut first) = back("");
    pty.types(b"\x18a\r");
    // The last one types; the one before is told.
    let (other, mut process) = back("");
    assert_eq!(first.code(), Some(125));
    assert!(first.said().contains("another console"), "{}", first.said());
    assert_eq!(pty.settings(), before);
    other.types(b"end\r");
    other.shows("got end\r\n");
    assert_eq!(process.code(), Some(5), "{}", process.said());
    assert_eq!(other.settings(), before);
    // Over, it is its log, as ever.
    let pty = Pty::new(50, 80);
    let mut process = pty.spawn(&by.davit(&dev, &["attach", "-i", &run]));
    assert_eq!(process.code(), Some(5), "{}", process.said());
    pty.shows("got end");
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_job_is_left_by_its_keys_and_come_back_to() {
    a_leave(By::Host);
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_scheduled_job_is_left_by_its_keys_and_come_back_to() {
    a_leave(By::Server);
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_terminal_is_given_back_when_a_signal_comes() {
    let dev = Dev::start();
    let script = "trap 'exit 9' TERM; echo up; while true; do sleep 0.1; done";
    for (signal, code) in [(Signal::HUP, 129), (Signal::QUIT, 131), (Signal::TERM, 9)] {
        let (pty, mut process) = begin(&dev, By::Host, &["-it"], script);
        let before = Pty::new(33, 101).settings();
        pty.shows("up\r\n");
        assert_ne!(pty.settings(), before, "it is not raw");
        process.signal(signal);
        assert_eq!(process.code(), Some(code), "{}", process.said());
        assert_eq!(pty.settings(), before);
    }
    // The first two are left to themselves.
    let left = By::Host.davit(&dev, &["ps", "-q"]).output().unwrap();
    let left = text(&left.stdout);
    assert_eq!(left.lines().count(), 2, "{left}");
    for run in left.lines() {
        dev.local(&["cancel", run]).output().unwrap();
    }
    dev.finish();
}

fn over_a_restart(by: By) {
    let mut dev = Dev::start();
    let script = "echo up; while read x; do echo got $x; test $x = end && exit 6; done";
    let (pty, mut process) = begin(&dev, by, &["-it"], script);
    pty.shows("up\r\n");
    pty.types(b"one\r");
    pty.shows("got one\r\n");
    dev.kill_and_restart();
    pty.types(b"end\r");
    pty.shows("got end\r\n");
    assert_eq!(process.code(), Some(6), "{}", process.said());
    // Nothing of before is shown again.
    assert_eq!(text(&by.log(&dev)), pty.text());
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_terminal_outlives_the_executor() {
    over_a_restart(By::Host);
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_terminal_outlives_the_scheduler() {
    over_a_restart(By::Server);
}

/// A run that idles; its id.
pub(crate) fn idle(dev: &Dev, by: By) -> String {
    let begun = by.run(dev, &["-d"], "sleep 600").output().unwrap();
    let run = text(&begun.stdout).trim().to_owned();
    let begin = std::time::Instant::now();
    while !beside(dev, by, &[&run, "true"]).status.success() {
        assert!(
            begin.elapsed() < crate::rest::WAIT,
            "it never runs: {begun:?}"
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    run
}

pub(crate) fn beside(dev: &Dev, by: By, arguments: &[&str]) -> Output {
    let exec = [&["exec"], arguments].concat();
    by.davit(dev, &exec).output().unwrap()
}

fn processes_beside(by: By) {
    let dev = Dev::start();
    let run = idle(&dev, by);
    // From its first moment it has the size of this terminal.
    let script = "stty size; echo $TERM; read x; until stty size | grep '^30 40'; do sleep 0.05; done; trap 'exit 8' INT; echo asleep; sleep 600";
    let pty = Pty::new(10, 20);
    let before = pty.settings();
    let exec = ["exec", "-it", &run, "sh", "-c", script];
    let mut process = pty.spawn(&by.davit(&dev, &exec));
    pty.shows("xterm\r\n");
    if let By::Host = by {
        pty.shows("10 20\r\nxterm");
    }
    pty.resize(30, 40);
    // There is nothing to come back to, so no keys leave.
    pty.types(LEAVE);
    pty.types(b"\r");
    pty.shows("30 40\r\nasleep");
    pty.types(b"\x03");
    assert_eq!(process.code(), Some(8), "{}", process.said());
    assert_eq!(pty.settings(), before);
    // A terminal of its own, with nobody at it.
    let script = "test -t 0 && test -t 1 && test -t 2 && echo all; exit 3";
    let output = beside(&dev, by, &["-t", &run, "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(text(&output.stdout), "all\r\n");
    dev.local(&["cancel", &run]).output().unwrap();
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_process_beside_a_job_has_this_terminal() {
    processes_beside(By::Host);
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_process_beside_a_scheduled_job_has_this_terminal() {
    processes_beside(By::Server);
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_terminal_that_nobody_types_at_and_none_where_there_is_none() {
    let dev = Dev::start();
    for by in [By::Host, By::Server] {
        let script = "test -t 0 && test -t 1 && seq 20000; exit 3";
        let output = by.run(&dev, &["-t"], script).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
        let wanted: String = (1..=20_000).map(|n| format!("{n}\r\n")).collect();
        assert!(
            output.stdout == wanted.as_bytes(),
            "{} bytes",
            output.stdout.len()
        );
        let refused = by.run(&dev, &["-it"], "true").output().unwrap();
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(125));
        assert!(
            said.contains("--tty") && said.contains("no terminal"),
            "{said}"
        );
    }
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_job_left_with_open_input_waits_for_who_attaches() {
    let dev = Dev::start();
    for by in [By::Host, By::Server] {
        let begun = by.run(&dev, &["-d", "-i"], "cat; exit 4").output().unwrap();
        let run = text(&begun.stdout).trim().to_owned();
        let output = fed(by.davit(&dev, &["attach", "-i", &run]), b"typed");
        assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "typed");
        // With a terminal it wants one.
        let begun = by.run(&dev, &["-d", "-it"], "read x").output().unwrap();
        let run = text(&begun.stdout).trim().to_owned();
        let output = fed(by.davit(&dev, &["attach", "-i", &run]), b"typed");
        assert_eq!(output.status.code(), Some(125), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("no terminal"), "{output:?}");
        dev.local(&["cancel", &run]).output().unwrap();
    }
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_terminal_that_takes_nothing_holds_up_no_job_and_is_told_what_it_missed() {
    let dev = Dev::start();
    let flood = "echo up; read x; head -c 20000000 /dev/zero | tr '\\0' x; echo; exit 3";
    let (pty, mut process) = begin(&dev, By::Host, &["-it"], flood);
    pty.shows("up\r\n");
    pty.rests(true);
    pty.types(b"\r");
    let run = By::Host.id(&dev);
    let waited = dev.local(&["wait", &run]).output().unwrap();
    assert_eq!(text(&waited.stdout), "3\n");
    pty.rests(false);
    assert_eq!(process.code(), Some(3), "{}", process.said());
    let way = format!("davit logs {run}");
    assert!(process.said().contains(&way), "{}", process.said());
    let missed = pty.seen().len();
    let log = By::Host.log(&dev).len();
    assert!(missed < log && log > 20_000_000, "{missed} of {log}");
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_job_that_takes_nothing_is_left_all_the_same() {
    let dev = Dev::start();
    let script = "stty raw; echo up; sleep 600";
    let (pty, mut process) = begin(&dev, By::Host, &["-it"], script);
    pty.shows("up");
    // More than all that is between its terminal and ours has room for.
    pty.types_aside([vec![b'a'; 16 << 20], LEAVE.to_vec()].concat());
    assert_eq!(process.code(), Some(0), "{}", process.said());
    assert!(process.said().contains("detached"), "{}", process.said());
    let run = By::Host.id(&dev);
    dev.local(&["cancel", &run]).output().unwrap();
    dev.finish();
}
