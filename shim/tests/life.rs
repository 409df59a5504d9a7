//! The life of a task over the real socket: a real daemon, real processes, a stand-in OCI runtime.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;

use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim_async::TaskClient;
use support::{Fixture, client, code, patience, wait_for};
use ttrpc::Code;

fn start(id: &str, exec_id: &str) -> api::StartRequest {
    api::StartRequest {
        id: id.to_owned(),
        exec_id: exec_id.to_owned(),
        ..api::StartRequest::default()
    }
}

fn wait(id: &str, exec_id: &str) -> api::WaitRequest {
    api::WaitRequest {
        id: id.to_owned(),
        exec_id: exec_id.to_owned(),
        ..api::WaitRequest::default()
    }
}

fn delete(id: &str, exec_id: &str) -> api::DeleteRequest {
    api::DeleteRequest {
        id: id.to_owned(),
        exec_id: exec_id.to_owned(),
        ..api::DeleteRequest::default()
    }
}

fn kill(id: &str, signal: i32) -> api::KillRequest {
    api::KillRequest {
        id: id.to_owned(),
        signal: signal.cast_unsigned(),
        ..api::KillRequest::default()
    }
}

async fn status(client: &TaskClient, id: &str) -> api::Status {
    let request = api::StateRequest {
        id: id.to_owned(),
        ..api::StateRequest::default()
    };
    let state = client.state(patience(), &request).await.unwrap();
    state.status.enum_value().unwrap()
}

async fn shut_down(client: &TaskClient) {
    let request = api::ShutdownRequest::default();
    client.shutdown(patience(), &request).await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn a_task_from_create_to_shutdown() {
    let fixture = Fixture::new("echo out; echo err >&2; exit 3");
    let socket = fixture.start();
    let client = client(&socket).await;
    let id = fixture.id.as_str();

    let created = client
        .create(patience(), &fixture.create_request())
        .await
        .unwrap();
    assert!(created.pid > 0);
    assert_eq!(status(&client, id).await, api::Status::CREATED);
    let again = client.create(patience(), &fixture.create_request()).await;
    assert_eq!(code(again), Code::ALREADY_EXISTS);

    client.start(patience(), &start(id, "")).await.unwrap();
    let end = client.wait(patience(), &wait(id, "")).await.unwrap();
    assert_eq!(end.exit_status, 3);
    assert_eq!(status(&client, id).await, api::Status::STOPPED);
    assert_eq!(
        code(client.kill(patience(), &kill(id, 9)).await),
        Code::NOT_FOUND
    );

    let gone = client.delete(patience(), &delete(id, "")).await.unwrap();
    assert_eq!((gone.pid, gone.exit_status), (created.pid, 3));
    assert_eq!(gone.exited_at, end.exited_at);
    let twice = client.delete(patience(), &delete(id, "")).await;
    assert_eq!(code(twice), Code::NOT_FOUND);
    let output = fs::read_to_string(fixture.output()).unwrap();
    assert_eq!(output, "out\nerr\n");

    shut_down(&client).await;
    assert!(
        !socket.exists(),
        "the socket goes before Shutdown is answered"
    );
}

#[tokio::test(flavor = "current_thread")]
async fn start_finds_the_living_daemon() {
    let fixture = Fixture::new("sleep 60");
    let socket = fixture.start();
    assert_eq!(fixture.start(), socket);
    let address = fs::read_to_string(fixture.bundle().join("address")).unwrap();
    assert_eq!(address, format!("unix://{}", socket.display()));
    shut_down(&client(&socket).await).await;
}

#[tokio::test(flavor = "current_thread")]
async fn shutdown_spares_a_daemon_with_a_task_and_delete_a_running_task() {
    let fixture = Fixture::new("sleep 60");
    let socket = fixture.start();
    let first = client(&socket).await;
    let id = fixture.id.as_str();
    first
        .create(patience(), &fixture.create_request())
        .await
        .unwrap();
    first.start(patience(), &start(id, "")).await.unwrap();
    shut_down(&first).await;
    let refused = first.delete(patience(), &delete(id, "")).await;
    assert_eq!(code(refused), Code::FAILED_PRECONDITION);
    drop(first);

    // containerd comes back: a new connection finds everything as it was.
    let second = client(&socket).await;
    let request = api::ConnectRequest {
        id: id.to_owned(),
        ..api::ConnectRequest::default()
    };
    let connected = second.connect(patience(), &request).await.unwrap();
    assert!(connected.task_pid > 0 && connected.shim_pid > 0);
    assert_eq!(status(&second, id).await, api::Status::RUNNING);
    second.kill(patience(), &kill(id, 15)).await.unwrap();
    let end = second.wait(patience(), &wait(id, "")).await.unwrap();
    assert_eq!(end.exit_status, 128 + 15);
    second.delete(patience(), &delete(id, "")).await.unwrap();
    shut_down(&second).await;
}

#[tokio::test(flavor = "current_thread")]
async fn the_runtimes_own_words_explain_a_failed_create() {
    let fixture = Fixture::new("");
    fs::write(fixture.bundle().join("fail-create"), "").unwrap();
    let socket = fixture.start();
    let client = client(&socket).await;
    let error = client
        .create(patience(), &fixture.create_request())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no such thing"), "{error}");
    let refused = client.delete(patience(), &delete(&fixture.id, "")).await;
    assert_eq!(code(refused), Code::NOT_FOUND);
    shut_down(&client).await;
}

#[tokio::test(flavor = "current_thread")]
async fn execs_end_before_the_init_is_told() {
    let fixture = Fixture::new("sleep 60");
    fs::write(fixture.bundle().join("exec.sh"), "echo from exec; exit 4").unwrap();
    let socket = fixture.start();
    let client = client(&socket).await;
    let id = fixture.id.as_str();
    client
        .create(patience(), &fixture.create_request())
        .await
        .unwrap();
    client.start(patience(), &start(id, "")).await.unwrap();

    let exec = api::ExecProcessRequest {
        id: id.to_owned(),
        exec_id: "e1".to_owned(),
        stdout: format!("file://{}", fixture.output().display()),
        spec: MessageField::some(Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
            value: br#"{"args":["true"],"cwd":"/"}"#.to_vec(),
            ..Any::default()
        }),
        ..api::ExecProcessRequest::default()
    };
    client.exec(patience(), &exec).await.unwrap();
    assert_eq!(
        code(client.exec(patience(), &exec).await),
        Code::ALREADY_EXISTS
    );
    client.start(patience(), &start(id, "e1")).await.unwrap();
    let end = client.wait(patience(), &wait(id, "e1")).await.unwrap();
    assert_eq!(end.exit_status, 4);
    let gone = client.delete(patience(), &delete(id, "e1")).await.unwrap();
    assert_eq!(gone.exit_status, 4);
    assert_eq!(fs::read_to_string(fixture.output()).unwrap(), "from exec\n");

    client.kill(patience(), &kill(id, 9)).await.unwrap();
    client.wait(patience(), &wait(id, "")).await.unwrap();
    client.delete(patience(), &delete(id, "")).await.unwrap();
    shut_down(&client).await;
}

