//! What runs used: the export adds up, and a killed `davit dev` changes nothing about it.

use serde_json::Value;

use crate::place::Dev;
use crate::rest::{Client, texts};

/// The export's rows of a run add up to what the run says of itself.
pub(crate) fn assert_exported(client: &Client, run: &Value) {
    let page = client.get("/v1/usage?limit=1000");
    assert_eq!(page["more"], false, "{page:#}");
    let rows = page["usage"].as_array().unwrap();
    let rows = rows.iter().filter(|row| row["ResourceId"] == run["id"]);
    let (mut wall_ms, mut active_ms, mut micros) = (0, 0, 0);
    for row in rows {
        let number = |field: &str| row[field].as_u64().unwrap();
        assert_eq!(number("x_BeginMs"), wall_ms, "a gap: {page:#}");
        wall_ms = number("x_EndMs");
        if row["x_Paused"] == false {
            active_ms += wall_ms - number("x_BeginMs");
        }
        micros += number("x_BilledMicros");
    }
    assert_eq!(run["usage"]["active_ms"], active_ms, "{run:#}\n{page:#}");
    let measured = &run["usage"]["measured"];
    assert_eq!(measured["wall_ms"], wall_ms, "{run:#}\n{page:#}");
    assert_eq!(run["cost"]["micros"], micros, "{run:#}\n{page:#}");
}

/// Waits until everything is settled, and says what then holds.
fn settled(client: &Client, runs: u64) {
    let path = "/v1/usage/reconciliation";
    let sums = client.wait(path, "settled", |sums| sums["settled"] == true);
    assert_eq!(sums["good"], true, "{sums:#}");
    assert_eq!(sums["runs"], runs, "{sums:#}");
    assert_eq!(
        sums["ledger_active_ms"], sums["totals_active_ms"],
        "{sums:#}"
    );
    assert_eq!(sums["export_micros"], sums["totals_micros"], "{sums:#}");
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn the_usage_export_adds_up_and_is_settled() {
    let dev = Dev::start();
    let runs: Vec<String> = ["sleep 0.2", "sleep 1.2; exit 1"]
        .map(|command| dev.sh(command))
        .into();
    for run in &runs {
        let end = dev.client.ended(run);
        let active_ms = end["usage"]["active_ms"].as_u64().unwrap();
        assert!(active_ms >= 200, "{end:#}");
        assert_eq!(
            end["usage"]["billed_seconds"],
            active_ms.div_ceil(1_000),
            "{end:#}"
        );
        assert_exported(&dev.client, &end);
    }
    settled(&dev.client, 2);
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_run_outlives_a_kill_of_davit_dev_exactly() {
    let mut dev = Dev::start();
    let run = dev.sh("for n in $(seq 120); do echo beat $n; sleep 0.1; done; exit 7");
    dev.client.logged(&run, 5);
    dev.kill_and_restart();
    let seen = dev.client.get(&format!("/v1/runs/{run}"));
    assert_eq!(seen["run"]["status"], "running", "{seen:#}");

    let end = dev.client.ended(&run);
    assert_eq!(
        (&end["exit_code"], &end["attempt"]),
        (&7.into(), &1.into()),
        "{end:#}"
    );
    let wanted: Vec<String> = (1..=120).map(|n| format!("beat {n}")).collect();
    assert_eq!(texts(&dev.client.log(&run, 1_000)), wanted);
    let active_ms = end["usage"]["active_ms"].as_u64().unwrap();
    assert!(active_ms >= 12_000, "{end:#}");
    assert_eq!(end["attempts"][0]["duration_ms"], active_ms, "{end:#}");
    assert_eq!(end["usage"]["measured"]["wall_ms"], active_ms, "{end:#}");
    assert_exported(&dev.client, &end);
    settled(&dev.client, 1);
    dev.finish();
}
