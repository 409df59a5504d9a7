//! Files that come out of runs through the scheduler's API, on real containers.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::place::{Dev, IMAGE, one_off};
use crate::rest::{WAIT, run_id, texts};

/// An answer whose body is no text.
struct Bytes {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Bytes {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(given, _)| given.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }
}

/// What is at `path`, or a part of it.
fn download(dev: &Dev, path: &str, headers: &str) -> Bytes {
    let mut stream = TcpStream::connect(dev.client.address).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    let (address, token) = (dev.client.address, &dev.client.token);
    let head = format!(
        "GET {path} HTTP/1.0\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut whole = Vec::new();
    stream.read_to_end(&mut whole).unwrap();
    let at = whole.windows(4).position(|four| four == b"\r\n\r\n");
    let body = whole.split_off(at.unwrap() + 4);
    let head = String::from_utf8(whole).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Bytes { status, head, body }
}

/// Unpacks a tar stream; where it is.
fn unpacked(archive: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut tar = Command::new("tar")
        .arg("-C")
        .arg(dir.path())
        .args(["-xf", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    tar.stdin.take().unwrap().write_all(archive).unwrap();
    assert!(tar.wait().unwrap().success());
    dir
}

fn sha256(bytes: &[u8]) -> String {
    let scratch = tempfile::NamedTempFile::new().unwrap();
    fs::write(scratch.path(), bytes).unwrap();
    let told = Command::new("sha256sum")
        .arg(scratch.path())
        .output()
        .unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    told.split(' ').next().unwrap().to_owned()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A run of `sh -c command` from which these come out; its id.
fn from(dev: &Dev, command: &str, extracts: Value, more: &[(&str, Value)]) -> String {
    let mut asked = one_off(command);
    asked["extracts"] = extracts;
    for (field, value) in more {
        asked[*field] = value.clone();
    }
    run_id(&dev.client.post("/v1/runs", &asked).expect(201))
}

/// Where the host keeps what it collects of a run.
fn kept_on_host(dev: &Dev, run: &str) -> PathBuf {
    let told = dev.local(&["-o", "json", "inspect", run]).output().unwrap();
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    PathBuf::from(told[0]["run_dir"].as_str().unwrap()).join("files")
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn what_a_job_left_is_served_after_its_end_however_that_came() {
    let dev = Dev::start();
    let left =
        "mkdir -p /out/deep; echo one > /out/deep/1; ln -s /etc/passwd /out/l; echo report > /r";
    let extracts = json!([{"from": "/out", "to": "got"}, {"from": "/r"}]);
    for (then, timeout, reason, code) in [
        ("true", 60, "exited", 0),
        ("exit 3", 60, "exited", 3),
        ("sleep 60", 1, "timed_out", 124),
    ] {
        let command = format!("{left}; {then}");
        let timeout = ("timeout_seconds", json!(timeout));
        let run = from(&dev, &command, extracts.clone(), &[timeout]);
        let early = dev.client.get(&format!("/v1/runs/{run}"));
        if early["run"]["completed_at"].is_null() {
            assert_eq!(
                early["run"]["extracts"][0]["status"], "pending",
                "{early:#}"
            );
        }
        let ended = dev.client.ended(&run);
        assert_eq!(ended["end_reason"], reason, "{ended:#}");
        assert_eq!(ended["exit_code"], code);
        let (dir, file) = (&ended["extracts"][0], &ended["extracts"][1]);
        assert_eq!(
            (&dir["status"], &dir["kind"]),
            (&json!("ok"), &json!("directory"))
        );
        assert_eq!((&dir["from"], &dir["to"]), (&json!("/out"), &json!("got")));
        assert_eq!(
            (&file["status"], &file["kind"]),
            (&json!("ok"), &json!("file"))
        );
        assert_eq!((&file["to"], &file["bytes"]), (&json!("/r"), &json!(7)));
        assert_eq!(file["sha256"], sha256(b"report\n"));

        let archive = download(&dev, &format!("/v1/runs/{run}/extracts/0"), "");
        assert_eq!(archive.status, 200, "{}", archive.head);
        assert_eq!(archive.header("content-type"), Some("application/x-tar"));
        assert_eq!(dir["bytes"], archive.body.len());
        assert_eq!(dir["sha256"], sha256(&archive.body));
        let got = unpacked(&archive.body);
        assert_eq!(read(got.path().join("deep/1")), "one\n");
        let link = fs::read_link(got.path().join("l")).unwrap();
        assert_eq!(link, Path::new("/etc/passwd"));
        let archive = download(&dev, &format!("/v1/runs/{run}/extracts/1"), "");
        assert_eq!(read(unpacked(&archive.body).path().join("r")), "report\n");

        let kept = kept_on_host(&dev, &run);
        assert!(!kept.exists(), "{} is still there", kept.display());
        let local = dev.local(&["extract", &run]).output().unwrap();
        let stderr = String::from_utf8_lossy(&local.stderr).into_owned();
        assert!(stderr.contains("are with its scheduler"), "{stderr}");
    }
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn what_is_not_there_is_told_and_served_to_nobody() {
    let dev = Dev::start();
    let extracts = json!([{"from": "absent"}, {"from": "/r"}]);
    let run = from(&dev, "echo x > /r", extracts.clone(), &[]);
    let ended = dev.client.ended(&run);
    assert_eq!(ended["status"], "succeeded", "{ended:#}");
    let missing = &ended["extracts"][0];
    assert_eq!(missing["status"], "missing", "{ended:#}");
    assert!(
        missing["message"]
            .as_str()
            .unwrap()
            .contains("was not there")
    );
    assert_eq!(
        ended["extracts"][1]["status"], "ok",
        "one is there all the same"
    );
    let path = format!("/v1/runs/{run}/extracts");
    for (number, status) in [("0", 409), ("1", 200), ("2", 404), ("x", 404), ("01", 404)] {
        let answer = download(&dev, &format!("{path}/{number}"), "");
        assert_eq!(answer.status, status, "{number}: {}", answer.head);
    }
    // A job that never began left nothing.
    let image = ("image", json!("127.0.0.1:5000/davit/absent:1"));
    let run = from(&dev, "echo x > /r", extracts, &[image]);
    let early = download(&dev, &format!("/v1/runs/{run}/extracts/1"), "");
    assert_eq!(early.status, 409, "{}", early.head);
    let ended = dev.client.ended(&run);
    assert_eq!(ended["end_reason"], "image_pull_failed", "{ended:#}");
    assert_eq!(ended["extracts"][1]["status"], "error", "{ended:#}");
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_download_that_broke_goes_on_where_it_broke() {
    let dev = Dev::start();
    let command = "dd if=/dev/urandom of=/big bs=1M count=9 2>/dev/null; sha256sum /big";
    let run = from(&dev, command, json!([{"from": "/big"}]), &[]);
    let ended = dev.client.ended(&run);
    assert_eq!(ended["extracts"][0]["status"], "ok", "{ended:#}");
    let path = format!("/v1/runs/{run}/extracts/0");
    let whole = download(&dev, &path, "");
    let (tag, length) = (whole.header("etag").unwrap(), whole.body.len());
    assert_eq!(tag, format!("\"{}\"", sha256(&whole.body)));
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));

    let middle = 4_194_304 + 17;
    let rest = format!("range: bytes={middle}-\r\nif-range: {tag}\r\n");
    let rest = download(&dev, &path, &rest);
    assert_eq!(rest.status, 206, "{}", rest.head);
    let told = format!("bytes {middle}-{}/{length}", length - 1);
    assert_eq!(rest.header("content-range"), Some(told.as_str()));
    assert!(rest.body == whole.body[middle..], "other bytes came");
    let part = download(&dev, &path, "range: bytes=4194300-4194310\r\n");
    assert!(
        part.body == whole.body[4_194_300..=4_194_310],
        "over two parts"
    );
    let other = download(&dev, &path, "range: bytes=5-\r\nif-range: \"other\"\r\n");
    assert_eq!((other.status, other.body.len()), (200, length));
    let beyond = download(&dev, &path, &format!("range: bytes={length}-\r\n"));
    assert_eq!(beyond.status, 416, "{}", beyond.head);

    let got = unpacked(&whole.body);
    let digest = sha256(&fs::read(got.path().join("big")).unwrap());
    let lines = dev.client.log(&run, 100);
    assert_eq!(texts(&lines), [format!("{digest}  /big")]);
    dev.finish();
}

/// The uploads below the scheduler's objects, each with its objects.
fn objects(dev: &Dev) -> BTreeSet<(PathBuf, usize)> {
    let place = dev.path().join("scheduler/objects/files");
    let uploads = fs::read_dir(place).into_iter().flatten().flatten();
    let count = |dir: PathBuf| {
        let objects = fs::read_dir(&dir).map_or(0, Iterator::count);
        (dir, objects)
    };
    uploads.map(|upload| count(upload.path())).collect()
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn what_was_on_its_way_when_the_host_was_killed_arrives_from_where_it_was() {
    let mut dev = Dev::start();
    let mib: usize = 160;
    let command =
        format!("dd if=/dev/urandom of=/big bs=1M count={mib} 2>/dev/null; sha256sum /big");
    let run = from(&dev, &command, json!([{"from": "/big"}]), &[]);
    let parts = mib / 4;
    let begin = Instant::now();
    let sent = |dev: &Dev| objects(dev).iter().map(|(_, count)| *count).sum::<usize>();
    while !(3..parts / 2).contains(&sent(&dev)) {
        assert!(begin.elapsed() < WAIT, "it was never seen under way");
        std::thread::sleep(Duration::from_millis(2));
    }
    dev.kill_and_restart();
    let ended = dev.client.ended(&run);
    assert_eq!(ended["status"], "succeeded", "{ended:#}");
    assert_eq!(ended["attempt"], 1);
    assert_eq!(ended["extracts"][0]["status"], "ok", "{ended:#}");
    let archive = download(&dev, &format!("/v1/runs/{run}/extracts/0"), "");
    let got = unpacked(&archive.body);
    let digest = sha256(&fs::read(got.path().join("big")).unwrap());
    let lines = dev.client.log(&run, 100);
    assert_eq!(texts(&lines), [format!("{digest}  /big")]);
    // One upload, whose parts were sent once: what the kill broke off may be there twice.
    let stored = objects(&dev);
    assert_eq!(stored.len(), 1, "{stored:?}");
    assert!(sent(&dev) <= parts + 3, "{stored:?}");
    let kept = kept_on_host(&dev, &run);
    assert!(!kept.exists(), "{} is still there", kept.display());
    dev.finish();
}

/// What `davit` for the scheduler, begun in `dir`, prints and exits with.
fn in_dir(dev: &Dev, dir: &Path, arguments: &[&str]) -> (Output, String) {
    let output = dev.command(arguments).current_dir(dir).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, stderr)
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn the_command_line_brings_files_in_and_out_through_a_scheduler() {
    let dev = Dev::start();
    let user = tempfile::tempdir().unwrap();
    let user = user.path();
    fs::create_dir_all(user.join("source/sub")).unwrap();
    fs::write(user.join("source/sub/in.txt"), "from outside\n").unwrap();
    symlink("sub/in.txt", user.join("source/link")).unwrap();
    // More than one piece.
    let large: Vec<u8> = (0..9_000_001_usize)
        .map(|at| (at * 7 + at / 253).to_le_bytes()[0])
        .collect();
    fs::write(user.join("source/large"), &large).unwrap();
    fs::create_dir(user.join("existing")).unwrap();
    let script = "cat link; mkdir -p out/deep; echo 1 > out/deep/one; cp large out; echo report > report; exit 3";
    let run = [
        "run",
        "--instance-type",
        "small",
        "--dir",
        "source",
        "--extract",
        "out:got",
        "--extract",
        "report:existing",
        IMAGE,
        "--",
        "sh",
        "-c",
        script,
    ];
    let in_dir = |arguments: &[&str]| in_dir(&dev, user, arguments);
    let (output, stderr) = in_dir(&run);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert_eq!(output.stdout, b"from outside\n", "{stderr}");
    assert_eq!(read(user.join("got/deep/one")), "1\n");
    assert!(
        fs::read(user.join("got/large")).unwrap() == large,
        "other bytes came"
    );
    assert_eq!(read(user.join("existing/report")), "report\n");

    let (listed, _) = in_dir(&["ps", "-a", "-q"]);
    let id = String::from_utf8(listed.stdout).unwrap();
    let (output, stderr) = in_dir(&["extract", id.trim(), "--to", "again"]);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(output.stdout, b"got\nexisting\n");
    assert_eq!(read(user.join("again/got/deep/one")), "1\n");
    assert_eq!(read(user.join("again/existing")), "report\n");
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn the_command_line_tells_what_cannot_be_sent_or_brought() {
    let dev = Dev::start();
    let user = tempfile::tempdir().unwrap();
    let in_dir = |arguments: &[&str]| in_dir(&dev, user.path(), arguments);
    for (code, exits) in [("0", 125), ("7", 7)] {
        let script = format!("exit {code}");
        let run = [
            "run",
            "--instance-type",
            "small",
            "--extract",
            "absent:x",
            IMAGE,
            "--",
            "sh",
            "-c",
            &script,
        ];
        let (output, stderr) = in_dir(&run);
        assert_eq!(output.status.code(), Some(exits), "{stderr}");
        assert!(
            stderr.contains("--extract absent: missing: /absent was not there"),
            "{stderr}"
        );
    }
    let (output, stderr) = in_dir(&["run", "--instance-type", "small", "--dir", "absent", IMAGE]);
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr.contains("cannot open absent"), "{stderr}");
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn files_come_out_of_a_runners_runs() {
    let dev = Dev::start();
    let user = tempfile::tempdir().unwrap();
    let in_dir = |arguments: &[&str]| {
        let (output, stderr) = in_dir(&dev, user.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    };
    let create = "runner create maker --instance-type small --extract /one:first --shell";
    let script = "echo 1 > /one; echo 2 > /two; echo made";
    let mut create: Vec<&str> = create.split(' ').collect();
    create.extend([script, "--image", IMAGE]);
    in_dir(&create);
    // The runner says what is kept, and whoever runs it where that goes.
    assert_eq!(in_dir(&["runner", "run", "maker"]), "made\n");
    assert!(!user.path().join("first").exists());
    let id = in_dir(&["ps", "-a", "-q"]);
    assert_eq!(in_dir(&["extract", id.trim()]), "first\n");
    assert_eq!(read(user.path().join("first")), "1\n");
    // A run of it may want something else.
    in_dir(&["runner", "run", "maker", "--extract", "/two:second"]);
    assert_eq!(read(user.path().join("second")), "2\n");
    dev.finish();
}
