//! More than the store, or the object store, takes in: what that may not hold up.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use davit_rpc::link::host_message::Message as Said;
use davit_rpc::link::report::Event;
use davit_rpc::link::scheduler_message::Message;
use davit_rpc::link::{Accepted, AttemptKey, Heartbeat, LogBatch, LogRecord, place};
use davit_scheduler::store::{PostgresSettings, StoreSettings, Tls};
use davit_types::RunId;
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::cluster::Cluster;
use crate::faulty::Hang;
use crate::host::{Host, Line};
use crate::world::{Tweak, World, plan, wait_for};

/// A run's reports are stored with those of this part of all runs.
const LANES: u128 = 4;
/// So many hosts ...
const HOSTS: usize = 14;
/// ... with so many reports each are more than a lane and its batch hold, and one host's are fewer than are taken from it
/// before any of them is stored.
const REPORTS: u32 = 240;

const DATABASE: &str = "davit";

/// Holds a run's row until there is a table `let_go`.
fn hold(cluster: &Cluster, run: RunId) {
    let words = format!(
        "DO $$ BEGIN PERFORM 1 FROM active_runs WHERE run = '{run}' FOR UPDATE; \
         WHILE NOT EXISTS (SELECT 1 FROM pg_class WHERE relname = 'let_go') LOOP \
         PERFORM pg_sleep(0.05); END LOOP; END $$"
    );
    cluster.sql(DATABASE, &words);
}

fn is_held(cluster: &Cluster) -> bool {
    let words = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    cluster.sql(DATABASE, words) == "1"
}

/// Reports of runs that nobody knows, all of one lane.
async fn flood(line: &Line, lane: u128) {
    for _ in 0..REPORTS {
        let run = loop {
            let run = RunId::generate();
            if run.as_uuid().as_u128() % LANES == lane {
                break run;
            }
        };
        let key = AttemptKey {
            run_id: run.to_string(),
            attempt: 1,
        };
        assert!(line.report(&key, 1, Event::Accepted(Accepted {})).await);
    }
}

/// Says that it lives, and hears that this is stored.
async fn beat(line: &mut Line, number: u64) {
    let heartbeat = Heartbeat {
        number,
        ..Heartbeat::default()
    };
    assert!(line.say(Said::Heartbeat(heartbeat)).await);
    let answered = |message| match message {
        Message::HeartbeatAck(ack) => Some(ack.number),
        _ => None,
    };
    assert_eq!(line.until("an answered heartbeat", answered).await, number);
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_that_wait_hold_up_no_heartbeat() {
    let cluster = Arc::new(Cluster::start());
    let settings = StoreSettings::Postgres(PostgresSettings {
        url: cluster.create(DATABASE),
        connections_max: 8,
        tls: Tls::Off,
    });
    let world = World::open(settings, TempDir::new().unwrap()).await;
    let replica = world.replica(Tweak::default()).await;
    let first = Host::join(&world, &replica, "host-0", 1).await;
    let mut first = first.connect(&replica, vec![]).await;
    let run = world.submit(&plan()).await;
    let key = first.assigned().await.key.unwrap();

    let holder = Arc::clone(&cluster);
    let holder = thread::spawn(move || hold(&holder, run));
    let looker = Arc::clone(&cluster);
    wait_for("the row to be held", async || {
        let looker = Arc::clone(&looker);
        let held = spawn_blocking(move || is_held(&looker)).await.unwrap();
        held.then_some(())
    })
    .await;
    assert!(first.report(&key, 1, Event::Accepted(Accepted {})).await);
    let lane = run.as_uuid().as_u128() % LANES;
    let mut lines = Vec::new();
    for n in 1..=HOSTS {
        let host = Host::join(&world, &replica, &format!("host-{n}"), 0).await;
        let line = host.connect(&replica, vec![]).await;
        flood(&line, lane).await;
        lines.push(line);
    }

    for line in &mut lines {
        beat(line, 7).await;
    }
    assert!(!holder.is_finished(), "nothing held the reports up");

    let release = Arc::clone(&cluster);
    let release = spawn_blocking(move || release.sql(DATABASE, "CREATE TABLE let_go ()"));
    release.await.unwrap();
    assert_eq!(first.acked().await.step, 1);
    for line in &mut lines {
        // As many answers as there were reports: each of these runs is unknown.
        for _ in 0..REPORTS {
            line.forgotten().await;
        }
    }
    holder.join().unwrap();
}

/// Lines of a batch; eight such batches find room, a ninth does not.
const BATCH_LINES: u64 = 30;
const LINE_BYTES: usize = 16_000;
const LOG_BYTES_MAX: usize = 4 << 20;
const ATTEMPTS: usize = 10;

fn batch(key: &AttemptKey) -> LogBatch {
    let records = (1..=BATCH_LINES).map(|id| LogRecord {
        id,
        stream: "stdout".to_owned(),
        line: vec![b'x'; LINE_BYTES],
        newline: true,
        ..LogRecord::default()
    });
    LogBatch {
        key: Some(key.clone()),
        records: records.collect(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_wait_hold_up_no_heartbeat_and_are_asked_for_again() {
    let world = World::sqlite().await;
    let tweak = Tweak {
        log_bytes_max: LOG_BYTES_MAX,
        ..Tweak::default()
    };
    let replica = world.replica(tweak).await;
    let host = Host::join(&world, &replica, "host-0", ATTEMPTS as u64).await;
    let mut line = host.connect(&replica, vec![]).await;
    let mut keys = Vec::new();
    for _ in 0..ATTEMPTS {
        world.submit(&plan()).await;
        keys.push(line.start().await);
    }
    world.objects.hang(Some(Hang::Before));
    for key in &keys {
        assert!(line.say(Said::Log(batch(key))).await);
    }
    beat(&mut line, 1).await;
    assert!(world.objects.writes.load(Ordering::SeqCst) <= ATTEMPTS - 2);

    world.objects.hang(None);
    // Eight are stored. Two are asked for again: nothing of theirs is.
    let mut stored = 0;
    while stored < ATTEMPTS {
        let again = |message| match message {
            Message::LogAck(ack) => Some((ack.last_id == BATCH_LINES, None)),
            Message::ReportAck(ack) => match ack.refused?.place?.standing? {
                place::Standing::Live(live) => Some((live.log_last_id == 0, ack.key)),
                place::Standing::Gone(_) => None,
            },
            _ => None,
        };
        let (as_expected, asked) = line.until("what becomes of the lines", again).await;
        assert!(as_expected);
        match asked {
            Some(key) => assert!(line.say(Said::Log(batch(&key))).await),
            None => stored += 1,
        }
    }
    for key in &keys {
        let run = key.run_id.parse().unwrap();
        let row = world.view(run).await.active.unwrap();
        assert_eq!(row.log_last_id, BATCH_LINES);
    }
}
