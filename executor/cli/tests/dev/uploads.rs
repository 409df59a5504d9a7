//! Files that go into a run through the scheduler's API, on real containers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::place::{Dev, one_off};
use crate::rest::{WAIT, run_id, texts};

/// Where containerd keeps the containers' own layers.
const SNAPSHOTS: &str = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots";

/// A tar stream of what is in `dir`.
fn tar(dir: &Path) -> Vec<u8> {
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(dir).args(["-cf", "-", "."]);
    let made = tar.output().unwrap();
    assert!(made.status.success(), "{made:?}");
    made.stdout
}

fn sha256(path: &Path) -> String {
    let told = Command::new("sha256sum").arg(path).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    told.split(' ').next().unwrap().to_owned()
}

/// Sends `archive` in two pieces; the complete upload's id.
fn upload(dev: &Dev, archive: &[u8]) -> String {
    let scratch = tempfile::NamedTempFile::new().unwrap();
    fs::write(scratch.path(), archive).unwrap();
    let reply = dev.client.tell("/v1/uploads").expect(201);
    let id = reply["upload"]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/uploads/{id}");
    let (first, rest) = archive.split_at(archive.len() / 3);
    dev.client.piece(&path, 0, first).expect(200);
    let at = first.len();
    dev.client.piece(&path, at, rest).expect(200);
    let whole = json!({"bytes": archive.len(), "sha256": sha256(scratch.path())});
    let path = format!("{path}/complete");
    dev.client.post(&path, &whole).expect(200);
    id
}

/// A run of `sh -c command` with an upload; its id.
fn with(dev: &Dev, upload: &str, command: &str) -> String {
    let mut asked = one_off(command);
    asked["files"] = json!({"upload_id": upload});
    run_id(&dev.client.post("/v1/runs", &asked).expect(201))
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_run_begins_with_what_was_uploaded_for_it() {
    let dev = Dev::start();
    let user = tempfile::tempdir().unwrap();
    fs::create_dir(user.path().join("sub")).unwrap();
    fs::write(user.path().join("sub/in.txt"), "from afar\n").unwrap();
    let upload = upload(&dev, &tar(user.path()));
    // One upload, several runs: none sees what another wrote.
    for _ in 0..2 {
        let run = with(
            &dev,
            &upload,
            "cat sub/in.txt; ls; echo more > sub/more; ls sub",
        );
        let ended = dev.client.ended(&run);
        assert_eq!(ended["status"], "succeeded", "{ended:#}");
        assert_eq!(ended["files"]["upload_id"], *upload);
        let lines = dev.client.log(&run, 100);
        assert_eq!(texts(&lines), ["from afar", "sub", "in.txt", "more"]);
    }
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn what_is_no_archive_makes_no_job() {
    let dev = Dev::start();
    let upload = upload(&dev, &[7; 4_096]);
    let run = with(&dev, &upload, "echo it runs");
    let ended = dev.client.ended(&run);
    assert_eq!(ended["end_reason"], "start_failed", "{ended:#}");
    let message = ended["end_message"].as_str().unwrap();
    assert!(message.contains("files"), "{message}");
    assert_eq!(dev.client.log(&run, 100), Vec::<Value>::new());
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn files_are_fetched_again_by_the_executor_after_one_that_was_killed() {
    let mut dev = Dev::start();
    let user = tempfile::tempdir().unwrap();
    let name = format!("big-{}", std::process::id());
    let bytes = 200 << 20;
    let content: Vec<u8> = (0..bytes)
        .map(|at: usize| (at * 31 + at / 251).to_le_bytes()[0])
        .collect();
    fs::write(user.path().join(&name), content).unwrap();
    let digest = sha256(&user.path().join(&name));
    let upload = upload(&dev, &tar(user.path()));
    let run = with(&dev, &upload, &format!("sha256sum {name}; ls"));
    // In the middle of the fetch: a part of the file is in the container's own layer.
    let begin = Instant::now();
    while !half_there(&name, bytes as u64) {
        assert!(begin.elapsed() < WAIT, "the fetch was never seen under way");
        std::thread::sleep(Duration::from_millis(2));
    }
    dev.kill_and_restart();
    let ended = dev.client.ended(&run);
    assert_eq!(ended["status"], "succeeded", "{ended:#}");
    assert_eq!(ended["attempt"], 1);
    let lines = dev.client.log(&run, 100);
    assert_eq!(texts(&lines), [format!("{digest}  {name}"), name]);
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn files_that_are_not_what_was_uploaded_make_no_job() {
    let dev = Dev::start();
    let user = tempfile::tempdir().unwrap();
    fs::write(user.path().join("in.txt"), "what was sent\n").unwrap();
    let upload = upload(&dev, &tar(user.path()));
    // Somebody reaches into the object store: as long, and an archive still.
    let objects = dev.path().join("scheduler/objects/files").join(&upload);
    let changed: usize = fs::read_dir(objects)
        .unwrap()
        .map(|object| change(&object.unwrap().path()))
        .sum();
    assert_eq!(changed, 1, "what was sent is in one object");
    let run = with(&dev, &upload, "cat in.txt");
    let ended = dev.client.ended(&run);
    assert_eq!(ended["end_reason"], "start_failed", "{ended:#}");
    let message = ended["end_message"].as_str().unwrap();
    assert!(message.contains("SHA-256"), "{message}");
    assert_eq!(dev.client.log(&run, 100), Vec::<Value>::new());
    dev.finish();
}

/// Puts other content into an archive of "what was sent", if it is in this object; how many it changed.
fn change(object: &Path) -> usize {
    let bytes = fs::read(object).unwrap();
    let sent = b"what was sent";
    let Some(at) = bytes.windows(sent.len()).position(|some| some == sent) else {
        return 0;
    };
    let mut other = bytes;
    other[at..at + sent.len()].copy_from_slice(b"WHAT WAS SENT");
    fs::write(object, other).unwrap();
    1
}

/// Whether a container's own layer has a part of the file, and not all of it.
fn half_there(name: &str, bytes: u64) -> bool {
    let dirs = fs::read_dir(SNAPSHOTS).unwrap();
    let paths = dirs.map(|dir| dir.unwrap().path().join("fs/work").join(name));
    let length = |path: PathBuf| fs::metadata(path).map_or(0, |found| found.len());
    paths.map(length).any(|length| length > 0 && length < bytes)
}
