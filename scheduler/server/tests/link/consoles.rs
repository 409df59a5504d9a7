//! Consoles: what goes over them, and who is refused one.

use davit_rpc::console::console_input::Input;
use davit_rpc::console::console_output::Output;
use davit_rpc::console::open::With;
use davit_rpc::console::{Attach, Exec, WindowSize};
use davit_rpc::link::report::Event;
use davit_rpc::link::*;
use davit_scheduler::consoles::RUN_CONSOLES_MAX;
use davit_scheduler::service::access::Scope;
use davit_scheduler::store::ActiveState;
use futures::{SinkExt, StreamExt};
use serde_json::json;
use tonic::Code;
use uuid::Uuid;

use crate::console::{Call, Client, Refused, Stage, V4, V5, dial, message, noise, soon, token};
use crate::host::{Host, ended};
use crate::world::{Tweak, plan, wait_for};

/// Ten megabytes.
const LONG_BYTES: usize = 10 << 20;

fn refused(answer: Result<Client, Refused>, status: u16, kind: &str) -> Refused {
    let refused = answer.expect_err("a refusal");
    assert_eq!(
        (refused.status, refused.kind.as_str()),
        (status, kind),
        "{refused:?}"
    );
    refused
}

/// A host that gives back whatever it is told, and ends when the input does.
async fn echo(mut call: Call) {
    loop {
        match call.next().await.unwrap() {
            Input::Stdin(bytes) => {
                assert!(bytes.len() <= 64 << 10, "{} bytes at once", bytes.len());
                assert!(call.say(Output::Stdout(bytes)).await);
            }
            Input::StdinEnd(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(call.say(Output::Stderr(b"to its end".to_vec())).await);
    call.end(7).await;
    // It is over when the client has heard so.
    assert_eq!(call.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_megabytes_come_back_exactly_and_the_exit_code_after_them() {
    let mut stage = Stage::set(Tweak::default()).await;
    let query = "exec?command=tr&command=a%20b&command=%C3%BC&stdin=true&user=7&workdir=/tmp";
    let (mut client, call, open) = stage.open(query, false).await;
    assert_eq!(client.protocol, V5);
    assert_eq!(open.run, stage.run.to_string());
    let wanted = Exec {
        argv: ["tr", "a b", "ü"].map(str::to_owned).into(),
        workdir: Some("/tmp".to_owned()),
        user: Some("7".to_owned()),
        stdin: true,
        ..Exec::default()
    };
    assert_eq!(open.with, Some(With::Exec(wanted)));
    let echo = tokio::spawn(echo(call));
    let sent = noise(1, LONG_BYTES);
    let (mut sink, stream) = client.socket.split();
    let pieces = sent.clone();
    let writing = tokio::spawn(async move {
        let (mut at, mut size) = (0, 1);
        while at < pieces.len() {
            let end = pieces.len().min(at + size);
            sink.send(message(0, &pieces[at..end])).await.unwrap();
            (at, size) = (end, size * 3 % 700_001);
        }
        sink.send(message(255, &[0])).await.unwrap();
        sink
    });
    let mut stream = stream;
    let mut got = Vec::new();
    let status = loop {
        let next = soon("output", stream.next()).await.unwrap().unwrap();
        let bytes = next.into_data();
        match bytes.first() {
            Some(1) => got.extend_from_slice(&bytes[1..]),
            Some(2) => assert_eq!(&bytes[1..], b"to its end"),
            Some(3) => break serde_json::from_slice::<serde_json::Value>(&bytes[1..]).unwrap(),
            _ => {}
        }
    };
    assert!(
        got == sent,
        "{} bytes of {} came back",
        got.len(),
        sent.len()
    );
    let causes = json!([{"reason": "ExitCode", "message": "7"}]);
    assert_eq!(status["details"]["causes"], causes);
    assert_eq!(
        (&status["status"], &status["reason"]),
        (&json!("Failure"), &json!("NonZeroExitCode"))
    );
    client.socket = stream.reunite(writing.await.unwrap()).unwrap();
    assert!(client.next().await.is_none(), "something after the status");
    soon("the host's end", echo).await.unwrap();
    let consoles = stage.replica.consoles.clone();
    wait_for("the console's place", async || {
        (consoles.count() == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_hears_its_size_and_the_older_words_are_spoken() {
    let mut stage = Stage::set(Tweak::default()).await;
    let (mut client, mut call, open) = stage
        .open("exec?command=sh&tty=1&stdin=1&stderr=0", true)
        .await;
    let Some(With::Exec(exec)) = open.with else {
        panic!("{open:?}");
    };
    assert!(exec.tty && exec.stdin);
    client.say(4, br#"{"Width":132,"Height":43}"#).await;
    let size = WindowSize {
        rows: 43,
        columns: 132,
    };
    assert_eq!(call.next().await, Some(Input::WindowSize(size)));
    client.say(0, b"exit\r").await;
    assert_eq!(call.next().await, Some(Input::Stdin(b"exit\r".to_vec())));
    call.say(Output::Stderr(b"not wished for".to_vec())).await;
    call.say(Output::Stdout(b"bye".to_vec())).await;
    call.end(0).await;
    let (out, err, status) = client.rest().await;
    assert_eq!((out.as_slice(), err.len()), (&b"bye"[..], 0));
    assert_eq!(status, json!({"metadata": {}, "status": "Success"}));

    let dialled = tokio::spawn({
        let (rest, token, path) = (
            stage.replica.rest,
            stage.token.clone(),
            stage.path("attach"),
        );
        async move { dial(rest, &token, &path, V4).await }
    });
    let order = stage.line.ordered().await;
    let mut call = stage.line.call(&order.console_id).await.unwrap();
    let open = call.asked().await;
    assert_eq!(open.with, Some(With::Attach(Attach { stdin: false })));
    call.say(Output::Opened(Default::default())).await;
    let mut client = soon("the console", dialled).await.unwrap().unwrap();
    assert_eq!(client.protocol, V4);
    // Input that was not asked for.
    client.say(0, b"x").await;
    let (_, _, status) = client.rest().await;
    assert_eq!(
        (&status["reason"], &status["code"]),
        (&json!("BadRequest"), &json!(400))
    );
    assert_eq!(call.next().await, None, "the host goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_tenants_own_runs_have_one_and_what_cannot_be_read_is_refused() {
    let stage = Stage::set(Tweak::default()).await;
    stage.world.tenant("beta").await;
    let rest = stage.replica.rest;
    let (theirs, _) = token(&stage.replica, "beta", &Scope::ALL).await;
    let (less, _) = token(&stage.replica, "acme", &[Scope::RunsWrite, Scope::LogsRead]).await;
    for path in ["exec?command=sh", "attach"] {
        let path = stage.path(path);
        refused(dial(rest, &theirs, &path, V5).await, 404, "not-found");
        refused(dial(rest, &less, &path, V5).await, 403, "forbidden");
        refused(dial(rest, "nothing", &path, V5).await, 401, "unauthorized");
        refused(
            dial(rest, &stage.token, &path, "soap").await,
            400,
            "bad-parameter",
        );
    }
    for query in [
        "exec",
        "exec?command=",
        "exec?command=sh&tty=maybe",
        "exec?command=sh&tty=true&tty=true",
        "exec?command=sh&env=A",
        "exec?command=sh&workdir=tmp",
        "exec?command=a%00b",
        "exec?command=sh&user=",
        "attach?command=sh",
    ] {
        let answer = soon("a refusal", stage.dial(query)).await;
        refused(answer, 400, "bad-parameter");
    }
    let many = format!("exec?{}", "command=x&".repeat(201));
    let answer = refused(
        stage.dial(many.trim_end_matches('&')).await,
        400,
        "bad-parameter",
    );
    assert!(answer.detail.contains("at most 200"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_executes_has_one_and_its_host_may_refuse() {
    let mut stage = Stage::set(Tweak::default()).await;
    let rest = stage.replica.rest;
    // One that waits for a host, one that is over.
    let run = stage.world.submit(&plan()).await;
    let key = stage.line.assigned().await.key.unwrap();
    let path = format!("/v1/runs/{run}/attach");
    let answer = refused(
        dial(rest, &stage.token, &path, V5).await,
        409,
        "not-running",
    );
    assert!(answer.detail.contains("pending"), "{answer:?}");
    stage
        .line
        .report(&key, 1, Event::Accepted(Accepted {}))
        .await;
    stage.line.report(&key, 2, crate::host::started()).await;
    stage.world.in_state(run, ActiveState::Running).await;
    stage
        .line
        .to
        .send(HostMessage {
            message: Some(host_message::Message::Report(ended(&key, 3, 1_500, 0))),
        })
        .await
        .unwrap();
    stage.world.ended(run).await;
    let answer = refused(
        dial(rest, &stage.token, &path, V5).await,
        409,
        "not-running",
    );
    assert!(answer.detail.contains("succeeded"), "{answer:?}");
    // Nobody was asked for anything of all this.
    let dialled = tokio::spawn(stage.dial("attach"));
    let order = stage.line.ordered().await;
    assert_eq!(order.key.as_ref(), Some(&stage.key));
    let mut call = stage.line.call(&order.console_id).await.unwrap();
    call.asked().await;
    call.refuse(Code::FailedPrecondition, "the run is paused")
        .await;
    let answer = refused(dialled.await.unwrap(), 409, "host-refused");
    assert_eq!(answer.detail, "the run is paused");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_good_once_and_for_its_host() {
    let mut stage = Stage::set(Tweak::default()).await;
    let other = Host::join(&stage.world, &stage.replica, "host-2", 1).await;
    let other = other.connect(&stage.replica, vec![]).await;
    let dialled = tokio::spawn(stage.dial("attach"));
    let order = stage.line.ordered().await;
    let not_found = |answer: Result<_, tonic::Status>| {
        assert_eq!(
            answer.err().map(|status| status.code()),
            Some(Code::NotFound)
        );
    };
    not_found(other.call(&order.console_id).await.map(drop));
    not_found(stage.line.call(&Uuid::new_v4().to_string()).await.map(drop));
    not_found(stage.line.call("one").await.map(drop));
    let nobody = crate::host::Line {
        token: "x".to_owned(),
        ..other
    };
    let answer = nobody.call(&order.console_id).await;
    assert_eq!(
        answer.err().map(|status| status.code()),
        Some(Code::Unauthenticated)
    );
    // After all of them the right one is still good, and then no more.
    let mut call = stage.line.call(&order.console_id).await.unwrap();
    not_found(stage.line.call(&order.console_id).await.map(drop));
    call.asked().await;
    call.say(Output::Opened(Default::default())).await;
    let client = dialled.await.unwrap().unwrap();
    not_found(stage.line.call(&order.console_id).await.map(drop));
    drop(client);
    assert_eq!(call.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_has_so_many_and_no_more() {
    let mut stage = Stage::set(Tweak::default()).await;
    let mut open = Vec::new();
    for _ in 0..RUN_CONSOLES_MAX {
        open.push(stage.open("attach", false).await);
    }
    let answer = refused(stage.dial("attach").await, 409, "consoles");
    assert!(
        answer.detail.contains("the run has 16 consoles"),
        "{answer:?}"
    );
    open.pop();
    let consoles = stage.replica.consoles.clone();
    wait_for("a free place", async || {
        (consoles.count() < RUN_CONSOLES_MAX).then_some(())
    })
    .await;
    stage.open("attach", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_replica_without_the_host_says_where_it_is() {
    let stage = Stage::set(Tweak::default()).await;
    let other = stage.world.replica(Tweak::default()).await;
    let answer = dial(other.rest, &stage.token, &stage.path("attach"), V5).await;
    let answer = refused(answer, 503, "elsewhere");
    assert!(
        answer.detail.contains(&stage.replica.id.to_string()),
        "{answer:?}"
    );
    assert_eq!(answer.retry_after.as_deref(), Some("1"));
    // A host that is with nobody is told from one that is elsewhere.
    let sessions = stage.replica.sessions.clone();
    drop(stage.line);
    wait_for("the host to be gone", async || {
        (sessions.count() == 0).then_some(())
    })
    .await;
    let answer = dial(
        stage.replica.rest,
        &stage.token,
        &format!("/v1/runs/{}/attach", stage.run),
        V5,
    )
    .await;
    refused(answer, 503, "host-gone");
}
