//! Runs: made, seen, stopped, paused, extended.

use davit_scheduler::service::environment;
use davit_scheduler::service::planned::PlannedRun;
use davit_scheduler::store::*;
use davit_types::{Capability, NetworkMode};
use serde_json::{Value, json};

use crate::client::{Client, run_id};
use crate::world::{World, end, one_off, runner, segment};

async fn a_runner(acme: &Client, more: Value) -> String {
    let mut new = runner("job");
    new.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let made = acme.post("/v1/runners", &new).await.expect(201);
    made["runner"]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_run_has_the_runners_settings_and_its_own() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let runner = a_runner(
        &acme,
        json!({
            "argv": ["serve"], "entrypoint": "/bin/e", "timeout_seconds": 7, "live_runs_max": 3,
            "priority": 2, "executors": ["host-0"], "retry": {"attempts_max": 3, "exit_codes": [4]},
            "capabilities": ["CAP_CHOWN"], "network": "bridge", "egress": ["192.0.2.0/24"],
            "env_variables": [{"env_key": "A", "env_val": "1"}, {"env_key": "B", "env_val": "1"}],
        }),
    )
    .await;
    let path = format!("/v1/runners/{runner}/runs");
    let plain = acme.tell(&path).await;
    let location = plain.header("location").unwrap().to_owned();
    let plain = plain.expect(201);
    assert_eq!(plain["run"]["argv"], json!(["serve"]));
    assert_eq!(plain["run"]["status"], "pending");
    assert_eq!(plain["run"]["runner_id"], runner.as_str());
    let shown = acme.get(&location).await.expect(200);
    assert_eq!(shown["run"]["waiting"]["reason"], "no_hosts");
    assert_eq!(shown["run"]["waiting"]["ahead"], 3);

    let own = json!({"command": "echo hi", "env_variables": [{"env_key": "B", "env_val": "2"}],
        "labels": {"k": "v"}, "timeout_seconds": 9, "priority": -1});
    let run = acme.post(&path, &own).await.expect(201);
    assert_eq!(run["run"]["command"], "echo hi");
    assert_eq!(
        run["run"]["argv"],
        json!([]),
        "one command excludes the other"
    );
    assert_eq!(run["run"]["entrypoint"], "/bin/e");
    assert_eq!(run["run"]["timeout_seconds"], 9);

    let id = run_id(&run);
    let stored = world.service.store.runs(None, vec![id]).await.unwrap();
    let spec = &stored[0].base.spec;
    let plan: PlannedRun = serde_json::from_str(spec).unwrap();
    assert!(plan.request.env.is_empty() && !spec.contains("env_val"));
    assert_eq!(plan.live_runs_max, Some(3));
    assert_eq!(plan.retry.exit_codes, [4]);
    assert_eq!(plan.executors, ["host-0"]);
    assert_eq!(plan.request.capabilities, [Capability::Chown].into());
    assert_eq!(plan.request.network, NetworkMode::Bridge);
    assert_eq!(plan.request.egress, ["192.0.2.0/24"]);
    assert_eq!(stored[0].base.priority, -1);
    let tenant = "acme".parse().unwrap();
    // The environment is the run's own: what happens to the runner does not touch it.
    assert_eq!(
        acme.delete(&format!("/v1/runners/{runner}")).await.status,
        204
    );
    let owner = plan.secrets_owner.unwrap();
    let env = environment::open(&world.service, &tenant, owner).await;
    let env: Vec<(String, String)> = env
        .unwrap()
        .into_iter()
        .map(|var| (var.key, var.value))
        .collect();
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(env, [pair("A", "1"), pair("B", "2")]);
}

