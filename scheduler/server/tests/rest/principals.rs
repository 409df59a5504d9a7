//! Service principals: client credentials for an access token, and what that opens.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use davit_scheduler::service::access::Scope;
use davit_scheduler::service::principals::AUDIENCE;
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::world::{World, one_off};

/// A principal as its owner knows it.
struct Machine {
    path: String,
    id: String,
    secret: String,
}

impl Machine {
    fn of(reply: &Value) -> Self {
        let principal = &reply["principal"];
        Self {
            path: format!("/v1/principals/{}", principal["id"].as_str().unwrap()),
            id: principal["client_id"].as_str().unwrap().to_owned(),
            secret: reply["client_secret"].as_str().unwrap().to_owned(),
        }
    }

    fn form(&self, more: &str) -> String {
        let Self { id, secret, .. } = self;
        format!("grant_type=client_credentials&client_id={id}&client_secret={secret}{more}")
    }
}

async fn made(acme: &Client, scopes: &[&str]) -> Machine {
    let new = json!({"name": "deployer", "scopes": scopes});
    Machine::of(&acme.post("/v1/principals", &new).await.expect(201))
}

async fn ask(world: &World, form: &str) -> Answer {
    world.nobody().form("/connect/token", &[], form).await
}

/// A client with the access token of an answer.
fn bearer(world: &World, answer: Answer) -> Client {
    let reply = answer.expect(200);
    assert_eq!(reply["token_type"], "Bearer");
    let token = reply["access_token"].as_str().unwrap().to_owned();
    Client::new(world.address, Some(token), None)
}

#[tokio::test]
async fn an_access_token_opens_what_its_principal_may() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let machine = made(&acme, &["runs:write", "runs:read"]).await;
    let answer = ask(&world, &machine.form("")).await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let reply = answer.json();
    assert_eq!(reply["expires_in"], 900);
    assert_eq!(reply["scope"], "runs:read runs:write");
    let client = bearer(&world, answer);
    let run = client.post("/v1/runs", &one_off()).await.expect(201);
    let refused = client.get("/v1/runners").await;
    assert_eq!(refused.status, 403, "it has no runners:read");
    let run = run["run"]["id"].as_str().unwrap();
    assert_eq!(acme.get(&format!("/v1/runs/{run}")).await.status, 200);
    let audit = acme.get("/v1/audit?limit=1000").await.expect(200);
    let entries = audit["entries"].as_array().unwrap();
    let actor = format!("principal {}", &machine.path["/v1/principals/".len()..]);
    let submitted = entries.iter().find(|e| e["action"] == "run.submitted");
    assert_eq!(submitted.unwrap()["actor"], actor);
    let kept = |action: &str| {
        let subject = format!("principal/{}", &machine.path["/v1/principals/".len()..]);
        entries
            .iter()
            .any(|e| e["action"] == action && e["subject"] == subject)
    };
    assert!(kept("catalog.created"));
    // Fewer scopes, by HTTP Basic.
    let basic = STANDARD.encode(format!("{}:{}", machine.id, machine.secret));
    let basic = format!("Basic {basic}");
    let form = "grant_type=client_credentials&scope=runs%3Aread";
    let headers = [("authorization", basic.as_str())];
    let nobody = world.nobody();
    let answer = nobody.form("/connect/token", &headers, form).await;
    assert_eq!(answer.json()["scope"], "runs:read");
    let reader = bearer(&world, answer);
    assert_eq!(reader.get("/v1/runs").await.status, 200);
    assert_eq!(reader.post("/v1/runs", &one_off()).await.status, 403);
}

#[tokio::test]
async fn a_wrong_request_is_told_in_the_words_of_the_rfc() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let machine = made(&acme, &["runs:read"]).await;
    let Machine { id, secret, .. } = &machine;
    let other = made_named(&acme, "other").await;
    let grant = "grant_type=client_credentials";
    let cases = [
        (
            format!("client_id={id}&client_secret={secret}"),
            "invalid_request",
            400,
        ),
        (
            format!("grant_type=password&client_id={id}&client_secret={secret}"),
            "unsupported_grant_type",
            400,
        ),
        (grant.to_owned(), "invalid_client", 401),
        (format!("{grant}&client_id={id}"), "invalid_client", 401),
        (
            format!("{grant}&client_id={id}&client_secret=wrong"),
            "invalid_client",
            401,
        ),
        (
            format!("{grant}&client_id={id}&client_secret={}", other.secret),
            "invalid_client",
            401,
        ),
        (
            format!("{grant}&client_id=x.y&client_secret={secret}"),
            "invalid_client",
            401,
        ),
        (
            format!("{grant}&client_id=%00.%ff&client_secret={secret}"),
            "invalid_client",
            401,
        ),
        (machine.form("&scope=runs:write"), "invalid_scope", 400),
        (machine.form("&scope=all"), "invalid_scope", 400),
        (
            machine.form("&grant_type=client_credentials"),
            "invalid_request",
            400,
        ),
    ];
    for (form, error, status) in cases {
        let answer = ask(&world, &form).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (status, &json!(error)),
            "{form}"
        );
        assert!(!answer.text.contains(secret.as_str()));
    }
    assert_eq!(
        ask(&world, &machine.form("&resource=unknown")).await.status,
        200
    );
}

