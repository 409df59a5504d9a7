//! Logs: pages, and streams that are cut, resumed, revoked.

use std::time::Duration;

use davit_scheduler::service::access::Scope;
use davit_scheduler::store::*;
use davit_types::{EndReason, RunId};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::client::Client;
use crate::world::{World, end};

/// An event of a stream; comments have no name.
#[derive(Clone, Debug, Default, PartialEq)]
struct Event_ {
    id: Option<String>,
    name: String,
    data: String,
}

/// Reads a stream to its end, or to `events_max` events.
async fn read(client: &Client, path: &str, last: Option<&str>, events_max: usize) -> Vec<Event_> {
    let mut request = client.request("GET", path);
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut events = Vec::new();
    let mut text = String::new();
    let mut body = response.bytes_stream();
    let whole = tokio::time::timeout(Duration::from_secs(20), async {
        while let Some(piece) = body.next().await {
            text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
            while let Some((one, rest)) = text.split_once("\n\n") {
                if let Some(event) = parse(one) {
                    events.push(event);
                }
                text = rest.to_owned();
                if events.len() == events_max {
                    return;
                }
            }
        }
    });
    whole.await.expect("the stream gets on");
    events
}

fn parse(text: &str) -> Option<Event_> {
    let mut event = Event_::default();
    for line in text.lines() {
        match line.split_once(": ") {
            Some(("id", id)) => event.id = Some(id.to_owned()),
            Some(("event", name)) => event.name = name.to_owned(),
            Some(("data", data)) => event.data = data.to_owned(),
            Some(("retry", _)) | None => {}
            Some(other) => panic!("{other:?}"),
        }
    }
    (!event.name.is_empty()).then_some(event)
}

impl Event_ {
    fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

async fn ended(world: &World, client: &Client, lines: u64) -> RunId {
    let run = client.run().await;
    let peer = world.host().await;
    let key = world.running("acme", run, peer).await;
    if lines > 0 {
        world.write(peer, key, 1, lines).await;
    }
    world.end(peer, key, 2, 10, lines).await;
    run
}

#[tokio::test]
async fn a_log_is_read_in_pages() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let run = ended(&world, &acme, 10).await;
    let path = format!("/v1/runs/{run}/logs");
    let page = acme.get(&format!("{path}?limit=4")).await.expect(200);
    assert_eq!(page["logs"].as_array().unwrap().len(), 4);
    assert_eq!(page["logs"][0]["line"], "line 1");
    assert_eq!(page["logs"][0]["time"], "2027-01-15T08:00:00.000000001Z");
    assert_eq!(page["logs"][1]["line"], json!(null));
    assert_eq!(page["logs"][1]["line_base64"], "//4=", "bytes as they were");
    assert_eq!(
        (&page["next_after_id"], &page["more"]),
        (&json!(4), &json!(true))
    );
    let rest = acme.get(&format!("{path}?after_id=4")).await.expect(200);
    assert_eq!(rest["logs"].as_array().unwrap().len(), 6);
    let errors = acme.get(&format!("{path}?stream=stderr")).await.expect(200);
    let ids: Vec<_> = errors["logs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["id"].clone())
        .collect();
    assert_eq!(ids, [3, 6, 9]);
    for query in ["attempt=0", "limit=0", "stream=stdlog", "after_id=-1"] {
        assert_eq!(
            acme.get(&format!("{path}?{query}")).await.status,
            400,
            "{query}"
        );
    }
    let blind = world.client("acme", &[Scope::RunsRead], None).await;
    assert_eq!(blind.get(&path).await.status, 403);
}

#[tokio::test]
async fn a_stream_resumed_at_every_line_has_each_once_and_the_state_last() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let run = ended(&world, &acme, 12).await;
    let path = format!("/v1/runs/{run}/logs/stream");
    let whole = read(&acme, &path, None, usize::MAX).await;
    assert_eq!(whole.len(), 13);
    let ids: Vec<_> = whole[..12]
        .iter()
        .map(|event| event.id.clone().unwrap())
        .collect();
    let wanted: Vec<String> = (1..=12).map(|id: u32| id.to_string()).collect();
    assert_eq!(ids, wanted);
    let state = &whole[12];
    assert_eq!((state.name.as_str(), &state.id), ("state", &None));
    let state = state.json();
    assert_eq!(state["status"], "succeeded");
    assert_eq!(
        (&state["exit_code"], &state["end_reason"]),
        (&json!(0), &json!("exited"))
    );
    for cut in 0..=12 {
        // The client hears `cut` lines, then its connection breaks.
        let mut heard = if cut == 0 {
            Vec::new()
        } else {
            read(&acme, &path, None, cut).await
        };
        let last = heard.last().and_then(|event| event.id.clone());
        heard.extend(read(&acme, &path, last.as_deref(), usize::MAX).await);
        assert_eq!(heard, whole, "cut after {cut} lines");
        let after = read(&acme, &format!("{path}?after_id={cut}"), None, usize::MAX).await;
        assert_eq!(after, whole[cut..]);
    }
    for wrong in ["x", "-1", "0.1"] {
        let headers = [("last-event-id", wrong)];
        let refused = acme.send("GET", &path, &headers, None).await;
        assert_eq!(refused.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_stream_begun_while_the_run_waits_hears_all_of_it() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let run = acme.run().await;
    let path = format!("/v1/runs/{run}/logs/stream");
    let follower = tokio::spawn({
        let acme = acme.clone();
        async move { read(&acme, &path, None, usize::MAX).await }
    });
    let peer = world.host().await;
    let key = world.running("acme", run, peer).await;
    world.write(peer, key, 1, 3).await;
    world.write(peer, key, 4, 5).await;
    world.end(peer, key, 2, 10, 5).await;
    let events = follower.await.unwrap();
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["log", "log", "log", "log", "log", "state"]);
}

#[tokio::test]
async fn a_run_that_is_canceled_while_it_waits_has_a_state_and_no_lines() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let run = acme.run().await;
    acme.tell(&format!("/v1/runs/{run}/cancel"))
        .await
        .expect(200);
    let events = read(
        &acme,
        &format!("/v1/runs/{run}/logs/stream"),
        None,
        usize::MAX,
    )
    .await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].json()["status"], "canceled");
}

