//! Who may depend on whom.
//!
//! ```text
//!  types ◄── lifecycle, cgroup, quota, rundir ◄── rpc ◄── daemon ◄── cli
//!  types, cgroup, quota, rundir ◄── shim
//!  types ◄── placement
//!  types, rpc, placement ◄── scheduler
//!  nothing ──► cli, shim, benches, scheduler-bench, vm-tests, xtask
//! ```
//!
//! The table holds for development and build dependencies too: a test that needs another crate
//! belongs into that crate, or into vm-tests.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use crate::metadata::Metadata;

/// Each crate of the tree and those of the tree it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("davit-types", &[]),
    ("davit-lifecycle", &["davit-types"]),
    ("davit-cgroup", &["davit-types"]),
    ("davit-quota", &[]),
    ("davit-rundir", &["davit-types"]),
    // rpc turns the run directory's records into messages.
    ("davit-rpc", &["davit-types", "davit-rundir"]),
    ("davit-settings", &["davit-types"]),
    (
        "davit-executor",
        &[
            "davit-types",
            "davit-settings",
            "davit-lifecycle",
            "davit-cgroup",
            "davit-quota",
            "davit-rundir",
            "davit-rpc",
        ],
    ),
    (
        "davit",
        &[
            "davit-types",
            "davit-rundir",
            "davit-rpc",
            "davit-settings",
            "davit-executor",
            "davit-scheduler",
        ],
    ),
    // Pure: nothing of the executor, so that whole fleets can be played through in a test.
    ("davit-placement", &["davit-types"]),
    // Never the daemon: the shim outlives it, and stays small.
    (
        "containerd-shim-davit-v1",
        &["davit-types", "davit-cgroup", "davit-quota", "davit-rundir"],
    ),
    // Never the daemon, never a cgroup: a scheduler touches a host only through the host's connection.
    (
        "davit-scheduler",
        &[
            "davit-types",
            "davit-rpc",
            "davit-settings",
            "davit-placement",
        ],
    ),
    (
        "davit-scheduler-bench",
        &[
            "davit-types",
            "davit-rpc",
            "davit-placement",
            "davit-scheduler",
        ],
    ),
    // They see davit as a user does.
    ("davit-vm-tests", &[]),
    (
        "davit-benches",
        &[
            "davit-types",
            "davit-lifecycle",
            "davit-cgroup",
            "davit-rundir",
            "davit-rpc",
            "davit-executor",
        ],
    ),
    ("xtask", &[]),
];

/// Crates that must not be linked into some of ours, however indirectly.
const KEPT_OUT: &[(&str, &[&str], &str)] = &[
    ("davit-types", &["tokio", "rustix"], "it does no I/O"),
    ("davit-lifecycle", &["tokio", "rustix"], "it is pure"),
    (
        "davit-placement",
        &["tokio", "rustix", "rand"],
        "it is pure: clock and seed are passed in",
    ),
    (
        "davit-cgroup",
        &["tokio"],
        "its callers decide where to block",
    ),
    (
        "davit-rundir",
        &["tokio"],
        "its callers decide where to block",
    ),
    (
        "containerd-shim-davit-v1",
        &["regex", "chrono", "zbus", "tonic", "clap", "cgroups-rs"],
        "every run has a shim in memory",
    ),
];

/// Checks both tables against the workspace.
pub(crate) fn check(metadata: &Metadata) -> Result<()> {
    let mut wrong = wrong_arrows(&declared(metadata));
    for (name, kept_out, why) in KEPT_OUT {
        for package in metadata.members().filter(|package| package.name == *name) {
            let linked = metadata.linked_into(&package.id);
            let found = kept_out.iter().filter(|name| linked.contains(**name));
            wrong.extend(found.map(|found| format!("{name} links {found}, but {why}")));
        }
    }
    if !wrong.is_empty() {
        bail!("\n   {}", wrong.join("\n   "));
    }
    Ok(())
}

/// Every crate of the tree and those of the tree its manifest names.
fn declared(metadata: &Metadata) -> BTreeMap<&str, Vec<&str>> {
    metadata
        .members()
        .map(|package| {
            let inside = package.dependencies.iter().filter(|d| d.path.is_some());
            (&*package.name, inside.map(|d| &*d.name).collect())
        })
        .collect()
}

fn wrong_arrows(declared: &BTreeMap<&str, Vec<&str>>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (from, all) in declared {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| name == from) else {
            wrong.push(format!("{from} has no place in the table of arrows"));
            continue;
        };
        for to in all {
            if !allowed.contains(to) {
                wrong.push(format!("{from} must not depend on {to}"));
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_that_sees_the_daemon_is_refused() {
        let tree = BTreeMap::from([
            (
                "containerd-shim-davit-v1",
                vec!["davit-types", "davit-executor"],
            ),
            ("davit-types", vec![]),
        ]);
        assert_eq!(
            wrong_arrows(&tree),
            ["containerd-shim-davit-v1 must not depend on davit-executor"]
        );
    }

    #[test]
    fn a_crate_without_a_place_is_refused() {
        let tree = BTreeMap::from([("davit-news", vec![])]);
        assert_eq!(wrong_arrows(&tree).len(), 1);
    }

    #[test]
    fn the_table_has_no_circle() {
        let mut done: Vec<&str> = Vec::new();
        while done.len() < ARROWS.len() {
            let ready = ARROWS
                .iter()
                .find(|(name, to)| !done.contains(name) && to.iter().all(|to| done.contains(to)));
            done.push(ready.expect("a circle, or an arrow to nowhere").0);
        }
    }
}
