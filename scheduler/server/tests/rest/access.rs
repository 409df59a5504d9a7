//! Tokens: what they open, for whom, for how long.

use davit_scheduler::rest::RestSettings;
use davit_scheduler::service::access::Scope;
use serde_json::json;

use crate::client::Client;
use crate::world::{World, one_off, runner};

#[tokio::test]
async fn another_tenants_things_are_not_there() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let beta = world.client("beta", &Scope::ALL, None).await;
    let made = acme.post("/v1/runners", &runner("mine")).await.expect(201);
    let id = made["runner"]["id"].as_str().unwrap().to_owned();
    let run = acme.run().await;
    let of_runner = acme
        .tell(&format!("/v1/runners/{id}/runs"))
        .await
        .expect(201);
    let of_runner = of_runner["run"]["id"].as_str().unwrap().to_owned();
    let registry = json!({"name": "r", "server": "a.example", "username": "u", "password": "p"});
    let registry = acme.post("/v1/registries", &registry).await.expect(201);
    let registry = registry["registry"]["id"].as_str().unwrap().to_owned();
    let token = acme.token_id.unwrap();
    for (method, path) in [
        ("GET", format!("/v1/runners/{id}")),
        ("PATCH", format!("/v1/runners/{id}")),
        ("DELETE", format!("/v1/runners/{id}")),
        ("POST", format!("/v1/runners/{id}/warmup")),
        ("POST", format!("/v1/runners/{id}/runs")),
        ("GET", format!("/v1/runners/{id}/runs")),
        ("GET", format!("/v1/runners/{id}/runs/{of_runner}")),
        ("GET", format!("/v1/runs/{run}")),
        ("POST", format!("/v1/runs/{run}/stop")),
        ("POST", format!("/v1/runs/{run}/cancel")),
        ("POST", format!("/v1/runs/{run}/pause")),
        ("POST", format!("/v1/runs/{run}/resume")),
        ("GET", format!("/v1/runs/{run}/logs")),
        ("GET", format!("/v1/runs/{run}/logs/stream")),
        ("GET", format!("/v1/runs/{run}/attach")),
        ("GET", format!("/v1/runs/{run}/exec?command=sh")),
        ("DELETE", format!("/v1/registries/{registry}")),
        ("DELETE", format!("/v1/tokens/{token}")),
    ] {
        let body = (method == "PATCH").then(|| "{}".to_owned());
        let answer = beta.send(method, &path, &[], body).await;
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text);
    }
    let path = format!("/v1/runs/{run}");
    let extended = beta.patch(&path, &json!({"timeout_seconds": 5})).await;
    assert_eq!(extended.status, 404);
    for path in ["/v1/runners", "/v1/runs", "/v1/registries", "/v1/usage"] {
        let listed = beta.get(path).await.expect(200);
        let first = listed.as_object().unwrap().values().find(|v| v.is_array());
        assert_eq!(first, Some(&json!([])), "{path}");
    }
    let named = json!({"container_registry": "r"});
    let mut theirs = runner("theirs");
    theirs
        .as_object_mut()
        .unwrap()
        .extend(named.as_object().unwrap().clone());
    let refused = beta.post("/v1/runners", &theirs).await;
    assert_eq!(refused.fields(), ["container_registry"]);
    // A run is there below its own runner only.
    let path = format!("/v1/runners/{id}/runs/{run}");
    assert_eq!(acme.get(&path).await.status, 404);
    assert_eq!(acme.get(&format!("/v1/runs/{of_runner}")).await.status, 200);
}

