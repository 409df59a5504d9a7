//! The executor as its host's operator sees it: is it well, and all of it gone again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::place::{IMAGE, davit, directory};
use crate::rest::WAIT;

/// One executor's settings file, made by `configure`.
struct Place {
    dir: TempDir,
    name: String,
}

impl Place {
    fn new() -> Self {
        let dir = directory();
        let name = dir.path().file_name().unwrap().to_str().unwrap().to_owned();
        let place = Self { dir, name };
        let own = place.dir.path().display();
        let settings = [
            format!("state_dir={own}/state"),
            format!("socket={own}/run/executor.sock"),
            format!("cgroup_parent=/{}", place.name),
            format!("containerd.namespace={}", place.name),
            format!("link.credentials_file={own}/host.json"),
            "allow_missing_controllers=true".to_owned(),
        ];
        let sets = settings.iter().flat_map(|setting| ["--set", setting]);
        let made = place.executor(&[&["configure"][..], &sets.collect::<Vec<_>>()].concat());
        assert!(made.status.success(), "{made:?}");
        place
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("etc/executor.toml")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(davit());
        command.args(arguments);
        command.env("DAVIT_CONFIG", self.file());
        command.env("DAVIT_SOCKET", self.dir.path().join("run/executor.sock"));
        command.stdin(Stdio::null());
        command
    }

    fn executor(&self, arguments: &[&str]) -> Output {
        let whole = [&["executor"][..], arguments].concat();
        self.command(&whole).output().unwrap()
    }

    fn serve(&self) -> Child {
        let log = fs::File::create(self.dir.path().join("log")).unwrap();
        let mut serve = self.command(&["executor", "serve"]);
        let process = serve.stderr(log).spawn().unwrap();
        let begin = Instant::now();
        while self.status() != Some(0) {
            assert!(begin.elapsed() < WAIT, "it never serves: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        process
    }

    fn status(&self) -> Option<i32> {
        self.executor(&["status"]).status.code()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

fn ctr(namespace: &str, arguments: &[&str]) -> String {
    let done = Command::new("ctr")
        .args(["--namespace", namespace])
        .args(arguments)
        .output()
        .unwrap();
    assert!(done.status.success(), "{arguments:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

fn refused(output: &Output, words: &str) {
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(words), "{words}: {said}");
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn purge_spares_live_runs_and_what_is_not_davits() {
    let foreign = "somebody-else";
    ctr(foreign, &["images", "pull", "--plain-http", IMAGE]);
    ctr(foreign, &["containers", "create", IMAGE, "theirs"]);
    let place = Place::new();
    assert_eq!(place.status(), Some(3), "none serves");
    let mut serving = place.serve();
    let run = place
        .command(&["run", "-d", IMAGE, "--", "sleep", "1000"])
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    let run = String::from_utf8(run.stdout).unwrap();
    // Begun by the service: a purge that is refused must have nothing to do with it.
    let begin = Instant::now();
    loop {
        let listed = place.command(&["ps"]).output().unwrap();
        if String::from_utf8_lossy(&listed.stdout).contains("running") {
            break;
        }
        assert!(begin.elapsed() < WAIT, "it never runs: {listed:?}");
        std::thread::sleep(Duration::from_millis(50));
    }

    refused(&place.executor(&["purge", "--yes"]), "is not the service");
    kill_process(Pid::from_child(&serving), Signal::TERM).unwrap();
    assert!(serving.wait().unwrap().success(), "{}", place.log());
    assert_eq!(place.status(), Some(3));
    refused(&place.executor(&["purge"]), "nothing was removed");
    refused(&place.executor(&["purge", "--yes"]), run.trim());
    assert!(place.file().exists());

    let state = place.dir.path().join("state");
    fs::write(state.join("mine"), "x").unwrap();
    let purged = place.executor(&["purge", "--yes", "--force"]);
    assert!(purged.status.success(), "{purged:?}");
    let left: Vec<_> = fs::read_dir(&state).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(!place.file().exists());
    for list in ["containers", "images", "tasks"] {
        let rows = ctr(&place.name, &[list, "ls", "-q"]);
        assert_eq!(rows.trim(), "", "{list}");
    }
    let cgroup = Path::new("/sys/fs/cgroup").join(&place.name);
    assert!(!cgroup.exists(), "{}", cgroup.display());

    assert_eq!(ctr(foreign, &["containers", "ls", "-q"]).trim(), "theirs");
    ctr(foreign, &["containers", "rm", "theirs"]);
    ctr(foreign, &["images", "rm", IMAGE]);
}
