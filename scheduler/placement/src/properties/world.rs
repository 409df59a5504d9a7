//! A small world of hosts, tenants and runs, and what may happen in it; what must hold is in [`held`].

mod held;

use std::collections::BTreeMap;

use davit_types::RunKey;
use proptest::prelude::*;

use crate::engine::{Engine, Rules};
use crate::health::QuarantineRules;
use crate::host::{HostSpec, HostState};
use crate::names::{HostName, RunnerName};
use crate::run::{Priority, Run, Runner, Wants};
use crate::{Amounts, Assignment, Ended};

pub(crate) const HOSTS: u8 = 6;

#[derive(Clone, Debug)]
pub(crate) struct SmallRun {
    tenant: u8,
    runner: Option<(u8, u32)>,
    priority: u8,
    sequence: u64,
    units: u64,
    disk: bool,
    region: Option<u8>,
    pin: Option<u8>,
    label: bool,
    excluded: Option<u8>,
    image: Option<u8>,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Host {
        n: u8,
        region: u8,
        units: u64,
        label: bool,
        image: Option<u8>,
        state: HostState,
    },
    State {
        n: u8,
        state: HostState,
    },
    Remove(u8),
    Submit(SmallRun),
    Adopt(SmallRun, u8),
    End(usize),
    Started(usize),
    Failed(usize),
    Warm(u8, u8),
    Cap(u8, Option<u32>),
    Weight(u8, u32),
    Image {
        n: u8,
        image: u8,
        held: bool,
    },
    Place {
        after_ms: u64,
        max: usize,
    },
}

pub(crate) fn small_run() -> impl Strategy<Value = SmallRun> {
    let who = (0u8..3, proptest::option::weighted(0.3, (0u8..3, 1u32..3)));
    let when = (prop_oneof![3 => Just(50u8), 1 => Just(60u8)], 0u64..8);
    let what = (
        prop_oneof![4 => 1u64..3, 1 => 3u64..9],
        proptest::bool::weighted(0.1),
    );
    let wher = (
        proptest::option::weighted(0.3, 0u8..2),
        proptest::option::weighted(0.1, 0..HOSTS),
        proptest::bool::weighted(0.1),
        proptest::option::weighted(0.1, 0..HOSTS),
        proptest::option::weighted(0.5, 0u8..3),
    );
    (who, when, what, wher).prop_map(
        |((tenant, runner), (priority, sequence), (units, disk), wher)| {
            let (region, pin, label, excluded, image) = wher;
            SmallRun {
                tenant,
                runner,
                priority,
                sequence,
                units,
                disk,
                region,
                pin,
                label,
                excluded,
                image,
            }
        },
    )
}

fn state() -> impl Strategy<Value = HostState> {
    prop_oneof![
        6 => Just(HostState::Online),
        1 => Just(HostState::Draining),
        1 => Just(HostState::Offline),
        1 => Just(HostState::Remote),
    ]
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let host = (
        0..HOSTS,
        0u8..2,
        1u64..10,
        any::<bool>(),
        proptest::option::of(0u8..3),
        state(),
    );
    prop_oneof![
        3 => host.prop_map(|(n, region, units, label, image, state)| {
            Op::Host { n, region, units, label, image, state }
        }),
        1 => (0..HOSTS, state()).prop_map(|(n, state)| Op::State { n, state }),
        1 => (0..HOSTS).prop_map(Op::Remove),
        12 => small_run().prop_map(Op::Submit),
        1 => (small_run(), 0..HOSTS).prop_map(|(run, n)| Op::Adopt(run, n)),
        6 => any::<usize>().prop_map(Op::End),
        1 => any::<usize>().prop_map(Op::Started),
        2 => any::<usize>().prop_map(Op::Failed),
        1 => (0u8..3, 0..HOSTS).prop_map(|(runner, n)| Op::Warm(runner, n)),
        1 => (0u8..3, proptest::option::of(0u32..3)).prop_map(|(runner, cap)| Op::Cap(runner, cap)),
        1 => (0u8..3, 0u32..4).prop_map(|(tenant, weight)| Op::Weight(tenant, weight)),
        1 => (0..HOSTS, 0u8..3, any::<bool>()).prop_map(|(n, image, held)| Op::Image { n, image, held }),
        6 => (0u64..40, prop_oneof![1 => 0usize..3, 4 => Just(100)])
            .prop_map(|(after_ms, max)| Op::Place { after_ms, max }),
    ]
}

pub(crate) fn key(n: u64) -> RunKey {
    let text = format!("00000000-0000-7000-8000-{n:012x}.1");
    text.parse().expect("a run key")
}

pub(crate) fn host_name(n: u8) -> HostName {
    format!("host-{n}").parse().expect("a host name")
}

fn runner_name(n: u8) -> RunnerName {
    format!("runner-{n}").parse().expect("a runner name")
}

fn region(n: u8) -> crate::Region {
    format!("region-{n}").parse().expect("a region")
}

fn image(n: u8) -> crate::ImageRef {
    format!("image-{n}").parse().expect("an image")
}

/// So much of everything; disk apart.
pub(crate) fn units(n: u64, disk: u64) -> Amounts {
    Amounts {
        disk_bytes: disk,
        ..Amounts::all(n)
    }
}

