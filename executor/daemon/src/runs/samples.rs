//! Records for tests.

use davit_rundir::{ExitRecord, FORMAT_VERSION, LaunchRecord, LogTotals, Stamp, StateRecord};
use davit_types::{
    Bytes, EndReason, ExitStatus, InstanceType, OciRuntime, Resources, RunId, RunKey, RunRequest,
    RunSpec, StopSignal, Tenant, Usage,
};

/// 1 s after boot.
pub(crate) const START: Stamp = Stamp {
    boot_ns: 1_000_000_000,
    unix_ns: 1_800_000_000_000_000_000,
};

pub(crate) fn at_ms(ms: u64) -> Stamp {
    Stamp {
        boot_ns: START.boot_ns + ms * 1_000_000,
        unix_ns: START.unix_ns + ms * 1_000_000,
    }
}

pub(crate) fn spec() -> RunSpec {
    let types = [InstanceType {
        slug: "small".into(),
        name: "Small".into(),
        resources: Resources {
            cpu_millis: 500,
            memory_bytes_max: Bytes::mib(256),
            pids_max: 64,
        },
        price_second_micros: 1,
        disk_bytes_max: None,
    }];
    RunRequest {
        image: "busybox:1".into(),
        name: Some("sample".into()),
        ..RunRequest::default()
    }
    .parse(RunId::generate(), Tenant::local(), &types, OciRuntime::Crun)
    .expect("the sample is valid")
}

pub(crate) fn launch_record(key: RunKey) -> LaunchRecord {
    LaunchRecord {
        version: FORMAT_VERSION,
        key,
        boot_id: "boot".into(),
        image_digest: "sha256:0".into(),
        cgroup: "/davit/0".into(),
        runtime_binary: "/usr/bin/crun".into(),
        timeout_ms: 60_000,
        max_pause_ms: 60_000,
        log_bytes_max: 1 << 20,
        stop_signal: StopSignal::TERM,
        slot: None,
        security: None,
        network: None,
        stdin: false,
        tty: false,
        workdir: None,
    }
}

pub(crate) fn exit_record(key: RunKey) -> ExitRecord {
    ExitRecord {
        version: FORMAT_VERSION,
        key,
        boot_id: "boot".into(),
        status: ExitStatus::Code(0),
        end_reason: EndReason::Exited,
        started: Some(START),
        ended: at_ms(5_000),
        pauses: Vec::new(),
        timeout_ms: 60_000,
        usage: Usage {
            wall_ms: 5_000,
            ..Usage::default()
        },
        log: LogTotals::default(),
    }
}

pub(crate) fn state_record(key: RunKey) -> StateRecord {
    StateRecord {
        version: FORMAT_VERSION,
        key,
        boot_id: "boot".into(),
        shim_pid: 10,
        init_pid: 11,
        created: START,
        started: Some(START),
        timeout_ms: 60_000,
        deadline_boot_ns: Some(START.boot_ns + 60_000_000_000),
        pauses: Vec::new(),
        kill: None,
        network_before: None,
    }
}
