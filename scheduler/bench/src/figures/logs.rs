//! Logs: lines stored a second, and how late followers read them.

use anyhow::ensure;

use super::{Round, wait_until};
use crate::books::Expected;
use crate::clock::now_ns;
use crate::fleet::{Behaviour, LINE_BYTES};
use crate::load::{Job, Load};
use crate::logs::Followers;
use crate::report::{Row, Target, cpu_text};
use crate::world::World;

const HOSTS: usize = 50;
/// Streams of logs that are stored at once.
const WRITERS: usize = 50;
/// Logs that are followed,
const FOLLOWED: usize = 100;
/// by so many each.
const FOLLOWERS_EACH: usize = 10;
const LINES_PER_SECOND: u64 = 10;
/// Lines wait for company so long, by the scheduler's word.
const BATCH_MS: f64 = 200.0;

pub(super) async fn measure(round: &Round<'_>) -> anyhow::Result<Vec<Row>> {
    let mut rows = stored(round).await?;
    rows.extend(followed(round).await?);
    Ok(rows)
}

async fn stored(round: &Round<'_>) -> anyhow::Result<Vec<Row>> {
    let mut world = World::begin(&round.plan(round.hosts(HOSTS), 64, Behaviour::Flood)).await?;
    let load = Load::new(&world)?;
    let job = Job {
        lines: round.scaled(60_000, 5_000) as u64,
        ..Job::default()
    };
    world.clear().await?;
    let begin_ns = now_ns();
    for _ in 0..WRITERS {
        load.one(job, None).await?;
    }
    let counts = wait_until(&mut world, "logs", |counts| counts.ended >= WRITERS).await?;
    let cpu = world.cpu();
    let last_ns = world.seen().await?.lines.last_ns;
    let expected = Expected {
        runs: WRITERS,
        ended: WRITERS,
        priced: true,
    };
    world.close(&expected).await?;
    let rate = counts.lines as f64 * 1e9 / last_ns.saturating_sub(begin_ns) as f64;
    let lines = usize::try_from(counts.lines).unwrap_or(usize::MAX);
    let detail = format!(
        "{lines} lines of {LINE_BYTES} bytes, {WRITERS} runs; a thousand lines: {}",
        cpu_text(cpu, lines / 1_000)
    );
    let what = "log lines stored, to their acknowledgement";
    Ok(vec![Row::new(
        what,
        Target::AtLeast(200_000.0),
        rate,
        "lines/s",
        detail,
    )])
}

async fn followed(round: &Round<'_>) -> anyhow::Result<Vec<Row>> {
    let mut world = World::begin(&round.plan(round.hosts(HOSTS), 64, Behaviour::Talk)).await?;
    let load = Load::new(&world)?;
    let job = Job {
        lines: round.scaled(200, 40) as u64,
        lines_per_second: LINES_PER_SECOND,
        ..Job::default()
    };
    world.clear().await?;
    let mut runs = Vec::new();
    for _ in 0..FOLLOWED {
        runs.push(load.one(job, None).await?);
    }
    let mut followers = Followers::of(&load, &runs, FOLLOWERS_EACH, job.lines);
    followers.begun().await?;
    wait_until(&mut world, "logs", |counts| counts.ended >= FOLLOWED).await?;
    let cpu = world.cpu();
    let (beginning, late) = followers.lateness().await?;
    ensure!(
        late.count > 0,
        "all lines were written before their followers were there: a greater --scale gives them time"
    );
    let expected = Expected {
        runs: FOLLOWED,
        ended: FOLLOWED,
        priced: true,
    };
    world.close(&expected).await?;
    let detail = format!(
        "{} followers of {FOLLOWED} logs, {LINES_PER_SECOND} lines/s each, {} lines read; p50 {:.0} ms with the batch \
         period; lines written until a second after all streams had begun are not among them, they were later: p99 {:.0} \
         ms; {}",
        FOLLOWED * FOLLOWERS_EACH,
        late.count,
        late.p50_ms,
        beginning.p99_ms,
        cpu_text(cpu, late.count)
    );
    let beyond = (late.p99_ms - BATCH_MS).max(0.0);
    let what = "line → follower beyond the batch period, p99";
    Ok(vec![Row::new(
        what,
        Target::AtMost(100.0),
        beyond,
        "ms",
        detail,
    )])
}
