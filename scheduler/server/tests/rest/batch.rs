//! Many runs in one request.

use davit_scheduler::service::environment;
use davit_types::RunId;
use serde_json::{Value, json};

use crate::client::Client;
use crate::world::{PRICE_MICROS, World, one_off, runner, segment};
use davit_scheduler::store::Event;

fn ids(reply: &Value) -> Vec<RunId> {
    let ids = reply["run_ids"].as_array().unwrap();
    ids.iter()
        .map(|id| id.as_str().unwrap().parse().unwrap())
        .collect()
}

async fn count(acme: &Client) -> usize {
    let page = acme.get("/v1/runs?limit=1000").await.expect(200);
    page["runs"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_thousand_runs_are_made_and_answered_in_order() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let runs: Vec<Value> = (0..1_000)
        .map(|n| {
            let mut new = one_off();
            new["labels"] = json!({"n": n.to_string()});
            new
        })
        .collect();
    let made = acme.post("/v1/runs/batch", &json!({"runs": runs})).await;
    let made = ids(&made.expect(201));
    assert_eq!(made.len(), 1_000);
    for at in [0, 1, 500, 999] {
        let run = acme
            .get(&format!("/v1/runs/{}", made[at]))
            .await
            .expect(200);
        assert_eq!(run["run"]["labels"]["n"], at.to_string());
    }
    let newest = acme.get("/v1/runs?limit=1").await.expect(200);
    assert_eq!(newest["runs"][0]["id"], made[999].to_string());
    let one_more = vec![one_off(); 1_001];
    let one_more = json!({"runs": one_more});
    let refused = acme.post("/v1/runs/batch", &one_more).await;
    assert_eq!(refused.fields(), ["runs"]);
    let none = acme.post("/v1/runs/batch", &json!({"runs": []})).await;
    assert_eq!(none.fields(), ["runs"]);
}

#[tokio::test]
async fn runs_of_a_runner_have_its_settings_and_their_own() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let mut saved = runner("job");
    saved["env_variables"] =
        json!([{"env_key": "A", "env_val": "1"}, {"env_key": "B", "env_val": "1"}]);
    saved["argv"] = json!(["serve"]);
    let saved = acme.post("/v1/runners", &saved).await.expect(201);
    let path = format!(
        "/v1/runners/{}/runs/batch",
        saved["runner"]["id"].as_str().unwrap()
    );
    let own = json!({"argv": ["once"], "env_variables": [{"env_key": "B", "env_val": "2"}]});
    let made = acme.post(&path, &json!({"runs": [{}, own]})).await;
    let made = ids(&made.expect(201));
    let tenant = "acme".parse().unwrap();
    for (run, argv, b) in [(made[0], "serve", "1"), (made[1], "once", "2")] {
        let shown = acme.get(&format!("/v1/runs/{run}")).await.expect(200);
        assert_eq!(shown["run"]["argv"], json!([argv]));
        assert_eq!(shown["run"]["runner_id"], saved["runner"]["id"]);
        let env = environment::open(&world.service, &tenant, *run.as_uuid()).await;
        let values: Vec<String> = env.unwrap().into_iter().map(|var| var.value).collect();
        assert_eq!(values, ["1", b]);
    }
    let theirs = world
        .client("beta", &davit_scheduler::service::access::Scope::ALL, None)
        .await;
    let refused = theirs.post(&path, &json!({"runs": [{}]})).await;
    assert_eq!(refused.status, 404, "another tenant's runner");
}

#[tokio::test]
async fn one_wrong_run_keeps_all_from_being_made_and_is_named() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let mut far = one_off();
    far["region"] = json!("mars");
    let mut both = one_off();
    both["command"] = json!("x");
    both["argv"] = json!(["x"]);
    both["timeout_seconds"] = json!(0);
    let runs = json!({"runs": [one_off(), far, both]});
    let refused = acme.post("/v1/runs/batch", &runs).await;
    assert_eq!(refused.status, 422);
    let problem = refused.json();
    let places: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    assert!(places.contains(&"#/runs/1/region"), "{places:?}");
    assert!(places.contains(&"#/runs/2/timeout_seconds"), "{places:?}");
    assert!(!places.iter().any(|place| place.starts_with("#/runs/0")));
    let shape = json!({"runs": [one_off(), {"image": 1}]});
    let refused = acme.post("/v1/runs/batch", &shape).await;
    assert_eq!(refused.fields(), ["runs[1].image"]);
    let all_wrong =
        json!({"runs": vec![json!({"image": "", "region": "x", "instance_type": "y"}); 1_000]});
    let refused = acme.post("/v1/runs/batch", &all_wrong).await;
    assert_eq!(refused.fields().len(), 100, "told up to a bound");
    assert_eq!(count(&acme).await, 0);
}

#[tokio::test]
async fn a_key_makes_one_batch() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let batch = json!({"runs": [one_off(), one_off()]});
    let first = acme.keyed("/v1/runs/batch", "k", &batch).await;
    assert_eq!(first.header("idempotency-replayed"), None);
    let again = acme.keyed("/v1/runs/batch", "k", &batch).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.status, 201);
    assert_eq!(again.text, first.text, "word by word");
    let other = json!({"runs": [one_off()]});
    let refused = acme.keyed("/v1/runs/batch", "k", &other).await;
    assert_eq!(refused.problem(), "key-reused");
    let single = acme.keyed("/v1/runs", "k", &one_off()).await;
    assert_eq!(single.problem(), "key-reused");
    assert_eq!(count(&acme).await, 2);
    let whole = vec![one_off(); 1_000];
    let whole = json!({"runs": whole});
    let at_once = (0..4).map(|_| acme.keyed("/v1/runs/batch", "large", &whole));
    let answers = futures::future::join_all(at_once).await;
    let made = answers.iter().filter(|answer| answer.status == 201);
    let texts: std::collections::BTreeSet<&str> = made.map(|answer| answer.text.as_str()).collect();
    assert_eq!(texts.len(), 1);
    let runs = world
        .service
        .store
        .runs_page(Default::default(), None, 1_000);
    let newest = runs.await.unwrap()[0].base.run;
    let texts: Vec<_> = texts.into_iter().collect();
    assert!(
        texts[0].contains(&newest.to_string()),
        "and the last run is of it"
    );
}

#[tokio::test]
async fn a_spent_tenant_makes_none() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let run = acme.run().await;
    let peer = world.host().await;
    let key = world.running("acme", run, peer).await;
    let second = vec![segment(key, 0, 0, 1_000, false)];
    world.say(peer, key, 2, Event::Metered, second).await;
    let tenant = "acme".parse().unwrap();
    let cap = Some(PRICE_MICROS);
    let put = davit_scheduler::service::tenants::put(&world.service, "operator", tenant, true, cap);
    put.await.unwrap();
    let refused = acme
        .post("/v1/runs/batch", &json!({"runs": [one_off()]}))
        .await;
    assert_eq!(refused.status, 402);
    assert_eq!(count(&acme).await, 1);
}
