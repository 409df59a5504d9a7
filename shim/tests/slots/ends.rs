//! Slots that no run is given: revoked, deleted, orphaned.

use davit_rundir::{ControlErrorCode, SlotReply, SlotRequest};

use containerd_shim_protos::api;
use serde_json::Value;

use crate::host::{Host, assignment};
use crate::line::Line;
use crate::support::{patience, wait_for};

fn is_gone(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

/// Two who want the same slot.
fn lines(host: &Host) -> [Line; 2] {
    [(); 2].map(|()| Line::connect(&host.slot_socket()))
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "needs a real host: scripts/test runs it"]
async fn what_was_revoked_is_given_to_nobody() {
    let host = Host::slot().await;
    let run = host.run_for_slot();
    let [mut first, mut second] = lines(&host);
    assert_eq!(first.ask(&SlotRequest::Revoke), Some(SlotReply::Revoked));
    // Sent before anybody could know: answered, not done.
    let assigned = assignment(&run, &["true"]);
    let late = second.ask(&SlotRequest::Assign(Box::new(assigned)));
    assert!(
        matches!(&late, Some(SlotReply::Error(error)) if error.code == ControlErrorCode::NotRunning),
        "{late:?}"
    );
    assert!(!host.slot_socket().exists());
    assert_eq!(run.read_state().unwrap(), None);
    wait_for("the init's end", || is_gone(host.created_pid)).await;
    assert!(first.closes() && second.closes());
    host.delete().await;
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "needs a real host: scripts/test runs it"]
async fn revoking_what_was_assigned_tells_so() {
    let host = Host::slot().await;
    let run = host.run_for_slot();
    let [mut first, mut second] = lines(&host);
    let assigned = assignment(&run, &["true"]);
    let reply = first.ask(&SlotRequest::Assign(Box::new(assigned)));
    assert!(matches!(reply, Some(SlotReply::Assigned(_))), "{reply:?}");
    assert_eq!(second.ask(&SlotRequest::Revoke), reply);
    host.delete().await;
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_waiting_slot_is_deleted_at_once() {
    let host = Host::slot().await;
    let mut line = Line::connect(&host.slot_socket());
    let init = host.created_pid;
    host.delete().await;
    assert!(is_gone(init));
    assert!(line.closes());
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_killed_init_takes_its_slot_along() {
    let host = Host::slot().await;
    let mut line = Line::connect(&host.slot_socket());
    let request = api::KillRequest {
        id: host.id.clone(),
        signal: 9,
        ..api::KillRequest::default()
    };
    host.client.kill(patience(), &request).await.unwrap();
    assert!(line.closes(), "the executor would not notice");
    assert!(!host.slot_socket().exists());
    assert_eq!(host.status().await, api::Status::STOPPED);
    host.delete().await;
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_slot_ends_with_its_shim() {
    let host = Host::slot().await;
    let shim = host.shim_pid().await;
    let raw = rustix::process::Pid::from_raw(shim.cast_signed()).unwrap();
    rustix::process::kill_process(raw, rustix::process::Signal::KILL).unwrap();
    wait_for("the shim's end", || is_gone(shim)).await;
    wait_for("the init's end", || is_gone(host.created_pid)).await;
    host.delete_command();
    host.leaves_nothing();
    host.delete_command();
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "needs a real host: scripts/test runs it"]
async fn what_is_no_request_is_refused_and_the_slot_stays() {
    let host = Host::slot().await;
    let mut line = Line::connect(&host.slot_socket());
    let reply = line.ask(&serde_json::json!({"do": "dance"}));
    assert!(
        matches!(&reply, Some(SlotReply::Error(error)) if error.code == ControlErrorCode::Malformed),
        "{reply:?}"
    );
    assert!(host.slot_socket().exists());
    let run = host.run_for_slot();
    let reply = line.ask(&SlotRequest::Assign(Box::new(assignment(&run, &["true"]))));
    assert!(matches!(reply, Some(SlotReply::Assigned(_))), "{reply:?}");
    host.delete().await;
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_container_that_cannot_wait_is_no_slot() {
    let without_proc = |spec: &mut Value| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/proc");
    };
    let without_execve = |spec: &mut Value| {
        let calls = &mut spec["linux"]["seccomp"]["syscalls"];
        for call in calls.as_array_mut().unwrap() {
            let names = call["names"].as_array_mut().unwrap();
            names.retain(|name| name != "execve");
        }
    };
    let hosts_name = |spec: &mut Value| {
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "uts");
    };
    let made = Host::slot_with(without_proc).await;
    let why = made.err().unwrap().to_string();
    assert!(why.contains("`/proc/self/fd/3` not found"), "{why}");
    let made = Host::slot_with(without_execve).await;
    let why = made.err().unwrap().to_string();
    assert!(
        why.contains("exec container process `/proc/self/fd/3`: Operation not permitted"),
        "{why}"
    );
    let made = Host::slot_with(hosts_name).await;
    let why = made.err().unwrap().to_string();
    assert!(why.contains("a uts namespace of its own"), "{why}");
    let left = std::fs::read_dir("/sys/fs/cgroup/davit-shim-test").unwrap();
    let left = left.filter(|entry| entry.as_ref().unwrap().path().is_dir());
    assert_eq!(left.count(), 0, "a cgroup is left");
}
