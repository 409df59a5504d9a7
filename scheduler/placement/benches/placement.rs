//! What placing costs: `cargo bench -p davit-placement`, or with a filter, `cargo bench -p davit-placement -- steady`.
//!
//! - `fill`: a fleet with room takes runs in batches; submission included.
//! - `steady`: a full fleet with a backlog; each decision is an end, the run it makes room for, and a new submission.
//! - `stuck`: the same, with a million runs waiting that fit nowhere.
//! - `explain`: why the last run in the queue waits.
//!
//! Elements are decisions: assignments made.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use davit_placement::{
    Amounts, Engine, HostSpec, HostState, Priority, Rules, Run, Runner, Wants, bounds,
};
use davit_types::{Bytes, RunKey};

/// Runs that one host holds.
const RUNS_PER_HOST: usize = 32;
const TENANTS: u64 = 100;
const HOSTS: [usize; 3] = [5_000, 6_100, 50_000];
/// Decisions of one measured turn.
const DECISIONS: usize = bounds::BATCH_MAX;
const STUCK: u64 = 1_000_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args().sample_size(20);
    fill(&mut criterion);
    steady(&mut criterion);
    explain(&mut criterion);
    criterion.final_summary();
}

fn fill(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fill");
    group.throughput(Throughput::Elements(DECISIONS as u64));
    for hosts in HOSTS {
        group.bench_function(BenchmarkId::from_parameter(hosts), |bencher| {
            let mut engine = fleet(hosts);
            let mut next = 0;
            bencher.iter_batched(
                || runs(&mut next, DECISIONS),
                |runs| {
                    for run in runs {
                        engine.submit(run).expect("the run is right");
                    }
                    let placed = engine.place(0, DECISIONS);
                    if placed.len() < DECISIONS {
                        // Full: the next turn begins anew. Once in many turns, so it hardly shows.
                        engine = fleet(hosts);
                    }
                    placed
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn steady(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("steady");
    group.throughput(Throughput::Elements(DECISIONS as u64));
    for (name, hosts, stuck) in [
        ("5000", HOSTS[0], 0),
        ("6100", HOSTS[1], 0),
        ("50000", HOSTS[2], 0),
        ("6100, a million stuck", HOSTS[1], STUCK),
    ] {
        let mut full = Full::new(hosts, stuck);
        for batch in [1, 64] {
            let id = BenchmarkId::new(name, format!("{batch} at once"));
            group.bench_function(id, |bencher| {
                let mut next = full.next;
                bencher.iter_batched(
                    || runs(&mut next, DECISIONS),
                    |runs| full.turns(runs, batch),
                    BatchSize::PerIteration,
                );
                full.next = next;
            });
        }
    }
    group.finish();
}

fn explain(criterion: &mut Criterion) {
    let full = Full::new(HOSTS[1], 0);
    let last = run(full.next).key;
    criterion.bench_function("explain/6100", |bencher| {
        bencher.iter(|| full.engine.explain(black_box(last)));
    });
}

/// A full fleet and a backlog as large.
struct Full {
    engine: Engine,
    live: Vec<RunKey>,
    next: u64,
    random: u64,
    now_ms: u64,
}

impl Full {
    fn new(hosts: usize, stuck: u64) -> Self {
        let mut engine = fleet(hosts);
        let mut next = 0;
        for _ in 0..hosts * RUNS_PER_HOST * 2 {
            next += 1;
            engine.submit(run(next)).expect("the run is right");
        }
        for _ in 0..stuck {
            next += 1;
            let mut run = run(next);
            run.priority = Priority::MAX;
            run.wants.need.memory_bytes = Bytes::gib(1 << 10).0;
            engine.submit(run).expect("the run is right");
        }
        let mut live = Vec::new();
        loop {
            let placed = engine.place(0, DECISIONS);
            if placed.is_empty() {
                break;
            }
            live.extend(placed.into_iter().map(|placed| placed.key));
        }
        Self {
            engine,
            live,
            next,
            random: 1,
            now_ms: 0,
        }
    }

    /// As many runs end as are submitted, so many at once; as many are placed.
    fn turns(&mut self, runs: Vec<Run>, batch: usize) {
        let mut runs = runs.into_iter();
        while runs.len() > 0 {
            for run in runs.by_ref().take(batch) {
                self.random = self
                    .random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let at = usize::try_from(self.random >> 33).expect("31 bits") % self.live.len();
                let gone = self.live.swap_remove(at);
                self.engine.end(gone).expect("it is live");
                self.engine.submit(run).expect("the run is right");
            }
            self.now_ms += 1;
            let placed = self.engine.place(self.now_ms, DECISIONS);
            self.live
                .extend(placed.into_iter().map(|placed| placed.key));
        }
    }
}

fn fleet(hosts: usize) -> Engine {
    let mut engine = Engine::new(Rules::default());
    for n in 0..hosts {
        let host = HostSpec {
            name: format!("host-{n}").parse().expect("a name"),
            epoch: 1,
            region: ["fra", "ams", "lon"][n % 3].parse().expect("a region"),
            labels: Vec::new(),
            capacity: Amounts {
                cpu_millis: 500 * RUNS_PER_HOST as u64,
                memory_bytes: Bytes::gib(RUNS_PER_HOST as u64).0,
                pids: 256 * RUNS_PER_HOST as u64,
                disk_bytes: Bytes::gib(1 << 10).0,
            },
            images: (0..4).map(|at| image((n * 7 + at) as u64)).collect(),
            state: HostState::Online,
        };
        engine.upsert_host(host).expect("the host is right");
    }
    engine
}

fn runs(next: &mut u64, count: usize) -> Vec<Run> {
    let from = *next;
    *next += count as u64;
    (from + 1..=*next).map(run).collect()
}

fn image(n: u64) -> davit_placement::ImageRef {
    format!("sha256:{:064x}", n % 50).parse().expect("an image")
}

fn run(n: u64) -> Run {
    let key = format!("00000000-0000-7000-8000-{n:012x}.1");
    let region = ["fra", "ams", "lon"][usize::try_from(n % 3).expect("three")];
    Run {
        key: key.parse().expect("a key"),
        tenant: format!("tenant-{}", n % TENANTS).parse().expect("a tenant"),
        runner: Some(Runner {
            name: format!("runner-{}", n % (TENANTS * 3))
                .parse()
                .expect("a name"),
            live_max: None,
        }),
        priority: Priority::USUAL,
        sequence: n,
        image: Some(image(n)),
        wants: Wants {
            need: Amounts {
                cpu_millis: 500,
                memory_bytes: Bytes::gib(1).0,
                pids: 256,
                disk_bytes: Bytes::gib(8).0,
            },
            region: n
                .is_multiple_of(2)
                .then(|| region.parse().expect("a region")),
            ..Wants::default()
        },
    }
}
