//! What is said when something is wrong: every field, and what to do.

use davit_scheduler::rest::RestSettings;
use davit_scheduler::service::access::Scope;

use crate::client::Client;
use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_says_what_to_do() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let looker = world.client("acme", &[Scope::RunsRead], None).await;
    let unknown = Client::new(
        world.address,
        Some("davit_pat_0000000000000000000000000000000000000000".into()),
        None,
    );
    let run = "01890a5d-ac96-774b-bcce-b302099a8057";
    for (client, arguments, parts) in [
        (
            &unknown,
            &["ps"][..],
            &["no valid credential", "--token-file", "davit profile add"][..],
        ),
        (
            &looker,
            &["run", "--region", "here", "--type", "small", "busybox:1"],
            &["runs:write", "davit token create"],
        ),
        (
            &acme,
            &["inspect", run],
            &["there is no run", run, "tenant"],
        ),
        (
            &acme,
            &[
                "run",
                "--region",
                "nowhere",
                "--type",
                "small",
                "--timeout",
                "100000",
                "busybox:1",
            ],
            &[
                "region = `nowhere`",
                "timeout_seconds = `100000`",
                "davit region list",
            ],
        ),
        (
            &acme,
            &["run", "--type", "vast", "busybox:1"],
            &["instance_type = `vast`", "davit instance-type list"],
        ),
        (
            &acme,
            &["run", "busybox:1"],
            &["--instance-type", "davit instance-type list"],
        ),
    ] {
        let said = client.refused(arguments).await;
        for part in parts {
            assert!(said.contains(part), "{arguments:?}: no {part:?} in {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_a_host_does_is_refused_with_another_way() {
    let world = World::begin().await;
    let acme = world.acme().await;
    for (arguments, way) in [
        (&["images"][..], "davit runner warmup"),
        (&["pull", "busybox"], "davit runner warmup"),
        (&["image", "rm", "busybox"], "evict"),
        (&["rm", "x"], "retention"),
        (&["reap"], "--socket"),
        (&["info"], "davit executor list"),
        (&["metrics"], "/metrics"),
        (&["run", "--rm", "x"], "retention"),
        (&["run", "--cpu", "1", "x"], "davit instance-type list"),
        (&["run", "--memory", "1MiB", "x"], "--instance-type"),
        (&["run", "--name", "x", "x"], "--label"),
        (&["run", "--publish", "8080:80", "x"], "--socket"),
        (&["run", "--log-cap", "1MiB", "x"], "256 MiB"),
        (
            &[
                "run",
                "--registry-user",
                "u",
                "--registry-password-stdin",
                "x",
            ],
            "davit registry add",
        ),
    ] {
        let said = acme.refused(arguments).await;
        assert!(
            said.contains("is not for a scheduler: ") && said.contains(way),
            "{arguments:?}: {said}"
        );
    }
    assert_eq!(acme.said(&["ps", "-a", "-q"]).await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_too_often_waits_as_told() {
    let world = World::with(RestSettings {
        requests_per_second: 1,
        requests_burst: 1,
        heartbeat_ms: 100,
    })
    .await;
    let acme = world.acme().await;
    for _ in 0..2 {
        // The list of live runs is two requests.
        assert_eq!(acme.said(&["ps", "-q"]).await, "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there_is_told_at_once_with_the_address() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    drop(taken);
    let client = Client::new(address, Some("davit_pat_x".into()), None);
    let said = client.refused(&["ps"]).await;
    assert!(
        said.contains(&format!("cannot reach the scheduler at http://{address}")),
        "{said}"
    );
    assert!(said.contains("hint:"), "{said}");
}
