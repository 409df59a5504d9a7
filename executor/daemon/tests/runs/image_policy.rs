//! What the operator says of images counts for every run, whatever is here already.

use std::process::Command;

use davit_rpc::local::{Run, SubmitRequest};

use super::serving::{IMAGES_ALLOWED, IMAGES_SIGNED};
use super::support::{BUSYBOX, Executor};
use super::warm::wait_ready;

/// Somebody's key: nothing in the registry is signed with it.
const KEY: &str = include_str!("../../src/images/signatures/vectors/p256.pub");
/// Another name of busybox.
const ALIAS: &str = "127.0.0.1:5000/policy/busybox:1";

async fn ended(executor: &mut Executor, image: &str) -> Run {
    let request = SubmitRequest {
        image: image.into(),
        command: Some("true".into()),
        ..SubmitRequest::default()
    };
    let run = executor.submit(request).await.unwrap();
    executor.wait(&run).await
}

async fn assert_refused(executor: &mut Executor, image: &str, parts: &[&str]) {
    let run = ended(executor, image).await;
    assert_eq!(
        run.end_reason.as_deref(),
        Some("image_pull_failed"),
        "{run:?}"
    );
    assert_eq!(run.exit_code, None, "{run:?}");
    for part in parts.iter().chain(&[image]) {
        assert!(run.message().contains(part), "{part}: {run:?}");
    }
}

async fn assert_runs(executor: &mut Executor, image: &str) {
    let run = ended(executor, image).await;
    assert_eq!(run.exit_code, Some(0), "{run:?}");
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn neither_an_image_that_is_here_nor_a_warm_slot_passes_by_the_policy() {
    let copied = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--src-tls-verify=false"])
        .arg("--dest-tls-verify=false")
        .args([BUSYBOX, ALIAS].map(|name| format!("docker://{name}")))
        .output()
        .unwrap();
    assert!(copied.status.success(), "{copied:?}");
    let mut executor = Executor::start().await;
    assert_runs(&mut executor, BUSYBOX).await;
    assert_runs(&mut executor, ALIAS).await;

    let key = executor.dir().join("key.pub");
    std::fs::write(&key, KEY).unwrap();
    let rule = format!("{} 127.0.0.1:5000/policy/*", key.display());
    executor.restart_with(IMAGES_SIGNED, &rule).await;
    let parts = ["image_signatures", "holds no signature", "sha256:"];
    assert_refused(&mut executor, ALIAS, &parts).await;
    // By a name that no rule covers it runs, and leaves slots, which are of its content, not its name.
    assert_runs(&mut executor, BUSYBOX).await;
    wait_ready(&executor, 1).await;
    assert_refused(&mut executor, ALIAS, &parts).await;

    executor
        .restart_with(IMAGES_ALLOWED, "127.0.0.1:5000/policy/*")
        .await;
    assert_refused(&mut executor, BUSYBOX, &["images.allow"]).await;
    executor.finish().await;
}
