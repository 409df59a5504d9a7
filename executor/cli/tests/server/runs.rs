//! `run` and what looks at runs.

use davit_scheduler::store::{AttemptEnd, Event};
use davit_types::{EndReason, RunId};
use serde_json::json;

use crate::client::{Client, finished, text};
use crate::proxy::cutting;
use crate::world::{Peer, World, end};

/// What every run here is made of.
pub(crate) const RUN: &[&str] = &["run", "--type", "small", "busybox:1"];

/// The id that a detached run prints.
pub(crate) async fn detached(client: &Client) -> RunId {
    let said = client
        .said(&["run", "-d", "--type", "small", "busybox:1"])
        .await;
    said.trim().parse().unwrap()
}

/// Waits for the one run there is.
pub(crate) async fn only_run(client: &Client) -> RunId {
    for _ in 0..400 {
        let said = client.said(&["ps", "-q"]).await;
        if let Ok(run) = said.trim().parse() {
            return run;
        }
    }
    panic!("no run is ever seen");
}

/// Ends a run otherwise than with 0.
pub(crate) async fn end_with(
    world: &World,
    peer: Peer,
    key: davit_types::RunKey,
    ended: AttemptEnd,
) {
    world.say(peer, key, 2, Event::Ended(ended), vec![]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attached_run_is_its_bytes_and_its_code() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let attached = acme.start(RUN);
    let run = only_run(&acme).await;
    let peer = world.host().await;
    let key = world.running("acme", run, peer).await;
    world.write(peer, key, 1, 4).await;
    let ended = AttemptEnd {
        exit_code: Some(7),
        ..end(0, 4)
    };
    end_with(&world, peer, key, ended).await;
    let output = finished(attached).await;
    assert_eq!(
        output.status.code(),
        Some(7),
        "{output:?} {}",
        text(&output.stderr)
    );
    assert_eq!(output.stdout, b"line 1\n\xff\xfe\nline 4\n");
    assert_eq!(text(&output.stderr), "line 3\n");

    let run = run.to_string();
    for arguments in [
        &["logs", &run][..],
        &["logs", "-f", &run],
        &["attach", &run],
    ] {
        let again = acme.davit(arguments).await;
        assert_eq!(again.stdout, output.stdout, "{arguments:?}");
        assert_eq!(again.stderr, output.stderr, "{arguments:?}");
    }
    let only = ["logs", "--stream", "stderr", "--after", "2", &run];
    assert_eq!(text(&acme.davit(&only).await.stderr), "line 3\n");
    // As scripts read it: the records, then the end.
    let json = acme.davit(&["attach", "-o", "json", &run]).await;
    let said = text(&json.stdout);
    let lines: Vec<serde_json::Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 5, "{said}");
    assert_eq!(lines[2]["line"], "line 3");
    assert_eq!(
        (&lines[4]["event"], &lines[4]["run"]["exit_code"]),
        (&"end".into(), &7.into())
    );
    assert_eq!(json.status.code(), Some(7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_run_is_davits_failure_and_says_so() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let run = detached(&acme).await;
    let peer = world.host().await;
    let key = world.running("acme", run, peer).await;
    let ended = AttemptEnd {
        reason: EndReason::ExecutorLost,
        exit_code: None,
        message: "its host is gone".to_owned(),
        ..end(0, 0)
    };
    end_with(&world, peer, key, ended).await;
    let said = acme.refused(&["attach", &run.to_string()]).await;
    assert_eq!(said, "davit: executor_lost: its host is gone\n");
    let waited = acme.davit(&["wait", &run.to_string()]).await;
    assert_eq!(
        (waited.status.code(), text(&waited.stdout)),
        (Some(125), "125\n".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_makes_no_second_run() {
    let world = World::begin().await;
    let acme = world.acme().await;
    // The answers to two submits are lost, the third's comes.
    let (address, connections) = cutting(world.address, |number| (number < 2).then_some(0)).await;
    let run = [
        "run",
        "-d",
        "--region",
        "here",
        "--type",
        "small",
        "busybox:1",
    ];
    let said = acme.through(address).said(&run).await;
    assert!(connections.load(std::sync::atomic::Ordering::SeqCst) >= 3);
    let listed = acme.said(&["ps", "-a", "-q"]).await;
    assert_eq!(listed, said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_are_listed_inspected_and_charged() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let (first, second) = (detached(&acme).await, detached(&acme).await);
    let peer = world.host().await;
    let key = world.running("acme", first, peer).await;
    world.end(peer, key, 2, 1_500, 0).await;

    let live = acme.said(&["ps"]).await;
    assert!(live.starts_with("ID "), "{live}");
    assert!(live.contains(&second.to_string()), "{live}");
    assert!(!live.contains(&first.to_string()), "{live}");
    let all = acme.json(&["ps", "-a"]).await;
    assert_eq!(all.as_array().unwrap().len(), 2, "{all:#}");

    let shown = acme.said(&["inspect", &first.to_string()]).await;
    assert!(shown.contains("status: succeeded"), "{shown}");
    assert!(shown.contains("  active_ms: 1500"), "{shown}");
    let waiting = acme.said(&["inspect", &second.to_string()]).await;
    assert!(waiting.contains("message: no host is known"), "{waiting}");
    let used = acme.said(&["usage", &first.to_string()]).await;
    assert!(
        used.contains("1.500 s") && used.contains("0.000014"),
        "{used}"
    );
    // The beginning of an id will do, where it is one's only.
    let beginning = &second.to_string()[..35];
    assert_eq!(
        acme.json(&["inspect", beginning]).await[0]["id"],
        second.to_string()
    );
    let both = &second.to_string()[..4];
    assert!(
        acme.refused(&["inspect", both])
            .await
            .contains("more than one run")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_finds_its_container_as_was_asked_for() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let options = ["--workdir", "/srv", "--user", "7:8", "--hostname", "inside"];
    let run = ["run", "-d", "--type", "small", "--read-only"];
    let run = [&run[..], &options, &["busybox:1"]].concat();
    let run = acme.said(&run).await;
    let shown = &acme.json(&["inspect", run.trim()]).await[0];
    assert_eq!(
        ["workdir", "user", "hostname", "read_only_root"].map(|field| shown[field].clone()),
        [json!("/srv"), json!("7:8"), json!("inside"), json!(true)]
    );
    let refused = ["run", "--type", "small", "--workdir", "srv", "busybox:1"];
    let said = acme.refused(&refused).await;
    assert!(said.contains("workdir = `srv`"), "{said}");
    assert!(said.contains("absolute"), "{said}");
}
