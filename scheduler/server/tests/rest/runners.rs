//! Runners and the catalogue.

use davit_scheduler::service::access::Scope;
use davit_scheduler::service::{now_ms, runners};
use serde_json::json;

use crate::world::{World, runner};

#[tokio::test]
async fn a_runner_is_made_shown_changed_and_removed() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let mut new = runner("job one");
    new["run_command"] = json!("echo $GREETING");
    new["capabilities"] = json!(["net_raw", "CAP_CHOWN"]);
    new["network"] = json!("bridge");
    new["egress"] = json!(["192.0.2.0/24,tcp,443"]);
    new["network_bytes_per_second_max"] = json!(1 << 20);
    new["env_variables"] = json!([{"env_key": "GREETING", "env_val": "hush"}]);
    let answer = acme.post("/v1/runners", &new).await;
    let location = answer.header("location").unwrap().to_owned();
    assert!(!answer.text.contains("hush"));
    let made = answer.expect(201)["runner"].clone();
    assert_eq!(made["status"], "ready");
    assert_eq!(made["image_tag"], "latest");
    assert_eq!(made["timeout_seconds"], 3600);
    assert_eq!(made["capabilities"], json!(["CAP_CHOWN", "CAP_NET_RAW"]));
    assert_eq!(made["egress"], json!(["192.0.2.0/24,tcp,443"]));
    assert_eq!(made["network_bytes_per_second_max"], 1 << 20);
    assert_eq!(made["region"], json!({"slug": "here", "name": "Here"}));
    assert_eq!(made["instance_type"]["price_second"], "0.000007");
    assert_eq!(made["instance_type"]["cpu"], "0.5");
    assert_eq!(
        made["env_variables"],
        json!([{"env_key": "GREETING", "env_val": null, "secret": false}])
    );
    let shown = acme.get(&location).await.expect(200);
    assert_eq!(shown["runner"], made);
    let clear = acme
        .get(&format!("{location}?reveal=true"))
        .await
        .expect(200);
    assert_eq!(clear["runner"]["env_variables"][0]["env_val"], "hush");
    let blind = world.client("acme", &[Scope::RunnersRead], None).await;
    let refused = blind.get(&format!("{location}?reveal=true")).await;
    assert_eq!(refused.status, 403);

    let change = json!({"argv": ["true"], "timeout_seconds": 5, "live_runs_max": 2,
        "env_variables": [{"env_key": "OTHER", "env_val": "x"}]});
    let changed = acme.patch(&location, &change).await.expect(200)["runner"].clone();
    assert_eq!(changed["run_command"], json!(null), "argv takes its place");
    assert_eq!(changed["argv"], json!(["true"]));
    assert_eq!(changed["name"], "job one");
    assert_eq!(changed["capabilities"], made["capabilities"]);
    let none = acme.patch(&location, &json!({"capabilities": []})).await;
    assert_eq!(none.expect(200)["runner"]["capabilities"], json!([]));
    assert_eq!(changed["live_runs_max"], 2);
    assert_eq!(changed["egress"], made["egress"]);
    let open = json!({"egress": [], "network_bytes_per_second_max": null});
    let open = acme.patch(&location, &open).await.expect(200);
    assert_eq!(open["runner"]["egress"], json!([]));
    assert_eq!(open["runner"]["network_bytes_per_second_max"], json!(null));
    assert_eq!(open["runner"]["network"], "bridge");
    let clear = acme
        .get(&format!("{location}?reveal=true"))
        .await
        .expect(200);
    let only = json!([{"env_key": "OTHER", "env_val": "x", "secret": false}]);
    assert_eq!(clear["runner"]["env_variables"], only);
    let cleared = acme.patch(&location, &json!({"live_runs_max": null})).await;
    assert_eq!(cleared.expect(200)["runner"]["live_runs_max"], json!(null));

    assert_eq!(acme.delete(&location).await.status, 204);
    assert_eq!(acme.get(&location).await.status, 404);
    assert_eq!(acme.delete(&location).await.status, 404);
}

