//! kill -9 of one of two replicas: how long until its hosts are given runs again.
//!
//! At the kill a run is submitted for each host of the dead replica, pinned to it; counted is until that host begins it.

use anyhow::ensure;

use super::{Round, wait_until};
use crate::books::Expected;
use crate::fleet::Behaviour;
use crate::load::Load;
use crate::report::{Row, Target};
use crate::statistics::Spread;
use crate::world::{Plan, World};

const HOSTS: usize = 200;

pub(super) async fn measure(round: &Round<'_>) -> anyhow::Result<Vec<Row>> {
    let rounds = round.scaled(3, 1);
    let mut times_ns = Vec::new();
    for _ in 0..rounds {
        times_ns.extend(once(round).await?);
    }
    let spread = Spread::of(&times_ns);
    let detail = format!(
        "{} hosts of a killed replica, {rounds} rounds; p50 {:.2} s, longest {:.2} s; PostgreSQL, 2 replicas",
        spread.count,
        spread.p50_ms / 1e3,
        spread.max_ms / 1e3
    );
    let what = "replica kill -9 → its hosts dispatching again, p99";
    Ok(vec![Row::new(
        what,
        Target::AtMost(5.0),
        spread.p99_ms / 1e3,
        "s",
        detail,
    )])
}

async fn once(round: &Round<'_>) -> anyhow::Result<Vec<u64>> {
    let plan = Plan {
        postgres: true,
        replicas: 2,
        ..round.plan(round.hosts(HOSTS), 8, Behaviour::End)
    };
    let hosts = plan.hosts;
    let mut world = World::begin(&plan).await?;
    let load = Load::new(&world)?;
    let all: Vec<String> = (0..hosts).map(|number| format!("host-{number}")).collect();
    load.one_each(&all).await?;
    wait_until(&mut world, "first runs", |counts| counts.ended >= hosts).await?;
    world.clear().await?;
    // Hosts begin evenly spread: the even ones are the first replica's.
    let orphans: Vec<String> = all.into_iter().step_by(2).collect();
    let killed_ns = world.kill_replica(0).await?;
    load.one_each(&orphans).await?;
    let runs = hosts + orphans.len();
    wait_until(&mut world, "runs after the kill", |counts| {
        counts.ended >= runs
    })
    .await?;
    let seen = world.seen().await?;
    let expected = Expected {
        runs,
        ended: runs,
        priced: true,
    };
    world.close(&expected).await?;
    ensure!(
        seen.first_placed_ns.len() == orphans.len(),
        "other hosts ran what was pinned"
    );
    let begun = seen.first_placed_ns.into_values();
    Ok(begun.map(|at_ns| at_ns.saturating_sub(killed_ns)).collect())
}
