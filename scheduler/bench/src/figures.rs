//! Every figure: what it is called, and the order in which they are measured.

mod failover;
mod idle;
mod latency;
mod logs;
mod old_transaction;
mod placement;
mod rates;
mod reconnect;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use davit_scheduler::store::limits::BATCH_ITEMS_MAX;
use tokio::runtime::Runtime;

use crate::fleet::{Behaviour, Counts};
use crate::report::{Report, Row};
use crate::world::{Plan, World};
use crate::{clock, process};

/// How often hosts are asked how far they are.
const LOOK_MS: u64 = 100;
/// A round that does not move for so long has failed.
const STALL_SECONDS_MAX: u64 = 60;

/// A figure, or two that are measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Figure {
    Placement,
    Lifecycle,
    Single,
    Latency,
    C2m,
    Postgres,
    Reconnect,
    Idle,
    Logs,
    Failover,
    OldTransaction,
}

/// What is to be measured.
#[derive(Args)]
pub(crate) struct Wish {
    /// These only; all without.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Figure>,
    /// Runs, lines and seconds are so many times the usual number.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) scale: f64,
    /// At most so many hosts: such a round shows that all works, not how fast.
    #[arg(long)]
    pub(crate) hosts_max: Option<usize>,
    /// 2,000,000 runs for c2m, ten minutes for old-transaction.
    #[arg(long)]
    pub(crate) full: bool,
    /// Runs of one request where batches are measured.
    #[arg(long, default_value_t = BATCH_ITEMS_MAX)]
    pub(crate) batch: usize,
    /// Of all that is random.
    #[arg(long)]
    seed: Option<u64>,
    /// Where to write the figures as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// What was built.
    #[arg(long, default_value = "unknown")]
    commit: String,
    /// Below which databases are made; mind whether it is a disk.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// What all figures are told.
pub(crate) struct Round<'a> {
    wish: &'a Wish,
    seed: u64,
}

impl Round<'_> {
    /// A usual number at the scale that is asked for; not below `least`.
    fn scaled(&self, usual: usize, least: usize) -> usize {
        let scaled = (usual as f64 * self.wish.scale).round();
        // A few millions at most.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small positive number"
        )]
        let scaled = scaled as usize;
        scaled.max(least)
    }

    /// The usual number of hosts, unless fewer are asked for.
    fn hosts(&self, usual: usize) -> usize {
        self.wish
            .hosts_max
            .map_or(usual, |most| usual.min(most.max(2)))
    }

    fn plan(&self, hosts: usize, runs_each: usize, behaviour: Behaviour) -> Plan<'_> {
        Plan {
            postgres: false,
            replicas: 1,
            hosts,
            runs_each: runs_each as u64,
            behaviour,
            seed: self.seed,
            dir: self.wish.dir.as_deref(),
        }
    }
}

/// Measures and prints. A missed target is shown; a failed check is an error.
pub(crate) fn run(wish: &Wish) -> anyhow::Result<()> {
    process::allow_descriptors()?;
    ensure!(
        wish.scale > 0.0 && wish.scale <= 100.0,
        "--scale is above 0, at most 100"
    );
    ensure!(
        (1..=BATCH_ITEMS_MAX).contains(&wish.batch),
        "--batch is 1 to {BATCH_ITEMS_MAX}"
    );
    let seed = wish.seed.unwrap_or_else(clock::unix_ms);
    let round = Round { wish, seed };
    let mut report = Report::new(&wish.commit, seed, wish)?;
    let runtime = Runtime::new().context("start a runtime")?;
    for figure in Figure::value_variants() {
        if !wish.only.is_empty() && !wish.only.contains(figure) {
            continue;
        }
        let rows = runtime.block_on(measure(&round, *figure));
        let rows = rows.with_context(|| format!("measure {figure:?}, seed {seed}"))?;
        for row in &rows {
            eprintln!("{}", row.line());
        }
        report.add(rows);
        if let Some(file) = &wish.json {
            report.write_json(file)?;
        }
    }
    println!("{}", report.text());
    Ok(())
}

async fn measure(round: &Round<'_>, figure: Figure) -> anyhow::Result<Vec<Row>> {
    match figure {
        Figure::Placement => placement::measure(round),
        Figure::Lifecycle => rates::lifecycle(round).await,
        Figure::Single => rates::single(round).await,
        Figure::Latency => latency::measure(round).await,
        Figure::C2m => rates::c2m(round).await,
        Figure::Postgres => rates::postgres(round).await,
        Figure::Reconnect => reconnect::measure(round).await,
        Figure::Idle => idle::measure(round).await,
        Figure::Logs => logs::measure(round).await,
        Figure::Failover => failover::measure(round).await,
        Figure::OldTransaction => old_transaction::measure(round).await,
    }
}

/// Waits until the hosts' counts are so; fails when they stand still.
async fn wait_until(
    world: &mut World,
    what: &str,
    reached: impl Fn(&Counts) -> bool,
) -> anyhow::Result<Counts> {
    let mut last = (0, 0, 0, 0);
    let mut moved = std::time::Instant::now();
    loop {
        let counts = world.counts().await?;
        if reached(&counts) {
            return Ok(counts);
        }
        let now = (counts.placed, counts.ended, counts.sessions, counts.lines);
        if now != last {
            (last, moved) = (now, std::time::Instant::now());
        }
        let stalled = moved.elapsed() > Duration::from_secs(STALL_SECONDS_MAX);
        ensure!(
            !stalled,
            "no {what} within {STALL_SECONDS_MAX} s: {counts:?}"
        );
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
    }
}