#[tokio::test]
async fn every_wrong_field_of_a_runner_is_named() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let wrong = json!({
        "name": "ab", "image_name": "UPPER", "image_tag": "-x", "region": "nowhere",
        "instance_type": "huge", "run_command": "x".repeat(1001), "argv": ["a\u{0}b"],
        "entrypoint": "e".repeat(501), "timeout_seconds": 86401, "priority": 1001,
        "env_variables": [{"env_key": "1A", "env_val": "hush\u{0}"}],
        "retry": {"attempts_max": 0}, "live_runs_max": 0,
        "on_lost": {"policy": "requeue", "lost_after_ms": 1000, "stop_after_ms": 2000},
    });
    let refused = acme.post("/v1/runners", &wrong).await;
    assert_eq!(refused.status, 422);
    assert!(!refused.text.contains("hush"), "a value is in no error");
    let fields = refused.fields();
    for field in [
        "name",
        "image_name",
        "image_tag",
        "region",
        "instance_type",
        "run_command",
        "argv[0]",
        "entrypoint",
        "timeout_seconds",
        "priority",
        "env_variables[0].env_key",
        "env_variables[0].env_val",
        "retry.attempts_max",
        "live_runs_max",
        "on_lost.lost_after_ms",
        "on_lost.stop_after_ms",
    ] {
        assert!(
            fields.iter().any(|given| given == field),
            "{field} is not in {fields:?}"
        );
    }
    let unknown = acme.post("/v1/runners", &json!({"nam": "x"})).await;
    assert_eq!(unknown.fields(), ["nam"]);
    let mut linked = runner("job");
    linked["network"] = json!("bridge");
    linked["egress"] = json!(["10.0.0.0/8", "10.0.0.1/8"]);
    linked["network_bytes_per_second_max"] = json!(1);
    let refused = acme.post("/v1/runners", &linked).await;
    let wrong = ["egress[1]", "network_bytes_per_second_max"];
    assert_eq!(refused.fields(), wrong);
    linked["network"] = json!("none");
    let refused = acme.post("/v1/runners", &linked).await;
    assert!(
        refused.text.contains("is for network bridge"),
        "{}",
        refused.text
    );
    let mut powerful = runner("job");
    powerful["capabilities"] = json!(["CAP_SYS_ADMIN"]);
    let refused = acme.post("/v1/runners", &powerful).await;
    assert_eq!(refused.status, 422);
    assert!(
        refused.text.contains("CAP_NET_BIND_SERVICE"),
        "{}",
        refused.text
    );
    assert_eq!(
        acme.get("/v1/runners").await.expect(200)["runners"],
        json!([])
    );
}

#[tokio::test]
async fn names_are_unique_and_lists_are_paged() {
    let world = World::begin().await;
    let acme = world.acme().await;
    for name in ["one", "two", "six"] {
        acme.post("/v1/runners", &runner(name)).await.expect(201);
    }
    let taken = acme.post("/v1/runners", &runner("two")).await;
    assert_eq!(taken.status, 409);
    assert_eq!(taken.problem(), "name-taken");
    let mut names = Vec::new();
    let mut path = "/v1/runners?limit=1".to_owned();
    loop {
        let page = acme.get(&path).await.expect(200);
        for runner in page["runners"].as_array().unwrap() {
            names.push(runner["name"].as_str().unwrap().to_owned());
        }
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/v1/runners?limit=1&after={next}");
    }
    names.sort();
    assert_eq!(names, ["one", "six", "two"]);
    for query in ["limit=0", "limit=1001", "limit=x", "after=x", "nothing=1"] {
        let refused = acme.get(&format!("/v1/runners?{query}")).await;
        assert_eq!(refused.status, 400, "{query}");
    }
}

#[tokio::test]
async fn a_runner_is_warmed() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let made = acme.post("/v1/runners", &runner("one")).await.expect(201);
    let id = made["runner"]["id"].as_str().unwrap().to_owned();
    let warming = acme
        .tell(&format!("/v1/runners/{id}/warmup"))
        .await
        .expect(202);
    assert_eq!(warming["runner"]["warmed_at"], json!(null));
    let tenant = "acme".parse().unwrap();
    let done = runners::warmed(
        &*world.service.store,
        &tenant,
        id.parse().unwrap(),
        now_ms(),
    );
    done.await.unwrap();
    let shown = acme.get(&format!("/v1/runners/{id}")).await.expect(200);
    assert!(shown["runner"]["warmed_at"].is_string());
    let mut far = runner("far");
    far["image_name"] = json!("nowhere");
    let made = acme.post("/v1/runners", &far).await.expect(201);
    let id = made["runner"]["id"].as_str().unwrap().to_owned();
    let refused = acme.tell(&format!("/v1/runners/{id}/warmup")).await;
    assert_eq!(refused.problem(), "no-host");
}

