//! The mounts and what is hidden in them. Everything is nosuid, noexec, nodev where it can be.

use std::path::Path;

use davit_types::{Bytes, NetworkMode, RunSpec};
use oci_spec::runtime::{Mount, MountBuilder};

use super::{HostFacts, SpecError};

/// Size of /dev/shm, bytes; counts to the run's memory.
const SHM_BYTES_MAX: u64 = 64 << 20;
/// Size of the tmpfs on /dev itself, bytes.
const DEV_BYTES_MAX: u64 = 64 << 10;
/// Largest /tmp, bytes: half the run's memory, but no more than this. It counts to the memory.
const TMP_BYTES_MAX: u64 = 1 << 30;

/// Kernel interfaces that tell of, or reach into, the host.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READ_ONLY: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Directories of the root that a container has mounts of its own on: what the root file system has there it never sees.
const HIDDEN: &[&str] = &["/dev", "/proc", "/sys", "/tmp"];

/// What hides the name `first` of the root directory, if anything does.
pub(crate) fn hidden_by(first: &str) -> Option<&'static str> {
    let hidden = HIDDEN.iter().copied();
    let mut hidden = hidden.filter(|path| path.strip_prefix('/') == Some(first));
    hidden.next()
}

pub(super) fn masked_paths(host: &HostFacts) -> Vec<String> {
    let usual = MASKED.iter().map(|path| (*path).to_owned());
    usual.chain(host.throttle_counters.clone()).collect()
}

pub(super) fn readonly_paths() -> Vec<String> {
    READ_ONLY.iter().map(|path| (*path).to_owned()).collect()
}

pub(super) fn mounts(run: &RunSpec, host: &HostFacts) -> Result<Vec<Mount>, SpecError> {
    let tmp = tmp_bytes(run.instance_type.resources.memory_bytes_max);
    let tmp_size = format!("size={tmp}");
    let shm_size = format!("size={SHM_BYTES_MAX}");
    let dev_size = format!("size={DEV_BYTES_MAX}");
    let plain: &[&str] = &["nosuid", "noexec", "nodev"];
    let table: &[(&str, &str, &str, &[&str])] = &[
        ("/proc", "proc", "proc", plain),
        (
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", &dev_size],
        ),
        (
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        (
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", &shm_size],
        ),
        ("/dev/mqueue", "mqueue", "mqueue", plain),
        (
            "/sys",
            "sysfs",
            "sysfs",
            &["nosuid", "noexec", "nodev", "ro"],
        ),
        (
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"],
        ),
        // Programs are built and run in /tmp by many jobs: exec stays allowed.
        (
            "/tmp",
            "tmpfs",
            "tmpfs",
            &["nosuid", "nodev", "mode=1777", &tmp_size],
        ),
    ];
    let mut mounts = Vec::with_capacity(table.len() + 2);
    for (destination, kind, source, options) in table {
        mounts.push(mount(destination, kind, Path::new(source), options)?);
    }
    mounts.extend(secrets(run)?);
    for (destination, source) in names(run, host) {
        let options = &["rbind", "ro", "nosuid", "noexec", "nodev"];
        mounts.push(mount(destination, "bind", source, options)?);
    }
    Ok(mounts)
}

/// The files by which names are resolved in the run's network.
fn names<'a>(run: &RunSpec, host: &'a HostFacts) -> impl Iterator<Item = (&'static str, &'a Path)> {
    let resolv_conf = match run.network {
        NetworkMode::None => &None,
        NetworkMode::Bridge => &host.bridge_resolv_conf,
        NetworkMode::Host => &host.resolv_conf,
    };
    [
        ("/etc/hosts", &host.hosts_file),
        ("/etc/resolv.conf", resolv_conf),
    ]
    .into_iter()
    .filter_map(|(destination, source)| Some((destination, source.as_deref()?)))
}

/// What stands for the secret files, if there are any: empty, and the shim puts the tmpfs that has them in its place.
fn secrets(run: &RunSpec) -> Result<Option<Mount>, SpecError> {
    let options = &["ro", "nosuid", "noexec", "nodev"];
    let place = || mount("/run/secrets", "tmpfs", Path::new("secrets"), options);
    (!run.secret_files.is_empty()).then(place).transpose()
}

fn tmp_bytes(memory: Bytes) -> u64 {
    (memory.0 / 2).min(TMP_BYTES_MAX)
}

fn mount(
    destination: &str,
    kind: &str,
    source: &Path,
    options: &[&str],
) -> Result<Mount, SpecError> {
    MountBuilder::default()
        .destination(destination)
        .typ(kind)
        .source(source)
        .options(options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>())
        .build()
        .map_err(SpecError::part("mounts"))
}