#[tokio::test]
async fn a_client_shows_itself_once_and_in_a_form() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let machine = made(&acme, &["runs:read"]).await;
    let Machine { id, secret, .. } = &machine;
    let nobody = world.nobody();
    let twice = STANDARD.encode(format!("{id}:{secret}"));
    let twice = [("authorization", format!("Basic {twice}"))];
    let twice = [("authorization", twice[0].1.as_str())];
    let answer = nobody
        .form("/connect/token", &twice, &machine.form(""))
        .await;
    assert_eq!(answer.json()["error"], "invalid_request", "by one way only");
    let wrong = [("authorization", "Basic bm9ib2R5Om5vdGhpbmc=")];
    let answer = nobody
        .form("/connect/token", &wrong, "grant_type=client_credentials")
        .await;
    assert_eq!(answer.status, 401);
    assert!(
        answer
            .header("www-authenticate")
            .unwrap()
            .starts_with("Basic")
    );
    let form = machine.form("");
    let no_form = nobody.send("POST", "/connect/token", &[], Some(form)).await;
    assert_eq!(no_form.status, 415);
    let long = "a=".to_owned() + &"x".repeat(20_000);
    assert_eq!(ask(&world, &long).await.status, 413);
}

async fn made_named(acme: &Client, name: &str) -> Machine {
    let new = json!({"name": name, "scopes": ["runs:read"]});
    Machine::of(&acme.post("/v1/principals", &new).await.expect(201))
}

#[tokio::test]
async fn a_secret_is_replaced_with_an_overlap_or_at_once() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let first = made(&acme, &["runs:read"]).await;
    let path = format!("{}/secrets", first.path);
    let second = Machine::of(&acme.tell(&path).await.expect(201));
    assert_ne!(first.secret, second.secret);
    for machine in [&first, &second] {
        assert_eq!(ask(&world, &machine.form("")).await.status, 200);
    }
    let shown = acme.get(&first.path).await;
    assert!(!shown.text.contains(&second.secret) && !shown.text.contains(&first.secret));
    let secrets = shown.expect(200)["principal"]["secrets"].clone();
    assert!(secrets[0]["expires_at"].is_string() && secrets[1]["expires_at"].is_null());
    assert!(
        second
            .secret
            .starts_with(secrets[1]["prefix"].as_str().unwrap())
    );
    // Issued a little while ago: of time a token knows the second only.
    let words = ["runs:read".to_owned()];
    let life = std::time::Duration::from_secs(60);
    let at_ms = davit_scheduler::service::now_ms() - 5_000;
    let signer = &world.service.signer;
    let signed = signer.issue(&second.id, AUDIENCE, &words, life, at_ms);
    let earlier = Client::new(world.address, Some(signed.unwrap()), None);
    assert_eq!(earlier.get("/v1/runs").await.status, 200);
    let at_once = json!({"overlap_seconds": 0});
    let third = Machine::of(&acme.post(&path, &at_once).await.expect(201));
    for machine in [&first, &second] {
        assert_eq!(ask(&world, &machine.form("")).await.status, 401);
    }
    assert_eq!(
        earlier.get("/v1/runs").await.status,
        401,
        "what was issued before ends too"
    );
    let client = bearer(&world, ask(&world, &third.form("")).await);
    assert_eq!(client.get("/v1/runs").await.status, 200);
    let long = acme
        .post(&path, &json!({"overlap_seconds": 2_592_001}))
        .await;
    assert_eq!(long.fields(), ["overlap_seconds"]);
}

#[tokio::test]
async fn a_removed_principal_opens_nothing_from_the_next_request_on() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let machine = made(&acme, &["runs:read"]).await;
    let client = bearer(&world, ask(&world, &machine.form("")).await);
    assert_eq!(client.get("/v1/runs").await.status, 200);
    let beta = world.client("beta", &Scope::ALL, None).await;
    for (method, path) in [("GET", &machine.path), ("DELETE", &machine.path)] {
        assert_eq!(beta.send(method, path, &[], None).await.status, 404);
    }
    let rotated = beta.tell(&format!("{}/secrets", machine.path)).await;
    assert_eq!(rotated.status, 404);
    assert_eq!(acme.delete(&machine.path).await.status, 204);
    assert_eq!(client.get("/v1/runs").await.status, 401);
    assert_eq!(ask(&world, &machine.form("")).await.status, 401);
    assert_eq!(acme.delete(&machine.path).await.status, 404);
}

