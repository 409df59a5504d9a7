//! What of a spec a warm slot is given late, and the spec of a slot. Pure.
//!
//! ```text
//!  build(run) ──► divide ──► shared: the slot's profile, whatever it is    = what must match
//!                   │                    └─► slot_spec: + the slot's own names
//!                   └──────► late: arguments, environment, host name       = what assign brings
//! ```
//!
//! Invariant (property-tested): what is not named here is shared. A field that a spec gets one day
//! belongs to the profile without anybody thinking of it, and a slot with an assignment of a run is that
//! run's spec, field by field.

use std::path::Path;

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources, Process, Spec};

use super::limits::{MEMORY_OOM_GROUP, WEIGHT};
use super::process::DEFAULT_PATH;
use super::spec::{RUN_DIR_ANNOTATION, SLOT_DIR_ANNOTATION};

/// The program of a slot's first process, which waits for a run: its descriptor 3.
const INIT: &str = "/proc/self/fd/3";

/// What a slot is given late. Limits are not in it: they follow from the run's resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Late {
    /// Program and arguments.
    pub args: Vec<String>,
    /// `KEY=value`.
    pub env: Vec<String>,
    /// Host name.
    pub hostname: String,
}

/// Takes out of a run's spec what a slot is given late; what is left is the same for every run of its
/// profile.
#[must_use]
pub fn divide(mut spec: Spec) -> (Spec, Late) {
    let mut late = Late {
        hostname: spec.hostname().clone().unwrap_or_default(),
        ..Late::default()
    };
    spec.set_hostname(None);
    if let Some(process) = spec.process_mut() {
        late.args = process.args().clone().unwrap_or_default();
        late.env = process.env().clone().unwrap_or_default();
        process.set_args(None).set_env(None);
    }
    if let Some(annotations) = spec.annotations_mut() {
        annotations.remove(RUN_DIR_ANNOTATION);
    }
    if let Some(linux) = spec.linux_mut() {
        linux.set_cgroups_path(None);
        if let Some(resources) = linux.resources_mut() {
            unlimit(resources);
        }
    }
    (spec, late)
}

/// The limits, and nothing else that stands beside them.
fn unlimit(resources: &mut LinuxResources) {
    if let Some(cpu) = resources.cpu_mut() {
        cpu.set_quota(None).set_period(None);
    }
    if *resources.cpu() == Some(LinuxCpu::default()) {
        resources.set_cpu(None);
    }
    if let Some(mut memory) = *resources.memory() {
        memory.set_limit(None).set_swap(None);
        resources.set_memory(Some(memory).filter(|rest| *rest != LinuxMemory::default()));
    }
    resources.set_pids(None);
    if let Some(unified) = resources.unified_mut() {
        unified.remove(WEIGHT);
        unified.remove(MEMORY_OOM_GROUP);
    }
    if resources
        .unified()
        .as_ref()
        .is_some_and(|rest| rest.is_empty())
    {
        resources.set_unified(None);
    }
}

/// The spec of a slot: the shared part, with names of its own and a program that waits.
#[must_use]
pub fn slot_spec(shared: &Spec, name: &str, cgroups_path: &str, slot_dir: &Path) -> Spec {
    let mut spec = shared.clone();
    spec.set_hostname(Some(name.to_owned()));
    let mut annotations = spec.annotations().clone().unwrap_or_default();
    annotations.insert(
        SLOT_DIR_ANNOTATION.to_owned(),
        slot_dir.display().to_string(),
    );
    spec.set_annotations(Some(annotations));
    let mut process: Process = spec.process().clone().unwrap_or_default();
    process
        .set_args(Some(vec![INIT.to_owned()]))
        .set_env(Some(vec![format!("PATH={DEFAULT_PATH}")]));
    spec.set_process(Some(process));
    if let Some(linux) = spec.linux_mut() {
        linux.set_cgroups_path(Some(cgroups_path.into()));
    }
    spec
}