#[tokio::test]
async fn every_wrong_field_of_a_run_is_named() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let mut wrong = one_off();
    wrong["command"] = json!("x".repeat(4001));
    wrong["argv"] = json!(["x"]);
    wrong["region"] = json!("mars");
    wrong["timeout_seconds"] = json!(0);
    let refused = acme.post("/v1/runs", &wrong).await;
    let fields = refused.fields();
    for field in ["command", "region", "timeout_seconds"] {
        assert!(
            fields.iter().any(|given| given == field),
            "{field}: {fields:?}"
        );
    }
    for (field, value) in [("image", json!("")), ("max_pause_seconds", json!(604_801))] {
        let mut wrong = one_off();
        wrong[field] = value;
        assert_eq!(acme.post("/v1/runs", &wrong).await.fields(), [field]);
    }
    let explained = acme.post("/v1/explain", &one_off()).await.expect(200);
    assert_eq!(explained["explanation"]["reason"], "no_hosts");
    assert_eq!(acme.get("/v1/runs").await.expect(200)["runs"], json!([]));
}

#[tokio::test]
async fn what_a_run_is_locked_in_with_is_shown_from_its_start_on() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let peer = world.host().await;
    let run = acme.run().await;
    let path = format!("/v1/runs/{run}");
    let security = async || acme.get(&path).await.expect(200)["run"]["security"].clone();
    assert_eq!(security().await, json!(null), "it waits");
    let key = world.running("acme", run, peer).await;
    let live = security().await;
    assert_eq!(live["runtime"], "crun");
    assert_eq!(
        (&live["uid"], &live["network"]),
        (&json!(7), &json!("none"))
    );
    assert_eq!(live["capabilities"], json!(["CAP_CHOWN"]));
    assert_eq!(live["mounts"][0]["type"], "proc");
    let listed = acme.get("/v1/runs").await.expect(200);
    assert_eq!(
        listed["runs"][0]["security"],
        json!(null),
        "where one is shown"
    );
    world.end(peer, key, 2, 5, 0).await;
    assert_eq!(security().await, live);
}

#[tokio::test]
async fn runs_are_listed_newest_first_by_runner_and_status() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let runner = a_runner(&acme, json!({})).await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(acme.run().await);
    }
    let of_runner = acme.tell(&format!("/v1/runners/{runner}/runs")).await;
    made.push(run_id(&of_runner.expect(201)));
    acme.tell(&format!("/v1/runs/{}/cancel", made[0]))
        .await
        .expect(200);
    let ids = |page: &Value| -> Vec<String> {
        let runs = page["runs"].as_array().unwrap();
        runs.iter()
            .map(|run| run["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = acme.get("/v1/runs?limit=3").await.expect(200);
    let next = first["next"].as_str().unwrap();
    let second = acme
        .get(&format!("/v1/runs?limit=3&after={next}"))
        .await
        .expect(200);
    assert_eq!(second["next"], json!(null));
    let listed: Vec<String> = ids(&first).into_iter().chain(ids(&second)).collect();
    let newest: Vec<String> = made.iter().rev().map(ToString::to_string).collect();
    assert_eq!(listed, newest);
    let canceled = acme.get("/v1/runs?status=canceled").await.expect(200);
    assert_eq!(ids(&canceled), [made[0].to_string()]);
    let of_runner = acme
        .get(&format!("/v1/runners/{runner}/runs"))
        .await
        .expect(200);
    assert_eq!(ids(&of_runner), [made[3].to_string()]);
    assert_eq!(acme.get("/v1/runs?status=paused").await.status, 400);
}

#[tokio::test]
async fn a_pending_run_is_canceled_at_once_and_stays_so() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let path = format!("/v1/runs/{}", acme.run().await);
    let stopped = acme.tell(&format!("{path}/stop")).await.expect(200);
    assert_eq!(stopped["run"]["status"], "canceled");
    assert_eq!(stopped["run"]["end_reason"], "canceled");
    assert_eq!(stopped["run"]["exit_code"], json!(null));
    for order in ["stop", "cancel", "pause", "resume"] {
        let again = acme.tell(&format!("{path}/{order}")).await.expect(200);
        assert_eq!(again, stopped, "{order}");
    }
    let extended = acme.patch(&path, &json!({"timeout_seconds": 9})).await;
    assert_eq!(extended.expect(200), stopped);
}

#[tokio::test]
async fn orders_to_a_live_run_reach_its_host() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let run = acme.run().await;
    let peer = world.host().await;
    world.running("acme", run, peer).await;
    let path = format!("/v1/runs/{run}");
    let open = async || {
        let open = world
            .service
            .store
            .open_orders(world.replica, None, 10)
            .await;
        open.unwrap()[0].desired
    };
    acme.tell(&format!("{path}/pause")).await.expect(200);
    assert!(open().await.paused);
    let resumed = acme.tell(&format!("{path}/resume")).await.expect(200);
    assert_eq!(
        resumed["run"]["wanted"],
        json!({"stop": false, "paused": false})
    );
    let extended = acme
        .patch(&path, &json!({"timeout_seconds": 86400}))
        .await
        .expect(200);
    assert_eq!(extended["run"]["timeout_seconds"], 86400);
    assert_eq!(open().await.timeout_seconds, Some(86400));
    for wrong in [0, 86401] {
        let refused = acme.patch(&path, &json!({"timeout_seconds": wrong})).await;
        assert_eq!(refused.fields(), ["timeout_seconds"]);
    }
    for (field, value) in [("signal", json!("NONE")), ("grace_ms", json!(600_001))] {
        let refused = acme
            .post(&format!("{path}/stop"), &json!({field: value}))
            .await;
        assert_eq!(refused.fields(), [field]);
    }
    let stop = json!({"signal": "int", "grace_ms": 5});
    let stopping = acme.post(&format!("{path}/stop"), &stop).await.expect(200);
    assert_eq!(stopping["run"]["status"], "running");
    assert_eq!(stopping["run"]["wanted"]["stop"], true);
    let wanted = open().await.stop.unwrap();
    assert_eq!((wanted.signal, wanted.grace_ms), (2, 5));
    acme.tell(&format!("{path}/cancel")).await.expect(200);
    assert_eq!(open().await.stop.unwrap().signal, 9);
}

