//! What the spec needs to know of the host, read once at start.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

use crate::network::Network;

/// The processor families davit has a seccomp profile for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

impl Arch {
    /// The architecture this program was built for.
    pub const NATIVE: Self = if cfg!(target_arch = "aarch64") {
        Self::Aarch64
    } else {
        Self::X86_64
    };

    /// The name in image indexes (Go's).
    #[must_use]
    pub const fn image_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }
}

/// Facts about the host that every spec is built with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// Its processor.
    pub arch: Arch,
    /// A hosts file of davit's own, the same for all runs: an image's is mostly empty, and without
    /// one nobody resolves `localhost`.
    pub hosts_file: Option<PathBuf>,
    /// The host's resolver settings, for runs in the host's network only.
    pub resolv_conf: Option<PathBuf>,
    /// The resolver settings for runs with a bridge.
    pub bridge_resolv_conf: Option<PathBuf>,
    /// Open files a job may have.
    pub nofile_max: u64,
    /// Memory a job may lock, bytes.
    pub memlock_bytes_max: u64,
    /// How often each processor was too hot: with that and /proc/interrupts a job learns what others do.
    pub throttle_counters: Vec<String>,
}

/// Open files of a job, where the host allows as many.
const NOFILE_MAX: u64 = 65_536;
/// Locked memory of a job, bytes, where the host allows as much.
const MEMLOCK_BYTES_MAX: u64 = 8 << 20;

/// A directory for each processor (sysfs).
const PROCESSORS: &str = "/sys/devices/system/cpu";

const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

impl HostFacts {
    /// Reads the host's facts and writes davit's hosts file below `state_dir`.
    ///
    /// # Errors
    /// When the hosts file cannot be written.
    pub fn read(state_dir: &Path) -> io::Result<Self> {
        let hosts_file = state_dir.join("hosts");
        // Through a rename: a container may have the old one mounted.
        let temporary = state_dir.join("hosts.tmp");
        fs::write(&temporary, HOSTS)?;
        // Every user in every container reads it.
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o644))?;
        fs::rename(&temporary, &hosts_file)?;
        let resolv_conf = Path::new("/etc/resolv.conf");
        Ok(Self {
            arch: Arch::NATIVE,
            hosts_file: Some(hosts_file),
            resolv_conf: resolv_conf.is_file().then(|| resolv_conf.to_owned()),
            bridge_resolv_conf: Some(Network::resolver_file(state_dir)),
            nofile_max: within_own(Resource::Nofile, NOFILE_MAX),
            memlock_bytes_max: within_own(Resource::Memlock, MEMLOCK_BYTES_MAX),
            throttle_counters: throttle_counters(Path::new(PROCESSORS)),
        })
    }
}

/// Runtimes take no patterns, so each is named. Virtual machines have none.
fn throttle_counters(processors: &Path) -> Vec<String> {
    let entries = fs::read_dir(processors).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path().join("thermal_throttle"));
    let mut found: Vec<String> = paths
        .filter(|path| path.is_dir())
        .map(|path| path.display().to_string())
        .collect();
    found.sort_unstable();
    found
}

/// `wanted`, or our own hard limit if that is lower: raising it takes a capability we may not have,
/// and then no container would start.
fn within_own(resource: Resource, wanted: u64) -> u64 {
    getrlimit(resource)
        .maximum
        .map_or(wanted, |hard| hard.min(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_processors_counters_are_found() {
        let dir = tempfile::tempdir().expect("a directory");
        for processor in ["cpu1", "cpu0", "cpufreq", "power"] {
            fs::create_dir(dir.path().join(processor)).expect("a directory");
        }
        for hot in ["cpu1", "cpu0"] {
            fs::create_dir(dir.path().join(hot).join("thermal_throttle")).expect("a directory");
        }
        fs::write(dir.path().join("online"), "0-1").expect("a file");
        let found = throttle_counters(dir.path());
        let names: Vec<&str> = found
            .iter()
            .map(|path| &path[dir.path().as_os_str().len()..])
            .collect();
        assert_eq!(names, ["/cpu0/thermal_throttle", "/cpu1/thermal_throttle"]);
        assert!(throttle_counters(&dir.path().join("none")).is_empty());
    }
}
