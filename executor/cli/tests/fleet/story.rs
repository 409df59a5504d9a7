//! The story: every run lives in one place at a time, whatever happens between scheduler and executors.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::place::Fleet;
use crate::rest::{Client, run_id, texts};
use crate::watch::Watch;

const EXECUTORS: usize = 3;
/// Lines of the runs that wait for their hosts, ten a second.
const LINES: usize = 250;
/// A cut that is far shorter than any lease.
const SHORT_CUT_MS: u64 = 4_000;
/// The lease of the run that is given away: the shortest that is taken.
const STOP_AFTER_MS: u64 = 20_000;
const LOST_AFTER_MS: u64 = 50_000;
/// A run is given away within this time after its lease, on a busy machine.
const GIVEN_AWAY_MS_MAX: u64 = 60_000;

/// Counts, ten a second; the mark is seen by who looks at processes.
fn counting(mark: &str, lines: usize) -> Value {
    let count = "while [ $i -lt $n ]; do i=$((i+1)); echo $i; sleep 0.1; done";
    json!({
        "image": "127.0.0.1:5000/davit/busybox:1", "region": "here", "instance_type": "small",
        "command": format!(": {mark}; i=0; n={lines}; {count}"),
    })
}

fn numbers(log: &[Value]) -> Vec<usize> {
    texts(log)
        .iter()
        .map(|line| line.parse().unwrap())
        .collect()
}

/// The host on which a run's attempt executes.
fn running(client: &Client, run: &str, attempt: u64) -> String {
    let begin = Instant::now();
    let limit = Duration::from_millis(LOST_AFTER_MS + GIVEN_AWAY_MS_MAX);
    loop {
        let shown = client.get(&format!("/v1/runs/{run}"))["run"].take();
        if shown["attempt"] == attempt
            && !shown["started_at"].is_null()
            && shown["status"] == "running"
        {
            return shown["executor"].as_str().unwrap().to_owned();
        }
        assert!(
            begin.elapsed() < limit,
            "attempt {attempt} never runs: {shown:#}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn executors_and_schedulers_that_die_and_are_cut_off_execute_nothing_twice() {
    let mut fleet = Fleet::start(EXECUTORS);
    let mark = |name: &str| format!("davit-fleet-{name}-{}", std::process::id());
    let names: Vec<String> = fleet.executors.iter().map(|e| e.name.clone()).collect();
    let mut marks: Vec<String> = names.iter().map(|name| mark(name)).collect();
    marks.push(mark("given-away"));
    let watch = Watch::start(&marks);
    let submit = |body: &Value| run_id(&fleet.client.post("/v1/runs", body).expect(201));
    let mut given_away = counting(&marks[EXECUTORS], 10_000);
    given_away["on_lost"] = json!({
        "policy": "requeue", "lost_after_ms": LOST_AFTER_MS, "stop_after_ms": STOP_AFTER_MS,
    });
    let given_away = submit(&given_away);
    let waiting: Vec<String> = names
        .iter()
        .zip(&marks)
        .map(|(name, mark)| {
            let mut body = counting(mark, LINES);
            body["executors"] = json!([name]);
            submit(&body)
        })
        .collect();
    for run in &waiting {
        running(&fleet.client, run, 1);
    }
    let first = running(&fleet.client, &given_away, 1);
    let far = names.iter().position(|name| *name == first).unwrap();
    let (near, third) = ((far + 1) % EXECUTORS, (far + 2) % EXECUTORS);

    // One executor is killed, one is cut off for a moment.
    fleet.replace_executor(near);
    fleet.executors[third].wire.lead(None);
    std::thread::sleep(Duration::from_millis(SHORT_CUT_MS));
    fleet.mend(third);
    fleet.connected(EXECUTORS);
    // All go on at another scheduler.
    fleet.replace_scheduler();
    fleet.connected(EXECUTORS);
    // One is cut off for longer than its lease.
    fleet.executors[far].wire.lead(None);
    let second = running(&fleet.client, &given_away, 2);
    assert_ne!(second, first);
    fleet.mend(far);
    fleet.connected(EXECUTORS);
    judge(&fleet, &watch, &marks, &waiting, &given_away);
}

fn judge(fleet: &Fleet, watch: &Watch, marks: &[String], waiting: &[String], given_away: &str) {
    let client = &fleet.client;
    for (run, mark) in waiting.iter().zip(marks) {
        let ended = client.ended(run);
        assert_eq!(
            (&ended["status"], &ended["attempt"]),
            (&json!("succeeded"), &json!(1))
        );
        let lines = numbers(&client.log(run, 100));
        assert_eq!(lines, (1..=LINES).collect::<Vec<_>>(), "{run}");
        let seen = watch.of(mark);
        assert_eq!((seen.places.len(), seen.at_once), (1, 1), "{seen:?}");
    }
    client.logged(given_away, 20);
    client
        .tell(&format!("/v1/runs/{given_away}/cancel"))
        .expect(200);
    let ended = client.ended(given_away);
    assert_eq!(ended["attempts"].as_array().unwrap().len(), 2, "{ended:#}");
    assert_eq!(
        ended["attempts"][0]["end_reason"], "executor_lost",
        "{ended:#}"
    );
    let lines = numbers(&client.log(given_away, 100));
    assert_eq!(lines, (1..=lines.len()).collect::<Vec<_>>());
    let seen = watch.of(&marks[EXECUTORS]);
    assert_eq!((seen.places.len(), seen.at_once), (2, 1), "{seen:?}");
    let what = "books that add up";
    client.wait("/v1/usage/reconciliation", what, |books| {
        books["good"] == true
    });
}
