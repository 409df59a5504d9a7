//! A cut with a run in every state there is, each held there until the cut.
//!
//! | job        | when the power goes                                       | after the next boot      |
//! |------------|-----------------------------------------------------------|--------------------------|
//! | `ended`    | long over, told, cleaned up                               | told again               |
//! | `unreaped` | over and told; containerd stands still, nothing is removed| told again, removed      |
//! | `untold`   | over, and nobody was there to hear of it: exit.json alone | its own exit code        |
//! | `warm`     | writes its log, in a container that had waited for it     | lost, log readable       |
//! | `cold`     | the same, in a container made for it                      | lost, log readable       |
//! | `paused`   | frozen                                                    | lost, log readable       |
//! | `launched` | its runtime is at work, the job was not let go            | lost, never ran          |
//! | `queued`   | its image is being pulled                                 | runs, once               |

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::{Job, Witness, Word, tell_end};
use crate::behaviour::story::{Run, await_warm_slots};
use crate::host::{ExecutorSettings, Host, run_command};
use crate::outcome::TestResult;
use crate::wait::wait_for;

/// Lines without end, numbered.
const COUNT: &str = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.02; done";
/// Lines the counting jobs have written at least when the power goes.
const LINES_MIN: &str = "line 25\n";
const STEP: Duration = Duration::from_secs(60);

pub(super) fn before(host: &mut Host, settings: &ExecutorSettings, port: u16) -> TestResult {
    let settings = settings.clone();
    let binaries = host.directory().join("bin");
    hold_runc(host)?;
    let settings = settings.value("additional_binary_paths", &format!("[{binaries:?}]"));
    host.start_executor(&settings)?;
    let job = |token| Job { token, port };
    let ended = job("ended").submit(host, &[], "echo out; exit 3")?;
    tell_end(host, &ended, 3)?;

    let warm = |token, then: &str| -> anyhow::Result<Run> {
        await_warm_slots(host, 1)?;
        let run = job(token).submit(host, &[], then)?;
        run.wait_started()?;
        let launch = run.record("launch")?;
        ensure!(
            !launch.is_null("/slot"),
            "{token} was given no slot: {launch}"
        );
        Ok(run)
    };
    let counting = warm("warm", COUNT)?;
    let paused = warm("paused", COUNT)?;
    let mut told_gate = Gate::new()?;
    let unreaped = warm("unreaped", &told_gate.then_exit(5)?)?;
    let mut untold_gate = Gate::new()?;
    let untold = warm("untold", &untold_gate.then_exit(6)?)?;
    let cold = job("cold").submit(host, &["--read-only"], COUNT)?;
    ensure!(
        cold.wait_launched()?.is_null("/slot"),
        "the cold one was given a slot"
    );
    for run in [&counting, &paused, &cold] {
        run.wait_printed(host, LINES_MIN)?;
    }
    paused.davit(host, "pause", &[])?.success()?;

    let launched = job("launched").submit(host, &["--runtime", "runc"], "exit 0")?;
    wait_for("runc is held", STEP, || {
        ensure!(held_mark(host).exists(), "it was not asked to create");
        launched.record("launch")
    })?;
    systemctl(&["kill", "--signal=STOP", "davit-registry@open"])?;
    let queued = submit_queued(host, port)?;
    wait_for("a run is pulling", STEP, || {
        queued.inspect(host)?.expect("/phase", "pulling").map(drop)
    })?;

    told_gate.wait_knocked()?;
    untold_gate.wait_knocked()?;
    let containerd = host.containerd().pid()?.to_string();
    run_command(Command::new("kill").args(["-STOP", &containerd]), STEP)?.success()?;
    told_gate.open();
    tell_end(host, &unreaped, 5)?;
    host.kill_executor()?;
    untold_gate.open();
    untold.wait_exit_record(60)?;
    Word::Cut.say()
}