#[tokio::test]
async fn a_run_that_is_tried_again_tells_so_and_goes_on() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let run = acme.run().await;
    let peer = world.host().await;
    let key = world.running("acme", run, peer).await;
    world.write(peer, key, 1, 2).await;
    let failed = AttemptEnd {
        reason: EndReason::StartFailed,
        exit_code: None,
        retry: Some(Retry { not_before_ms: 0 }),
        ..end(0, 2)
    };
    world.say(peer, key, 2, Event::Ended(failed), vec![]).await;
    let key = world.running("acme", run, peer).await;
    world.write(peer, key, 1, 1).await;
    world.end(peer, key, 2, 10, 1).await;
    let path = format!("/v1/runs/{run}/logs/stream");
    let events = read(&acme, &path, None, usize::MAX).await;
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.name.as_str(), event.id.as_deref()))
        .collect();
    let wanted = [
        ("log", Some("1")),
        ("log", Some("2")),
        ("attempt", Some("2.0")),
        ("log", Some("2.1")),
        ("state", None),
    ];
    assert_eq!(told, wanted);
    let resumed = read(&acme, &path, Some("2.0"), usize::MAX).await;
    assert_eq!(resumed, events[3..]);
    let shown = acme.get(&format!("/v1/runs/{run}")).await.expect(200);
    assert_eq!(shown["run"]["attempts"].as_array().unwrap().len(), 2);
    assert_eq!(shown["run"]["attempts"][0]["end_reason"], "start_failed");
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let run = acme.run().await;
    let path = format!("/v1/runs/{run}/logs/stream");
    let revoked = world.client("acme", &[Scope::LogsRead], None).await;
    let token = revoked.token_id.unwrap();
    let follower = tokio::spawn({
        let (path, revoked) = (path.clone(), revoked.clone());
        async move { read(&revoked, &path, None, usize::MAX).await }
    });
    let expired = world.client("acme", &[Scope::LogsRead], Some(1)).await;
    let other = tokio::spawn(async move { read(&expired, &path, None, usize::MAX).await });
    let ended = acme.delete(&format!("/v1/tokens/{token}")).await;
    assert_eq!(ended.status, 204);
    for follower in [follower, other] {
        let events = follower.await.unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].name, "problem");
        assert_eq!(events[0].json()["status"], 401);
    }
}

#[tokio::test]
async fn a_silent_stream_says_that_it_lives() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let run = acme.run().await;
    let path = format!("/v1/runs/{run}/logs/stream");
    let response = acme.request("GET", &path).send().await.unwrap();
    let mut body = response.bytes_stream();
    let mut text = String::new();
    let heard = tokio::time::timeout(Duration::from_secs(10), async {
        while text.matches(":\n\n").count() < 3 {
            let piece = body.next().await.unwrap().unwrap();
            text.push_str(std::str::from_utf8(&piece).unwrap());
        }
    });
    heard.await.unwrap_or_else(|_| panic!("no heartbeat"));
    assert!(text.starts_with("retry: "));
}
