//! Clocks that step by a day, at the database's server and at a replica: real processes under libfaketime, which changes
//! the wall clock only.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use davit_rpc::link::Heartbeat;
use davit_rpc::link::host_message::Message as Said;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::{Cluster, own};
use crate::host::{Host, Line};
use crate::world::{Replica, World, run, wait_for};

/// After silence for so long runs are given away; no test lasts as long.
const LOST_AFTER_MS: u64 = 120_000;
/// Hosts are surveyed every two seconds: a step that did harm would have done it.
const WATCHED_MS: u64 = 3_000;

/// Where Debian's package puts the library.
fn library() -> PathBuf {
    let places = fs::read_dir("/usr/lib")
        .unwrap()
        .filter_map(|dir| Some(dir.ok()?.path().join("faketime/libfaketime.so.1")));
    let found = places.into_iter().find(|path| path.exists());
    found.expect("libfaketime is not installed: apt-get install libfaketime (scripts/test does it)")
}

/// A wall clock that can be set.
struct Clock {
    dir: TempDir,
}

impl Clock {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        own(dir.path());
        let clock = Self { dir };
        clock.step("+0");
        clock
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("step")
    }

    /// For the processes that go by it.
    fn environment(&self) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.display().to_string();
        vec![
            ("LD_PRELOAD", text(&library())),
            ("FAKETIME_TIMESTAMP_FILE", text(&self.file())),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }

    /// So much beside the right time.
    fn step(&self, by: &str) {
        let draft = self.dir.path().join("draft");
        fs::write(&draft, format!("{by}\n")).unwrap();
        fs::rename(&draft, self.file()).unwrap();
        own(&self.file());
    }
}

/// A run that is given away when its host is silent.
async fn submit(world: &World, replica: &Replica) -> String {
    let mut body = run();
    body["on_lost"] = json!({
        "policy": "requeue", "lost_after_ms": LOST_AFTER_MS, "stop_after_ms": 20_000,
    });
    let request = world.http.post(format!("http://{}/v1/runs", replica.rest));
    let request = request.bearer_auth(&world.token);
    let request = request.header("content-type", "application/json");
    let answer = request.body(body.to_string()).send().await.unwrap();
    let text = answer.text().await.unwrap();
    let made: Value = serde_json::from_str(&text).unwrap();
    made["run"]["id"]
        .as_str()
        .unwrap_or_else(|| panic!("{text}"))
        .to_owned()
}

async fn attempt(world: &World, replica: &Replica, run: &str) -> (Value, Value) {
    let shown = world.get(replica, &format!("/v1/runs/{run}")).await;
    (
        shown["run"]["status"].clone(),
        shown["run"]["attempt"].clone(),
    )
}

/// Says that the host lives, for as long as it is watched.
async fn beat(line: &Line, for_ms: u64) {
    for _ in 0..for_ms / 200 {
        assert!(line.say(Said::Heartbeat(Heartbeat::default())).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_step_of_a_clock_gives_a_run_away() {
    let (server_s, replica_s) = (Clock::new(), Clock::new());
    let cluster = Cluster::start_with(server_s.environment());
    let world = World::postgres(&cluster.create("davit")).await;
    let replica = Replica::start(&world.settings_file, &replica_s.environment());
    let cut_off = Host::join(&world, &replica, "cut-off", 1).await;
    let mut line = cut_off.connect(&replica, vec![]).await;
    let run = submit(&world, &replica).await;
    let key = line.start().await;
    // Cut off, for a moment; another host has room and would be given the run.
    drop(line);
    let other = Host::join(&world, &replica, "other", 1).await;
    let steps = [
        ("+86400", "+0"),
        ("-86400", "+0"),
        ("+86400", "-86400"),
        ("+86400", "+86400"),
    ];
    for (server, here) in steps {
        server_s.step(server);
        replica_s.step(here);
        let line = wait_for("the other host to be connected", async || {
            other.dial(replica.address, vec![]).await.ok()
        })
        .await;
        beat(&line, WATCHED_MS).await;
        let stands = attempt(&world, &replica, &run).await;
        assert_eq!(stands, (json!("running"), json!(1)), "{server}, {here}");
    }
    // Its host is back, and it is still its own.
    let line = wait_for("the host to be connected", async || {
        cut_off.dial(replica.address, vec![key.clone()]).await.ok()
    })
    .await;
    assert!(line.place(&key).is_some(), "{:?}", line.welcome);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_steps_back_holds_up_no_claim() {
    let server_s = Clock::new();
    let cluster = Cluster::start_with(server_s.environment());
    let world = World::postgres(&cluster.create("davit")).await;
    server_s.step("+86400");
    let first = world.start();
    // Its only host has no room: it claims the run, and cannot place it.
    let small = Host::join(&world, &first, "small", 0).await;
    let _line = small.connect(&first, vec![]).await;
    let run = submit(&world, &first).await;
    wait_for("the run to be claimed", async || {
        let claimed = cluster.sql("davit", "SELECT count(*) FROM active_runs WHERE state = 1");
        (claimed == "1").then_some(())
    })
    .await;
    first.kill();
    server_s.step("+0");
    // By the server's clock the dead replica was alive a day from now.
    let second = world.start();
    let large = Host::join(&world, &second, "large", 1).await;
    let mut line = large.connect(&second, vec![]).await;
    assert_eq!(line.assigned().await.key.unwrap().run_id, run);
}