#[tokio::test]
async fn a_run_tells_its_life() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let run = acme.run().await;
    let peer = world.host().await;
    let key = world.running("acme", run, peer).await;
    let path = format!("/v1/runs/{run}");
    let running = acme.get(&path).await.expect(200)["run"].clone();
    assert_eq!(running["status"], "running");
    assert_eq!(running["executor"], "host-0");
    assert_eq!(running["image_digest"], "sha256:00");
    assert_eq!(running["cost"]["micros"], 7, "a second at least");
    let used = vec![segment(key, 0, 0, 1_500, false)];
    world.say(peer, key, 2, Event::Paused, used).await;
    let paused = acme.get(&path).await.expect(200)["run"].clone();
    assert_eq!(paused["status"], "running");
    assert!(paused["paused_at"].is_string());
    let still = vec![segment(key, 1, 1_500, 9_000, true)];
    world.say(peer, key, 3, Event::Resumed, still).await;
    let last = vec![segment(key, 2, 9_000, 9_600, false)];
    world
        .say(peer, key, 4, Event::Ended(end(9_600, 0)), last)
        .await;
    let ended = acme.get(&path).await.expect(200)["run"].clone();
    assert_eq!(ended["status"], "succeeded");
    assert_eq!(ended["exit_code"], 0);
    assert_eq!(ended["end_reason"], "exited");
    assert_eq!(ended["usage"]["active_ms"], 2_100);
    assert_eq!(ended["usage"]["billed_seconds"], 3);
    assert_eq!(ended["usage"]["measured"]["cpu_us"], 1);
    let cost =
        json!({"amount": "0.000021", "micros": 21, "currency": "EUR", "rule": "ceil-second-1"});
    assert_eq!(ended["cost"], cost);
    assert_eq!(ended["attempts"][0]["executor"], "host-0");
    assert_eq!(ended["attempts"][0]["duration_ms"], 9_600);
    assert_eq!(ended["duration_ms"], 9_600, "by the ledger, not by clocks");
    let stopped = acme.tell(&format!("{path}/stop")).await.expect(200);
    assert_eq!(stopped["run"], ended, "a finished run comes back unchanged");
}