#[tokio::test(flavor = "current_thread")]
async fn delete_after_the_daemons_death_clears_up() {
    let fixture = Fixture::new("sleep 60");
    let socket = fixture.start();
    let client = client(&socket).await;
    let id = fixture.id.as_str();
    let created = client
        .create(patience(), &fixture.create_request())
        .await
        .unwrap();
    let request = api::ConnectRequest {
        id: id.to_owned(),
        ..api::ConnectRequest::default()
    };
    let shim = client.connect(patience(), &request).await.unwrap().shim_pid;
    assert!(
        std::process::Command::new("kill")
            .args(["-9", &shim.to_string()])
            .status()
            .unwrap()
            .success()
    );
    wait_for("the daemon's end", || is_gone(shim)).await;
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_containerd-shim-davit-v1"))
        .args([
            "-namespace",
            "test",
            "-id",
            id,
            "-address",
            "/none",
            "-bundle",
        ])
        .arg(fixture.bundle())
        .arg("delete")
        .output()
        .unwrap();
    assert!(output.status.success());
    wait_for("the job's end", || is_gone(created.pid)).await;
    assert!(!socket.exists(), "the dead daemon's socket is left");
}

#[tokio::test(flavor = "current_thread")]
async fn a_daemon_nobody_was_told_of_ends() {
    let fixture = Fixture::new("exit 0");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = fixture.run_start(writer.into());
    assert!(!output.status.success(), "its answer went nowhere");
    let address = fs::read_to_string(fixture.bundle().join("address")).unwrap();
    let socket = std::path::PathBuf::from(address.strip_prefix("unix://").unwrap());
    wait_for("the daemon's end", || !socket.exists()).await;
}

/// Reparented to whoever reaps here, the dead may stay zombies.
fn is_gone(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}
