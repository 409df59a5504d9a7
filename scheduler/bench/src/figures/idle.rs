//! Idle hosts: what they cost the replica that holds their sessions.

use std::time::Duration;

use super::Round;
use crate::books::Expected;
use crate::fleet::Behaviour;
use crate::process::resident_bytes;
use crate::report::{Row, Target};
use crate::world::World;

const HOSTS: usize = 10_000;
/// Sessions that began at once have let go of what greeting them took.
const SETTLE_SECONDS: u64 = 10;

pub(super) async fn measure(round: &Round<'_>) -> anyhow::Result<Vec<Row>> {
    let empty = World::begin(&round.plan(1, 4, Behaviour::End)).await?;
    let before = resident_bytes(empty.replica_pid(0)?)?;
    let nothing = Expected {
        runs: 0,
        ended: 0,
        priced: true,
    };
    empty.close(&nothing).await?;
    let hosts = round.hosts(HOSTS);
    let mut world = World::begin(&round.plan(hosts, 4, Behaviour::End)).await?;
    tokio::time::sleep(Duration::from_secs(SETTLE_SECONDS)).await;
    let after = resident_bytes(world.replica_pid(0)?)?;
    world.clear().await?;
    tokio::time::sleep(Duration::from_secs(round.scaled(30, 5) as u64)).await;
    let cpu = world.cpu();
    let sessions = world.counts().await?.sessions;
    world.close(&nothing).await?;
    let each_kib = after.saturating_sub(before) as f64 / hosts as f64 / 1_024.0;
    let percent = cpu.scheduler_ms as f64 * 1e8 / cpu.at_ns as f64;
    let memory = format!(
        "resident: {} MiB, {} MiB with one host",
        after >> 20,
        before >> 20
    );
    let seconds = cpu.at_ns as f64 / 1e9;
    Ok(vec![
        Row::new(
            "idle hosts held by one replica",
            Target::AtLeast(hosts as f64),
            sessions as f64,
            "hosts",
            "a heartbeat each 10 s, stored and answered",
        ),
        Row::new(
            "idle host: memory",
            Target::AtMost(32.0),
            each_kib,
            "KiB",
            memory,
        ),
        Row::new(
            "idle hosts: CPU",
            Target::AtMost(10.0),
            percent,
            "% of a core",
            format!("over {seconds:.0} s; the hosts' side {} ms", cpu.hosts_ms),
        ),
    ])
}
