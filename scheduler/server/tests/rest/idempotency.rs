//! The same key twice.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::run_id;
use crate::world::{World, one_off, runner};

#[tokio::test]
async fn a_key_makes_one_run_and_answers_the_same() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let mut new = one_off();
    new["env_variables"] = json!([{"env_key": "A", "env_val": "1"}]);
    let first = acme.keyed("/v1/runs", "key one", &new).await;
    assert_eq!(first.header("idempotency-replayed"), None);
    let text = first.text.clone();
    let run = run_id(&first.expect(201));
    acme.tell(&format!("/v1/runs/{run}/cancel"))
        .await
        .expect(200);
    let again = acme.keyed("/v1/runs", "key one", &new).await;
    assert_eq!(again.status, 201);
    assert_eq!(again.text, text, "word by word, though the run is over");
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let location = again.header("location").unwrap();
    assert_eq!(location, format!("/v1/runs/{run}"));
    new["priority"] = json!(1);
    let other = acme.keyed("/v1/runs", "key one", &new).await;
    assert_eq!(other.status, 422);
    assert_eq!(other.problem(), "key-reused");
    let beta = world
        .client("beta", &davit_scheduler::service::access::Scope::ALL, None)
        .await;
    let theirs = beta
        .keyed("/v1/runs", "key one", &one_off())
        .await
        .expect(201);
    assert_ne!(run_id(&theirs), run, "another tenant's keys are its own");
    assert_eq!(
        acme.get("/v1/runs").await.expect(200)["runs"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // What was sealed for runs that were not made is gone again.
    let secrets = world
        .service
        .store
        .secrets_not_under(String::new(), 100)
        .await
        .unwrap();
    let owners: Vec<_> = secrets.iter().map(|secret| secret.key.owner).collect();
    assert_eq!(owners, [*run.as_uuid()]);
}

#[tokio::test]
async fn of_many_requests_with_a_key_at_once_one_makes_a_run() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let body = one_off();
    let all = (0..20).map(|_| acme.keyed("/v1/runs", "k", &body));
    let answers = futures::future::join_all(all).await;
    let mut runs: Vec<_> = answers
        .into_iter()
        .filter(|answer| answer.status != 409)
        .map(|answer| run_id(&answer.expect(201)))
        .collect();
    runs.dedup();
    assert_eq!(runs.len(), 1);
}

#[tokio::test]
async fn a_client_that_goes_away_in_mid_submit_finds_its_run_by_its_key() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let body = one_off().to_string();
    let token = acme.token.clone().unwrap();
    for round in 0..20 {
        let head = format!(
            "POST /v1/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
             Idempotency-Key: round {round}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        let mut raw = TcpStream::connect(world.address).await.unwrap();
        // Now after the head, now amid the body, now after all of it.
        let sent = match round % 3 {
            0 => head,
            1 => head + &body[..body.len() / 2],
            _ => head + &body,
        };
        raw.write_all(sent.as_bytes()).await.unwrap();
        drop(raw);
        let key = format!("round {round}");
        let answered = tokio::time::timeout(Duration::from_secs(10), async {
            loop {
                let answer = acme.keyed("/v1/runs", &key, &one_off()).await;
                if answer.status != 409 {
                    return answer.expect(201);
                }
            }
        });
        let made = answered.await.expect("the first request comes to its end");
        let shown = acme.get(&format!("/v1/runs/{}", run_id(&made))).await;
        assert_eq!(shown.status, 200);
    }
    let all = acme.get("/v1/runs?limit=1000").await.expect(200);
    assert_eq!(all["runs"].as_array().unwrap().len(), 20, "one a key");
}

#[tokio::test]
async fn other_things_are_made_once_too() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let registry = json!({"name": "r", "server": "a.example", "username": "u", "password": "p"});
    for (path, body, wrapped) in [
        ("/v1/runners", runner("one"), "runner"),
        ("/v1/registries", registry, "registry"),
    ] {
        let first = acme.keyed(path, "k", &body).await.expect(201);
        let again = acme.keyed(path, "k", &body).await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.expect(201)[wrapped]["id"], first[wrapped]["id"]);
        let mut other = body.clone();
        other["name"] = json!("other");
        let refused = acme.keyed(path, "k", &other).await;
        assert_eq!(refused.problem(), "key-reused", "{path}");
    }
    let token = json!({"name": "ci", "scopes": ["runs:read"]});
    acme.keyed("/v1/tokens", "k", &token).await.expect(201);
    let again = acme.keyed("/v1/tokens", "k", &token).await;
    assert_eq!(again.problem(), "made-before", "its text was shown once");
    for key in ["", &"k".repeat(256)] {
        let refused = acme.keyed("/v1/runs", key, &one_off()).await;
        assert_eq!(refused.fields(), ["Idempotency-Key"]);
    }
}
