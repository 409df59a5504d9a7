//! `davit run --dir` and `--extract` on the host's own executor: from one directory of a user's into another.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::place::{Dev, IMAGE};

/// What `command`, begun in `dir`, prints and exits with.
fn in_dir(dir: &Path, command: &mut Command) -> (Output, String) {
    let output = command.current_dir(dir).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, stderr)
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn files_go_in_and_come_out() {
    let dev = Dev::start();
    let user = tempfile::tempdir().unwrap();
    let source = user.path().join("source");
    fs::create_dir_all(source.join("sub")).unwrap();
    fs::write(source.join("sub/in.txt"), "from outside\n").unwrap();
    fs::write(source.join("tool"), "#!/bin/sh\necho tool \"$1\"\n").unwrap();
    fs::set_permissions(source.join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("sub/in.txt", source.join("link")).unwrap();
    let script = "cat link; ./tool here; mkdir -p out/deep; echo 1 > out/deep/one; ln -s /etc/passwd out/l; \
                  echo report > report; exit 3";
    let run = [
        "run",
        "--dir",
        "source",
        "--extract",
        "out:got",
        "--extract",
        "report:new/report.txt",
        "--extract",
        "report:existing",
        IMAGE,
        "--",
        "sh",
        "-c",
        script,
    ];
    fs::create_dir(user.path().join("existing")).unwrap();
    let (output, stderr) = in_dir(user.path(), &mut dev.local(&run));
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert_eq!(output.stdout, b"from outside\ntool here\n", "{stderr}");
    let user = user.path();
    assert_eq!(read(user.join("got/deep/one")), "1\n");
    assert_eq!(
        fs::read_link(user.join("got/l")).unwrap(),
        Path::new("/etc/passwd")
    );
    assert_eq!(read(user.join("new/report.txt")), "report\n");
    assert_eq!(read(user.join("existing/report")), "report\n");
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_tar_stream_goes_in_and_programs_read_what_came_out() {
    let dev = Dev::start();
    let user = tempfile::tempdir().unwrap();
    let user = user.path();
    fs::create_dir(user.join("source")).unwrap();
    fs::write(user.join("source/in.txt"), "from outside\n").unwrap();
    symlink("in.txt", user.join("source/link")).unwrap();
    let tar = Command::new("tar")
        .args(["-C", "source", "-cf", "in.tar", "."])
        .current_dir(user)
        .status();
    assert!(tar.unwrap().success());
    let json = [
        "run",
        "-o",
        "json",
        "--dir",
        "-",
        "--extract",
        "out:got2",
        IMAGE,
        "--",
        "sh",
        "-c",
        "mkdir out; cp link out",
    ];
    let mut command = dev.local(&json);
    command.stdin(fs::File::open(user.join("in.tar")).unwrap());
    let (output, stderr) = in_dir(user, &mut command);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(read(user.join("got2/link")), "from outside\n");
    let last: Value =
        serde_json::from_slice(output.stdout.split(|b| *b == b'\n').rev().nth(1).unwrap()).unwrap();
    assert_eq!(last["run"]["extracts"][0]["status"], "ok", "{last}");
    assert_eq!(last["run"]["extracts"][0]["to"], "got2");
    let file = ["run", "--dir", "in.tar", IMAGE, "--", "cat", "link"];
    let (output, stderr) = in_dir(user, &mut dev.local(&file));
    assert_eq!(output.stdout, b"from outside\n", "{stderr}");
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn what_is_not_there_is_told_and_exits_125_unless_the_job_failed() {
    let dev = Dev::start();
    let user = tempfile::tempdir().unwrap();
    for (code, exits) in [("0", 125), ("7", 7)] {
        let script = format!("exit {code}");
        let run = [
            "run",
            "--rm",
            "--extract",
            "absent:x",
            IMAGE,
            "--",
            "sh",
            "-c",
            &script,
        ];
        let (output, stderr) = in_dir(user.path(), &mut dev.local(&run));
        assert_eq!(output.status.code(), Some(exits), "{stderr}");
        assert!(
            stderr.contains("--extract absent: missing: /absent was not there"),
            "{stderr}"
        );
    }
    let (listed, _) = in_dir(user.path(), &mut dev.local(&["ps", "-a", "-q"]));
    assert_eq!(listed.stdout, b"", "--rm left a run");
    // What cannot be put where it is wanted is kept, for another try.
    fs::write(user.path().join("file"), "").unwrap();
    let run = ["run", "--rm", "--extract", "etc:file", IMAGE, "--", "true"];
    let (output, stderr) = in_dir(user.path(), &mut dev.local(&run));
    assert_eq!(output.status.code(), Some(125), "{stderr}");
    assert!(
        stderr.contains("file") && stderr.contains("is kept"),
        "{stderr}"
    );
    let (listed, _) = in_dir(user.path(), &mut dev.local(&["ps", "-a", "-q"]));
    let id = String::from_utf8(listed.stdout).unwrap();
    let extract = ["extract", id.trim(), "--to", "elsewhere"];
    let (output, stderr) = in_dir(user.path(), &mut dev.local(&extract));
    assert!(output.status.success(), "{stderr}");
    assert!(read(user.path().join("elsewhere/file/passwd")).contains("root"));
    let (output, stderr) = in_dir(user.path(), &mut dev.local(&["rm", id.trim()]));
    assert!(output.status.success(), "{stderr}");
    let (output, stderr) = in_dir(user.path(), &mut dev.local(&["extract", id.trim()]));
    assert_eq!(output.status.code(), Some(125), "{stderr}");
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn what_cannot_be_sent_makes_no_job() {
    let dev = Dev::start();
    let user = tempfile::tempdir().unwrap();
    let run = |dir: &str, detach: &str| {
        let mut command = dev.local(&["run", "--dir", dir, detach, IMAGE, "--", "echo", "ran"]);
        in_dir(user.path(), command.stdin(Stdio::null()))
    };
    let (output, stderr) = run("absent", "--rm");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0));
    assert!(stderr.contains("cannot open absent"), "{stderr}");
    let (listed, _) = in_dir(user.path(), &mut dev.local(&["ps", "-a", "-q"]));
    assert_eq!(listed.stdout, b"", "a run was made");
    // Not an archive at all: the run ends, and both ways of following it say why.
    fs::write(user.path().join("no.tar"), "x".repeat(2_000)).unwrap();
    for detach in ["--detach", "--rm"] {
        let (output, stderr) = run("no.tar", detach);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0));
        assert!(stderr.contains("the archive cannot be read"), "{stderr}");
    }
    // A detached run is told when its files are there.
    fs::create_dir(user.path().join("dir")).unwrap();
    let (output, stderr) = run("dir", "--detach");
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    let id = String::from_utf8(output.stdout).unwrap();
    let (output, _) = in_dir(user.path(), &mut dev.local(&["attach", id.trim()]));
    assert_eq!(output.stdout, b"ran\n");
    dev.finish();
}
