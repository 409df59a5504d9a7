//! A run with a container of its own, under the real crun: let go and deleted without a command.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use containerd_shim_protos::api;
use davit_rundir::{ControlReply, ControlRequest};
use davit_types::{EndReason, ExitStatus};

use crate::host::{Host, control, end_of, output_of};

/// A crun that writes down what it is asked.
fn counting(dir: &Path) -> PathBuf {
    let path = dir.join("crun");
    let script = format!(
        "#!/bin/sh\necho \"$7\" >>{}/commands\nexec /usr/bin/crun \"$@\"\n",
        dir.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn commands(runtime: &Path) -> String {
    fs::read_to_string(runtime.with_file_name("commands")).unwrap()
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "needs a real host: scripts/test runs it"]
async fn create_is_the_only_command() {
    let mut runtime = PathBuf::new();
    let host = Host::plain("echo here; exit 4", |dir| {
        // Not where crun's own state is.
        fs::create_dir(dir.join("bin")).unwrap();
        runtime = counting(&dir.join("bin"));
        runtime.clone()
    })
    .await;
    let run = host.own_run();
    let ControlReply::State(state) = control(&run, &ControlRequest::Start) else {
        panic!("not started");
    };
    let end = end_of(&run);
    assert_eq!(end.status, ExitStatus::Code(4));
    assert_eq!(
        (end.end_reason, end.started),
        (EndReason::Exited, state.started)
    );
    assert_eq!(output_of(&run), "here\n");
    let again = control(&run, &ControlRequest::Start);
    assert!(matches!(again, ControlReply::State(_)), "{again:?}");
    host.delete().await;
    assert_eq!(commands(&runtime), "create\n");
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "needs a real host: scripts/test runs it"]
async fn containerd_may_let_it_go_as_well() {
    let host = Host::plain("sleep 60", |_| "/usr/bin/crun".into()).await;
    let run = host.own_run();
    host.start_by_containerd().await.unwrap();
    assert_eq!(host.status().await, api::Status::RUNNING);
    let ControlReply::State(state) = control(&run, &ControlRequest::Start) else {
        panic!("not started");
    };
    assert!(state.started.is_some());
    control(&run, &ControlRequest::Cancel);
    assert_eq!(end_of(&run).end_reason, EndReason::Canceled);
    host.delete().await;
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_created_run_is_deleted_with_all_that_was_made() {
    let host = Host::plain("true", |_| "/usr/bin/crun".into()).await;
    let run = host.own_run();
    host.delete().await;
    assert_eq!(run.read_exit().unwrap().unwrap().started, None);
}
