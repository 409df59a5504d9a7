//! Users who submit, each run with a key, until they are answered; and what must be true in the end.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use davit_types::RunId;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::robot::{Executions, LINES, WALL_MS};
use crate::world::{Replica, WAIT_MS_MAX, World, run, wait_for};

/// Pause between a user's runs.
const PAUSE_MS: u64 = 25;
/// Pause before a request is made again.
const RETRY_MS: u64 = 20;

/// What a request came to that made no run.
const RETRIED: [u16; 8] = [408, 409, 429, 500, 502, 503, 504, 507];

/// Some users at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    retried: Arc<AtomicUsize>,
    users: Vec<JoinHandle<Submitted>>,
}

/// What they were told.
#[derive(Debug, Default)]
pub(crate) struct Submitted {
    pub(crate) runs: Vec<RunId>,
    /// Requests that were made again.
    pub(crate) retried: usize,
    /// Answers of 500: no fault from outside may cause one.
    pub(crate) faults: usize,
    /// The longest that a submission took until it was acknowledged.
    pub(crate) longest: Duration,
}

impl Load {
    /// Begins to submit at whatever addresses there are.
    pub(crate) fn start(
        world: &World,
        users: usize,
        addresses: &watch::Receiver<Vec<SocketAddr>>,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let retried = Arc::new(AtomicUsize::new(0));
        let users = (0..users).map(|number| {
            let user = User {
                number,
                http: world.http.clone(),
                token: world.token.clone(),
                addresses: addresses.clone(),
                retried: Arc::clone(&retried),
            };
            tokio::spawn(user.submit_until(Arc::clone(&stop)))
        });
        let users = users.collect();
        Self {
            stop,
            retried,
            users,
        }
    }

    /// Requests that were made again so far.
    pub(crate) fn retried(&self) -> usize {
        self.retried.load(Ordering::Relaxed)
    }

    /// Lets each user finish what he is at.
    pub(crate) async fn stop(self) -> Submitted {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Submitted::default();
        for user in self.users {
            let theirs = user.await.unwrap();
            all.runs.extend(theirs.runs);
            all.retried += theirs.retried;
            all.faults += theirs.faults;
            all.longest = all.longest.max(theirs.longest);
        }
        all
    }
}

struct User {
    number: usize,
    http: reqwest::Client,
    token: String,
    addresses: watch::Receiver<Vec<SocketAddr>>,
    retried: Arc<AtomicUsize>,
}

impl User {
    async fn submit_until(self, stop: Arc<AtomicBool>) -> Submitted {
        let mut done = Submitted::default();
        while !stop.load(Ordering::Relaxed) {
            let key = format!("user {}, run {}", self.number, done.runs.len());
            let begin = Instant::now();
            let acknowledged = loop {
                match self.submit(&key, done.retried).await {
                    Some((201, body)) => break body,
                    Some((status, body)) => {
                        assert!(RETRIED.contains(&status), "{status}: {body}");
                        done.faults += usize::from(status == 500);
                    }
                    None => {}
                }
                done.retried += 1;
                self.retried.fetch_add(1, Ordering::Relaxed);
                let waited = begin.elapsed() < Duration::from_millis(WAIT_MS_MAX);
                assert!(waited, "{key} is not acknowledged");
                tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
            };
            done.longest = done.longest.max(begin.elapsed());
            let id = acknowledged["run"]["id"].as_str().unwrap();
            done.runs.push(id.parse().unwrap());
            tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
        }
        done
    }

    /// One request, to another replica each time; the status, if there was an answer.
    async fn submit(&self, key: &str, turn: usize) -> Option<(u16, Value)> {
        let addresses = self.addresses.borrow().clone();
        let address = addresses.get((self.number + turn) % addresses.len().max(1))?;
        let request = self.http.post(format!("http://{address}/v1/runs"));
        let request = request.bearer_auth(&self.token);
        let request = request.header("idempotency-key", key);
        let request = request.header("content-type", "application/json");
        let answer = request.body(run().to_string()).send().await.ok()?;
        let status = answer.status().as_u16();
        let text = answer.text().await.ok()?;
        Some((status, serde_json::from_str(&text).ok()?))
    }
}

/// All runs, as the API lists them.
async fn listed(world: &World, replica: &Replica) -> Option<Vec<Value>> {
    let mut runs: Vec<Value> = Vec::new();
    let mut next = String::new();
    loop {
        let path = format!("/v1/runs?limit=1000{next}");
        let (status, page) = world.try_get(replica, &path).await?;
        if status != 200 {
            return None;
        }
        runs.extend(page["runs"].as_array()?.iter().cloned());
        match page["next"].as_str() {
            Some(cursor) => next = format!("&after={cursor}"),
            None => return Some(runs),
        }
    }
}

/// Waits for the end of every acknowledged run, and holds everything against what was submitted and executed: each run
/// there once and ended once, executed once, its lines once, the books exact.
pub(crate) async fn judge(
    world: &World,
    replica: &Replica,
    submitted: &Submitted,
    executions: &Executions,
) {
    assert_eq!(submitted.faults, 0, "an answer was 500");
    let acknowledged: BTreeSet<RunId> = submitted.runs.iter().copied().collect();
    assert_eq!(
        acknowledged.len(),
        submitted.runs.len(),
        "one run, two keys"
    );
    let runs = wait_for("every run's end", async || {
        let runs = listed(world, replica).await?;
        let live = |run: &&Value| run["completed_at"].is_null();
        (runs.iter().filter(live).count() == 0).then_some(runs)
    })
    .await;
    let found: BTreeSet<RunId> = runs
        .iter()
        .map(|run| run["id"].as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(found.len(), runs.len(), "a run is listed twice");
    assert_eq!(found, acknowledged, "a run is lost, or was made twice");
    for run in &runs {
        assert_eq!(run["status"], "succeeded", "{run}");
    }
    assert_eq!(executions.count(), runs.len());
    let books = world.get(replica, "/v1/usage/reconciliation").await;
    assert_eq!(books["good"], true, "{books}");
    let billed_ms = runs.len() as u64 * WALL_MS;
    assert_eq!(books["ledger_active_ms"], billed_ms, "{books}");
    assert_eq!(books["totals_active_ms"], billed_ms, "{books}");
    for run in &found {
        let logs = world.get(replica, &format!("/v1/runs/{run}/logs")).await;
        let logs = logs["logs"].as_array().unwrap();
        let ids: Vec<u64> = logs
            .iter()
            .map(|line| line["id"].as_u64().unwrap())
            .collect();
        assert_eq!(ids, (1..=LINES).collect::<Vec<_>>(), "lines of {run}");
    }
}