#[tokio::test]
async fn a_registry_is_used_by_name_and_keeps_its_password() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let registry = json!({"name": "ours", "server": "registry.example:5000", "username": "u",
        "password": "hush-hush"});
    let made = acme.post("/v1/registries", &registry).await;
    assert!(!made.text.contains("hush"));
    let made = made.expect(201);
    assert!(!acme.get("/v1/registries").await.text.contains("hush"));
    let mut new = runner("private");
    new["container_registry"] = json!("ours");
    let runner = acme.post("/v1/runners", &new).await.expect(201);
    let id = runner["runner"]["id"].as_str().unwrap();
    let run = acme
        .tell(&format!("/v1/runners/{id}/runs"))
        .await
        .expect(201);
    let image = "registry.example:5000/library/busybox:latest";
    assert_eq!(run["run"]["image"], image);
    let path = format!(
        "/v1/registries/{}",
        made["registry"]["id"].as_str().unwrap()
    );
    assert_eq!(acme.delete(&path).await.status, 204);
    let refused = acme.tell(&format!("/v1/runners/{id}/runs")).await;
    assert_eq!(refused.fields(), ["container_registry"]);
    let mut wrong = registry.clone();
    wrong["server"] = json!("https://registry.example");
    assert_eq!(
        acme.post("/v1/registries", &wrong).await.fields(),
        ["server"]
    );
}

#[tokio::test]
async fn the_operator_offers_sizes_and_places() {
    let world = World::begin().await;
    let operator = world
        .client("acme", &[Scope::Operator, Scope::RunnersRead], None)
        .await;
    let size = json!({"name": "Tiny", "cpu_millis": 10, "memory_bytes": 4 << 20, "pids": 1,
        "price_second": "0.00001"});
    let put = operator
        .put("/v1/instance-types/tiny", &size)
        .await
        .expect(200);
    assert_eq!(put["instance_type"]["price_month"], "26.28");
    let listed = operator.get("/v1/instance-types").await.expect(200);
    assert_eq!(listed["instance_types"].as_array().unwrap().len(), 3);
    assert_eq!(operator.delete("/v1/instance-types/tiny").await.status, 204);
    let wrong = json!({"name": "Tiny", "cpu_millis": 1, "memory_bytes": 1, "pids": 0,
        "price_second": "901"});
    let refused = operator.put("/v1/instance-types/tiny", &wrong).await;
    let fields = ["cpu_millis", "memory_bytes", "pids", "price_second"];
    assert_eq!(refused.fields(), fields);
    operator
        .put("/v1/regions/there", &json!({"name": "There"}))
        .await
        .expect(200);
    let regions = operator.get("/v1/regions").await.expect(200);
    assert_eq!(regions["regions"].as_array().unwrap().len(), 2);
    assert_eq!(operator.delete("/v1/regions/there").await.status, 204);
    assert_eq!(operator.delete("/v1/regions/there").await.status, 404);
    let peer = world.host().await;
    let join = json!({"region": "here"});
    let token = operator.post("/v1/join-tokens", &join).await.expect(201);
    assert!(token["secret"].as_str().unwrap().starts_with("davit_"));
    let path = format!("/v1/executors/{}", peer.0.host);
    for (method, rest, status, state) in [
        ("POST", "/drain", 200, "draining"),
        ("POST", "/resume", 204, "online"),
        ("DELETE", "", 204, "removed"),
    ] {
        let answer = operator
            .send(method, &format!("{path}{rest}"), &[], None)
            .await;
        assert_eq!(answer.status, status);
        let listed = operator.get("/v1/executors").await.expect(200);
        assert_eq!(listed["executors"][0]["state"], state);
        assert_eq!(listed["executors"][0]["connected"], true);
    }
}
