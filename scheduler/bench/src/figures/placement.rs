//! The placement engine alone: a full fleet with a backlog; each decision is an end, a submission, and the run placed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use davit_placement::{
    Amounts, Engine, HostSpec, HostState, ImageRef, Priority, Rules, Run, Runner, Wants,
};
use davit_types::{Bytes, RunKey};

use super::Round;
use crate::report::{Row, Target};
use crate::statistics::Spread;

const RUNS_PER_HOST: usize = 32;
const TENANTS: u64 = 100;
const REGIONS: [&str; 3] = ["fra", "ams", "lon"];
/// Runs that are placed together where the rate is measured, as a busy replica does.
const TOGETHER: usize = 64;

pub(super) fn measure(round: &Round<'_>) -> anyhow::Result<Vec<Row>> {
    let seconds = Duration::from_secs_f64((2.0 * round.wish.scale).clamp(0.5, 60.0));
    let mut rows = Vec::new();
    for (hosts, least) in [(6_100, 150_000.0), (50_000, 100_000.0)] {
        let mut fleet = Fleet::full(hosts, round.seed)?;
        fleet.decide(TOGETHER, seconds / 4)?;
        let rate = fleet.decide(TOGETHER, seconds)?;
        let alone = fleet.decide(1, seconds)?;
        let what = format!("placement alone, {hosts} hosts");
        let detail = format!(
            "{TOGETHER} at once; one by one {:.0}/s, {} decisions checked",
            alone.per_second,
            rate.times.count * TOGETHER + alone.times.count
        );
        let target = Target::AtLeast(least);
        rows.push(Row::new(
            &*what,
            target,
            rate.per_second,
            "decisions/s",
            detail,
        ));
        if hosts == 6_100 {
            let p99_us = alone.times.p99_ms * 1e3;
            let detail = format!("one by one; longest {:.0} µs", alone.times.max_ms * 1e3);
            rows.push(Row::new(
                what + ", p99",
                Target::AtMost(50.0),
                p99_us,
                "µs",
                detail,
            ));
        }
    }
    Ok(rows)
}

struct Fleet {
    engine: Engine,
    live: Vec<RunKey>,
    next: u64,
    random: u64,
    now_ms: u64,
}

struct Decisions {
    per_second: f64,
    times: Spread,
}

impl Fleet {
    /// Full, with as much again waiting.
    fn full(hosts: usize, seed: u64) -> anyhow::Result<Self> {
        let rules = Rules {
            seed,
            ..Rules::default()
        };
        let mut fleet = Self {
            engine: Engine::new(rules),
            live: Vec::new(),
            next: 0,
            random: seed | 1,
            now_ms: 0,
        };
        for number in 0..hosts {
            fleet.engine.upsert_host(host(number)?)?;
        }
        for _ in 0..hosts * RUNS_PER_HOST * 2 {
            fleet.submit()?;
        }
        loop {
            let placed = fleet.engine.place(0, davit_placement::bounds::BATCH_MAX);
            if placed.is_empty() {
                return Ok(fleet);
            }
            fleet
                .live
                .extend(placed.into_iter().map(|placed| placed.key));
        }
    }

    fn submit(&mut self) -> anyhow::Result<()> {
        self.next += 1;
        self.engine.submit(run(self.next)?)?;
        Ok(())
    }

    /// Ends, submits and places so many at once, for so long.
    fn decide(&mut self, together: usize, how_long: Duration) -> anyhow::Result<Decisions> {
        let mut times_ns = Vec::new();
        let (mut spent, mut decided) = (Duration::ZERO, 0);
        while spent < how_long {
            let runs: anyhow::Result<Vec<Run>> =
                (1..=together as u64).map(|n| run(self.next + n)).collect();
            self.next += together as u64;
            let gone: Vec<RunKey> = (0..together)
                .map(|_| self.any_live())
                .collect::<Result<_, _>>()?;
            self.now_ms += 1;
            let begin = Instant::now();
            for (gone, run) in gone.into_iter().zip(runs?) {
                self.engine.end(gone)?;
                self.engine.submit(run)?;
            }
            let placed = self
                .engine
                .place(self.now_ms, davit_placement::bounds::BATCH_MAX);
            let took = begin.elapsed();
            spent += took;
            times_ns.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
            decided += placed.len();
            self.live
                .extend(placed.into_iter().map(|placed| placed.key));
        }
        let asked = times_ns.len() * together;
        // Room that an end makes is not always room for one of those that wait, but nearly.
        ensure!(
            decided * 10 >= asked * 9 && decided <= asked + asked / 10 + together,
            "{asked} ends, {decided} placed"
        );
        Ok(Decisions {
            per_second: decided as f64 / spent.as_secs_f64(),
            times: Spread::of(&times_ns),
        })
    }

    fn any_live(&mut self) -> anyhow::Result<RunKey> {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        ensure!(!self.live.is_empty(), "nothing is placed any more");
        let at = usize::try_from(self.random >> 33).context("31 bits")? % self.live.len();
        Ok(self.live.swap_remove(at))
    }
}

fn host(number: usize) -> anyhow::Result<HostSpec> {
    let images: anyhow::Result<Vec<ImageRef>> =
        (0..4).map(|at| image((number * 7 + at) as u64)).collect();
    Ok(HostSpec {
        name: format!("host-{number}").parse()?,
        epoch: 1,
        region: REGIONS[number % 3].parse()?,
        labels: Vec::new(),
        capacity: Amounts {
            cpu_millis: 500 * RUNS_PER_HOST as u64,
            memory_bytes: Bytes::gib(RUNS_PER_HOST as u64).0,
            pids: 256 * RUNS_PER_HOST as u64,
            disk_bytes: Bytes::gib(1 << 10).0,
        },
        images: images?,
        state: HostState::Online,
    })
}

fn image(number: u64) -> anyhow::Result<ImageRef> {
    Ok(format!("sha256:{:064x}", number % 50).parse()?)
}

fn run(number: u64) -> anyhow::Result<Run> {
    let key = format!("00000000-0000-7000-8000-{number:012x}.1");
    let region = REGIONS[usize::try_from(number % 3)?];
    let region = if number.is_multiple_of(2) {
        Some(region.parse()?)
    } else {
        None
    };
    Ok(Run {
        key: key
            .parse()
            .map_err(|error| anyhow::anyhow!("{key}: {error}"))?,
        tenant: format!("tenant-{}", number % TENANTS)
            .parse()
            .map_err(|error| anyhow::anyhow!("a tenant: {error}"))?,
        runner: Some(Runner {
            name: format!("runner-{}", number % (TENANTS * 3)).parse()?,
            live_max: None,
        }),
        priority: Priority::USUAL,
        sequence: number,
        image: Some(image(number)?),
        wants: Wants {
            need: Amounts {
                cpu_millis: 500,
                memory_bytes: Bytes::gib(1).0,
                pids: 256,
                disk_bytes: Bytes::gib(8).0,
            },
            region,
            ..Wants::default()
        },
    })
}
