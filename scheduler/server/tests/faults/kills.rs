//! kill -9 of replicas at random moments, while users submit and hosts execute.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use uuid::Uuid;

use crate::cluster::Cluster;
use crate::host::Host;
use crate::load::{Load, judge};
use crate::robot::{Executions, Robot};
use crate::world::{Random, Replica, World, wait_for};

/// Kills of one test, unless [`KILLS_VARIABLE`] says otherwise.
const KILLS: u64 = 6;
/// For a long round: how many kills.
const KILLS_VARIABLE: &str = "DAVIT_TEST_KILLS";
/// What their randomness begins with, unless this names another number.
const SEED_VARIABLE: &str = "DAVIT_TEST_SEED";
const SEED: u64 = 0x5eed_0da7;
/// Longest pause between two kills.
const PAUSE_MS_MAX: u64 = 500;
/// After a kill, its hosts begin runs again within this time.
const DISPATCHING_MS_MAX: u128 = 5_000;
const HOSTS: usize = 4;
const USERS: usize = 3;

fn number(variable: &str, otherwise: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Two replicas and the hosts between them; a host's home is one of them.
struct Fleet<'a> {
    world: &'a World,
    replicas: [Option<Replica>; 2],
    rest: watch::Sender<Vec<SocketAddr>>,
    hosts: Vec<(Uuid, watch::Sender<SocketAddr>)>,
    executions: Executions,
    _robots: Vec<Robot>,
}

impl<'a> Fleet<'a> {
    async fn start(world: &'a World, seed: u64) -> Self {
        let replicas = [world.start(), world.start()];
        let executions = Executions::default();
        let (mut hosts, mut robots) = (Vec::new(), Vec::new());
        for number in 0..HOSTS {
            let home = &replicas[number % 2];
            let host = Host::join(world, home, &format!("host-{number}"), 3).await;
            let (to, address) = watch::channel(home.address);
            hosts.push((host.id, to));
            // Every other one behaves badly.
            let chance = (number >= 2).then_some(seed + number as u64);
            robots.push(Robot::start(host, address, executions.clone(), chance));
        }
        let rest = watch::Sender::new(replicas.iter().map(|r| r.rest).collect());
        Self {
            world,
            replicas: replicas.map(Some),
            rest,
            hosts,
            executions,
            _robots: robots,
        }
    }

    /// Says where everybody is to go: home, or to the other one.
    fn redirect(&self) {
        let here = self.replicas.iter().flatten();
        self.rest
            .send_replace(here.clone().map(|r| r.rest).collect());
        for (number, (_, to)) in self.hosts.iter().enumerate() {
            let home = self.replicas[number % 2].as_ref();
            if let Some(replica) = home.or_else(|| here.clone().next()) {
                to.send_if_modified(|address| {
                    std::mem::replace(address, replica.address) != replica.address
                });
            }
        }
    }

    /// Kills one or both, waits until all their hosts begin something new, and starts them again; how long that took.
    async fn kill(&mut self, victims: &[usize]) -> Duration {
        for victim in victims {
            self.replicas[*victim].take().unwrap().kill();
        }
        let killed = Instant::now();
        self.redirect();
        if victims.len() == 2 {
            self.restart(victims);
        }
        let mut longest = Duration::ZERO;
        for (number, (host, _)) in self.hosts.iter().enumerate() {
            if victims.contains(&(number % 2)) {
                let begun = wait_for("a host to be given runs again", async || {
                    self.executions.last_of(*host).filter(|at| *at > killed)
                });
                longest = longest.max(begun.await - killed);
            }
        }
        if victims.len() == 1 {
            self.restart(victims);
        }
        longest
    }

    fn restart(&mut self, victims: &[usize]) {
        for victim in victims {
            self.replicas[*victim] = Some(self.world.start());
        }
        self.redirect();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_are_killed_lose_and_double_nothing() {
    let (kills, seed) = (number(KILLS_VARIABLE, KILLS), number(SEED_VARIABLE, SEED));
    let cluster = Cluster::start();
    let world = World::postgres(&cluster.create("davit")).await;
    let mut fleet = Fleet::start(&world, seed).await;
    let load = Load::start(&world, USERS, &fleet.rest.subscribe());
    let mut random = Random(seed);
    let mut dispatching = Vec::new();
    for kill in 0..kills {
        tokio::time::sleep(Duration::from_millis(random.below(PAUSE_MS_MAX))).await;
        let victims: &[usize] = match random.below(5) {
            0 => &[0, 1],
            n if n % 2 == 0 => &[0],
            _ => &[1],
        };
        let took = fleet.kill(victims).await;
        println!("kill {kill} of {victims:?}: dispatching again after {took:?}");
        dispatching.push(took);
    }
    let submitted = load.stop().await;
    let replica = fleet.replicas[0].as_ref().unwrap();
    judge(&world, replica, &submitted, &fleet.executions).await;
    dispatching.sort_unstable();
    let longest = dispatching.last().unwrap();
    println!(
        "seed {seed:#x}: {kills} kills, {} runs, {} requests made again, the longest submission {:?}; \
         dispatching again after {:?} at the median, {longest:?} at most",
        submitted.runs.len(),
        submitted.retried,
        submitted.longest,
        dispatching[dispatching.len() / 2],
    );
    assert!(submitted.retried > 0, "nobody noticed a kill");
    assert!(longest.as_millis() <= DISPATCHING_MS_MAX, "{longest:?}");
}
