//! Submit to start: from the moment a client writes its request to the moment the host reads the assignment.

use super::{Round, wait_until};
use crate::books::Expected;
use crate::fleet::Behaviour;
use crate::load::Load;
use crate::report::{Row, Target, cpu_text};
use crate::world::World;

const HOSTS: usize = 100;
const WARM_UP_RUNS: usize = 500;

pub(super) async fn measure(round: &Round<'_>) -> anyhow::Result<Vec<Row>> {
    let hosts = round.hosts(HOSTS);
    let mut world = World::begin(&round.plan(hosts, 256, Behaviour::End)).await?;
    let load = Load::new(&world)?;
    load.warm_up(WARM_UP_RUNS, 1).await?;
    let mut runs = WARM_UP_RUNS;
    wait_until(&mut world, "warm-up", |counts| counts.ended >= runs).await?;
    let mut rows = Vec::new();
    let seconds = round.scaled(20, 3) as u64;
    for (rate, p50_ms, p99_ms) in [(100, Some(3.0), 15.0), (1_000, None, 50.0)] {
        world.clear().await?;
        let more = load.at_rate(rate, 1, seconds).await?;
        runs += more;
        wait_until(&mut world, "end of the runs", |counts| counts.ended >= runs).await?;
        let latency = world.seen().await?.latency;
        let cpu = cpu_text(world.cpu(), more);
        let detail = format!(
            "{more} runs, {hosts} hosts; longest {:.1} ms; {cpu}",
            latency.max_ms
        );
        let what = |percentile| format!("submit → start at the host, {rate}/s, {percentile}");
        if let Some(most) = p50_ms {
            rows.push(Row::new(
                what("p50"),
                Target::AtMost(most),
                latency.p50_ms,
                "ms",
                &*detail,
            ));
        }
        rows.push(Row::new(
            what("p99"),
            Target::AtMost(p99_ms),
            latency.p99_ms,
            "ms",
            detail,
        ));
    }
    let expected = Expected {
        runs,
        ended: runs,
        priced: true,
    };
    world.close(&expected).await?;
    Ok(rows)
}
