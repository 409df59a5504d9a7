//! The document itself: kept, whole, and asked for by scope.

use std::collections::BTreeSet;

use davit_scheduler::service::access::Scope;
use serde_json::Value;
use uuid::Uuid;

use crate::schema::DOCUMENT;
use crate::world::World;

/// Where the document is kept.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi.json");

#[test]
fn the_kept_document_is_the_served_one() {
    let made = davit_scheduler::rest::document();
    if std::env::var_os("DAVIT_WRITE_OPENAPI").is_some() {
        std::fs::write(KEPT, &made).unwrap();
    }
    let kept = std::fs::read_to_string(KEPT).unwrap_or_default();
    assert!(
        kept == made,
        "scheduler/openapi.json is not what is served; write it anew with\n  \
         DAVIT_WRITE_OPENAPI=1 cargo test -p davit-scheduler --test rest the_kept_document"
    );
}

/// Path, method and operation of everything in the document.
fn operations() -> Vec<(String, String, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().unwrap();
        item.iter()
            .map(|(m, op)| (path.clone(), m.to_uppercase(), op))
    });
    all.collect()
}

/// The scope of an operation; `None`: it wants no token.
fn scope(operation: &Value) -> Option<Scope> {
    let list = operation["security"].as_array()?;
    let word = list.first()?.get("token")?.get(0)?.as_str()?;
    Scope::ALL.into_iter().find(|scope| scope.as_str() == word)
}

/// The path with an id or a name that nothing has.
fn filled(path: &str) -> String {
    let parts = path.split('/').map(|part| match part {
        "{slug}" | "{name}" => "nothing".to_owned(),
        "{number}" => "0".to_owned(),
        id if id.starts_with('{') => Uuid::now_v7().to_string(),
        plain => plain.to_owned(),
    });
    parts.collect::<Vec<_>>().join("/")
}

#[test]
fn every_operation_has_a_name_of_its_own_and_its_parameters() {
    assert_eq!(DOCUMENT["openapi"], "3.1.0");
    let mut names = BTreeSet::new();
    for (path, method, operation) in operations() {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name.to_owned()), "{name} is there twice");
        let told: BTreeSet<String> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| format!("{{{}}}", parameter["name"].as_str().unwrap()))
            .collect();
        let wanted = path.split('/').filter(|part| part.starts_with('{'));
        let wanted: BTreeSet<String> = wanted.map(str::to_owned).collect();
        assert_eq!(told, wanted, "{method} {path}");
        assert!(
            operation["summary"].is_string(),
            "{method} {path} has no summary"
        );
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(value: &Value) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    let pointer = reference.trim_start_matches('#');
                    assert!(DOCUMENT.pointer(pointer).is_some(), "{reference}");
                }
                fields.values().for_each(walk);
            }
            Value::Array(items) => items.iter().for_each(walk),
            _ => {}
        }
    }
    walk(&DOCUMENT);
}

#[tokio::test]
async fn every_operation_is_served_and_wants_its_scope_and_no_other() {
    let world = World::begin().await;
    let nobody = world.nobody();
    for (path, method, operation) in operations() {
        let path = filled(&path);
        let Some(scope) = scope(operation) else {
            let answer = nobody.send(&method, &path, &[], None).await;
            // What wants a form says so.
            let wanted = if method == "POST" { 415 } else { 200 };
            assert_eq!(answer.status, wanted, "{method} {path}");
            continue;
        };
        let answer = nobody.send(&method, &path, &[], None).await;
        assert_eq!(answer.status, 401, "{method} {path}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        let others: Vec<Scope> = Scope::ALL.into_iter().filter(|s| *s != scope).collect();
        // A body that each of them takes as far as its scope.
        let body = body_for(&path);
        let other = world.client("acme", &others, None).await;
        let answer = other.send(&method, &path, &[], body.clone()).await;
        assert_eq!(answer.status, 403, "{method} {path} without {scope:?}");
        let right = world.client("acme", &[scope], None).await;
        let answer = right.send(&method, &path, &[], body).await;
        assert!(
            !matches!(answer.status, 401 | 403 | 405 | 500..),
            "{method} {path} with {scope:?}: {} {}",
            answer.status,
            answer.text
        );
    }
}

/// A body of the operation's type: what is asked before the scope is only whether it can be read.
fn body_for(path: &str) -> Option<String> {
    use serde_json::json;
    let body = match path.split('/').nth(2).unwrap_or_default() {
        "explain" => crate::world::one_off(),
        "runs" if path.ends_with("/batch") => json!({"runs": [crate::world::one_off()]}),
        "runners" if path.ends_with("/batch") => json!({"runs": [{}]}),
        "runs" if path == "/v1/runs" => crate::world::one_off(),
        "runs" if path.matches('/').count() == 3 => json!({"timeout_seconds": 5}),
        "runners" if path == "/v1/runners" => crate::world::runner("one"),
        "runners" if path.matches('/').count() == 5 => json!({"timeout_seconds": 5}),
        "principals" if path.ends_with("/secrets") => json!({}),
        "principals" => json!({"name": "one", "scopes": ["tokens:write"]}),
        "tokens" => json!({"name": "one", "scopes": ["tokens:write"]}),
        "tenants" if path.ends_with("/tokens") => json!({"name": "one", "scopes": ["operator"]}),
        "tenants" => json!({"open": true}),
        "instance-types" => json!({"name": "One", "cpu_millis": 100, "memory_bytes": 1 << 28,
            "pids": 5, "price_second": "0.1"}),
        "regions" => json!({"name": "One"}),
        "registries" => {
            json!({"name": "one", "server": "a.example", "username": "u", "password": "p"})
        }
        "join-tokens" => json!({"region": "here"}),
        "uploads" if path.ends_with("/complete") => json!({"bytes": 0, "sha256": ""}),
        _ => json!({}),
    };
    Some(body.to_string())
}

#[tokio::test]
async fn the_document_and_its_page_are_served() {
    let world = World::begin().await;
    let nobody = world.nobody();
    let served = nobody.get("/openapi.json").await.expect(200);
    assert_eq!(served, *DOCUMENT);
    let page = nobody.get("/docs").await;
    assert!(page.text.contains("/openapi.json"));
    assert_eq!(nobody.get("/healthz").await.status, 200);
    assert_eq!(nobody.get("/readyz").await.status, 200);
    assert_eq!(nobody.get("/nothing").await.problem(), "not-found");
    assert_eq!(nobody.send("PUT", "/v1/runs", &[], None).await.status, 405);
}
