//! What hosts of the link's first days are told: nothing that they would pass over.

use davit_scheduler::service::planned::PlannedRun;
use davit_types::RunRequest;
use serde_json::Value;

use crate::host::Host;
use crate::world::{Tweak, World, plan};

/// Fields of a request when the link was new. A host refuses a request with others.
const FIRST: &[&str] = &[
    "argv",
    "command",
    "cpu_millis",
    "entrypoint",
    "env",
    "hostname",
    "image",
    "instance_type",
    "labels",
    "log_bytes_max",
    "max_pause_seconds",
    "memory_bytes_max",
    "name",
    "network",
    "pids_max",
    "pull_policy",
    "read_only_root",
    "runtime",
    "timeout_seconds",
    "user",
    "workdir",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_host_ever_knew_directory_user_host_name_and_root() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let mut old = Host::join(&world, &replica, "host-1", 10).await;
    old.features = Vec::new();
    let mut line = old.connect(&replica, vec![]).await;
    let plain = plan();
    let wanted = PlannedRun {
        request: RunRequest {
            workdir: Some("/srv".to_owned()),
            user: Some("7:8".to_owned()),
            hostname: Some("inside".to_owned()),
            read_only_root: true,
            ..plain.request
        },
        ..plain
    };
    world.submit(&wanted).await;
    let told = line.assigned().await.request_json;
    let fields: Value = serde_json::from_str(&told).unwrap();
    for field in fields.as_object().unwrap().keys() {
        assert!(FIRST.contains(&field.as_str()), "{field} is new: {told}");
    }
    let told: RunRequest = serde_json::from_str(&told).unwrap();
    assert_eq!(told, wanted.request);
}
