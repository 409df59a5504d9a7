//! A disk that is full, under the whole scheduler: its database and its logs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use davit_scheduler::settings::Settings;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::host::Host;
use crate::load::{Load, judge};
use crate::robot::{Executions, Robot};
use crate::small_disk::SmallDisk;
use crate::world::{World, settings, wait_for};

/// Times that the disk fills.
const ROUNDS: usize = 3;

/// Takes all that is free.
fn fill(disk: &SmallDisk) {
    let written = fs::write(disk.path().join("ballast"), vec![0; 64 << 20]);
    let error = written.expect_err("64 MiB do not fit");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

fn clear(disk: &SmallDisk) {
    fs::remove_file(disk.path().join("ballast")).unwrap();
}

fn on(disk: &Path) -> Settings {
    settings(disk.join("state"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_delays_and_loses_nothing() {
    let disk = SmallDisk::mount("32m");
    let world = World::furnish(on(disk.path()), TempDir::new().unwrap()).await;
    let replica = world.start();
    let executions = Executions::default();
    let (_to, address) = watch::channel(replica.address);
    let mut robots = Vec::new();
    for number in 0..2 {
        let host = Host::join(&world, &replica, &format!("host-{number}"), 3).await;
        robots.push(Robot::start(
            host,
            address.clone(),
            executions.clone(),
            None,
        ));
    }
    let addresses = watch::Sender::new(vec![replica.rest]);
    let load = Load::start(&world, 2, &addresses.subscribe());
    for round in 0..ROUNDS {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let before = load.retried();
        fill(&disk);
        // What would be stored is refused, as one that may be made again; what is there can be read.
        let refused = wait_for("a write to be refused", async || {
            let request = world
                .http
                .post(format!("http://{}/v1/tokens", replica.rest));
            let request = request.bearer_auth(&world.token);
            let request = request.header("content-type", "application/json");
            let body = format!(r#"{{"name": "{round}", "scopes": ["runs:read"]}}"#);
            let answer = request.body(body).send().await.unwrap();
            let status = answer.status().as_u16();
            (status != 201).then_some((status, answer.text().await.unwrap()))
        });
        let (status, body) = refused.await;
        assert!(matches!(status, 503 | 507), "{status}: {body}");
        world.get(&replica, "/v1/runs").await;
        wait_for("the users to notice", async || {
            (load.retried() > before).then_some(())
        })
        .await;
        clear(&disk);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let submitted = load.stop().await;
    judge(&world, &replica, &submitted, &executions).await;
}
