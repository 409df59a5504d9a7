//! What the executor counts is what happened, and what it tells of one start adds up.

use std::collections::BTreeMap;
use std::time::Duration;

use davit_rpc::local::{Empty, SubmitRequest, host_client::HostClient};

use super::support::{BUSYBOX, Executor};

/// The samples of a scrape, by name and labels as written.
async fn scrape(executor: &Executor) -> BTreeMap<String, f64> {
    let mut host = HostClient::new(executor.channel());
    let told = host.metrics(Empty {}).await.unwrap().into_inner();
    let lines = told.openmetrics_text.lines();
    let samples = lines.filter(|line| !line.starts_with('#'));
    let pairs = samples.map(|line| line.rsplit_once(' ').unwrap());
    pairs
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

fn starts(samples: &BTreeMap<String, f64>) -> f64 {
    ["warm", "cold"]
        .iter()
        .map(|path| samples[&format!("davit_run_start_seconds_count{{path=\"{path}\"}}")])
        .sum()
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn starts_ends_and_live_runs_are_counted_once() {
    let mut executor = Executor::start().await;
    let fresh = scrape(&executor).await;
    assert_eq!(starts(&fresh), 0.0);
    for command in ["true", "exit 3"] {
        let run = executor.sh(command).await;
        executor.wait(&run).await;
    }
    let no_image = SubmitRequest {
        image: BUSYBOX.replace("busybox", "absent"),
        ..SubmitRequest::default()
    };
    let refused = executor.submit(no_image).await.unwrap();
    executor.wait(&refused).await;
    let live = executor.sh("echo up; sleep 600").await;
    // Its first line may be read before its start is confirmed.
    while executor.get(&live).await.phase != "running" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let samples = scrape(&executor).await;
    for (name, value) in [
        (r#"davit_runs_ended_total{reason="exited"}"#, 2.0),
        (r#"davit_runs_ended_total{reason="image_pull_failed"}"#, 1.0),
        (r#"davit_runs_ended_total{reason="canceled"}"#, 0.0),
        (r#"davit_runs_live{phase="running"}"#, 1.0),
        (r#"davit_image_pulls_total{outcome="succeeded"}"#, 1.0),
        (r#"davit_image_pulls_total{outcome="failed"}"#, 1.0),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name}");
    }
    assert_eq!(starts(&samples), 3.0);
    for id in [&live.id, &refused.id] {
        assert!(!samples.keys().any(|name| name.contains(id.as_str())));
    }

    // An adopted run was started, and counted, by another executor.
    executor.kill_and_restart().await;
    executor.stop(&live, 0).await;
    let samples = scrape(&executor).await;
    assert_eq!(starts(&samples), 0.0);
    let canceled = samples[r#"davit_runs_ended_total{reason="canceled"}"#];
    assert_eq!(canceled, 1.0);
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn the_phases_of_a_start_add_up_to_what_the_clocks_say() {
    let mut executor = Executor::start().await;
    for command in ["true", "sleep 0.2"] {
        let run = executor.sh(command).await;
        let run = executor.wait(&run).await;
        let timings = run.timings.unwrap();
        let phases = [
            timings.queue_us,
            timings.pull_us,
            timings.prepare_us,
            timings.create_us,
            timings.start_us,
        ];
        assert!(phases.iter().all(Option::is_some), "{timings:?}");
        let sum: u64 = phases.into_iter().flatten().sum();
        let total = timings.started_us.unwrap();
        // Each phase is cut to whole microseconds.
        assert!((total - 5..=total).contains(&sum), "{timings:?}");
        let shown = (run.started_at_ns.unwrap() - run.created_at_ns) / 1_000;
        assert!(shown.abs_diff(total) < 1_000, "{shown} µs, {timings:?}");
    }
    executor.finish().await;
}
