//! What a store on a server must survive: crashes under load, slow transactions, wrong settings.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use davit_scheduler::store::*;
use davit_types::RunId;
use futures::future::join_all;

use crate::cluster::{Cluster, own};
use crate::postgres;
use crate::world::{NOW_MS, World, segment, update, wait_for};

const WRITERS: usize = 6;

/// Submits until told to stop, repeating each submission until it is answered; returns what was.
async fn write_through(world: Arc<World>, stop: Arc<AtomicBool>) -> (Vec<RunId>, usize) {
    let mut stored = Vec::new();
    let mut failures = 0;
    while !stop.load(Ordering::Relaxed) {
        let submission = world.submission();
        loop {
            match world.store.submit(vec![submission.clone()]).await {
                Ok(answers) => {
                    assert!(answers[0].is_ok(), "{answers:?}");
                    stored.push(submission.base.run);
                    break;
                }
                Err(error) => {
                    assert!(error.is_retriable(), "{error}: {:?}", error.failure);
                    failures += 1;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
    (stored, failures)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_crashes_under_load_loses_nothing_acknowledged() {
    let mut cluster = Cluster::start();
    let world = Arc::new(World::open(postgres(cluster.create("crash"))).await);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| tokio::spawn(write_through(Arc::clone(&world), Arc::clone(&stop))))
        .collect();
    for mode in ["immediate", "fast"] {
        tokio::time::sleep(Duration::from_millis(500)).await;
        cluster.down(mode);
        cluster.up();
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let mut stored = Vec::new();
    let mut failures = 0;
    for written in join_all(writers).await {
        let (runs, failed) = written.unwrap();
        stored.extend(runs);
        failures += failed;
    }
    assert!(failures > 0, "no writer noticed: the load was none");
    let mut found = 0;
    for batch in stored.chunks(500) {
        found += world.store.runs(None, batch.to_vec()).await.unwrap().len();
    }
    assert_eq!(found, stored.len());
    // Repeated submissions made no second run: each stored run has one audit row.
    let rows = cluster.sql(
        "crash",
        "SELECT count(*), count(DISTINCT subject) FROM audit WHERE action = 'run.submitted'",
    );
    let count = cluster.sql("crash", "SELECT count(*) FROM runs");
    assert_eq!(rows, format!("{count}|{count}"));
    world.store.close().await;
}

/// One thread: only there can time be let pass at once.
#[tokio::test]
async fn a_server_that_hangs_is_given_up_for_its_standby() {
    let primary = Cluster::start();
    primary.create("hang");
    let standby = primary.standby();
    let url = format!(
        "postgresql://davit@{},{}/hang?target_session_attrs=read-write",
        primary.address(),
        standby.address()
    );
    let world = World::open(postgres(url)).await;
    let stored = world.submitted().await;
    // Its kernel goes on answering for it, so no connection breaks.
    primary.freeze();
    tokio::time::pause();
    let submission = world.submission();
    let given_up = world.store.submit(vec![submission.clone()]).await;
    tokio::time::resume();
    let failure = given_up.unwrap_err().failure;
    assert!(matches!(failure, Failure::Unknown { .. }), "{failure:?}");
    standby.promote();
    let answers = wait_for("the standby to be found", async || {
        world.store.submit(vec![submission.clone()]).await.ok()
    });
    assert_eq!(answers.await, [Ok(Submitted::Created)]);
    let runs = vec![stored, submission.base.run];
    assert_eq!(world.store.runs(None, runs).await.unwrap().len(), 2);
    world.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_heard_of_in_the_future_is_silent_from_now_on() {
    let cluster = Cluster::start();
    let world = World::open(postgres(cluster.create("ahead"))).await;
    let peer = world.host().await;
    let key = world.running(peer).await;
    // As if the server's clock had stepped back by a day.
    let step = "UPDATE host_sessions SET heard_ms = heard_ms + 86400000";
    cluster.sql("ahead", step);
    let loss = Loss {
        key,
        fenced_by: FencedBy::Lease { silent_ms_min: 1 },
        retry: None,
        message: "silent".to_owned(),
        actor: "davit".to_owned(),
        at_ms: NOW_MS,
    };
    let verdicts = world.store.lose(vec![loss.clone()]).await.unwrap();
    assert_eq!(verdicts, [Err(Refusal::NotFenced)]);
    wait_for("silence that counts", async || {
        let verdicts = world.store.lose(vec![loss.clone()]).await.unwrap();
        (verdicts == [Ok(Done::Applied)]).then_some(())
    })
    .await;
    world.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cursor_waits_for_slower_transactions() {
    let cluster = Cluster::start();
    let url = cluster.create("slow");
    let world = World::open(postgres(url.clone())).await;
    let peer = world.host().await;
    let key = world.running(peer).await;
    let (slow, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    // A transaction that writes to the ledger first and commits last.
    slow.batch_execute(
        "BEGIN; INSERT INTO usage_segments (id, run, attempt, sequence, begin_ms, end_ms, paused, \
         tenant, region, instance_type, price_second_micros, host, at_ms) \
         SELECT gen_random_uuid(), gen_random_uuid(), 1, 0, 0, 1, 0, 'acme', 'here', 'small', 7, \
         gen_random_uuid(), 1",
    )
    .await
    .unwrap();
    let metered = update(peer, key, 2, Event::Metered, vec![segment(key, 0, 0, 100)]);
    world.report(metered).await.unwrap();
    let page = world
        .store
        .usage_page(None, Cursor::default(), 10)
        .await
        .unwrap();
    assert_eq!(
        page.rows,
        [],
        "a reader that took the fast row would miss the slow one"
    );
    slow.batch_execute("COMMIT").await.unwrap();
    let page = wait_for("both rows", async || {
        let page = world
            .store
            .usage_page(None, Cursor::default(), 10)
            .await
            .unwrap();
        (page.rows.len() == 2).then_some(page)
    })
    .await;
    assert_eq!(page.rows[0].segment.end_ms, 1, "the slow one is first");
    let rest = world.store.usage_page(None, page.next, 10).await.unwrap();
    assert_eq!(rest.rows, []);
    world.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_in_flight_is_told_so() {
    let cluster = Cluster::start();
    let url = cluster.create("flight");
    let world = World::open(postgres(url.clone())).await;
    let (first, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    // As another replica does it, in a transaction that is not committed yet.
    first
        .batch_execute("BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('key/acme/k', 0))")
        .await
        .unwrap();
    let mut submission = world.submission();
    submission.idempotency = Some(Idempotency {
        key: "k".to_owned(),
        fingerprint: [1; 32],
    });
    assert_eq!(world.submit(&submission).await, Err(Refusal::KeyInFlight));
    first.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(world.submit(&submission).await, Ok(Submitted::Created));
    world.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_settings_and_a_later_schema_are_named() {
    let cluster = Cluster::start();
    let url = cluster.create("later");
    World::open(postgres(url.clone())).await.store.close().await;
    cluster.sql("later", "INSERT INTO davit_schema (version) VALUES (99)");
    let refused = open(&postgres(url)).await.err().unwrap();
    assert!(matches!(refused.failure, Failure::TooNew { found: 99, .. }));
    assert!(refused.to_string().contains("database later"), "{refused}");
    let nowhere = "postgresql://davit:sesame@127.0.0.1:1/none".to_owned();
    let refused = open(&postgres(nowhere)).await.err().unwrap();
    assert!(refused.is_retriable());
    assert!(!format!("{refused} {:?}", refused).contains("sesame"));
    let refused = open(&postgres("not a url".to_owned())).await.err().unwrap();
    assert!(matches!(refused.failure, Failure::Setting { .. }));
}

/// Runs openssl in a directory.
fn openssl(dir: &Path, arguments: &[&str]) {
    let done = Command::new("openssl")
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(done.status.success(), "openssl {arguments:?}: {done:?}");
}

/// `server.crt` for 127.0.0.1, signed by `authority.crt`; `other.crt` signed nothing.
fn make_certificates(dir: &Path) {
    for name in ["authority", "other"] {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
        let files = ["-keyout", &key, "-out", &certificate];
        let make = [
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ];
        openssl(
            dir,
            &[&make[..], &files, &["-subj", "/CN=davit test"]].concat(),
        );
    }
    let files = ["-keyout", "server.key", "-out", "server.csr"];
    let make = [
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=server",
    ];
    let name = ["-addext", "subjectAltName=IP:127.0.0.1"];
    openssl(dir, &[&make[..], &files, &name].concat());
    let sign = [
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-out",
        "server.crt",
        "-days",
        "2",
    ];
    let by = [
        "-CA",
        "authority.crt",
        "-CAkey",
        "authority.key",
        "-CAcreateserial",
    ];
    openssl(
        dir,
        &[&sign[..], &by, &["-copy_extensions", "copy"]].concat(),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_verifies_the_server() {
    let mut cluster = Cluster::start();
    let url = cluster.create("tls");
    cluster.down("fast");
    let data = cluster.data();
    make_certificates(&data);
    own(&data.join("server.key"));
    own(&data.join("server.crt"));
    let configuration = data.join("postgresql.conf");
    let mut text = std::fs::read_to_string(&configuration).unwrap();
    text.push_str("\nssl = on\n");
    std::fs::write(&configuration, text).unwrap();
    cluster.up();
    let settings = |url: &str, authorities: &str| {
        StoreSettings::Postgres(PostgresSettings {
            url: url.to_owned(),
            connections_max: 2,
            tls: Tls::VerifyFull {
                authorities: data.join(authorities),
            },
        })
    };
    let world = World::open(settings(&url, "authority.crt")).await;
    world.submitted().await;
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE application_name = 'davit'";
    assert_eq!(cluster.sql("tls", encrypted), "t");
    world.store.close().await;
    assert!(
        open(&settings(&url, "other.crt")).await.is_err(),
        "an authority it does not know"
    );
    let other_name = url.replace("127.0.0.1", "localhost");
    assert!(
        open(&settings(&other_name, "authority.crt")).await.is_err(),
        "another name"
    );
    let empty = open(&settings(&url, "postgresql.conf"))
        .await
        .err()
        .unwrap();
    assert!(matches!(empty.failure, Failure::Setting { .. }));
}
