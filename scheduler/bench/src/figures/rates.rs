//! Runs a second: whole lives over SQLite and PostgreSQL, and C2M, whose runs stay on their hosts.
//!
//! A rate is counted from the first submit to the last acknowledged end, or to the last start where runs stay.

use super::{Round, wait_until};
use crate::books::Expected;
use crate::clock::now_ns;
use crate::fleet::Behaviour;
use crate::load::{Job, Load};
use crate::report::{Row, Target, cpu_text};
use crate::statistics::Pace;
use crate::world::{Plan, World};

/// Before anything is counted: connections, statements and caches are warm then.
const WARM_UP_RUNS: usize = 1_000;
const HOSTS: usize = 1_000;
/// HashiCorp's C2M had so many.
const C2M_HOSTS: usize = 6_100;
const C2M_RUNS_FULL: usize = 2_000_000;
const C2M_RUNS: usize = 200_000;

/// What one rate is.
struct Rate {
    what: &'static str,
    target: f64,
    runs: usize,
    batch: usize,
}

pub(super) async fn lifecycle(round: &Round<'_>) -> anyhow::Result<Vec<Row>> {
    let rate = Rate {
        what: "whole lives, SQLite, 1,000 hosts",
        target: 4_000.0,
        runs: round.scaled(60_000, 2_000),
        batch: round.wish.batch,
    };
    whole_lives(&round.plan(round.hosts(HOSTS), 256, Behaviour::End), &rate).await
}

pub(super) async fn single(round: &Round<'_>) -> anyhow::Result<Vec<Row>> {
    let rate = Rate {
        what: "whole lives, SQLite, 1,000 hosts, a POST each",
        target: 1_500.0,
        runs: round.scaled(20_000, 1_000),
        batch: 1,
    };
    whole_lives(&round.plan(round.hosts(HOSTS), 256, Behaviour::End), &rate).await
}

pub(super) async fn postgres(round: &Round<'_>) -> anyhow::Result<Vec<Row>> {
    let rate = Rate {
        what: "whole lives, PostgreSQL, 2 replicas",
        target: 2_500.0,
        runs: round.scaled(40_000, 2_000),
        batch: round.wish.batch,
    };
    let plan = Plan {
        postgres: true,
        replicas: 2,
        ..round.plan(round.hosts(HOSTS), 256, Behaviour::End)
    };
    whole_lives(&plan, &rate).await
}

pub(super) async fn c2m(round: &Round<'_>) -> anyhow::Result<Vec<Row>> {
    let runs = if round.wish.full {
        C2M_RUNS_FULL
    } else {
        round.scaled(C2M_RUNS, 10_000)
    };
    let hosts = round.hosts(C2M_HOSTS);
    // A quarter of the room stays free.
    let plan = round.plan(
        hosts,
        (runs + WARM_UP_RUNS).div_ceil(hosts) * 4 / 3 + 1,
        Behaviour::Hold,
    );
    let mut world = World::begin(&plan).await?;
    let (pace, detail, begin_ns) = filled(&mut world, runs, round.wish.batch, false).await?;
    let expected = Expected {
        runs: runs + WARM_UP_RUNS,
        ended: 0,
        priced: true,
    };
    world.close(&expected).await?;
    let what = format!("C2M: {runs} runs placed and started on {hosts} hosts, SQLite");
    let slowdown = (1.0 - pace.last_tenth / pace.first_tenth) * 100.0;
    let tenths = format!(
        "first tenth {:.0}/s, last {:.0}/s",
        pace.first_tenth, pace.last_tenth
    );
    Ok(vec![
        Row::new(
            what,
            Target::AtLeast(5_000.0),
            pace.since(begin_ns),
            "runs/s",
            detail,
        ),
        Row::new(
            "C2M: slower in the last tenth",
            Target::AtMost(10.0),
            slowdown,
            "%",
            tenths,
        ),
    ])
}

async fn whole_lives(plan: &Plan<'_>, rate: &Rate) -> anyhow::Result<Vec<Row>> {
    let mut world = World::begin(plan).await?;
    let (pace, detail, begin_ns) = filled(&mut world, rate.runs, rate.batch, true).await?;
    let runs = rate.runs + WARM_UP_RUNS;
    let expected = Expected {
        runs,
        ended: runs,
        priced: true,
    };
    world.close(&expected).await?;
    let target = Target::AtLeast(rate.target);
    let detail = format!("{} runs; {detail}", rate.runs);
    Ok(vec![Row::new(
        rate.what,
        target,
        pace.since(begin_ns),
        "runs/s",
        detail,
    )])
}

/// Submits all, waits for them; their pace, who used the CPUs, and when it began.
async fn filled(
    world: &mut World,
    runs: usize,
    batch: usize,
    ends: bool,
) -> anyhow::Result<(Pace, String, u64)> {
    let load = Load::new(world)?;
    load.warm_up(WARM_UP_RUNS, batch).await?;
    let done =
        |counts: &crate::fleet::Counts, all| counts.placed >= all && (!ends || counts.ended >= all);
    wait_until(world, "warm-up", |counts| done(counts, WARM_UP_RUNS)).await?;
    world.clear().await?;
    let begin_ns = now_ns();
    let submit = tokio::spawn(async move {
        load.all(Job::default(), runs, batch).await?;
        anyhow::Ok(now_ns())
    });
    let all = runs + WARM_UP_RUNS;
    let waited = wait_until(world, "end of the runs", |counts| done(counts, all)).await;
    if let Err(stalled) = waited {
        if submit.is_finished() {
            submit.await??;
        } else {
            submit.abort();
        }
        return Err(stalled);
    }
    let submitted_ns = submit.await??;
    let cpu = world.cpu();
    let seen = world.seen().await?;
    let pace = if ends { seen.ended } else { seen.placed };
    let detail = format!(
        "{batch} a request; first tenth {:.0}/s, last {:.0}/s; submitted in {:.1} s; {}",
        pace.first_tenth,
        pace.last_tenth,
        (submitted_ns - begin_ns) as f64 / 1e9,
        cpu_text(cpu, runs)
    );
    Ok((pace, detail, begin_ns))
}