pub(crate) fn run_of(small: &SmallRun, n: u64) -> Run {
    let label = ("kind".to_owned(), "good".to_owned());
    Run {
        key: key(n),
        tenant: format!("tenant-{}", small.tenant)
            .parse()
            .expect("a tenant"),
        runner: small.runner.map(|(runner, live_max)| Runner {
            name: runner_name(runner),
            live_max: Some(live_max),
        }),
        priority: Priority::new(small.priority).expect("a priority"),
        sequence: small.sequence,
        image: small.image.map(image),
        wants: Wants {
            need: units(small.units, if small.disk { 5 } else { 0 }),
            region: small.region.map(region),
            executors: small.pin.map(host_name).into_iter().collect(),
            labels: small.label.then_some(label).into_iter().collect(),
            excluded: small.excluded.map(host_name).into_iter().collect(),
        },
    }
}

/// The engine beside a model of it.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) now_ms: u64,
    pub(crate) story: Vec<Assignment>,
    hosts: BTreeMap<HostName, HostSpec>,
    caps: BTreeMap<RunnerName, Option<u32>>,
    runs: BTreeMap<RunKey, (Run, Option<HostName>)>,
    submitted: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let rules = Rules {
            seed,
            reserve_after_ms: 10,
            quarantine: QuarantineRules {
                failures: 2,
                window_ms: 200,
                probe_after_ms: 20,
                probe_after_ms_max: 60,
            },
        };
        Self {
            engine: Engine::new(rules),
            now_ms: 0,
            story: Vec::new(),
            hosts: BTreeMap::new(),
            caps: BTreeMap::new(),
            runs: BTreeMap::new(),
            submitted: 0,
        }
    }

    /// Does it. Answers whether the engine took it.
    pub(crate) fn apply(&mut self, op: &Op) -> bool {
        match op {
            Op::Host {
                n,
                region: r,
                units: u,
                label,
                image: i,
                state,
            } => {
                let label = label.then(|| ("kind".to_owned(), "good".to_owned()));
                let spec = HostSpec {
                    name: host_name(*n),
                    epoch: self.now_ms,
                    region: region(*r),
                    labels: label.into_iter().collect(),
                    capacity: units(*u, *u),
                    images: i.map(image).into_iter().collect(),
                    state: *state,
                };
                self.hosts.insert(spec.name.clone(), spec.clone());
                self.engine.upsert_host(spec).is_ok()
            }
            Op::State { n, state } => {
                if let Some(spec) = self.hosts.get_mut(&host_name(*n)) {
                    spec.state = *state;
                }
                self.engine.set_host_state(&host_name(*n), *state).is_ok()
            }
            Op::Remove(n) => {
                let removed = self.engine.remove_host(&host_name(*n)).is_ok();
                if removed {
                    self.hosts.remove(&host_name(*n));
                }
                removed
            }
            Op::Warm(runner, n) => self
                .engine
                .warm(&runner_name(*runner), &host_name(*n))
                .is_ok(),
            Op::Cap(runner, cap) => {
                self.caps
                    .entry(runner_name(*runner))
                    .and_modify(|known| *known = *cap);
                self.engine.set_live_max(&runner_name(*runner), *cap);
                true
            }
            Op::Weight(tenant, weight) => {
                let tenant = format!("tenant-{tenant}").parse().expect("a tenant");
                self.engine.set_weight(&tenant, *weight).is_ok()
            }
            Op::Image { n, image: i, held } => self
                .engine
                .set_image(&host_name(*n), image(*i), *held)
                .is_ok(),
            Op::Submit(_) | Op::Adopt(..) | Op::End(_) | Op::Started(_) | Op::Failed(_) => {
                self.apply_to_run(op)
            }
            Op::Place { after_ms, max } => {
                self.now_ms += after_ms;
                self.place(*max);
                true
            }
        }
    }

    fn apply_to_run(&mut self, op: &Op) -> bool {
        match op {
            Op::Submit(small) | Op::Adopt(small, _) => {
                self.submitted += 1;
                let run = run_of(small, self.submitted);
                let host = match op {
                    Op::Adopt(_, n) => Some(host_name(*n)),
                    _ => None,
                };
                let told = match &host {
                    Some(host) => self.engine.adopt(run.clone(), host),
                    None => self.engine.submit(run.clone()),
                };
                if told.is_ok() {
                    if let Some(runner) = &run.runner {
                        self.caps.insert(runner.name.clone(), runner.live_max);
                    }
                    self.runs.insert(run.key, (run, host));
                }
                told.is_ok()
            }
            Op::End(n) => {
                let Some(key) = self.pick(*n) else {
                    return self.engine.end(key(0)).is_ok();
                };
                let (_, host) = self.runs.remove(&key).expect("it was picked");
                let ended = self.engine.end(key).expect("it is pending or live");
                assert_eq!(ended, host.map_or(Ended::Pending, Ended::Live));
                assert!(self.engine.end(key).is_err(), "given back twice");
                true
            }
            Op::Started(n) => self
                .pick(*n)
                .is_some_and(|key| self.engine.started(key).is_ok()),
            Op::Failed(n) => {
                let now_ms = self.now_ms;
                self.pick(*n)
                    .is_some_and(|key| self.engine.start_failed(key, now_ms).is_ok())
            }
            _ => false,
        }
    }

    fn pick(&self, n: usize) -> Option<RunKey> {
        self.runs
            .keys()
            .nth(n.checked_rem(self.runs.len())?)
            .copied()
    }

    pub(crate) fn end_all(&mut self) {
        for key in std::mem::take(&mut self.runs).into_keys() {
            self.engine.end(key).expect("it is pending or live");
        }
    }

    pub(crate) fn withdraw_pending(&mut self) {
        let pending = self.runs.iter().filter(|(_, (_, host))| host.is_none());
        for key in pending.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.engine.end(key).expect("it is pending");
            self.runs.remove(&key);
        }
    }
}