/// An image that the registry is asked for whether it is here or not.
fn submit_queued(host: &Host, port: u16) -> anyhow::Result<Run> {
    let job = Job {
        token: "queued",
        port,
    };
    let options = [
        "--network",
        "host",
        "--pull",
        "always",
        "--entrypoint",
        "/bin/sh",
    ];
    let script = job.script("echo late; exit 0");
    let run = Run::submit_argv(host, &options, &host.image("entry"), &["-c", &script])?;
    job.is_accepted(&run)?;
    Ok(run)
}

pub(super) fn after(host: &mut Host, witness: &Witness) -> TestResult {
    let host = &*host;
    let run = |token: &str| witness.run_called(host, token);
    let queued = run("queued")?;
    queued
        .wait_ended(host, 0)?
        .expect("/end_reason", "exited")?;
    ensure!(
        queued.stdout_text(host)? == "late\n",
        "the queued one printed something else"
    );

    let untold = run("untold")?.wait_ended(host, 6)?;
    untold
        .expect("/end_reason", "exited")?
        .expect("/exit_code", 6)?;
    for (token, printed) in [("ended", "out\n"), ("unreaped", ""), ("untold", "")] {
        let found = run(token)?.stdout_text(host)?;
        ensure!(
            found == printed,
            "{token} printed {printed:?}, and now {found:?}"
        );
        Word::Once(token.to_owned()).say()?;
    }
    Word::Once("queued".to_owned()).say()?;

    for token in ["warm", "cold", "paused", "launched"] {
        let run = run(token)?;
        let record = run.wait_ended(host, 125)?;
        record
            .expect("/status", "failed")?
            .expect("/end_reason", "executor_lost")?;
        ensure!(
            record.is_null("/exit_code"),
            "an exit code was invented: {record}"
        );
        expect_whole_lines(token, &run.stdout_text(host)?)?;
        let word = if token == "launched" {
            Word::Never
        } else {
            Word::Once
        };
        word(token.to_owned()).say()?;
    }
    Ok(())
}

/// What is left of a log is its beginning, line by line: none torn, doubled, or missing in between.
fn expect_whole_lines(token: &str, printed: &str) -> TestResult {
    let wanted: String = (1..=printed.lines().count())
        .map(|i| format!("line {i}\n"))
        .collect();
    ensure!(printed == wanted, "of {token} is left {printed:?}");
    println!("{token}: {} lines are left", printed.lines().count());
    Ok(())
}

/// A runc in front of the host's own that never gets a container made.
fn hold_runc(host: &Host) -> TestResult {
    let directory = host.directory().join("bin");
    fs::create_dir_all(&directory).context("cannot make a directory of programs")?;
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *' create '*) touch '{}'; exec sleep 600;; esac\nexec runc \"$@\"\n",
        held_mark(host).display()
    );
    let program = directory.join("runc");
    fs::write(&program, script).context("cannot write a runc")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).context("cannot set its mode")
}

fn held_mark(host: &Host) -> std::path::PathBuf {
    host.directory().join("held")
}

fn systemctl(arguments: &[&str]) -> TestResult {
    run_command(Command::new("systemctl").args(arguments), STEP)?
        .success()
        .map(drop)
}

/// A job that has come to a gate stays there until it is opened.
struct Gate {
    listener: TcpListener,
    waiting: Option<TcpStream>,
}

impl Gate {
    fn new() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
        listener
            .set_nonblocking(true)
            .context("cannot listen without waiting")?;
        Ok(Self {
            listener,
            waiting: None,
        })
    }

    fn then_exit(&self, code: u8) -> anyhow::Result<String> {
        let port = self.listener.local_addr().context("no address")?.port();
        Ok(format!("nc 127.0.0.1 {port} </dev/null; exit {code}"))
    }

    fn wait_knocked(&mut self) -> TestResult {
        let knock = || self.listener.accept().map(|(stream, _)| stream);
        self.waiting = Some(wait_for("a job comes to its gate", STEP, knock)?);
        Ok(())
    }

    fn open(self) {
        drop(self.waiting);
    }
}