#[tokio::test]
async fn a_token_opens_until_it_is_revoked_or_expires() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let body = json!({"name": "ci", "scopes": ["runs:read"], "expires_in_seconds": 4});
    let made = acme.post("/v1/tokens", &body).await.expect(201);
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with(made["token"]["prefix"].as_str().unwrap()));
    let ci = Client::new(world.address, Some(secret.clone()), None);
    assert_eq!(ci.get("/v1/runs").await.status, 200);
    let listed = acme.get("/v1/tokens").await;
    assert!(!listed.text.contains(&secret), "the text is shown once");
    tokio::time::timeout(std::time::Duration::from_secs(10), async {
        while ci.get("/v1/runs").await.status != 401 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it expires");
    let lasting = world.client("acme", &[Scope::RunsRead], None).await;
    assert_eq!(lasting.get("/v1/runs").await.status, 200);
    let path = format!("/v1/tokens/{}", lasting.token_id.unwrap());
    assert_eq!(acme.delete(&path).await.status, 204);
    assert_eq!(lasting.get("/v1/runs").await.status, 401);
    assert_eq!(acme.delete(&path).await.status, 404);
}

#[tokio::test]
async fn nobody_hands_out_more_than_he_has() {
    let world = World::begin().await;
    let scopes = [Scope::TokensWrite, Scope::RunsRead];
    let small = world.client("acme", &scopes, Some(60)).await;
    for scope in ["runs:write", "operator"] {
        let more = json!({"name": "x", "scopes": [scope]});
        assert_eq!(small.post("/v1/tokens", &more).await.status, 403);
    }
    let same = json!({"name": "x", "scopes": ["runs:read"], "expires_in_seconds": 3600});
    let made = small.post("/v1/tokens", &same).await.expect(201);
    let own = small.get("/v1/tokens").await.expect(200);
    let own = own["tokens"].as_array().unwrap();
    let maker = own
        .iter()
        .find(|t| t["id"] == small.token_id.unwrap().to_string());
    assert_eq!(made["token"]["expires_at"], maker.unwrap()["expires_at"]);
    let unknown = json!({"name": "x", "scopes": ["all"]});
    assert_eq!(
        small.post("/v1/tokens", &unknown).await.fields(),
        ["scopes[0]"]
    );
}

#[tokio::test]
async fn what_is_no_token_opens_nothing() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let good = acme.token.clone().unwrap();
    let mut typo = good.clone().into_bytes();
    let last = typo.len() - 9;
    typo[last] = if typo[last] == b'a' { b'b' } else { b'a' };
    let texts = [
        String::new(),
        "davit".to_owned(),
        good[..good.len() - 1].to_owned(),
        format!("{good}x"),
        String::from_utf8(typo).unwrap(),
        good.to_uppercase(),
    ];
    for text in texts {
        let other = Client::new(world.address, Some(text.clone()), None);
        assert_eq!(other.get("/v1/runs").await.status, 401, "{text}");
    }
    let basic = world.nobody();
    for value in [format!("Basic {good}"), good.clone()] {
        let headers = [("authorization", value.as_str())];
        assert_eq!(
            basic.send("GET", "/v1/runs", &headers, None).await.status,
            401
        );
    }
    let lower = format!("bearer {good}");
    let headers = [("authorization", lower.as_str())];
    assert_eq!(
        basic.send("GET", "/v1/runs", &headers, None).await.status,
        200
    );
}

#[tokio::test]
async fn a_token_that_asks_too_often_waits() {
    let world = World::with(RestSettings {
        requests_per_second: 1,
        requests_burst: 3,
        heartbeat_ms: 100,
    })
    .await;
    let acme = world.acme().await;
    for left in ["2", "1", "0"] {
        let answer = acme.get("/v1/runs").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("ratelimit-limit"), Some("3"));
        assert_eq!(answer.header("ratelimit-remaining"), Some(left));
    }
    let limited = acme.get("/v1/runs").await;
    assert_eq!(limited.status, 429);
    assert_eq!(limited.problem(), "rate-limit");
    let wait: u64 = limited.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    let other = world.acme().await;
    assert_eq!(other.get("/v1/runs").await.status, 200, "another token");
}

#[tokio::test]
async fn the_operator_makes_tenants_and_their_first_tokens() {
    let world = World::begin().await;
    let operator = world.client("acme", &[Scope::Operator], None).await;
    let new = json!({"open": true, "spend_cap": "1.5"});
    let made = operator.put("/v1/tenants/gamma", &new).await.expect(200);
    assert_eq!(made["tenant"]["spend_cap"], "1.5");
    let token = json!({"name": "first", "scopes": ["runs:write", "runs:read"]});
    let path = "/v1/tenants/gamma/tokens";
    let made = operator.post(path, &token).await.expect(201);
    let secret = made["secret"].as_str().unwrap().to_owned();
    let gamma = Client::new(world.address, Some(secret), None);
    gamma.run().await;
    let closed = operator
        .put("/v1/tenants/gamma", &json!({"open": false}))
        .await;
    closed.expect(200);
    let refused = gamma.post("/v1/runs", &one_off()).await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.problem(), "tenant-closed");
    let listed = operator.get("/v1/tenants?limit=2").await.expect(200);
    assert_eq!(listed["next"], "beta");
    let rest = operator.get("/v1/tenants?after=beta").await.expect(200);
    assert_eq!(rest["tenants"][0]["name"], "gamma");
    assert_eq!(operator.get("/v1/tenants/gam").await.status, 404);
    let wrong = json!({"open": true, "spend_cap": "1.0000001"});
    let refused = operator.put("/v1/tenants/gamma", &wrong).await;
    assert_eq!(refused.fields(), ["spend_cap"]);
}

#[tokio::test]
async fn what_was_done_is_in_the_audit_log() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let run = acme.run().await;
    acme.post("/v1/runners", &runner("one")).await.expect(201);
    let page = acme.get("/v1/audit?limit=1000").await.expect(200);
    let entries = page["entries"].as_array().unwrap();
    let actor = format!("token {}", acme.token_id.unwrap());
    for (action, subject) in [
        ("run.submitted", run.to_string()),
        ("catalog.created", String::new()),
    ] {
        let found = entries.iter().any(|entry| {
            entry["action"] == action
                && entry["actor"] == actor.as_str()
                && entry["subject"].as_str().unwrap().contains(&subject)
        });
        assert!(found, "{action} by {actor}: {page}");
    }
    let next = page["next"].as_str().unwrap();
    let empty = acme
        .get(&format!("/v1/audit?after={next}"))
        .await
        .expect(200);
    assert_eq!(empty["entries"], json!([]));
    assert_eq!(empty["next"], next);
}
