//! What containerd sees of the binary before any daemon exists.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::types::introspection::RuntimeInfo;

fn shim() -> Command {
    Command::new(env!("CARGO_BIN_EXE_containerd-shim-davit-v1"))
}

fn run(command: &mut Command, stdin: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn version_names_the_binary() {
    let output = run(shim().arg("-v"), b"");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(env!("CARGO_PKG_VERSION")), "{text}");
}

#[test]
fn a_wrong_command_line_is_an_error_on_stderr() {
    let output = run(shim().args(["-id", "a", "-namespace", "n", "dance"]), b"");
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("`dance`"), "{text}");
}

#[test]
fn info_passes_the_runtimes_features_on() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = dir.path().join("crun");
    fs::write(
        &runtime,
        "#!/bin/sh\n[ \"$1\" = features ] && echo '{\"mountOptions\":[\"rro\"]}'\n",
    )
    .unwrap();
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).unwrap();
    let output = run(shim().arg("-info").env("PATH", dir.path()), b"");
    assert!(output.status.success());
    let info = RuntimeInfo::parse_from_bytes(&output.stdout).unwrap();
    assert_eq!(info.name, "io.containerd.davit.v1");
    assert_eq!(info.features.value, b"{\"mountOptions\":[\"rro\"]}\n");
}

#[test]
fn delete_of_an_empty_bundle_answers_and_may_be_repeated() {
    let bundle = tempfile::tempdir().unwrap();
    for _again in 0..2 {
        let output = run(
            shim()
                .args([
                    "-namespace",
                    "n",
                    "-id",
                    "nobody",
                    "-address",
                    "/no/such.sock",
                ])
                .arg("-bundle")
                .arg(bundle.path())
                .arg("delete"),
            b"",
        );
        assert!(output.status.success());
        let response = DeleteResponse::parse_from_bytes(&output.stdout).unwrap();
        assert_eq!((response.pid, response.exit_status), (0, 137));
        assert!(response.exited_at.is_some());
    }
}
