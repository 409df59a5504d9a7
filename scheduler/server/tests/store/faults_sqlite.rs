//! What a store on one file must survive: a kill in mid-commit, a full disk, a later davit's file.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use davit_scheduler::store::*;
use davit_types::RunId;
use tempfile::TempDir;

use crate::small_disk::SmallDisk;
use crate::world::World;

/// Set for the child that [`acknowledged_writes_survive_a_kill`] kills.
const CHILD_FILE: &str = "DAVIT_TEST_STORE_FILE";
const KILLS: usize = 4;
const WRITERS: usize = 8;

fn file(path: &Path) -> StoreSettings {
    StoreSettings::Sqlite {
        path: path.to_owned(),
    }
}

/// Submits for ever and prints each run after it was acknowledged. Only the parent below starts it so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writer_to_be_killed() {
    let Some(path) = std::env::var_os(CHILD_FILE) else {
        return;
    };
    let world = std::sync::Arc::new(World::open(file(Path::new(&path))).await);
    let writers = (0..WRITERS).map(|_| {
        let world = std::sync::Arc::clone(&world);
        tokio::spawn(async move {
            loop {
                println!("acknowledged {}", world.submitted().await);
            }
        })
    });
    futures::future::join_all(writers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_a_kill() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let mut acknowledged = Vec::new();
    for round in 1..=KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "faults_sqlite::writer_to_be_killed",
                "--nocapture",
            ])
            .env(CHILD_FILE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let runs = |line: String| line.split("acknowledged ").nth(1)?.parse::<RunId>().ok();
        let before = acknowledged.len();
        while acknowledged.len() < before + 100 * round {
            let line = lines.next().expect("the writer writes").unwrap();
            acknowledged.extend(runs(line));
        }
        // SIGKILL, with commits under way.
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(lines.map_while(Result::ok).filter_map(runs));
    }
    let world = World::open(file(&path)).await;
    for batch in acknowledged.chunks(500) {
        let found = world.store.runs(None, batch.to_vec()).await.unwrap();
        assert_eq!(found.len(), batch.len(), "an acknowledged run is missing");
        assert!(found.iter().all(|view| view.active.is_some()), "half a run");
    }
    // Whatever else is there is whole: each run with its audit row.
    let mut runs = 0;
    let mut before = None;
    loop {
        let page = world
            .store
            .runs_page(RunFilter::default(), before, 1000)
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.base.run);
        runs += page.len();
    }
    let mut audited = 0;
    let mut after = Cursor::default();
    loop {
        let page = world.store.audit_page(None, after, 1000).await.unwrap();
        if page.rows.is_empty() {
            break;
        }
        after = page.next;
        audited += page
            .rows
            .iter()
            .filter(|row| row.action == "run.submitted")
            .count();
    }
    assert_eq!(runs, audited);
    assert!(runs >= acknowledged.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_a_clear_error_and_nothing_is_half_made() {
    let disk = SmallDisk::mount("6m");
    let world = World::open(file(&disk.path().join("store"))).await;
    let mut stored = Vec::new();
    let full = loop {
        let batch: Vec<_> = (0..20)
            .map(|_| {
                let mut submission = world.submission();
                submission.base.spec = "x".repeat(4_000);
                submission
            })
            .collect();
        let runs: Vec<RunId> = batch.iter().map(|s| s.base.run).collect();
        match world.store.submit(batch.clone()).await {
            Ok(_) => stored.extend(runs),
            Err(error) => break (error, batch),
        }
        assert!(stored.len() < 10_000, "the disk never fills");
    };
    let (error, batch) = full;
    assert!(
        matches!(error.failure, Failure::Full { .. }),
        "{:?}",
        error.failure
    );
    assert!(error.is_retriable());
    assert!(error.to_string().contains("cannot submit"), "{error}");
    let missing: Vec<RunId> = batch.iter().map(|s| s.base.run).collect();
    let found = world.store.runs(None, missing.clone()).await.unwrap();
    assert_eq!(found, [], "nothing of the failed batch is there");
    // Reading works on a full disk, and with room again the same call succeeds.
    let found = world.store.runs(None, stored[..20].to_vec()).await.unwrap();
    assert_eq!(found.len(), 20);
    disk.grow("32m");
    let again = world.store.submit(batch).await.unwrap();
    assert!(again.iter().all(|answer| *answer == Ok(Submitted::Created)));
    world.store.close().await;
}

#[tokio::test]
async fn a_later_schema_is_refused() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    World::open(file(&path)).await.store.close().await;
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    drop(raw);
    let refused = open(&file(&path)).await.err().unwrap();
    assert!(matches!(refused.failure, Failure::TooNew { found: 99, .. }));
    assert!(refused.to_string().contains(&path.display().to_string()));
}

#[tokio::test]
async fn the_file_is_its_owners_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let world = World::open(file(&path)).await;
    world.submitted().await;
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.path());
    }
    world.store.close().await;
    let closed = world.store.totals(world.tenant.clone()).await.unwrap_err();
    assert!(matches!(closed.failure, Failure::Closed));
    let closed = world
        .store
        .submit(vec![world.submission()])
        .await
        .unwrap_err();
    assert!(matches!(closed.failure, Failure::Closed));
}
