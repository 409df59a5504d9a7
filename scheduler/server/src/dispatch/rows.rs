//! Rows for the tests of what is decided from them.

use std::collections::BTreeMap;

use davit_types::{Bytes, InstanceType, Resources, RunId, RunRequest};
use uuid::Uuid;

use crate::service::planned::{OnLost, PlannedRun, RetryPolicy};
use crate::store::{ActiveRun, ActiveState, Desired};

/// The first attempt of a run in this state, with a host if it may have one.
pub(crate) fn row(state: ActiveState) -> ActiveRun {
    let host = state.has_host().then(Uuid::nil);
    ActiveRun {
        run: RunId::generate(),
        tenant: "acme".parse().expect("a tenant"),
        runner: None,
        region: "here".to_owned(),
        instance_type: "small".to_owned(),
        price_second_micros: 1,
        priority: 50,
        created_ms: 1_000,
        state,
        not_before_ms: 0,
        replica: Some(Uuid::nil()),
        host,
        boot_id: None,
        attempt: u32::from(state.has_host()),
        step: 0,
        assigned_ms: None,
        started_ms: None,
        paused_at_ms: None,
        ledger_sequence: 0,
        ledger_ms: 0,
        log_last_id: 0,
        active_ms: 0,
        ever_started: false,
        image_digest: None,
        profile: None,
        desired: Desired::default(),
        desired_revision: 0,
        heeded_revision: 0,
    }
}

/// What such a run executes.
pub(crate) fn plan() -> PlannedRun {
    PlannedRun {
        request: RunRequest {
            image: "busybox".to_owned(),
            ..RunRequest::default()
        },
        instance_type: InstanceType {
            slug: "small".to_owned(),
            name: "Small".to_owned(),
            resources: Resources {
                cpu_millis: 500,
                memory_bytes_max: Bytes::mib(64),
                pids_max: 32,
            },
            price_second_micros: 1,
            disk_bytes_max: None,
        },
        disk_bytes: 1,
        on_lost: OnLost::default(),
        retry: RetryPolicy::default(),
        executors: Vec::new(),
        labels_wanted: BTreeMap::new(),
        live_runs_max: None,
        secrets_owner: None,
        registry_owner: None,
        files: None,
    }
}
