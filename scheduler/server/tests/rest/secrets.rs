//! Secret files and variables: written once, never read back.

use davit_scheduler::service::environment;
use serde_json::json;
use uuid::Uuid;

use crate::world::{World, runner};

const FILE: &str = "canary-file-4f2c";
const VARIABLE: &str = "canary-variable-91ab";

fn holds(bytes: &[u8], text: &str) -> bool {
    let text = text.as_bytes();
    bytes.windows(text.len()).any(|window| window == text)
}

#[tokio::test]
async fn a_secret_file_is_given_to_runs_and_shown_to_nobody() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let mut new = runner("with secrets");
    new["secret_files"] =
        json!([{"name": "key.pem", "value": FILE}, {"name": "other", "value": "o"}]);
    new["env_variables"] = json!([
        {"env_key": "TOKEN", "env_val": VARIABLE, "secret": true},
        {"env_key": "LEVEL", "env_val": "debug"},
    ]);
    let answer = acme.post("/v1/runners", &new).await;
    let location = answer.header("location").unwrap().to_owned();
    let mut told = vec![answer.text.clone()];
    let made = answer.expect(201)["runner"].clone();
    assert_eq!(made["secret_files"], json!(["key.pem", "other"]));
    let marks = made["env_variables"].as_array().unwrap().iter();
    let marks: Vec<_> = marks.map(|var| var["secret"] == true).collect();
    assert_eq!(marks, [true, false]);
    told.push(acme.get(&location).await.text);
    let revealed = acme.get(&format!("{location}?reveal=true")).await.text;
    assert!(!revealed.contains(FILE), "{revealed}");

    // What a run says of itself goes over what its runner says, and unmarks nothing.
    let own = json!({
        "env_variables": [{"env_key": "TOKEN", "env_val": "its own"}],
        "secret_files": [{"name": "other", "value": "p"}, {"name": "third", "value": "t"}],
    });
    let answer = acme.post(&format!("{location}/runs"), &own).await;
    told.push(answer.text.clone());
    let run = answer.expect(201)["run"].clone();
    assert_eq!(run["secret_files"], json!(["key.pem", "other", "third"]));
    assert_eq!(run["secret_env"], json!(["TOKEN"]));
    let id: Uuid = run["id"].as_str().unwrap().parse().unwrap();
    told.push(acme.get(&format!("/v1/runs/{id}")).await.text);
    let tenant = "acme".parse().unwrap();
    let mut kept = environment::open(&world.service, &tenant, id)
        .await
        .unwrap();
    kept.sort_by(|one, other| one.key.cmp(&other.key));
    let kept: Vec<_> = kept.iter().map(|var| (&*var.key, &*var.value)).collect();
    assert_eq!(
        kept,
        [
            ("LEVEL", "debug"),
            ("TOKEN", "its own"),
            ("file/key.pem", FILE),
            ("file/other", "p"),
            ("file/third", "t"),
        ]
    );
    for text in told {
        assert!(!text.contains(FILE) && !text.contains(VARIABLE), "{text}");
    }
    let database = world.database();
    assert!(holds(&database, "with secrets"), "it is the database");
    assert!(!holds(&database, FILE) && !holds(&database, VARIABLE));
}

#[tokio::test]
async fn a_change_of_secret_files_replaces_them_and_no_variable() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let mut new = runner("with secrets");
    new["secret_files"] = json!([{"name": "old", "value": FILE}]);
    new["env_variables"] = json!([{"env_key": "TOKEN", "env_val": VARIABLE, "secret": true}]);
    let answer = acme.post("/v1/runners", &new).await;
    let location = answer.header("location").unwrap().to_owned();
    let change = json!({"secret_files": [{"name": "new", "value": "n"}]});
    let changed = acme.patch(&location, &change).await.expect(200)["runner"].clone();
    assert_eq!(changed["secret_files"], json!(["new"]));
    let stays = json!([{"env_key": "TOKEN", "env_val": null, "secret": true}]);
    assert_eq!(changed["env_variables"], stays);
    let change = json!({"env_variables": []});
    let changed = acme.patch(&location, &change).await.expect(200)["runner"].clone();
    assert_eq!(changed["secret_files"], json!(["new"]));
    let id: Uuid = changed["id"].as_str().unwrap().parse().unwrap();
    let tenant = "acme".parse().unwrap();
    let kept = environment::open(&world.service, &tenant, id)
        .await
        .unwrap();
    let kept: Vec<_> = kept.iter().map(|var| (&*var.key, &*var.value)).collect();
    assert_eq!(kept, [("file/new", "n")]);
}

#[tokio::test]
async fn wrong_secret_files_are_named_and_not_shown() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let large = "x".repeat(127 * 1024);
    for (files, field) in [
        (
            json!([{"name": "a/b", "value": FILE}]),
            "secret_files[0].name",
        ),
        (
            json!([{"name": "..", "value": FILE}]),
            "secret_files[0].name",
        ),
        (
            json!([{"name": "a", "value": FILE}, {"name": "a", "value": "b"}]),
            "secret_files[1].name",
        ),
        (
            json!([{"name": "a", "value": format!("{large}{FILE}")}]),
            "secret_files[0].value",
        ),
        (
            json!([{"name": "a", "value": large}, {"name": "b", "value": large}, {"name": "c", "value": large}]),
            "secret_files",
        ),
    ] {
        let mut new = runner("with secrets");
        new["secret_files"] = files;
        let refused = acme.post("/v1/runners", &new).await;
        assert_eq!(refused.status, 422, "{}", refused.text);
        assert_eq!(refused.fields(), [field]);
        assert!(!refused.text.contains(FILE), "{}", refused.text);
    }
}
