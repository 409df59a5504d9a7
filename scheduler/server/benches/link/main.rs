//! How fast runs come to hosts: the real link, a real store, and hosts that execute nothing, on one machine.
//!
//! ```text
//!  cargo bench -p davit-scheduler --bench link -- latency   --hosts 20 --rate 100 --runs 1000
//!  cargo bench -p davit-scheduler --bench link -- lifecycle --hosts 100 --runs 20000 --batch 500
//!
//!  latency     submit called ──────────────────────────► Assign read by the host, each run alone in its submit
//!  lifecycle   first submit called ─► … Accepted, Started, Ended … ─► last end acknowledged, and per tenth of the runs
//! ```
//!
//! The database is a SQLite file below `--dir` (a temporary directory by default: mind whether that is a disk). Load
//! generator, hosts and scheduler share the CPUs, so the figures are a lower bound.
//!
//! Absent on purpose: logs (hosts say that runs have none), peers to compare with.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a benchmark ends at the first surprise")]
#![expect(clippy::print_stdout, reason = "its table is what it is for")]

mod hosts;
mod scheduler;

use std::time::{Duration, Instant};

use davit_scheduler::store::limits::BATCH_ITEMS_MAX;
use tokio::runtime::Builder;
use tokio::sync::mpsc;

use hosts::{Moment, Moments};
use scheduler::Scheduler;

/// What is asked on the command line.
struct Wish {
    lifecycle: bool,
    hosts: usize,
    rate: u64,
    runs: usize,
    batch: usize,
    dir: Option<std::path::PathBuf>,
}

impl Wish {
    fn parse(words: &[String]) -> Result<Self, String> {
        let mut wish = Self {
            lifecycle: false,
            hosts: 20,
            rate: 100,
            runs: 1_000,
            batch: 1,
            dir: None,
        };
        let mut words = words.iter().filter(|word| *word != "--bench");
        while let Some(word) = words.next() {
            let mut number = |what: &str| {
                let next = words.next().and_then(|n| n.parse::<usize>().ok());
                next.filter(|n| *n > 0)
                    .ok_or_else(|| format!("{what} wants a number"))
            };
            match word.as_str() {
                "latency" => wish.lifecycle = false,
                "lifecycle" => wish.lifecycle = true,
                "--hosts" => wish.hosts = number(word)?,
                "--rate" => wish.rate = number(word)? as u64,
                "--runs" => wish.runs = number(word)?,
                "--batch" => wish.batch = number(word)?.min(BATCH_ITEMS_MAX),
                "--dir" => wish.dir = words.next().map(Into::into),
                other => return Err(format!("`{other}` is not known")),
            }
        }
        Ok(wish)
    }
}

fn main() -> std::process::ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let wish = match Wish::parse(&words) {
        Ok(wish) => wish,
        Err(problem) => {
            println!("{problem}; see the head of scheduler/server/benches/link/main.rs");
            return std::process::ExitCode::FAILURE;
        }
    };
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(&wish));
    // What still runs has nothing to say any more.
    runtime.shutdown_background();
    std::process::ExitCode::SUCCESS
}

async fn measure(wish: &Wish) {
    let scheduler = Scheduler::start(wish.dir.as_deref()).await;
    let (tell, mut moments) = mpsc::unbounded_channel();
    // Room for all runs at once: what is measured is the way, not the wait for room.
    let runs_each = wish.runs.div_ceil(wish.hosts) as u64 * 2 + 8;
    for n in 0..wish.hosts {
        let host = hosts::join(&scheduler, &format!("host-{n}"), runs_each).await;
        hosts::serve(host, tell.clone()).await;
    }
    let mut seen = Moments::default();
    // One run per host first: connections, statements and caches are warm then.
    let warm = scheduler.submit(wish.hosts.min(BATCH_ITEMS_MAX)).await;
    seen.wait_for_ends(&mut moments, warm.len()).await;
    seen.clear();
    if wish.lifecycle {
        lifecycle(wish, &scheduler, &mut seen, &mut moments).await;
    } else {
        latency(wish, &scheduler, &mut seen, &mut moments).await;
    }
}

async fn latency(
    wish: &Wish,
    scheduler: &Scheduler,
    seen: &mut Moments,
    moments: &mut mpsc::UnboundedReceiver<Moment>,
) {
    let mut ticks = tokio::time::interval(Duration::from_nanos(1_000_000_000 / wish.rate));
    let mut submits = tokio::task::JoinSet::new();
    for _ in 0..wish.runs {
        ticks.tick().await;
        let scheduler = scheduler.clone();
        submits.spawn(async move {
            let begin = Instant::now();
            (scheduler.submit(1).await[0], begin)
        });
    }
    let submitted = submits.join_all().await;
    seen.wait_for_ends(moments, wish.runs).await;
    let mut times: Vec<Duration> = submitted
        .iter()
        .map(|(run, begin)| seen.assigned[run].saturating_duration_since(*begin))
        .collect();
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!(
        "submit → Assign at the host, {} hosts, {} runs, {} a second",
        wish.hosts, wish.runs, wish.rate
    );
    println!("| p50 ms | p90 ms | p99 ms | max ms |\n|---|---|---|---|");
    println!(
        "| {:.2} | {:.2} | {:.2} | {:.2} |",
        at(50),
        at(90),
        at(99),
        at(100)
    );
}

async fn lifecycle(
    wish: &Wish,
    scheduler: &Scheduler,
    seen: &mut Moments,
    moments: &mut mpsc::UnboundedReceiver<Moment>,
) {
    let begin = Instant::now();
    let submitter = scheduler.clone();
    let (runs, batch) = (wish.runs, wish.batch);
    let submits = tokio::spawn(async move {
        let mut left = runs;
        while left > 0 {
            left -= submitter.submit(left.min(batch)).await.len();
        }
        begin.elapsed()
    });
    seen.wait_for_ends(moments, wish.runs).await;
    let all = begin.elapsed().as_secs_f64();
    let submitted = submits.await.unwrap().as_secs_f64();
    let tenth = (wish.runs / 10).max(1);
    let rate = |ends: &[Instant]| match (ends.first(), ends.last()) {
        (Some(first), Some(last)) if last > first => {
            ends.len() as f64 / (*last - *first).as_secs_f64()
        }
        _ => 0.0,
    };
    let first = rate(&seen.ended[..tenth]);
    let last = rate(&seen.ended[seen.ended.len() - tenth..]);
    println!(
        "whole lives, {} hosts, {} runs, {} a submit",
        wish.hosts, wish.runs, wish.batch
    );
    println!(
        "| runs a second | first tenth | last tenth | submitted in s | all ended in s |\n|---|---|---|---|---|"
    );
    println!(
        "| {:.0} | {first:.0} | {last:.0} | {submitted:.2} | {all:.2} |",
        wish.runs as f64 / all
    );
}
