//! The words for containers that wait for runs: which there are, what there is of them, and what makes
//! the host's memory short.
//!
//! Invariant: slots are looked at from outside, as containerd, the kernel and the disk show them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process_group};

use super::story::{Run, flat_value, runs_directory};
use crate::host::{CGROUP_PARENT, CGROUP_ROOT, Host};
use crate::wait::wait_for;

/// What names of warm slots begin with.
const PREFIX: &str = "warm-";
/// How long slots may take to be made, or to go.
const SETTLED: Duration = Duration::from_secs(60);

/// Names of the slots that wait for runs of `image`. Those of runs count too: until they are cleaned up.
pub(crate) fn slots_of(host: &Host, image: &str) -> anyhow::Result<BTreeSet<String>> {
    let listed = host.containerd().ctr(["containers", "list"])?.success()?;
    let of_image = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next().filter(|name| name.starts_with(PREFIX))?;
        (words.next()? == image).then(|| name.to_owned())
    };
    Ok(listed.text().lines().filter_map(of_image).collect())
}

/// Waits until exactly `count` slots wait for runs of `image`, and nothing runs.
pub(crate) fn await_slots_of(
    host: &Host,
    image: &str,
    count: usize,
) -> anyhow::Result<BTreeSet<String>> {
    wait_for(&format!("{count} slots of {image}"), SETTLED, || {
        let slots = slots_of(host, image)?;
        let used = warm_slots_of_runs(host)?;
        let waiting: BTreeSet<String> = slots.difference(&used).cloned().collect();
        ensure!(waiting.len() == count, "there are {waiting:?}");
        // One that is not connected yet is not waiting either.
        ensure!(
            slots_ready(host)? >= count as u64,
            "not all of them are ready"
        );
        Ok(waiting)
    })
}

/// Has a run like those to come, so that a slot waits for the next one.
pub(crate) fn prime(
    host: &Host,
    options: &[&str],
    image: &str,
    argv: &[&str],
) -> anyhow::Result<()> {
    let before = slots_of(host, image)?;
    Run::submit_argv(host, options, image, argv)?.wait_ended(host, 0)?;
    wait_for("a new slot", SETTLED, || {
        let used = warm_slots_of_runs(host)?;
        let slots = slots_of(host, image)?;
        let waiting: Vec<&String> = slots.difference(&used).collect();
        let has_new = waiting.iter().any(|slot| !before.contains(*slot));
        let ready = slots_ready(host)?;
        ensure!(
            has_new && ready >= waiting.len() as u64,
            "{ready} of {waiting:?}"
        );
        Ok(())
    })
}

/// Names of the slots that runs were given.
fn warm_slots_of_runs(host: &Host) -> anyhow::Result<BTreeSet<String>> {
    let mut given = BTreeSet::new();
    for entry in fs::read_dir(runs_directory(host)).context("cannot list the runs")? {
        let launch = entry
            .context("cannot list the runs")?
            .path()
            .join("launch.json");
        let Ok(bytes) = fs::read(launch) else {
            continue;
        };
        let record: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        given.extend(record["slot"].as_str().map(str::to_owned));
    }
    Ok(given)
}

/// Slots that wait, as the executor counts them.
pub(crate) fn slots_ready(host: &Host) -> anyhow::Result<u64> {
    let metrics = host.davit(["metrics"])?.success()?.text();
    flat_value(&metrics, "davit_warm_slots{state=\"ready\"}")
}

/// What there is of any of `slots`: in containerd, among the cgroups and mounts, on disk.
pub(crate) fn traces_of(host: &Host, slots: &BTreeSet<String>) -> anyhow::Result<Vec<String>> {
    let mut traces = Vec::new();
    for kind in ["containers", "tasks", "snapshots"] {
        let listed = host.containerd().ctr([kind, "list"])?.success()?.text();
        let first_words = listed
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        let ours = first_words.filter(|name| slots.contains(*name));
        traces.extend(ours.map(|name| format!("{kind} {name}")));
    }
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read the mounts")?;
    let parent = Path::new(CGROUP_ROOT).join(CGROUP_PARENT.trim_start_matches('/'));
    for slot in slots {
        let lines = mounts.lines().filter(|line| line.contains(slot.as_str()));
        traces.extend(lines.map(|line| format!("mount {line}")));
        let places = [
            parent.join(slot),
            host.directory().join("state/slots").join(slot),
        ];
        let left = places.iter().filter(|place| place.exists());
        traces.extend(left.map(|place| place.display().to_string()));
    }
    Ok(traces)
}

/// Names of the committed snapshots: the unpacked layers of images.
pub(crate) fn layers(host: &Host) -> anyhow::Result<BTreeSet<String>> {
    let listed = host
        .containerd()
        .ctr(["snapshots", "list"])?
        .success()?
        .text();
    let committed = listed
        .lines()
        .filter(|line| line.trim_end().ends_with("Committed"));
    Ok(committed
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect())
}

/// Microseconds that somebody has waited for memory, on the whole host, since it was booted.
pub(crate) fn stalled_us() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/pressure/memory").context("no pressure is told")?;
    let some = text
        .lines()
        .find(|line| line.starts_with("some "))
        .context("no line `some`")?;
    let total = some.rsplit_once("total=").context("no total")?.1;
    total
        .parse()
        .with_context(|| format!("the total is {total:?}"))
}

/// Whatever holds the host's memory; it lets go when dropped.
pub(crate) struct Hog {
    shell: Child,
}

/// Takes all memory but `left_bytes` and goes on reading files, which do not fit into the rest. Of all
/// processes the kernel kills these first.
const HOG: &str = r#"
    echo 1000 >/proc/self/oom_score_adj
    piece=$((256 << 20)) left=$1
    while [ "$left" -gt 0 ]; do
        [ "$left" -lt "$piece" ] && piece=$left
        # Its buffer is full and stays: nobody reads what it writes.
        { dd if=/dev/zero bs="$piece" count=1 iflag=fullblock 2>/dev/null | sleep 600; } &
        left=$((left - piece))
    done
    while :; do cat /usr/bin/* /usr/lib/x86_64-linux-gnu/*.so* >/dev/null 2>&1; done
"#;

impl Hog {
    pub(crate) fn start(left_bytes: u64) -> anyhow::Result<Self> {
        let meminfo = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
        let line = meminfo
            .lines()
            .find_map(|line| line.strip_prefix("MemAvailable:"));
        let kib = line
            .and_then(|line| line.split_whitespace().next())
            .context("no MemAvailable")?;
        let available_bytes = kib.parse::<u64>().context("MemAvailable is no number")? * 1024;
        let shell = Command::new("sh")
            .args([
                "-c",
                HOG,
                "hog",
                &available_bytes.saturating_sub(left_bytes).to_string(),
            ])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the hog")?;
        Ok(Self { shell })
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.shell.id()).ok().and_then(Pid::from_raw) {
            // Fails only when all of it is gone.
            kill_process_group(group, Signal::KILL).unwrap_or_default();
        }
        self.shell.wait().map(drop).unwrap_or_default();
    }
}
