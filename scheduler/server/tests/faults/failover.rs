//! A PostgreSQL server that is restarted, dies, and is followed by its standby, while users submit and hosts execute.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::host::Host;
use crate::load::{Load, judge};
use crate::robot::{Executions, Robot};
use crate::world::{Replica, World, wait_for};

/// How long the load lasts between two faults.
const BETWEEN_MS: u64 = 1_000;

/// Two replicas over servers that are tried in turn, and hosts that change replicas whenever their session ends.
struct Scene {
    world: World,
    replicas: [Replica; 2],
    executions: Executions,
    load: Load,
    _robots: Vec<Robot>,
    _to: Vec<watch::Sender<std::net::SocketAddr>>,
}

impl Scene {
    async fn begin(url: &str) -> Self {
        let world = World::postgres(url).await;
        let replicas = [world.start(), world.start()];
        let executions = Executions::default();
        let (mut robots, mut to) = (Vec::new(), Vec::new());
        for number in 0..4 {
            let home = &replicas[number % 2];
            let host = Host::join(&world, home, &format!("host-{number}"), 3).await;
            let (sender, address) = watch::channel(home.address);
            robots.push(Robot::start(host, address, executions.clone(), None));
            to.push(sender);
        }
        let rest = replicas.iter().map(|replica| replica.rest);
        let addresses = watch::Sender::new(rest.collect());
        let load = Load::start(&world, 3, &addresses.subscribe());
        Self {
            world,
            replicas,
            executions,
            load,
            _robots: robots,
            _to: to,
        }
    }

    /// Waits until hosts begin runs again; how long that takes.
    async fn recovered(&self) -> Duration {
        let begin = Instant::now();
        let before = self.executions.count();
        wait_for("hosts to begin runs again", async || {
            (self.executions.count() > before + 5).then_some(())
        })
        .await;
        begin.elapsed()
    }

    /// Lets everything come to its end.
    async fn end(self) {
        tokio::time::sleep(Duration::from_millis(BETWEEN_MS)).await;
        let submitted = self.load.stop().await;
        println!(
            "{} runs, {} requests made again, the longest submission {:?}",
            submitted.runs.len(),
            submitted.retried,
            submitted.longest
        );
        assert!(submitted.retried > 0, "nobody noticed");
        judge(&self.world, &self.replicas[0], &submitted, &self.executions).await;
    }
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(BETWEEN_MS)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_to_a_standby_loses_nothing_acknowledged() {
    let mut primary = Cluster::start();
    primary.create("davit");
    let standby = primary.standby();
    let url = format!(
        "postgresql://davit@{},{}/davit?target_session_attrs=read-write",
        primary.address(),
        standby.address()
    );
    let scene = Scene::begin(&url).await;
    pause().await;
    primary.down("fast");
    primary.up();
    println!("restarted: runs again after {:?}", scene.recovered().await);
    pause().await;
    // It crashes, and does not come back.
    primary.down("immediate");
    standby.promote();
    println!(
        "failed over: runs again after {:?}",
        scene.recovered().await
    );
    scene.end().await;
}
