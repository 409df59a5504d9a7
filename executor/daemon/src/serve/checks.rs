//! What must be true of the host before runs are taken, and what the operator is warned about.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use davit_cgroup::{CgroupPath, Controller};
use davit_rundir::RunDir;
use davit_types::{FieldError, OciRuntime};
use rustix::fs::FlockOperation;

use super::{ServeError, cgroups};
use super::{allotted, socket::make_dir};
use crate::api::HostReport;
use crate::containerd::Containerd;
use crate::images::{AllowList, ImageStore, ImageStoreOptions, PullLimits, SignatureRules};
use crate::link::Fetches;
use crate::metrics::Metrics;
use crate::oci::{Controllers, HostFacts};
use crate::runs::{GivenSecrets, Host, offload, sentence};
use crate::runtimes::{FoundRuntime, find_runtimes};
use crate::settings::{ContainerdSettings, Settings};
use crate::shims::{SHIM_BINARY, Shims};
use crate::warm::Pool;

/// File systems in memory (statfs(2)).
const TMPFS_MAGIC: u64 = 0x0102_1994;
const RAMFS_MAGIC: u64 = 0x8584_58f6;
/// Longest path of the directory of run directories, bytes: `sun_path` (unix(7)) has 107, of which
/// `/<run id>.<attempt>/shim.sock` takes 58.
const RUNS_DIR_BYTES_MAX: usize = 107 - 58;
/// First releases with the fixes of June 2026, by release line.
const CONTAINERD_FIXED: [(u32, u32, u32); 3] = [(1, 7, 33), (2, 2, 5), (2, 3, 2)];

/// A host fit for runs.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) host: Host,
    pub(super) report: HostReport,
    /// Held as long as the executor lives.
    pub(super) lock: File,
}

/// Checks everything in the order in which a new operator gets it wrong.
pub(super) async fn check(settings: Settings) -> Result<Checked, ServeError> {
    if !rustix::process::geteuid().is_root() {
        return Err(ServeError::NotRoot);
    }
    let (runs_dir, slots_dir, lock) = take_state(&settings.state_dir)?;
    let mut warnings = Vec::from_iter(volatile(&settings.state_dir));

    let cgroup_parent = parse_parent(&settings.cgroup_parent)?;
    let (parent, allow_missing) = (cgroup_parent.clone(), settings.allow_missing_controllers);
    let limits = offload(move || cgroups::prepare(&parent, allow_missing)).await?;
    warnings.extend(limits.warnings);

    let containerd = meet(&settings, &runs_dir, &mut warnings).await?;
    warnings.extend(outdated_containerd(containerd.version()));
    let runtimes = runtimes(&settings, &mut warnings).await?;
    warnings.extend(no_shim(&settings));
    let shims = Shims::open(&settings, &containerd, &limits.hierarchy, &cgroup_parent).await;
    let what = "create the directory of shims in";
    let shims = shims.map_err(ServeError::path(what, &settings.state_dir))?;
    let ids = allotted::ids(&settings, &containerd, &shims, &mut warnings).await?;
    let disk = allotted::disk(&settings, &containerd, &ids, &mut warnings).await?;
    let boot_id = read_line("/proc/sys/kernel/random/boot_id")?;
    let network = allotted::network(&settings, &boot_id, &containerd).await?;
    let warm = Pool::new(&settings.warm);
    let images = ImageStore::open(containerd.clone(), image_options(&settings)?).await?;
    images.yield_by(warm.clone());
    tell(&warnings);

    let report = HostReport {
        containerd_version: containerd.version().to_owned(),
        kernel_version: read_line("/proc/sys/kernel/osrelease")?,
        controllers: names(limits.enabled.iter().map(|c| c.as_str())),
        missing_controllers: names(limits.missing.iter().copied()),
        runtimes: runtimes.clone(),
        instance_types: settings.offered_instance_types(),
        warnings,
        cgroup_parent: cgroup_parent.as_str().to_owned(),
        no_user_namespaces: ids.absent().map(str::to_owned),
        no_bridge: network.absent().map(str::to_owned),
        no_disk_quotas: disk.absent().map(str::to_owned),
    };
    let host = Host {
        instance_types: report.instance_types.clone(),
        containerd,
        images,
        hierarchy: limits.hierarchy,
        cgroup_parent,
        controllers: granted(limits.enabled),
        runtimes: runtimes
            .into_iter()
            .map(|found| (found.runtime, found.path))
            .collect(),
        facts: facts(&settings.state_dir)?,
        shims,
        boot_id,
        runs_dir,
        slots_dir,
        ids,
        disk,
        network,
        warm,
        given: GivenSecrets::default(),
        fetches: Fetches::new(&settings.link),
        metrics: Metrics::new(),
        settings,
    };
    Ok(Checked { host, report, lock })
}

