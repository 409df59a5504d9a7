//! A handle outlives the containerd it was made with.
//!
//! In a file of its own: it kills the containerd that all other tests use. It needs the native test
//! namespace, where containerd's pid is known and starting it again is one command.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use davit_executor::containerd::{ContainerName, Containerd};
use davit_types::{Attempt, RunId, RunKey};

const SOCKET: &str = "/run/containerd/containerd.sock";
const PID_FILE: &str = "/run/containerd.pid";
const WAIT: Duration = Duration::from_secs(30);

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn calls_fail_while_containerd_is_away_and_work_when_it_is_back() {
    assert!(
        std::env::var_os("DAVIT_TEST_REAL_HOST").is_some(),
        "it kills containerd: run it inside scripts/native, with scripts/lib/host-tests"
    );
    let pid = fs::read_to_string(PID_FILE).unwrap();
    let containerd = Containerd::connect(Path::new(SOCKET), "davit-reconnect", "overlayfs")
        .await
        .unwrap();
    let name = ContainerName::Run(RunKey {
        run: RunId::generate(),
        attempt: Attempt::FIRST,
    });
    containerd.snapshot_prepare(&name, "").await.unwrap();
    let killed = Command::new("kill")
        .args(["-9", pid.trim()])
        .status()
        .unwrap();
    assert!(killed.success());
    let begin = Instant::now();
    let error = loop {
        match containerd.inventory().await {
            Err(error) => break error,
            Ok(_) => assert!(begin.elapsed() < WAIT, "containerd does not die"),
        }
    };
    assert!(error.is_transient(), "{error:?}");
    // Through a shell, so that it is not our child.
    let started = Command::new("sh")
        .args([
            "-c",
            "containerd >>/run/containerd.log 2>&1 </dev/null & echo $!",
        ])
        .output()
        .unwrap();
    fs::write(PID_FILE, started.stdout).unwrap();
    let begin = Instant::now();
    let inventory = loop {
        match containerd.inventory().await {
            Ok(inventory) => break inventory,
            Err(error) => assert!(begin.elapsed() < WAIT, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(inventory.snapshots[0].name, name);
    containerd.snapshot_remove(&name).await.unwrap();
    containerd.snapshot_remove(&name).await.unwrap();
}
