//! One `davit dev`: its directory, process and client.
//!
//! ```text
//!  /var/lib/dd-… ── davit dev, log appended ── SIGKILL, again ── SIGTERM at the end, directory removed
//! ```
//!
//! Invariant: namespace and cgroups are named as the directory, so nothing of another test's is in the way.

use std::fs::{File, read_to_string};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::rest::{Client, WAIT, run_id};

pub(crate) const IMAGE: &str = "127.0.0.1:5000/davit/busybox:1";

pub(crate) struct Dev {
    dir: TempDir,
    process: Child,
    pub(crate) client: Client,
}

impl Dev {
    /// One that serves, with its host connected.
    pub(crate) fn start() -> Self {
        let dir = directory();
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let process = spawn(&dir, address);
        let token = String::new();
        let mut dev = Self {
            dir,
            process,
            client: Client { address, token },
        };
        dev.wait_connected();
        dev
    }

    /// SIGKILL, then another on the same files.
    pub(crate) fn kill_and_restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = spawn(&self.dir, self.client.address);
        self.wait_connected();
    }

    /// A run without a runner of `sh -c command`; its id.
    pub(crate) fn sh(&self, command: &str) -> String {
        run_id(&self.client.post("/v1/runs", &one_off(command)).expect(201))
    }

    /// Where it keeps all it has.
    pub(crate) fn path(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// `davit` for this server.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(davit());
        command
            .env_clear()
            .args(["--server", &format!("http://{}", self.client.address)])
            .arg("--token-file")
            .arg(self.dir.path().join("token"))
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// `davit` for its host's own executor.
    pub(crate) fn local(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(davit());
        command
            .env_clear()
            .arg("--socket")
            .arg(self.dir.path().join("executor.sock"))
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// SIGTERM; it ends well.
    pub(crate) fn finish(mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        let begin = Instant::now();
        while begin.elapsed() < WAIT {
            if let Some(status) = self.process.try_wait().unwrap() {
                assert!(status.success(), "it ended with {status}: {}", self.log());
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("SIGTERM does not end it: {}", self.log());
    }

    /// Waits until the host has an image of this name.
    pub(crate) fn wait_fetched(&self, image: &str) {
        let begin = Instant::now();
        loop {
            let listed = Command::new(davit())
                .arg("--socket")
                .arg(self.dir.path().join("executor.sock"))
                .arg("images")
                .output()
                .unwrap();
            if String::from_utf8_lossy(&listed.stdout).contains(image) {
                return;
            }
            assert!(begin.elapsed() < WAIT, "{image} is not there: {listed:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn wait_connected(&mut self) {
        let begin = Instant::now();
        loop {
            self.client.token = read_to_string(self.dir.path().join("token")).unwrap_or_default();
            let seen = self.client.try_send("GET", "/v1/executors", &[], None);
            if let Ok(answer) = &seen
                && answer.status == 200
                && answer.text.contains("\"connected\":true")
            {
                return;
            }
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("it ended with {status}");
            }
            assert!(begin.elapsed() < WAIT, "its host never connects: {seen:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        read_to_string(self.dir.path().join("dev.log")).unwrap_or_default()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("davit dev's log:\n{}", self.log());
        }
        // Ended already where the test went well.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A test's own directory, on a real disk.
pub(crate) fn directory() -> TempDir {
    assert!(
        std::env::var_os("DAVIT_TEST_REAL_HOST").is_some(),
        "it uses this host's containerd: run it inside scripts/native, with scripts/lib/host-tests"
    );
    // Short: a run's socket has its name below it.
    let mut dir = tempfile::Builder::new();
    dir.prefix("dd-").tempdir_in("/var/lib").unwrap()
}

/// The body of a run without a runner.
pub(crate) fn one_off(command: &str) -> Value {
    json!({
        "image": IMAGE, "region": "local", "instance_type": "small", "command": command,
    })
}

fn spawn(dir: &TempDir, address: SocketAddr) -> Child {
    let path = dir.path();
    let name = path.file_name().unwrap().to_str().unwrap();
    let log = File::options()
        .append(true)
        .create(true)
        .open(path.join("dev.log"))
        .unwrap();
    Command::new(davit())
        .args(["dev", "--allow-missing-controllers", "--dir"])
        .arg(path)
        .args(["--listen", &address.to_string()])
        // Another one after a restart: its host is the same all the same.
        .args(["--link-listen", "127.0.0.1:0"])
        .args(["--set", &format!("cgroup_parent=/{name}")])
        .args(["--set", &format!("containerd.namespace={name}")])
        // What else the machine has in hand, a build say, is no part of a test.
        .args(["--set", "warm.memory_stall_ms=0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// The built one, beside the directory of the tests or in `DAVIT_BIN_DIR`.
pub(crate) fn davit() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let beside = tests.ancestors().nth(2).unwrap().join("davit");
    let named = std::env::var_os("DAVIT_BIN_DIR").map(|dir| PathBuf::from(dir).join("davit"));
    let places: Vec<PathBuf> = std::iter::once(beside).chain(named).collect();
    let found = places.iter().find(|place| place.is_file());
    found
        .unwrap_or_else(|| panic!("no davit in {places:?}"))
        .clone()
}