/// The directories of runs and of slots, below a state directory that is this executor's alone.
fn take_state(state_dir: &Path) -> Result<(PathBuf, PathBuf, File), ServeError> {
    let runs_dir = state_dir.join("runs");
    let slots_dir = state_dir.join("slots");
    for dir in [state_dir, runs_dir.as_path(), &slots_dir] {
        make_dir(dir).map_err(ServeError::path("create", dir))?;
    }
    short_enough(&runs_dir)?;
    let lock = lock(state_dir)?;
    Ok((runs_dir, slots_dir, lock))
}

fn facts(state_dir: &Path) -> Result<HostFacts, ServeError> {
    HostFacts::read(state_dir).map_err(ServeError::path("write the hosts file in", state_dir))
}

fn tell(warnings: &[String]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// The limits that a spec may have.
fn granted(enabled: davit_cgroup::Controllers) -> Controllers {
    Controllers {
        cpu: enabled.contains(Controller::Cpu),
        memory: enabled.contains(Controller::Memory),
        pids: enabled.contains(Controller::Pids),
    }
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    names.map(str::to_owned).collect()
}

/// containerd; one that is away where there are runs to be looked after meanwhile.
async fn meet(
    settings: &Settings,
    runs_dir: &Path,
    warnings: &mut Vec<String>,
) -> Result<Containerd, ServeError> {
    let ContainerdSettings {
        socket,
        namespace,
        snapshotter,
        ..
    } = &settings.containerd;
    match Containerd::connect(socket, namespace, snapshotter).await {
        Err(error) if error.is_absence() && has_runs(runs_dir) => {
            tracing::warn!("{}", sentence(&error));
            let away = Containerd::away(socket, namespace, snapshotter)?;
            warnings.extend(away.known().err().map(|error| error.to_string()));
            Ok(away)
        }
        outcome => Ok(outcome?),
    }
}

fn has_runs(runs_dir: &Path) -> bool {
    RunDir::list(runs_dir).is_ok_and(|dirs| !dirs.is_empty())
}

/// Every run has a socket in its directory, and the kernel bounds the names of sockets.
fn short_enough(runs_dir: &Path) -> Result<(), ServeError> {
    let bytes = runs_dir.as_os_str().len();
    if bytes <= RUNS_DIR_BYTES_MAX {
        return Ok(());
    }
    Err(ServeError::Setting {
        setting: "state_dir",
        problem: format!(
            "{} has {bytes} bytes, at most {RUNS_DIR_BYTES_MAX} allowed: the socket of a run would \
             have too long a name",
            runs_dir.display()
        ),
    })
}

fn parse_parent(text: &str) -> Result<CgroupPath, ServeError> {
    let wrong = |problem: String| ServeError::Setting {
        setting: "cgroup_parent",
        problem,
    };
    let parent: CgroupPath = text.parse().map_err(|error| wrong(format!("{error}")))?;
    if parent == CgroupPath::root() {
        return Err(wrong(
            "the root cgroup is everybody's: name one below it, e.g. /davit".into(),
        ));
    }
    Ok(parent)
}

/// The lock that makes this executor the only one on its runs. The kernel drops it with the process.
fn lock(state_dir: &Path) -> Result<File, ServeError> {
    let path = state_dir.join("executor.lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(ServeError::path("open", &path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ServeError::StateDirTaken {
            state_dir: state_dir.to_owned(),
        }),
        Err(error) => Err(ServeError::path("lock", path)(error.into())),
    }
}

/// A warning if what is in `dir` does not survive a reboot.
fn volatile(dir: &Path) -> Option<String> {
    let kind = u64::try_from(rustix::fs::statfs(dir).ok()?.f_type).ok()?;
    [TMPFS_MAGIC, RAMFS_MAGIC].contains(&kind).then(|| {
        format!(
            "state_dir {} is in memory: a restart of the host loses every run's record",
            dir.display()
        )
    })
}

fn outdated_containerd(version: &str) -> Option<String> {
    let mut numbers = version
        .trim_start_matches('v')
        .split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse::<u32>().ok();
    let (major, minor, patch) = (number()?, number()?, number().unwrap_or(0));
    let fixed = CONTAINERD_FIXED
        .iter()
        .find(|line| (line.0, line.1) == (major, minor));
    let outdated = match fixed {
        Some(line) => patch < line.2,
        // Lines between the fixed ones get no fixes; newer ones have them.
        None => (major, minor) < (2, 3),
    };
    outdated.then(|| {
        format!(
            "containerd {version} lacks the fixes of June 2026: use 1.7.33, 2.2.5, 2.3.2 or newer"
        )
    })
}

