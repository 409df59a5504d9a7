//! Runs through REST: of a runner and without one, their logs, what is asked of them, whose they are.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::ledger::assert_exported;
use crate::place::{Dev, one_off};
use crate::rest::{Client, run_id, texts};

/// How long a run is left paused.
const PAUSED_MS: u64 = 1_000;

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_runner_is_warmed_and_run_twice_once_with_an_override() {
    let dev = Dev::start();
    let registry = dev.client.post("/v1/registries", &private_registry());
    registry.expect(201);
    let wanted = json!({
        "name": "greeter", "container_registry": "private", "image_name": "davit/busybox", "image_tag": "1",
        "region": "local", "instance_type": "small",
        "run_command": "echo $WORD from the runner", "env_variables": [{"env_key": "WORD", "env_val": "hello"}],
    });
    let made = dev.client.post("/v1/runners", &wanted).expect(201);
    let path = format!("/v1/runners/{}", made["runner"]["id"].as_str().unwrap());
    dev.client.tell(&format!("{path}/warmup")).expect(202);
    dev.wait_fetched("127.0.0.1:5001/davit/busybox");
    dev.client.wait(&path, "warmed", |reply| {
        !reply["runner"]["warmed_at"].is_null()
    });

    let plain = run_id(&dev.client.tell(&format!("{path}/runs")).expect(201));
    let other = json!({
        "command": "echo $WORD instead; exit 4", "env_variables": [{"env_key": "WORD", "env_val": "bye"}],
    });
    let other = run_id(&dev.client.post(&format!("{path}/runs"), &other).expect(201));

    let end = dev.client.ended(&plain);
    assert_eq!(
        (&end["status"], &end["exit_code"]),
        (&json!("succeeded"), &json!(0)),
        "{end:#}"
    );
    assert_eq!(
        texts(&dev.client.log(&plain, 10)),
        ["hello from the runner"]
    );
    let end = dev.client.ended(&other);
    assert_eq!(
        (&end["status"], &end["exit_code"]),
        (&json!("failed"), &json!(4)),
        "{end:#}"
    );
    assert_eq!(texts(&dev.client.log(&other, 10)), ["bye instead"]);
    let locked_in = &end["security"];
    assert_eq!(locked_in["no_new_privileges"], true, "{end:#}");
    assert_eq!(locked_in["capabilities"], json!([]), "{end:#}");
    assert_eq!(locked_in["network"], "none", "{end:#}");
    dev.client.wait_counted(2);
    let listed = dev.client.get(&format!("{path}/runs"));
    let mut ids: Vec<&str> = listed["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["id"].as_str().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, [plain, other], "{listed:#}");
    dev.finish();
}

/// The one beside the open one, which wants a password.
fn private_registry() -> serde_json::Value {
    json!({
        "name": "private", "server": "127.0.0.1:5001", "username": "davit", "password": "davit-test",
    })
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn the_stream_has_every_line_and_the_state_last() {
    let dev = Dev::start();
    let run = dev.sh("for n in $(seq 25); do echo line $n; sleep 0.02; done; exit 3");
    // From before it runs until after it has ended.
    let events = dev.client.stream(&run);
    let wanted: Vec<String> = (1..=25).map(|n| format!("line {n}")).collect();
    let (last, lines) = events.split_last().expect("a stream of something");
    assert_eq!(last.name, "state", "{events:#?}");
    let state = last.data.get("run").unwrap_or(&last.data);
    assert_eq!(state["exit_code"], 3, "{last:#?}");
    assert!(lines.iter().all(|event| event.name == "log"), "{events:#?}");
    let streamed: Vec<_> = lines.iter().map(|event| event.data.clone()).collect();
    assert_eq!(texts(&streamed), wanted);
    for limit in [7, 25, 1_000] {
        assert_eq!(dev.client.log(&run, limit), streamed, "pages of {limit}");
    }
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_long_run_is_stopped() {
    let dev = Dev::start();
    let run = dev.sh("trap 'echo told; exit 9' TERM; echo up; while :; do sleep 0.05; done");
    dev.client.logged(&run, 1);
    let stop = json!({"grace_ms": 10_000});
    dev.client
        .post(&format!("/v1/runs/{run}/stop"), &stop)
        .expect(200);
    let end = dev.client.ended(&run);
    assert_eq!(end["status"], "canceled", "{end:#}");
    assert_eq!(end["end_reason"], "canceled", "{end:#}");
    assert_eq!(texts(&dev.client.log(&run, 10)), ["up", "told"]);
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_paused_run_does_nothing_until_it_is_resumed() {
    let dev = Dev::start();
    let run = dev.sh("for n in $(seq 40); do echo $n; sleep 0.05; done");
    let path = format!("/v1/runs/{run}");
    dev.client.logged(&run, 3);
    dev.client.tell(&format!("{path}/pause")).expect(200);
    let paused = |reply: &serde_json::Value| !reply["run"]["paused_at"].is_null();
    dev.client.wait(&path, "paused", paused);
    let begin = Instant::now();
    dev.client.wait(&path, "paused long enough", |reply| {
        assert!(paused(reply), "it goes on: {reply:#}");
        begin.elapsed() >= Duration::from_millis(PAUSED_MS)
    });
    dev.client.tell(&format!("{path}/resume")).expect(200);

    let end = dev.client.ended(&run);
    assert_eq!(end["status"], "succeeded", "{end:#}");
    let (lines, numbers) = (dev.client.log(&run, 1_000), 1..=40);
    assert_eq!(
        texts(&lines),
        numbers.map(|n| n.to_string()).collect::<Vec<_>>()
    );
    let times: Vec<jiff::Timestamp> = lines
        .iter()
        .map(|line| line["time"].as_str().unwrap().parse().unwrap())
        .collect();
    let gaps = times
        .windows(2)
        .map(|two| two[0].duration_until(two[1]).as_millis());
    let longest = gaps.max().unwrap();
    assert!(longest >= i128::from(PAUSED_MS), "it went on: {longest} ms");
    let measured = &end["usage"]["measured"];
    let [wall, paused] = ["wall_ms", "paused_ms"].map(|field| measured[field].as_u64().unwrap());
    assert!(paused >= PAUSED_MS, "{end:#}");
    // Each is rounded to milliseconds by itself.
    let active = end["usage"]["active_ms"].as_u64().unwrap();
    assert!(active.abs_diff(wall - paused) <= 1, "{end:#}");
    assert_exported(&dev.client, &end);
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_second_tenant_sees_nothing_of_the_first() {
    let dev = Dev::start();
    let run = dev.sh("echo mine");
    dev.client.ended(&run);
    let other = second_tenant(&dev.client);
    let path = format!("/v1/runs/{run}");
    for tail in ["", "/logs", "/logs/stream"] {
        let answer = other.send("GET", &format!("{path}{tail}"), None);
        assert_eq!(answer.status, 404, "{tail}: {}", answer.text);
    }
    for verb in ["stop", "cancel", "pause", "resume"] {
        let answer = other.tell(&format!("{path}/{verb}"));
        assert_eq!(answer.status, 404, "{verb}: {}", answer.text);
    }
    assert_eq!(other.get("/v1/runs")["runs"], json!([]));
    assert_eq!(other.get("/v1/usage")["usage"], json!([]));

    let own = other.post("/v1/runs", &one_off("echo theirs")).expect(201);
    let own = run_id(&own);
    assert_eq!(other.ended(&own)["status"], "succeeded");
    assert_eq!(texts(&other.log(&own, 10)), ["theirs"]);
    let answer = dev.client.send("GET", &format!("/v1/runs/{own}"), None);
    assert_eq!(answer.status, 404, "{}", answer.text);
    dev.finish();
}

/// A tenant beside that of `operator`, who may do all that is no operator's.
fn second_tenant(operator: &Client) -> Client {
    let open = json!({"open": true});
    let made = operator.send("PUT", "/v1/tenants/other", Some(&open));
    made.expect(200);
    let wanted = json!({
        "name": "test",
        "scopes": ["runners:read", "runners:write", "runs:read", "runs:write", "logs:read", "usage:read"],
    });
    let minted = operator
        .post("/v1/tenants/other/tokens", &wanted)
        .expect(201);
    Client {
        address: operator.address,
        token: minted["secret"].as_str().unwrap().to_owned(),
    }
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_repeated_key_gives_the_same_run() {
    let dev = Dev::start();
    let body = one_off("echo once");
    let submit = |key: &str| {
        let headers = [("idempotency-key", key)];
        let answer = dev
            .client
            .try_send("POST", "/v1/runs", &headers, Some(&body));
        run_id(&answer.unwrap().expect(201))
    };
    let first = submit("order-1");
    assert_eq!(submit("order-1"), first);
    dev.client.ended(&first);
    assert_eq!(submit("order-1"), first);
    assert_ne!(submit("order-2"), first);
    let listed = dev.client.get("/v1/runs");
    assert_eq!(listed["runs"].as_array().unwrap().len(), 2, "{listed:#}");
    assert_eq!(texts(&dev.client.log(&first, 10)), ["once"]);
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_run_with_a_bridge_has_its_link_and_is_metered() {
    let dev = Dev::start();
    let mut wanted = one_off("grep -c eth0 /proc/net/dev; cat /sys/class/net/eth0/mtu");
    wanted["network"] = json!("bridge");
    wanted["egress"] = json!(["192.0.2.0/24,tcp,443"]);
    let run = run_id(&dev.client.post("/v1/runs", &wanted).expect(201));
    let end = dev.client.ended(&run);
    assert_eq!(end["exit_code"], 0, "{end:#}");
    assert_eq!(texts(&dev.client.log(&run, 10)), ["1", "1500"]);
    assert_eq!(end["security"]["network"], "bridge", "{end:#}");
    let measured = &end["usage"]["measured"];
    assert!(measured["network_sent_bytes"].is_u64(), "{end:#}");
    dev.finish();
}
