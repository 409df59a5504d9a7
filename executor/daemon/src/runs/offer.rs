//! What a run may ask of this host: what is installed, and what its operator allows.

use davit_types::{Bytes, Capability, FieldError, FieldErrors, NetworkMode, OciRuntime, RunSpec};

use super::{Host, RunError};
use crate::images::ImageName;

/// Tasks of the host's that a run with gVisor has at least: a job of three processes has 35, its own and the sandbox's.
const SANDBOX_PIDS_MIN: u32 = 64;
/// Memory it has at least: the sandbox takes some 22 MiB for itself.
const SANDBOX_MEMORY_MIN: Bytes = Bytes(64 << 20);

/// Holds `spec` against this host.
///
/// # Errors
/// Every field that asks for what is not offered here.
pub(super) fn check(host: &Host, spec: &RunSpec) -> Result<(), RunError> {
    let mut wrong = Vec::new();
    if let Err(error) = ImageName::parse(&spec.image) {
        wrong.push(error);
    }
    network(host, spec, &mut wrong);
    disk(host, spec, &mut wrong);
    let allowed = &host.settings.capabilities_allowed;
    for capability in &spec.capabilities {
        if !allowed.contains(capability) {
            wrong.push(FieldError::new(
                "capabilities",
                capability.as_str(),
                "is not allowed on this host: its operator can add it to capabilities_allowed",
            ));
        }
    }
    if !host.runtimes.contains_key(&spec.runtime) {
        let known: Vec<_> = host.runtimes.keys().map(|known| known.binary()).collect();
        wrong.push(FieldError::new(
            "runtime",
            spec.runtime.binary(),
            format!("is not installed on this host; it has {}", known.join(", ")),
        ));
    }
    if spec.runtime == OciRuntime::Runsc {
        sandbox(spec, &mut wrong);
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(FieldErrors(wrong).into())
    }
}

/// What gVisor cannot do, and what it needs for itself.
fn sandbox(spec: &RunSpec, wrong: &mut Vec<FieldError>) {
    if !spec.extracts.is_empty() {
        wrong.push(FieldError::new(
            "extracts",
            spec.extracts.len(),
            "cannot be collected with runsc, which keeps what a job writes to itself: choose crun or runc",
        ));
    }
    let resources = &spec.instance_type.resources;
    if resources.pids_max < SANDBOX_PIDS_MIN {
        wrong.push(FieldError::new(
            "pids_max",
            resources.pids_max,
            format!("is too few for runsc, whose sandbox counts with the job: {SANDBOX_PIDS_MIN} at least"),
        ));
    }
    if resources.memory_bytes_max < SANDBOX_MEMORY_MIN {
        wrong.push(FieldError::new(
            "memory_bytes_max",
            resources.memory_bytes_max,
            format!("is too little for runsc, whose sandbox counts with the job: {SANDBOX_MEMORY_MIN} at least"),
        ));
    }
}

fn disk(host: &Host, spec: &RunSpec, wrong: &mut Vec<FieldError>) {
    let bound = host.settings.disk_quota.bytes_max;
    let (Some(asked), Some(bound)) = (spec.instance_type.disk_bytes_max, bound) else {
        return;
    };
    if asked > bound {
        wrong.push(FieldError::new(
            "disk_bytes_max",
            asked,
            format!("is more than this host's operator allows: {bound} (disk_quota.bytes_max)"),
        ));
    }
}

fn network(host: &Host, spec: &RunSpec, wrong: &mut Vec<FieldError>) {
    let mut fail = |field: &str, value: &str, problem: String| {
        wrong.push(FieldError::new(field, value, problem));
    };
    let mode = spec.network.as_str();
    match spec.network {
        NetworkMode::None => {}
        NetworkMode::Host if host.settings.network.allow_host => {}
        NetworkMode::Host => fail(
            "network",
            mode,
            "is not allowed on this host: its operator can set network.allow_host".to_owned(),
        ),
        NetworkMode::Bridge => {
            if let Some(why) = host.network.absent() {
                fail("network", mode, format!("cannot be had: {why}"));
            }
            if spec.runtime == OciRuntime::Runsc {
                let problem =
                    "is not for runsc, which must find its network made: use crun or runc";
                fail("network", mode, problem.to_owned());
            }
            // It could take its metered link away, and the address that the rules know it by.
            if spec.capabilities.contains(&Capability::NetAdmin) {
                let problem = "excludes network bridge: the link is not the job's to change";
                fail(
                    "capabilities",
                    Capability::NetAdmin.as_str(),
                    problem.to_owned(),
                );
            }
        }
    }
    for (at, rule) in spec.egress.iter().enumerate() {
        if !host.network.may_reach(rule) {
            let problem = "is private, and its operator allows it to no run of this host: see network.private_allowed";
            fail(
                &format!("egress[{at}]"),
                &rule.to_string(),
                problem.to_owned(),
            );
        }
    }
    for (at, port) in spec.publish.iter().enumerate() {
        if !host.network.may_publish(*port) {
            let problem = "is not allowed on this host: its operator can add the port to network.publish_ports";
            fail(
                &format!("publish[{at}]"),
                &port.to_string(),
                problem.to_owned(),
            );
        }
    }
}
