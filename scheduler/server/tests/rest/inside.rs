//! How a job finds its container: directory, user, host name, root file system, of runs and of runners.

use davit_scheduler::service::planned::PlannedRun;
use davit_types::RunRequest;
use serde_json::{Value, json};

use crate::client::run_id;
use crate::world::{World, one_off, runner};

fn asked() -> Value {
    json!({"workdir": "/srv", "user": "7:8", "hostname": "inside", "read_only_root": true})
}

fn absent() -> Value {
    json!({"workdir": null, "user": null, "hostname": null, "read_only_root": false})
}

fn with(mut body: Value, more: &Value) -> Value {
    let fields = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(fields);
    body
}

/// Of something shown, what this is about.
fn of(shown: &Value) -> Value {
    let part = |field: &str| (field.to_owned(), shown[field].clone());
    let fields = ["workdir", "user", "hostname", "read_only_root"];
    Value::Object(fields.map(part).into_iter().collect())
}

/// What a run's host will be told.
async fn told(world: &World, run: &Value) -> RunRequest {
    let stored = world.service.store.runs(None, vec![run_id(run)]).await;
    let plan: PlannedRun = serde_json::from_str(&stored.unwrap()[0].base.spec).unwrap();
    plan.request
}

#[tokio::test]
async fn a_run_has_what_it_asks_for_and_else_what_its_image_says() {
    let world = World::begin().await;
    let acme = world.acme().await;
    for wanted in [asked(), absent()] {
        let body = match wanted == absent() {
            true => one_off(),
            false => with(one_off(), &wanted),
        };
        let run = acme.post("/v1/runs", &body).await.expect(201);
        assert_eq!(of(&run["run"]), wanted);
        let request = told(&world, &run).await;
        assert_eq!(of(&serde_json::to_value(request).unwrap()), wanted);
    }
    let many = json!({"runs": [one_off(), with(one_off(), &asked())]});
    let made = acme.post("/v1/runs/batch", &many).await.expect(201);
    let path = format!("/v1/runs/{}", made["run_ids"][1].as_str().unwrap());
    assert_eq!(of(&acme.get(&path).await.expect(200)["run"]), asked());
}

#[tokio::test]
async fn a_runner_says_it_for_its_runs() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let new = with(runner("job"), &asked());
    let made = acme.post("/v1/runners", &new).await.expect(201);
    assert_eq!(of(&made["runner"]), asked());
    let path = format!("/v1/runners/{}", made["runner"]["id"].as_str().unwrap());
    let runs = format!("{path}/runs");
    let run = acme.tell(&runs).await.expect(201);
    assert_eq!(of(&run["run"]), asked());
    assert_eq!(told(&world, &run).await.user.as_deref(), Some("7:8"));

    // What a change does not name stays.
    let one = acme.patch(&path, &json!({"user": "9"})).await.expect(200);
    assert_eq!(of(&one["runner"]), with(asked(), &json!({"user": "9"})));
    let none = acme.patch(&path, &absent()).await.expect(200);
    assert_eq!(of(&none["runner"]), absent());
    let run = acme.tell(&runs).await.expect(201);
    assert_eq!(told(&world, &run).await.workdir, None);
}

#[tokio::test]
async fn what_a_host_would_refuse_is_refused_by_its_name() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let long = "x".repeat(64);
    for (field, value) in [
        ("workdir", json!("srv")),
        ("workdir", json!("")),
        ("user", json!("")),
        ("user", json!(long)),
        ("user", json!("a\u{0}b")),
        ("hostname", json!("-x")),
        ("hostname", json!(long)),
        ("read_only_root", json!("yes")),
    ] {
        let wrong = json!({ field: value });
        for (path, body) in [
            ("/v1/runs", one_off()),
            ("/v1/explain", one_off()),
            ("/v1/runners", runner("job")),
        ] {
            let refused = acme.post(path, &with(body, &wrong)).await;
            assert_eq!(refused.status, 422, "{path} {wrong}");
            let fields = refused.fields();
            let only = !fields.is_empty() && fields.iter().all(|given| given == field);
            assert!(only, "{path} {wrong}: {fields:?}");
        }
    }
}
