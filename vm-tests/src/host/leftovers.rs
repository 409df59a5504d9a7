//! What davit must not leave behind once its runs have ended.
//!
//! Looked at from outside: processes, mounts, cgroups, and containerd's records in the tests'
//! namespace. Committed snapshots and content belong to the image cache and may stay.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, anyhow};

use super::{CGROUP_PARENT, CGROUP_ROOT, Containerd, NAMESPACE, STATE_ROOT, files};

const SHIM_PREFIX: &str = "containerd-shim";
/// What names of warm slots begin with, in containerd and as cgroups.
const SLOT_PREFIX: &str = "warm-";
/// On the command line of the process shims are forked from, and of these.
const ZYGOTE: &str = "zygote";
const SHIMS_CGROUP: &str = "shims";
const NETWORK_NAMESPACES: &str = "/run/netns";

/// A set of descriptions, one a thing: `mount /var/lib/…`, `lease ab12`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Leftovers(BTreeSet<String>);

impl Leftovers {
    /// What the kernel knows of: told at once.
    pub(super) fn on_host() -> anyhow::Result<Self> {
        let mut found = BTreeSet::new();
        found.extend(
            shims()?
                .into_iter()
                .map(|(pid, line)| format!("shim process {pid}: {line}")),
        );
        found.extend(mounts()?.into_iter().map(|path| format!("mount {path}")));
        // The place shims live in stays, as its parent does; a shim in it is in the list above.
        let is_place = |path: &&PathBuf| path.ends_with(SHIMS_CGROUP);
        found.extend(
            cgroups()?
                .iter()
                .filter(|path| !is_place(path))
                .map(|path| format!("cgroup {}", path.display())),
        );
        found.extend(network_namespaces().map(|name| format!("network namespace {name}")));
        Ok(Self(found))
    }

    /// What containerd has recorded in the tests' namespace. Asked side by side: each `ctr` takes a good part of a
    /// second where instructions are emulated.
    pub(super) fn in_containerd(containerd: &Containerd) -> anyhow::Result<Self> {
        let ask = |arguments: &[&str]| anyhow::Ok(containerd.ctr(arguments)?.success()?.text());
        thread::scope(|scope| {
            let quiet = ["container", "task", "lease"].map(|kind| {
                let objects = format!("{kind}s");
                let asked = scope.spawn(move || ask(&[&objects, "list", "--quiet"]));
                (kind, asked)
            });
            let snapshots = ask(&["snapshots", "list"])?;
            let keys = uncommitted(&snapshots).map(|key| format!("snapshot {key}"));
            let mut found: BTreeSet<String> = keys.collect();
            for (kind, asked) in quiet {
                let ids = asked
                    .join()
                    .map_err(|_| anyhow!("the thread that asks for {kind}s panicked"))??;
                found.extend(ids.lines().map(|id| format!("{kind} {id}")));
            }
            Ok(Self(found))
        })
    }

    /// What is in this set and was not in the other.
    pub(super) fn without(&self, baseline: &Self) -> Self {
        Self(self.0.difference(&baseline.0).cloned().collect())
    }

    /// Without what an executor holds for runs to come: warm slots, and the process shims are forked from.
    pub(super) fn of_runs(self) -> Self {
        let waits = |thing: &String| thing.contains(SLOT_PREFIX) || thing.contains(ZYGOTE);
        Self(self.0.into_iter().filter(|thing| !waits(thing)).collect())
    }

    /// Nothing there?
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<&str> = self.0.iter().map(String::as_str).collect();
        formatter.write_str(&lines.join("; "))
    }
}

/// Pids and command lines of all shims that live. A zombie counts too: nobody reaped it.
pub(super) fn shims() -> anyhow::Result<Vec<(u32, String)>> {
    let mut shims = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot list /proc")? {
        let entry = entry.context("cannot list /proc")?;
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        // A process may end between the two lines: that is no error.
        let Ok(name) = fs::read_to_string(entry.path().join("comm")) else {
            continue;
        };
        if name.starts_with(SHIM_PREFIX) {
            let line = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            shims.push((pid, line.replace('\0', " ").trim_end().to_owned()));
        }
    }
    Ok(shims)
}

/// Mount points in the tests' directories and in containerd's task directories of the namespace.
pub(super) fn mounts() -> anyhow::Result<Vec<String>> {
    let task = format!("/{NAMESPACE}/");
    let table = files::read("/proc/self/mounts")?;
    let points = table
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1));
    let ours = |point: &&str| {
        point.starts_with(&format!("{STATE_ROOT}/"))
            || (point.contains("io.containerd.runtime") && point.contains(&task))
    };
    Ok(points.filter(ours).map(str::to_owned).collect())
}

/// Cgroups below the tests' parent, deepest first.
pub(super) fn cgroups() -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    descend(
        &Path::new(CGROUP_ROOT).join(CGROUP_PARENT.trim_start_matches('/')),
        &mut found,
    );
    Ok(found)
}

fn descend(cgroup: &Path, found: &mut Vec<PathBuf>) {
    // One that vanishes while it is listed is no leftover.
    let Ok(entries) = fs::read_dir(cgroup) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            descend(&entry.path(), found);
            found.push(entry.path());
        }
    }
}

fn network_namespaces() -> impl Iterator<Item = String> {
    let entries = fs::read_dir(NETWORK_NAMESPACES)
        .into_iter()
        .flatten()
        .flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// Keys of the active and view snapshots in `ctr snapshots list` (columns: key, parent, kind; the
/// parent may be empty).
fn uncommitted(listed: &str) -> impl Iterator<Item = &str> {
    listed.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace();
        let key = words.next()?;
        (words.next_back()? != "Committed").then_some(key)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_snapshots_are_the_image_cache() {
        let listed =
            "KEY PARENT KIND\nsha256:aa  Committed\nrun-1 sha256:aa Active\nlook sha256:aa View\n";
        assert_eq!(uncommitted(listed).collect::<Vec<_>>(), ["run-1", "look"]);
    }

    #[test]
    fn only_what_is_new_counts() {
        let set = |items: &[&str]| Leftovers(items.iter().map(|&item| item.to_owned()).collect());
        let left = set(&["lease a", "lease b"]).without(&set(&["lease a"]));
        assert_eq!(left.to_string(), "lease b");
        assert!(set(&["lease a"]).without(&set(&["lease a"])).is_empty());
    }
}
