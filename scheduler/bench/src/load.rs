//! The load: runs submitted through the REST API, one or a batch a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::clock::now_ns;
use crate::fleet::PROOF;
use crate::place::{REGION, SIZE};
use crate::world::World;

/// Submits under way at once when as many as possible are wanted.
const SINGLE_AT_ONCE: usize = 64;
/// Batches under way at once.
const BATCHES_AT_ONCE: usize = 4;
/// How often a submit is tried that met a dead replica or a busy store.
const TRIES_MAX: u32 = 200;
const RETRY_PAUSE_MS: u64 = 50;
/// How long a request may take.
const REQUEST_SECONDS_MAX: u64 = 60;

/// What is asked for.
#[derive(Clone, Copy, Default)]
pub(crate) struct Job {
    /// It has a secret, which its host compares with a label.
    pub(crate) proven: bool,
    pub(crate) lines: u64,
    pub(crate) lines_per_second: u64,
}

impl Job {
    fn body(self, executor: Option<&str>) -> Value {
        let now = now_ns().to_string();
        let mut labels = json!({ "submitted_ns": now });
        if self.lines > 0 {
            labels["lines"] = json!(self.lines.to_string());
            labels["lines_per_second"] = json!(self.lines_per_second.to_string());
        }
        let mut body = json!({
            "image": "docker.io/library/busybox:1.36",
            "region": REGION,
            "instance_type": SIZE,
            "argv": ["true"],
            "labels": labels,
        });
        if self.proven {
            body["labels"][PROOF] = json!(now);
            body["env_variables"] = json!([{ "env_key": PROOF, "env_val": now }]);
        }
        if let Some(executor) = executor {
            body["executors"] = json!([executor]);
        }
        body
    }
}

/// A client of all replicas. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Load {
    client: Client,
    bases: Arc<[String]>,
    token: Arc<str>,
    next: Arc<AtomicUsize>,
}

impl Load {
    pub(crate) fn new(world: &World) -> anyhow::Result<Self> {
        let client = Client::builder()
            .timeout(Duration::from_secs(REQUEST_SECONDS_MAX))
            .tcp_nodelay(true)
            .build();
        let bases = world.addresses.iter();
        let bases = bases.map(|address| format!("http://{}", address.rest));
        Ok(Self {
            client: client.context("make an HTTP client")?,
            bases: bases.collect(),
            token: world.api_token.as_str().into(),
            next: Arc::default(),
        })
    }

    /// The replicas take turns.
    fn base(&self) -> &str {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        &self.bases[at % self.bases.len()]
    }

    fn post(&self, path: &str, body: String) -> RequestBuilder {
        let request = self.client.post(format!("{}{path}", self.base()));
        request
            .bearer_auth(&self.token)
            .header("content-type", "application/json")
            .body(body)
    }

    /// Sends it until it is accepted. Its key makes the repeat of a lost answer harmless.
    async fn send(&self, path: &str, body: String) -> anyhow::Result<String> {
        let key = uuid::Uuid::now_v7().to_string();
        let mut last = String::new();
        for _ in 0..TRIES_MAX {
            let request = self
                .post(path, body.clone())
                .header("idempotency-key", &key);
            match request.send().await {
                Ok(answer) if answer.status() == StatusCode::CREATED => {
                    return answer.text().await.context("read an answer");
                }
                Ok(answer) => {
                    let status = answer.status();
                    last = format!("{status}: {}", answer.text().await.unwrap_or_default());
                    let later = status.is_server_error() || status == StatusCode::CONFLICT;
                    ensure!(later, "{path} answers {last}");
                }
                Err(error) => last = format!("{error:#}"),
            }
            tokio::time::sleep(Duration::from_millis(RETRY_PAUSE_MS)).await;
        }
        anyhow::bail!("{path} is not accepted: {last}")
    }

    /// One run, on a named host if one is named; its id.
    pub(crate) async fn one(&self, job: Job, executor: Option<&str>) -> anyhow::Result<String> {
        let answer = self
            .send("/v1/runs", job.body(executor).to_string())
            .await?;
        let answer: Value = serde_json::from_str(&answer).context("read a submit's answer")?;
        let id = answer["run"]["id"].as_str();
        Ok(id.with_context(|| format!("an id in {answer}"))?.to_owned())
    }

    /// One run, or many in one request.
    async fn some(&self, job: Job, runs: usize) -> anyhow::Result<()> {
        if runs == 1 {
            return self.one(job, None).await.map(drop);
        }
        let all: Vec<Value> = (0..runs).map(|_| job.body(None)).collect();
        let body = json!({ "runs": all }).to_string();
        self.send("/v1/runs/batch", body).await.map(drop)
    }

    /// So many runs whose secrets are looked at, before anything is counted.
    pub(crate) async fn warm_up(&self, runs: usize, batch: usize) -> anyhow::Result<()> {
        let proven = Job {
            proven: true,
            ..Job::default()
        };
        self.all(proven, runs, batch).await
    }

    /// So many runs, as fast as they are accepted.
    pub(crate) async fn all(&self, job: Job, runs: usize, batch: usize) -> anyhow::Result<()> {
        let left = Arc::new(AtomicUsize::new(runs));
        let at_once = if batch == 1 {
            SINGLE_AT_ONCE
        } else {
            BATCHES_AT_ONCE
        };
        let mut tasks = JoinSet::new();
        for _ in 0..at_once {
            let (load, left) = (self.clone(), Arc::clone(&left));
            tasks.spawn(async move {
                loop {
                    let take = |left: usize| Some(left.saturating_sub(batch));
                    let had = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
                    match had.unwrap_or(0).min(batch) {
                        0 => return anyhow::Ok(()),
                        runs => load.some(job, runs).await?,
                    }
                }
            });
        }
        finish(tasks).await
    }

    /// So many runs a second, so many of them in a request, whatever becomes of those before; how many there were.
    pub(crate) async fn at_rate(
        &self,
        per_second: u64,
        batch: usize,
        seconds: u64,
    ) -> anyhow::Result<usize> {
        let requests_per_second = per_second / batch as u64;
        let period = Duration::from_nanos(1_000_000_000 / requests_per_second);
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut tasks = JoinSet::new();
        let requests = requests_per_second * seconds;
        for _ in 0..requests {
            ticks.tick().await;
            let load = self.clone();
            tasks.spawn(async move { load.some(Job::default(), batch).await });
            while let Some(done) = tasks.try_join_next() {
                done??;
            }
        }
        finish(tasks).await?;
        Ok(usize::try_from(requests).context("a number of requests")? * batch)
    }

    /// One run on each of these hosts, all at once.
    pub(crate) async fn one_each(&self, hosts: &[String]) -> anyhow::Result<()> {
        let mut tasks = JoinSet::new();
        for host in hosts {
            let (load, host) = (self.clone(), host.clone());
            tasks.spawn(async move { load.one(Job::default(), Some(&host)).await.map(drop) });
        }
        finish(tasks).await
    }

    /// The stream of a run's log.
    pub(crate) async fn follow(&self, run: &str) -> anyhow::Result<reqwest::Response> {
        let url = format!("{}/v1/runs/{run}/logs/stream", self.base());
        // Its own: a stream lasts longer than a request may.
        let request = self.client.get(url).bearer_auth(&self.token);
        let answer = request.timeout(Duration::from_secs(3_600)).send().await?;
        ensure!(
            answer.status().is_success(),
            "a stream answers {}",
            answer.status()
        );
        Ok(answer)
    }
}

async fn finish(mut tasks: JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}
