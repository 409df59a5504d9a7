//! PostgreSQL with a transaction that nobody ends: dead rows of the hot table pile up behind it.

use super::{Round, wait_until};
use crate::books::Expected;
use crate::fleet::Behaviour;
use crate::load::Load;
use crate::report::{Row, Target, cpu_text};
use crate::world::{Plan, World};

const HOSTS: usize = 200;
const RUNS_PER_SECOND: u64 = 500;
/// Runs in a request: one each would be most of the database's work, with or without the transaction.
const BATCH: usize = 25;
const SECONDS_FULL: u64 = 600;
const WARM_UP_SECONDS: u64 = 5;
/// What is compared: the beginning, without the transaction, and the end of its time.
const WINDOW_SECONDS: u64 = 15;

pub(super) async fn measure(round: &Round<'_>) -> anyhow::Result<Vec<Row>> {
    let plan = Plan {
        postgres: true,
        replicas: 2,
        ..round.plan(round.hosts(HOSTS), 256, Behaviour::End)
    };
    let held_seconds = if round.wish.full {
        SECONDS_FULL
    } else {
        round.scaled(60, 20) as u64
    };
    let mut world = World::begin(&plan).await?;
    let load = Load::new(&world)?;
    let mut runs = load
        .at_rate(RUNS_PER_SECOND, BATCH, WARM_UP_SECONDS)
        .await?;
    let before = window(&mut world, &load, &mut runs).await?;
    let held = match &world.cluster {
        Some(cluster) => cluster.old_transaction()?,
        None => anyhow::bail!("there is no cluster"),
    };
    runs += load
        .at_rate(
            RUNS_PER_SECOND,
            BATCH,
            held_seconds.saturating_sub(WINDOW_SECONDS),
        )
        .await?;
    let with = window(&mut world, &load, &mut runs).await?;
    if let Some(cluster) = &world.cluster {
        cluster.end_old_transaction(held)?;
    }
    wait_until(&mut world, "end of the runs", |counts| counts.ended >= runs).await?;
    let expected = Expected {
        runs,
        ended: runs,
        priced: true,
    };
    world.close(&expected).await?;
    let loss = (1.0 - with.rate / before.rate) * 100.0;
    let detail = format!(
        "held {held_seconds} s at {RUNS_PER_SECOND} runs/s offered, {BATCH} a request; before {:.0}/s, p99 {:.0} ms, {}; \
         at its end {:.0}/s, p99 {:.0} ms, {}",
        before.rate, before.p99_ms, before.cpu, with.rate, with.p99_ms, with.cpu
    );
    let what = "PostgreSQL with an old transaction: fewer ends a second";
    Ok(vec![Row::new(
        what,
        Target::AtMost(10.0),
        loss,
        "%",
        detail,
    )])
}

struct Window {
    rate: f64,
    p99_ms: f64,
    cpu: String,
}

async fn window(world: &mut World, load: &Load, runs: &mut usize) -> anyhow::Result<Window> {
    world.clear().await?;
    let begin_ns = crate::clock::now_ns();
    *runs += load.at_rate(RUNS_PER_SECOND, BATCH, WINDOW_SECONDS).await?;
    let all = *runs;
    wait_until(world, "end of the window", |counts| counts.ended >= all).await?;
    let seen = world.seen().await?;
    Ok(Window {
        rate: seen.ended.since(begin_ns),
        p99_ms: seen.latency.p99_ms,
        cpu: cpu_text(world.cpu(), seen.ended.count),
    })
}
