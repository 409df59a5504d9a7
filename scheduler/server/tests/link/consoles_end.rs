//! How consoles end: each side is told of the other's end, within seconds.

use std::time::Duration;

use davit_rpc::console::console_output::Output;
use davit_scheduler::service::access::Scope;
use serde_json::json;
use tokio::time::Instant;

use crate::console::{Stage, V5, dial, soon, token};
use crate::world::Tweak;

/// A client is asked whether it is there.
const BEAT_MS: u64 = 50;
/// As soon as an end must be told.
const SOON: Duration = Duration::from_secs(3);

fn quick() -> Tweak {
    Tweak {
        rest_heartbeat_ms: BEAT_MS,
        ..Tweak::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_ends_its_hosts_call() {
    let mut stage = Stage::set(Tweak::default()).await;
    for said_goodbye in [true, false] {
        let (mut client, mut call, _) = stage.open("exec?command=sh&stdin=true", false).await;
        let begun = Instant::now();
        if said_goodbye {
            client.socket.close(None).await.unwrap();
        }
        drop(client);
        assert_eq!(call.next().await, None);
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_goes_is_told_to_its_client() {
    let mut stage = Stage::set(Tweak::default()).await;
    // Its call alone.
    let (mut client, call, _) = stage.open("attach", false).await;
    let begun = Instant::now();
    drop(call);
    let (_, _, status) = client.rest().await;
    assert_eq!(
        (&status["status"], &status["code"]),
        (&json!("Failure"), &json!(500))
    );
    // Its session, while the call is held open.
    let (mut client, call, _) = stage.open("attach", false).await;
    let dialled = tokio::spawn(stage.dial("attach"));
    stage.line.ordered().await;
    drop(stage.line);
    let (_, _, status) = client.rest().await;
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .contains("session is over"),
        "{status}"
    );
    // And who waited for it to dial.
    let answer = soon("a refusal", dialled).await.unwrap().unwrap_err();
    assert_eq!((answer.status, answer.kind.as_str()), (503, "host-gone"));
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    drop(call);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_answer_and_one_whose_token_is_over_are_sent_away() {
    let mut stage = Stage::set(quick()).await;
    let (client, mut call, _) = stage.open("attach", false).await;
    // Nobody reads its pings.
    assert_eq!(call.next().await, None);
    drop(client);
    let (text, id) = token(&stage.replica, "acme", &[Scope::RunsExec]).await;
    let path = stage.path("attach");
    let rest = stage.replica.rest;
    let dialled = tokio::spawn(async move { dial(rest, &text, &path, V5).await });
    let order = stage.line.ordered().await;
    let mut call = stage.line.call(&order.console_id).await.unwrap();
    call.asked().await;
    call.say(Output::Opened(Default::default())).await;
    let mut client = soon("the console", dialled).await.unwrap().unwrap();
    let tenant = "acme".parse().unwrap();
    let begun = Instant::now();
    let revoked = stage
        .world
        .store
        .revoke_token(tenant, id, "test".to_owned(), 1);
    assert!(revoked.await.unwrap());
    let (_, _, status) = client.rest().await;
    assert_eq!(
        (&status["reason"], &status["code"]),
        (&json!("Unauthorized"), &json!(401))
    );
    assert_eq!(call.next().await, None);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_listens_is_left_in_peace() {
    let mut stage = Stage::set(quick()).await;
    let (mut client, call, _) = stage.open("attach", false).await;
    let listening = tokio::spawn(async move { client.rest().await });
    // Longer than one that does not answer may stay.
    tokio::time::sleep(Duration::from_millis(BEAT_MS * 40)).await;
    call.say(Output::Stdout(b"still here".to_vec())).await;
    call.end(0).await;
    assert_eq!(listening.await.unwrap().0, b"still here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_nothing_is_waited_for_so_long() {
    let mut stage = Stage::set(Tweak::default()).await;
    let begun = Instant::now();
    // One for which it does not dial, one of which it says nothing.
    let silent = tokio::spawn(stage.dial("attach"));
    stage.line.ordered().await;
    let mute = tokio::spawn(stage.dial("attach"));
    let order = stage.line.ordered().await;
    let call = stage.line.call(&order.console_id).await.unwrap();
    for (answer, word) in [(silent, "dial"), (mute, "open")] {
        let answer = soon("a refusal", answer).await.unwrap().unwrap_err();
        assert_eq!((answer.status, answer.kind.as_str()), (503, "host-late"));
        assert!(answer.detail.contains(word), "{answer:?}");
    }
    let took = begun.elapsed().as_secs();
    assert!((10..15).contains(&took), "{took} s");
    assert_eq!(stage.replica.consoles.count(), 0);
    drop(call);
}
