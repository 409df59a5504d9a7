//! All hosts at once: their replica is killed and started again while they hold runs and more are submitted.
//!
//! Counted from the moment the new replica listens until the last host has its welcome. Hosts dial as executors do: half
//! a second to a second after they lost the line, then later each time.

use super::{Round, wait_until};
use crate::books::Expected;
use crate::clock::now_ns;
use crate::fleet::Behaviour;
use crate::load::{Job, Load};
use crate::report::{Row, Target, cpu_text};
use crate::world::World;

const HOSTS: usize = 5_000;
/// On each host when the line breaks, and again as many submitted meanwhile.
const RUNS_EACH: usize = 2;

pub(super) async fn measure(round: &Round<'_>) -> anyhow::Result<Vec<Row>> {
    let hosts = round.hosts(HOSTS);
    let runs = hosts * RUNS_EACH;
    let mut world = World::begin(&round.plan(hosts, 16, Behaviour::Hold)).await?;
    let load = Load::new(&world)?;
    load.warm_up(runs, 1).await?;
    wait_until(&mut world, "first runs", |counts| counts.placed >= runs).await?;
    world.clear().await?;
    let meanwhile = load.clone();
    let meanwhile = tokio::spawn(async move { meanwhile.all(Job::default(), runs, 1).await });
    world.kill_replica(0).await?;
    wait_until(&mut world, "broken lines", |counts| counts.sessions == 0).await?;
    world.start_replica(0).await?;
    let listens_ns = now_ns();
    wait_until(&mut world, "sessions", |counts| counts.sessions >= hosts).await?;
    meanwhile.await??;
    let counts = wait_until(&mut world, "all runs", |counts| counts.placed >= 2 * runs).await?;
    let seen = world.seen().await?;
    let took = (seen.sessions.last_ns.saturating_sub(listens_ns)) as f64 / 1e9;
    let cpu = cpu_text(world.cpu(), hosts);
    let detail = format!("{runs} runs on the hosts, {runs} more submitted meanwhile; {cpu}");
    let expected = Expected {
        runs: 2 * runs,
        ended: 0,
        priced: true,
    };
    world.close(&expected).await?;
    Ok(vec![
        Row::new(
            format!("{hosts} hosts reconnecting at once"),
            Target::AtMost(10.0),
            took,
            "s",
            detail,
        ),
        Row::new(
            format!("{hosts} hosts reconnecting: double starts"),
            Target::AtMost(0.0),
            counts.doubled as f64,
            "runs",
            "every run begun once, by the hosts' own count",
        ),
    ])
}