#[tokio::test]
async fn a_principal_reaches_no_further_than_its_maker() {
    let world = World::begin().await;
    let scopes = [Scope::TokensWrite, Scope::RunsRead];
    let small = world.client("acme", &scopes, Some(60)).await;
    let more = json!({"name": "x", "scopes": ["runs:write"]});
    assert_eq!(small.post("/v1/principals", &more).await.status, 403);
    let same = json!({"name": "x", "scopes": ["runs:read", "tokens:write"]});
    let reply = small.post("/v1/principals", &same).await.expect(201);
    let expires = reply["principal"]["expires_at"].clone();
    assert!(expires.is_string(), "no longer than its maker");
    let machine = Machine::of(&reply);
    let answer = ask(&world, &machine.form("")).await;
    assert!(answer.json()["expires_in"].as_u64().unwrap() <= 60);
    let client = bearer(&world, answer);
    let token = json!({"name": "y", "scopes": ["runs:read"]});
    let minted = client.post("/v1/tokens", &token).await.expect(201);
    assert_eq!(minted["token"]["expires_at"], expires);
    let more = json!({"name": "y", "scopes": ["runs:write"]});
    assert_eq!(client.post("/v1/tokens", &more).await.status, 403);
    let empty = json!({"name": "z", "scopes": []});
    assert_eq!(
        small.post("/v1/principals", &empty).await.fields(),
        ["scopes"]
    );
    let taken = small.post("/v1/principals", &same).await;
    assert_eq!(taken.problem(), "name-taken");
    let new = json!({"name": "keyed", "scopes": ["runs:read"]});
    small.keyed("/v1/principals", "k", &new).await.expect(201);
    let again = small.keyed("/v1/principals", "k", &new).await;
    assert_eq!(again.problem(), "made-before", "its secret was shown once");
    // One that reaches further is not given a new secret by one that does not.
    let acme = world.acme().await;
    let wide = made(&acme, &["runs:write"]).await;
    let refused = small.tell(&format!("{}/secrets", wide.path)).await;
    assert_eq!(refused.status, 403);
}

#[tokio::test]
async fn an_access_token_for_somebody_else_opens_nothing() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let machine = made(&acme, &["runs:read"]).await;
    let minute = std::time::Duration::from_secs(60);
    let now_ms = davit_scheduler::service::now_ms();
    let words = ["runs:read".to_owned()];
    let sign = |subject: &str, audience: &str, at_ms: u64| {
        let signed = world
            .service
            .signer
            .issue(subject, audience, &words, minute, at_ms);
        Client::new(world.address, Some(signed.unwrap()), None)
    };
    let right = sign(&machine.id, AUDIENCE, now_ms);
    assert_eq!(right.get("/v1/runs").await.status, 200);
    let stranger = machine.id.replace("acme", "beta");
    for wrong in [
        sign(&machine.id, "davit-link", now_ms),
        sign(&machine.id, AUDIENCE, now_ms - 120_000),
        sign(&stranger, AUDIENCE, now_ms),
        sign("nobody", AUDIENCE, now_ms),
    ] {
        assert_eq!(wrong.get("/v1/runs").await.status, 401);
    }
}

#[tokio::test]
async fn the_keys_are_public_and_only_the_keys() {
    let world = World::begin().await;
    let keys = world
        .nobody()
        .get("/.well-known/jwks.json")
        .await
        .expect(200);
    let key = &keys["keys"][0];
    assert_eq!(
        (&key["kty"], &key["crv"]),
        (&json!("OKP"), &json!("Ed25519"))
    );
    assert!(key.get("d").is_none());
    let acme = world.acme().await;
    let machine = made(&acme, &["runs:read"]).await;
    let reply = ask(&world, &machine.form("")).await.json();
    let header = reply["access_token"]
        .as_str()
        .unwrap()
        .split('.')
        .next()
        .unwrap();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header);
    let header: Value = serde_json::from_slice(&header.unwrap()).unwrap();
    assert_eq!(header["kid"], key["kid"]);
}

#[tokio::test]
async fn wrong_secrets_are_counted_and_keep_nobody_out() {
    let settings = davit_scheduler::rest::RestSettings {
        requests_per_second: 1,
        requests_burst: 5,
        ..Default::default()
    };
    let world = World::with(settings).await;
    let acme = world.acme().await;
    let machine = made(&acme, &["runs:read"]).await;
    let wrong = format!(
        "grant_type=client_credentials&client_id={}&client_secret=x",
        machine.id
    );
    let mut limited = 0;
    for _ in 0..50 {
        let answer = ask(&world, &wrong).await;
        limited += usize::from(answer.status == 429);
    }
    assert!(limited > 0, "50 wrong ones with a burst of 5");
    assert_eq!(ask(&world, &machine.form("")).await.status, 200);
}
