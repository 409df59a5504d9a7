//! Many runs at once through davit's API: each worker submits, waits for the durable end, and goes on.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use davit_rpc::local::Run;
use tokio::task::JoinSet;

use super::meter::{Daemons, Meter};
use super::{Batch, is_over};
use crate::clock;
use crate::davit::{Davit, check_succeeded, payload_run, reference};

/// Longest a whole batch may take beyond its window.
const OVERTIME_SECONDS_MAX: u64 = 120;

pub(super) fn run(
    davit: &Davit,
    daemons: Daemons,
    concurrency: u32,
    window: Duration,
) -> anyhow::Result<Batch> {
    let meter = Meter::begin(daemons)?;
    let runs = launch(davit, concurrency, window, meter.begun())?;
    davit.wait_until_all_cleaned(&runs)?;
    let batch = meter.end(runs.len())?;
    for run in &runs {
        check_succeeded(run)?;
        clock::Instant::printed(&davit.stdout(&run.id)?)
            .with_context(|| format!("run {}", run.id))?;
        davit.remove(&run.id)?;
    }
    Ok(batch)
}

fn launch(
    davit: &Davit,
    concurrency: u32,
    window: Duration,
    begun: Instant,
) -> anyhow::Result<Vec<Run>> {
    let limit = window + Duration::from_secs(OVERTIME_SECONDS_MAX);
    davit.block_on(limit, async {
        let mut workers = JoinSet::new();
        for _ in 0..concurrency {
            let mut client = davit.runs();
            workers.spawn(async move {
                let mut ended = Vec::new();
                while !is_over(begun, window) {
                    let accepted = client.submit(payload_run(&[])).await?.into_inner();
                    ended.push(client.wait(reference(&accepted.id)).await?.into_inner());
                }
                Ok::<_, tonic::Status>(ended)
            });
        }
        let mut runs = Vec::new();
        while let Some(worker) = workers.join_next().await {
            runs.extend(worker.context("a worker broke")?.context("launch runs")?);
        }
        Ok(runs)
    })
}
