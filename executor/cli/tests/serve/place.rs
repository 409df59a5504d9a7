//! One `davit scheduler serve`: its directory, settings file, process and addresses.

use std::fs::{self, File, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longest wait for something to come true.
const WAIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// A command of davit's without anything of the tester's own environment.
pub(crate) fn davit() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_davit"));
    command.env_clear().env("PATH", "/usr/bin:/bin");
    command.stdin(Stdio::null());
    command
}

/// Writes a file of mode 0600.
pub(crate) fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// Where a scheduler's settings and log are.
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    pub(crate) settings: PathBuf,
}

impl Place {
    /// `settings` beside free ports and a log for programs; sections of listeners are `rest` and `link`.
    pub(crate) fn new(dir: &Path, name: &str, settings: &str, listeners: &str) -> Self {
        let place = Self {
            dir: dir.join(name),
            settings: dir.join(format!("{name}.toml")),
        };
        fs::create_dir_all(&place.dir).unwrap();
        let text = format!(
            "state_dir = \"{}\"\n{settings}\n[rest]\nlisten = \"127.0.0.1:0\"\n{listeners}\n\
             [link]\nlisten = \"127.0.0.1:0\"\n{listeners}\n[log]\nformat = \"json\"\n",
            place.dir.display()
        );
        fs::write(&place.settings, text).unwrap();
        place
    }

    /// `davit scheduler COMMAND --config …`, to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = davit();
        command.arg("scheduler").args(arguments);
        command
            .arg("--config")
            .arg(&self.settings)
            .output()
            .unwrap()
    }

    /// A token that may do everything.
    pub(crate) fn token(&self) -> String {
        let made = self.run(&["token", "--tenant", "ops"]);
        assert!(made.status.success(), "{made:?}");
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    }

    /// One that serves.
    pub(crate) fn serve(&self) -> Serving {
        let log = self.dir.join("log");
        let process = davit()
            .args(["scheduler", "serve", "--config"])
            .arg(&self.settings)
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut serving = Serving {
            process,
            log,
            api: unknown,
            link: unknown,
        };
        let told = serving.await_line("serving");
        let address = |name: &str| told["fields"][name].as_str().unwrap().parse().unwrap();
        (serving.api, serving.link) = (address("api"), address("link"));
        serving
    }
}

/// A process that serves. Dropping it kills it.
pub(crate) struct Serving {
    process: Child,
    log: PathBuf,
    pub(crate) api: SocketAddr,
    pub(crate) link: SocketAddr,
}

impl Serving {
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for a line of the log with this message.
    fn await_line(&mut self, message: &str) -> Value {
        let begin = Instant::now();
        loop {
            let log = self.log();
            let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let mut lines = whole
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            if let Some(found) = lines.find(|line: &Value| line["fields"]["message"] == message) {
                return found;
            }
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none(), "it ended with {ended:?}: {log}");
            assert!(begin.elapsed() < WAIT, "it never says `{message}`: {log}");
            std::thread::sleep(LOOK);
        }
    }

    /// SIGTERM, and how it ends.
    pub(crate) fn stop(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        let begin = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(
                begin.elapsed() < WAIT,
                "SIGTERM does not end it: {}",
                self.log()
            );
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Ended already where the test went well.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// What curl says: its exit code, the status, the body, its own words.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) exit: Option<i32>,
    pub(crate) status: String,
    pub(crate) text: String,
    pub(crate) words: String,
}

impl Answer {
    /// The body, if the status is this one.
    pub(crate) fn expect(self, status: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

/// `curl ARGUMENTS…`, never through a proxy.
pub(crate) fn curl(arguments: &[&str]) -> Answer {
    let done = Command::new("curl")
        .args([
            "--noproxy",
            "*",
            "-sS",
            "--max-time",
            "30",
            "-w",
            "\n%{http_code}",
        ])
        .args(arguments)
        .output()
        .expect("curl is not installed: apt-get install curl (scripts/test does it)");
    let whole = String::from_utf8(done.stdout).unwrap();
    let (text, status) = whole.rsplit_once('\n').unwrap();
    Answer {
        exit: done.status.code(),
        status: status.to_owned(),
        text: text.to_owned(),
        words: String::from_utf8(done.stderr).unwrap(),
    }
}

/// A call with a token: with a body, that is JSON; with an authority, over TLS.
pub(crate) fn call(
    authority: Option<&str>,
    token: &str,
    method: &str,
    url: &str,
    body: &str,
) -> Answer {
    let bearer = format!("authorization: Bearer {token}");
    let mut arguments = vec!["-X", method, "-H", &bearer];
    if let Some(authority) = authority {
        arguments.extend(["--cacert", authority]);
    }
    if !body.is_empty() {
        arguments.extend(["-H", "content-type: application/json", "-d", body]);
    }
    arguments.push(url);
    curl(&arguments)
}
