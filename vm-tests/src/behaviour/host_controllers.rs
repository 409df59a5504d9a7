//! The host gives davit what it builds on: pure cgroup v2 with every controller that limits a run.

use std::{env, fs};

use anyhow::{Context, ensure};

use super::Test;
use crate::host::{CGROUP_ROOT, Host};
use crate::outcome::{TestResult, skip};

pub(crate) const TESTS: &[Test] = tests![host_has_all_controllers];

fn host_has_all_controllers(_: &mut Host) -> TestResult {
    if env::var_os("DAVIT_TEST_NO_CONTROLLERS").is_some() {
        return skip("scripts/native has no controllers");
    }
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read the mount table")?;
    let hierarchy = mounts.lines().find(|line| line.split(' ').nth(1) == Some(CGROUP_ROOT));
    let hierarchy = hierarchy.context("nothing is mounted at /sys/fs/cgroup")?;
    ensure!(
        hierarchy.split(' ').nth(2) == Some("cgroup2"),
        "/sys/fs/cgroup is not a pure cgroup v2 hierarchy: {hierarchy}"
    );

    let present = fs::read_to_string(format!("{CGROUP_ROOT}/cgroup.controllers"))
        .context("cannot read the controllers")?;
    for controller in ["cpu", "cpuset", "io", "memory", "pids"] {
        ensure!(
            present.split_whitespace().any(|name| name == controller),
            "the {controller} controller is missing; there are: {present}"
        );
    }
    Ok(())
}
