//! What a platform team does: runners, tokens, sizes, regions, tenants, hosts, the ledger.

use std::io::Write;
use std::process::Stdio;

use serde_json::json;

use crate::client::{finished, text};
use crate::runs::detached;
use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_from_its_making_to_its_end() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let create = [
        "runner",
        "create",
        "nightly",
        "--image",
        "docker.io/library/busybox:1.36",
    ];
    let create = [
        &create[..],
        &["--type", "small", "-e", "A=1", "--network", "bridge"],
        &["--egress", "192.0.2.0/24,tcp", "--network-rate", "1MiB"],
        &["--runtime", "runc", "--cap-add", "chown", "--read-only"],
        &["--workdir", "/srv", "--user", "7:8", "--hostname", "inside"],
        &["--", "echo", "hi"],
    ]
    .concat();
    let id = acme.said(&create).await.trim().to_owned();
    let shown = acme.json(&["runner", "show", "nightly", "--reveal"]).await;
    assert_eq!(shown["id"], id.as_str());
    assert_eq!(shown["image_name"], "library/busybox");
    assert_eq!(shown["image_tag"], "1.36");
    assert_eq!(shown["argv"], json!(["echo", "hi"]));
    assert_eq!(shown["network"], "bridge");
    assert_eq!(shown["egress"], json!(["192.0.2.0/24,tcp"]));
    assert_eq!(shown["network_bytes_per_second_max"], 1 << 20);
    assert_eq!(shown["runtime"], "runc");
    assert_eq!(shown["capabilities"], json!(["CAP_CHOWN"]));
    assert_eq!(shown["env_variables"][0]["env_val"], "1");
    let inside = |of: &serde_json::Value| {
        ["workdir", "user", "hostname", "read_only_root"].map(|field| of[field].clone())
    };
    let mut wanted = [json!("/srv"), json!("7:8"), json!("inside"), json!(true)];
    assert_eq!(inside(&shown), wanted);
    let edit = ["runner", "edit", "nightly", "--name", "daily"];
    let edit = [&edit[..], &["--timeout", "90s", "--read-only=false"]].concat();
    acme.said(&edit).await;
    let shown = acme.json(&["runner", "show", &id[..35]]).await;
    assert_eq!(
        (&shown["name"], &shown["timeout_seconds"]),
        (&json!("daily"), &json!(90))
    );
    assert_eq!(shown["image_tag"], "1.36", "an edit left it alone");
    wanted[3] = json!(false);
    assert_eq!(inside(&shown), wanted);
    let listed = acme.said(&["runner", "list"]).await;
    assert!(listed.contains("daily  ready   docker.io"), "{listed}");
    acme.said(&["runner", "warmup", "daily"]).await;
    let taken = acme.refused(&[
        "runner", "create", "daily", "--image", "x", "--type", "small",
    ]);
    assert!(taken.await.contains("choose another name"));

    let run = acme
        .said(&["runner", "run", "-d", "daily", "-e", "B=2", "--", "true"])
        .await;
    let shown = &acme.json(&["inspect", run.trim()]).await[0];
    assert_eq!(
        (&shown["runner_id"], &shown["argv"]),
        (&json!(id), &json!(["true"]))
    );
    assert_eq!(acme.said(&["runner", "delete", "daily"]).await, "daily\n");
    assert!(
        acme.refused(&["runner", "show", "daily"])
            .await
            .contains("there is no runner `daily`")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_and_their_tokens() {
    let world = World::begin().await;
    let operator = world.operator().await;
    operator
        .said(&["tenant", "put", "gamma", "--spend-cap", "12.5"])
        .await;
    let shown = operator.json(&["tenant", "show", "gamma"]).await;
    assert_eq!(
        (&shown["open"], &shown["spend_cap"]),
        (&json!(true), &json!("12.5"))
    );
    let create = [
        "token",
        "create",
        "ci",
        "--scope",
        "runs:read,runs:write",
        "--tenant",
        "gamma",
    ];
    let secret = operator.said(&create).await;
    assert!(secret.starts_with("davit_"), "{secret}");
    assert!(operator.said(&["tenant", "list"]).await.contains("gamma"));
    assert!(operator.json(&["tenant", "show"]).await["name"] == "acme");

    let made = operator
        .json(&["token", "create", "ci", "--scope", "runs:read"])
        .await;
    let id = made["token"]["id"].as_str().unwrap();
    assert_eq!(operator.said(&["token", "revoke", "ci"]).await, "ci\n");
    let listed = operator.json(&["token", "list"]).await;
    let token = listed.as_array().unwrap().iter().find(|t| t["id"] == id);
    assert!(!token.unwrap()["revoked_at"].is_null(), "{listed:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_and_regions() {
    let world = World::begin().await;
    let operator = world.operator().await;
    let put = [
        "instance-type",
        "put",
        "wide",
        "--cpu",
        "2.5",
        "--memory",
        "1GiB",
        "--pids",
        "99",
    ];
    operator
        .said(&[&put[..], &["--price-second", "0.000012"]].concat())
        .await;
    let sizes = operator.said(&["instance-type", "list"]).await;
    assert!(
        sizes.contains("wide") && sizes.contains("2.5") && sizes.contains("1.0 GiB"),
        "{sizes}"
    );
    assert_eq!(
        operator.said(&["instance-type", "remove", "wide"]).await,
        "wide\n"
    );
    assert_eq!(
        operator
            .said(&["region", "put", "south", "--name", "Far"])
            .await,
        "south\n"
    );
    assert!(
        operator
            .said(&["region", "list"])
            .await
            .contains("south   Far")
    );
    // With two regions there is none that is meant.
    let unsure = operator
        .refused(&["run", "--type", "small", "busybox:1"])
        .await;
    assert!(unsure.contains("one of: here, south"), "{unsure}");
    assert_eq!(
        operator.said(&["region", "remove", "south"]).await,
        "south\n"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_and_its_password() {
    let world = World::begin().await;
    let operator = world.operator().await;
    let add = [
        "registry",
        "add",
        "private",
        "--address",
        "r.example.com",
        "--username",
        "u",
    ];
    let mut child = operator
        .command(&add)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"hush\n").unwrap();
    let added = finished(child).await;
    assert_eq!(added.status.code(), Some(0), "{}", text(&added.stderr));
    let listed = operator.said(&["registry", "list"]).await;
    assert!(
        listed.contains("r.example.com") && !listed.contains("hush"),
        "{listed}"
    );
    assert_eq!(
        operator.said(&["registry", "remove", "private"]).await,
        "private\n"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_are_drained_and_taken_out() {
    let world = World::begin().await;
    let operator = world.operator().await;
    world.host().await;
    let state = async || operator.json(&["executor", "show", "host-0"]).await["state"].clone();
    assert_eq!(state().await, "online");
    operator.said(&["executor", "drain", "host-0"]).await;
    assert_eq!(state().await, "draining");
    operator.said(&["executor", "resume", "host-0"]).await;
    assert_eq!(state().await, "online");
    assert!(
        operator
            .said(&["executor", "list"])
            .await
            .contains("host-0  here    online")
    );
    operator.said(&["executor", "remove", "host-0"]).await;
    assert_eq!(state().await, "removed");
    let token = operator
        .said(&["executor", "join-token", "--region", "here"])
        .await;
    assert!(token.starts_with("davit_join_"), "{token}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_is_exported_once_from_where_one_left_off() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let peer = world.host().await;
    let charge = async |wall_ms| {
        let run = detached(&acme).await;
        let key = world.running("acme", run, peer).await;
        world.end(peer, key, 2, wall_ms, 0).await;
    };
    charge(1_000).await;
    charge(2_000).await;
    let first = acme.davit(&["usage", "export"]).await;
    let rows = text(&first.stdout);
    assert_eq!(rows.lines().count(), 2, "{rows}");
    let told = text(&first.stderr);
    let cursor = told.trim().rsplit_once(' ').unwrap().1.to_owned();

    charge(3_000).await;
    let later = acme.said(&["usage", "export", "--after", &cursor]).await;
    assert_eq!(later.lines().count(), 1, "{later}");
    assert!(later.contains("\"ConsumedQuantity\":\"3000\""), "{later}");
    let csv = acme.said(&["usage", "export", "--format", "csv"]).await;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 4, "{csv}");
    assert!(
        lines[0].starts_with("BilledCost,") && csv.ends_with("\r\n"),
        "{csv}"
    );
    let json = acme.said(&["usage", "export", "--format", "json"]).await;
    let all: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(all.as_array().unwrap().len(), 3, "{json}");
}
