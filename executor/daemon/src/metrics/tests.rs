//! What is counted is told, by words of ours, and nothing else is.

use std::collections::BTreeMap;

use davit_rundir::{Stamp, Timings};
use davit_types::EndReason;

use super::{Exposition, Metrics, PullMeter};
use crate::images::ImageError;

fn at(milliseconds: u64) -> Option<Stamp> {
    let boot_ns = 1_000_000_000 + milliseconds * 1_000_000;
    let unix_ns = 1_700_000_000_000_000_000;
    Some(Stamp { boot_ns, unix_ns })
}

/// The samples of a scrape, by name and labels as written.
fn samples(metrics: &Metrics, pulls: &PullMeter) -> BTreeMap<String, f64> {
    let text = Exposition::of(metrics, pulls).text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.map(|line| line.rsplit_once(' ').unwrap());
    pairs
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

#[test]
fn a_start_is_timed_in_whole_and_in_parts_on_its_own_path() {
    let (metrics, pulls) = (Metrics::new(), PullMeter::default());
    let cold = Timings {
        accepted: at(0),
        begun: at(1),
        pulled: at(5),
        prepared: at(9),
        created: at(21),
        started: at(25),
        warm: false,
    };
    metrics.started(&cold);
    // An adopted start: not all of its steps are known.
    metrics.started(&Timings {
        begun: None,
        warm: true,
        ..cold
    });
    let samples = samples(&metrics, &pulls);
    for (name, value) in [
        (r#"davit_run_start_seconds_count{path="cold"}"#, 1.0),
        (r#"davit_run_start_seconds_sum{path="cold"}"#, 0.025),
        (
            r#"davit_run_start_seconds_bucket{le="0.02",path="cold"}"#,
            0.0,
        ),
        (
            r#"davit_run_start_seconds_bucket{le="0.03",path="cold"}"#,
            1.0,
        ),
        (
            r#"davit_run_start_phase_seconds_sum{phase="create",path="cold"}"#,
            0.012,
        ),
        (
            r#"davit_run_start_phase_seconds_count{phase="pull",path="warm"}"#,
            0.0,
        ),
        (
            r#"davit_run_start_phase_seconds_count{phase="start",path="warm"}"#,
            1.0,
        ),
    ] {
        let found = samples.get(name).copied();
        assert!(
            found.is_some_and(|found| (found - value).abs() < 1e-9),
            "{name}: {found:?}, not {value}"
        );
    }
}

#[test]
fn ends_pulls_and_slots_are_counted_by_words_of_ours() {
    let (metrics, pulls) = (Metrics::new(), PullMeter::default());
    metrics.ended(EndReason::OomKilled);
    metrics.ended(EndReason::OomKilled);
    metrics.warm_slots(7, 2);
    pulls.over(&Ok::<(), ImageError>(()));
    pulls.over(&Err::<(), _>(ImageError::Abandoned { image: "x".into() }));
    let image = "registry.example.com/secret/name".to_owned();
    pulls.over(&Err::<(), _>(ImageError::NoLocalCopy { image }));
    let samples = samples(&metrics, &pulls);
    for (name, value) in [
        (r#"davit_runs_ended_total{reason="oom_killed"}"#, 2.0),
        (r#"davit_runs_ended_total{reason="exited"}"#, 0.0),
        (r#"davit_warm_slots{state="ready"}"#, 7.0),
        (r#"davit_warm_slots{state="making"}"#, 2.0),
        (r#"davit_image_pulls_total{outcome="succeeded"}"#, 1.0),
        (r#"davit_image_pulls_total{outcome="abandoned"}"#, 1.0),
        (r#"davit_image_pulls_total{outcome="failed"}"#, 1.0),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name}");
    }
    assert!(!samples.keys().any(|name| name.contains("secret")));
}

#[test]
fn what_never_happened_is_told_as_zero_and_the_series_are_few() {
    let metrics = Metrics::new();
    let samples = samples(&metrics, &PullMeter::default());
    for reason in EndReason::ALL {
        let name = format!("davit_runs_ended_total{{reason=\"{reason}\"}}");
        assert_eq!(samples.get(&name), Some(&0.0));
    }
    let calls = r#"davit_containerd_call_failures_total{kind="deadline"}"#;
    assert!(samples.contains_key(calls));
    assert!(samples.len() < 400, "{} series", samples.len());
}

#[test]
fn no_type_is_used_that_the_older_text_format_lacks() {
    let text = Exposition::of(&Metrics::new(), &PullMeter::default()).text();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    for line in types {
        let (_, kind) = line.split_once(' ').unwrap();
        assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
    }
}
