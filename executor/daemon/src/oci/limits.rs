//! The resources block: limits as cgroup v2 files, and no devices but the standard ones.

use std::collections::HashMap;

use davit_types::Resources;
use oci_spec::runtime::{
    LinuxCpuBuilder, LinuxDeviceCgroupBuilder, LinuxMemoryBuilder, LinuxPidsBuilder,
    LinuxResources, LinuxResourcesBuilder,
};

use super::SpecError;

/// Keys of cgroup files that the OCI spec has no field for.
pub(super) const WEIGHT: &str = "cpu.weight";
pub(super) const MEMORY_OOM_GROUP: &str = "memory.oom.group";

/// The controllers the run's cgroup has. All, unless the operator allowed an unlimited host for
/// development: then a limit whose controller is missing is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controllers {
    /// `cpu`.
    pub cpu: bool,
    /// `memory`.
    pub memory: bool,
    /// `pids`.
    pub pids: bool,
}

impl Controllers {
    /// A host with all of them.
    pub const ALL: Self = Self {
        cpu: true,
        memory: true,
        pids: true,
    };
    /// A host with none.
    pub const NONE: Self = Self {
        cpu: false,
        memory: false,
        pids: false,
    };
}

pub(super) fn resources(
    limits: &Resources,
    controllers: Controllers,
) -> Result<LinuxResources, SpecError> {
    // Deny all; the runtimes add the standard nodes (null, zero, full, random, urandom, tty, ptmx).
    let deny_all = LinuxDeviceCgroupBuilder::default()
        .allow(false)
        .access("rwm")
        .build()
        .map_err(SpecError::part("device rules"))?;
    let mut block = LinuxResourcesBuilder::default().devices(vec![deny_all]);
    let mut unified = HashMap::new();
    if controllers.cpu {
        let cpu = LinuxCpuBuilder::default()
            .quota(signed(limits.cpu_quota_us()))
            .period(Resources::CPU_PERIOD_US)
            .build()
            .map_err(SpecError::part("cpu limit"))?;
        block = block.cpu(cpu);
        // Not as shares: crun and runc convert those to weights by different formulas.
        unified.insert(WEIGHT.to_owned(), limits.cpu_weight().to_string());
    }
    if controllers.memory {
        let bytes = signed(limits.memory_bytes_max.0);
        let memory = LinuxMemoryBuilder::default()
            .limit(bytes)
            // Memory and swap together, as cgroup v1 counted: equal means memory.swap.max = 0.
            .swap(bytes)
            .build()
            .map_err(SpecError::part("memory limit"))?;
        block = block.memory(memory);
        // One process killed of several leaves a job that neither works nor ends.
        unified.insert(MEMORY_OOM_GROUP.to_owned(), "1".to_owned());
    }
    if controllers.pids {
        let pids = LinuxPidsBuilder::default()
            .limit(i64::from(limits.pids_max))
            .build()
            .map_err(SpecError::part("pids limit"))?;
        block = block.pids(pids);
    }
    if !unified.is_empty() {
        block = block.unified(unified);
    }
    block.build().map_err(SpecError::part("resources"))
}

/// OCI counts in i64; limits are checked to be far below.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