async fn runtimes(
    settings: &Settings,
    warnings: &mut Vec<String>,
) -> Result<Vec<FoundRuntime>, ServeError> {
    let mut offered = Vec::new();
    let default: OciRuntime = settings.default_runtime;
    for (runtime, found) in find_runtimes(&settings.additional_binary_paths).await {
        match found {
            Ok(found) => {
                warnings.extend(found.warning.clone());
                offered.push(found);
            }
            Err(error) if runtime == default => {
                return Err(ServeError::NoDefaultRuntime {
                    runtime: runtime.binary(),
                    problem: error.to_string(),
                });
            }
            Err(error) => tracing::debug!(%error, "a runtime is not offered"),
        }
    }
    Ok(offered)
}

/// containerd looks for the shim on its own PATH, which davit cannot see; ours is the best guess.
fn no_shim(settings: &Settings) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = settings.additional_binary_paths.iter().cloned();
    let found = std::env::split_paths(&path)
        .chain(extra)
        .any(|dir| dir.join(SHIM_BINARY).is_file());
    (!found).then(|| format!("{SHIM_BINARY} is not on PATH: containerd must find it on its own"))
}

fn image_options(settings: &Settings) -> Result<ImageStoreOptions, ServeError> {
    let unfit = |setting, wrong: Vec<FieldError>| ServeError::Setting {
        setting,
        problem: wrong
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; "),
    };
    let allowed =
        AllowList::parse(&settings.images.allow).map_err(|wrong| unfit("images.allow", wrong))?;
    let mut signatures = SignatureRules::default();
    for rule in &settings.image_signatures {
        signatures
            .add(&rule.repositories, &rule.public_key_files)
            .map_err(|wrong| unfit("image_signatures", wrong))?;
    }
    let plain_http = settings
        .registries
        .iter()
        .filter(|(_, registry)| registry.plain_http);
    let seconds = std::time::Duration::from_secs;
    Ok(ImageStoreOptions {
        allowed,
        signatures,
        plain_http: plain_http.map(|(name, _)| name.clone()).collect(),
        cache_bytes_max: Some(settings.images.cache_bytes_max.0),
        limits: PullLimits {
            deadline: seconds(settings.images.pull_deadline_seconds),
            stall_window: seconds(settings.images.pull_stall_seconds),
            compressed_bytes_max: settings.images.compressed_bytes_max.0,
            unpacked_bytes_max: settings.images.unpacked_bytes_max.0,
            unpacked_files_max: settings.images.unpacked_files_max,
            ..PullLimits::default()
        },
    })
}

fn read_line(path: &str) -> Result<String, ServeError> {
    let text = fs::read_to_string(path).map_err(ServeError::path("read", path))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_dir_has_one_executor() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        let second = lock(dir.path()).unwrap_err();
        assert!(
            matches!(&second, ServeError::StateDirTaken { state_dir } if state_dir == dir.path())
        );
        drop(first);
        assert!(lock(dir.path()).is_ok());
    }

    #[test]
    fn containerd_without_the_fixes_is_warned_about() {
        for fixed in ["1.7.33", "v2.2.5", "2.3.2", "2.4.0", "3.0.1"] {
            assert_eq!(outdated_containerd(fixed), None, "{fixed}");
        }
        for old in ["1.7.24~ds1", "2.1.9", "2.2.4", "2.3.1", "2.0.0"] {
            assert!(outdated_containerd(old).is_some(), "{old}");
        }
    }

    #[test]
    fn a_deep_state_dir_is_refused_before_a_socket_fails() {
        assert!(short_enough(Path::new("/var/lib/davit/runs")).is_ok());
        let deep = format!("/{}/runs", "d".repeat(60));
        assert!(short_enough(Path::new(&deep)).is_err());
        let key = "01890a5d-ac96-774b-bcce-b302099a8057.4294967295";
        assert_eq!(format!("/{key}/shim.sock").len(), 58);
    }

    #[test]
    fn the_root_cgroup_is_nobodys_parent() {
        assert!(parse_parent("/davit").is_ok());
        for wrong in ["/", "davit", "/a/../b"] {
            assert!(parse_parent(wrong).is_err(), "{wrong}");
        }
    }
}
