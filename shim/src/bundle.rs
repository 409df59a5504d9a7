//! A container's bundle: the directory containerd prepared, the few facts of `config.json` the shim needs,
//! and what the shim itself leaves there for `delete`.
//!
//! ```text
//!  config.json      containerd    the OCI runtime specification
//!  rootfs/          containerd    mounted by us when Create brings mounts
//!  log              containerd    FIFO: our diary
//!  address          us            our socket; containerd 1.7 reads it at its restart
//!  init.pid         OCI runtime   first process
//!  log.json         OCI runtime   its messages
//!  secrets/         us            while a container with secrets is made: see `secrets`
//!  davit-shim.json  us            which OCI runtime with which state directory: `delete` needs it
//! ```

mod limits;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use davit_types::IdRange;
use serde::{Deserialize, Serialize};

/// Annotation that makes this a run of davit: the run directory.
const RUN_DIR_ANNOTATION: &str = "davit.run-dir";

/// Annotation that makes this a warm slot of davit: the slot directory.
const SLOT_DIR_ANNOTATION: &str = "davit.slot-dir";

/// Annotation of a run whose secrets the executor gives: see `davit_rundir::Secrets`.
const SECRETS_ANNOTATION: &str = "davit.secrets";

/// Annotations naming a group of containers that share one shim, in the order they are asked.
const GROUP_ANNOTATIONS: [&str; 2] = [
    "io.containerd.runc.v2.group",
    "io.kubernetes.cri.sandbox-id",
];

/// Why a bundle could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleError {
    #[error("cannot {operation} {}", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not valid", path.display())]
    Malformed {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error(
        "a container of davit's maps users and groups alike, as one range from 0, or not at all"
    )]
    Mappings,
}

/// The part of `config.json` the shim looks at.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Config {
    #[serde(default)]
    annotations: HashMap<String, String>,
    #[serde(default)]
    linux: Linux,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Linux {
    namespaces: Vec<Namespace>,
    uid_mappings: Vec<IdMapping>,
    gid_mappings: Vec<IdMapping>,
    resources: limits::Resources,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct IdMapping {
    #[serde(rename = "containerID")]
    container_id: u32,
    #[serde(rename = "hostID")]
    host_id: u32,
    size: u32,
}

#[derive(Debug, Deserialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

impl Config {
    /// Reads `<bundle>/config.json`.
    pub(crate) fn read(bundle: &Path) -> Result<Self, BundleError> {
        read_json(&bundle.join("config.json"))
    }

    /// Whether the init process is the first of a pid namespace of its own, so that the kernel kills the
    /// others when it ends.
    pub(crate) fn has_private_pid_namespace(&self) -> bool {
        self.has_private("pid")
    }

    /// Whether its host name is its own.
    pub(crate) fn has_private_uts_namespace(&self) -> bool {
        self.has_private("uts")
    }

    fn has_private(&self, kind: &str) -> bool {
        let mut namespaces = self.linux.namespaces.iter();
        namespaces.any(|namespace| namespace.kind == kind && namespace.path.is_empty())
    }

    /// gVisor's `--network` for this container. It finds an empty network namespace by a sign that newer
    /// kernels do not give any more (`net.core.rmem_default` only in the first one), so it is told.
    pub(crate) fn sandbox_network(&self) -> Option<&'static str> {
        let namespaces = &self.linux.namespaces;
        match namespaces
            .iter()
            .find(|namespace| namespace.kind == "network")
        {
            None => Some("host"),
            Some(own) if own.path.is_empty() => Some("none"),
            Some(_) => None,
        }
    }

    /// What its cgroup is to be limited to.
    pub(crate) fn limits(&self) -> davit_cgroup::Limits {
        self.linux.resources.limits()
    }

    /// The run directory, if this container is a run of davit.
    pub(crate) fn run_dir(&self) -> Option<&Path> {
        self.annotations.get(RUN_DIR_ANNOTATION).map(Path::new)
    }

    /// Whether the executor waits to give it secrets.
    pub(crate) fn awaits_secrets(&self) -> bool {
        self.annotations.contains_key(SECRETS_ANNOTATION)
    }

    /// The slot directory, if this container is a warm slot of davit.
    pub(crate) fn slot_dir(&self) -> Option<&Path> {
        self.annotations.get(SLOT_DIR_ANNOTATION).map(Path::new)
    }

    /// The ids of the user namespace that a container of davit's gets: its root file system comes with the image's,
    /// and is to be mapped. Any other container's comes as it is to be.
    ///
    /// # Errors
    /// When it has other mappings than davit makes.
    pub(crate) fn davits_ids(&self) -> Result<Option<IdRange>, BundleError> {
        let Linux {
            uid_mappings,
            gid_mappings,
            ..
        } = &self.linux;
        let davits = self.run_dir().or(self.slot_dir()).is_some();
        match (uid_mappings.as_slice(), gid_mappings.as_slice()) {
            _ if !davits => Ok(None),
            ([], []) => Ok(None),
            ([users], [groups]) if users == groups && users.container_id == 0 => {
                Ok(Some(IdRange {
                    first: users.host_id,
                    count: users.size,
                }))
            }
            _ => Err(BundleError::Mappings),
        }
    }

    /// The group whose shim holds this container; `id` itself when it belongs to none.
    pub(crate) fn group<'a>(&'a self, id: &'a str) -> &'a str {
        GROUP_ANNOTATIONS
            .iter()
            .find_map(|name| self.annotations.get(*name))
            .map_or(id, String::as_str)
    }
}

/// `davit-shim.json`: what `delete` must know when nobody is left to ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShimRecord {
    /// OCI runtime binary.
    pub(crate) runtime: PathBuf,
    /// Its state directory, namespace included.
    pub(crate) root: PathBuf,
    pub(crate) systemd_cgroup: bool,
    /// The run directory of a run of davit.
    pub(crate) run_dir: Option<PathBuf>,
    /// The slot directory of a warm slot, whether it was given a run or not.
    pub(crate) slot_dir: Option<PathBuf>,
    /// The cgroup the shim has made for either, from the root of the cgroup v2 file system.
    pub(crate) cgroup: Option<String>,
}

impl ShimRecord {
    const FILE: &str = "davit-shim.json";

    pub(crate) fn write(&self, bundle: &Path) -> Result<(), BundleError> {
        let path = bundle.join(Self::FILE);
        let bytes = serde_json::to_vec(self).map_err(|source| BundleError::Malformed {
            path: path.clone(),
            source,
        })?;
        write_whole(&path, &bytes)
    }

    /// `None` if the shim died before it wrote one.
    pub(crate) fn read(bundle: &Path) -> Result<Option<Self>, BundleError> {
        match read_json(&bundle.join(Self::FILE)) {
            Ok(record) => Ok(Some(record)),
            Err(BundleError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// The pid an OCI runtime wrote (runc leaves out the newline).
pub(crate) fn read_pid(path: &Path) -> Result<i32, BundleError> {
    let text = std::fs::read_to_string(path).map_err(failed("read", path))?;
    text.trim()
        .parse()
        .ok()
        .filter(|pid| *pid > 0)
        .ok_or_else(|| {
            let source = io::Error::new(io::ErrorKind::InvalidData, format!("`{text}` is no pid"));
            failed("read", path)(source)
        })
}

/// Replaces a file so that readers see the old or the new content, never a part.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), BundleError> {
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, bytes).map_err(failed("write", &temporary))?;
    std::fs::rename(&temporary, path).map_err(failed("rename into place", path))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, BundleError> {
    let bytes = std::fs::read(path).map_err(failed("read", path))?;
    serde_json::from_slice(&bytes).map_err(|source| BundleError::Malformed {
        path: path.to_owned(),
        source,
    })
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BundleError {
    let path = path.to_owned();
    move |source| BundleError::Io {
        operation,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> Config {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_pid_namespace_is_private_only_without_a_path() {
        let of = |namespaces: &str| {
            config(&format!(r#"{{"linux":{{"namespaces":[{namespaces}]}}}}"#))
                .has_private_pid_namespace()
        };
        assert!(of(r#"{"type":"mount"},{"type":"pid"}"#));
        assert!(!of(r#"{"type":"pid","path":"/proc/1/ns/pid"}"#));
        assert!(!of(r#"{"type":"mount"}"#));
        assert!(!config("{}").has_private_pid_namespace());
    }

    #[test]
    fn gvisor_is_told_of_an_empty_or_the_hosts_network() {
        let of = |namespaces: &str| {
            config(&format!(r#"{{"linux":{{"namespaces":[{namespaces}]}}}}"#)).sandbox_network()
        };
        assert_eq!(of(r#"{"type":"mount"},{"type":"network"}"#), Some("none"));
        assert_eq!(of(r#"{"type":"mount"}"#), Some("host"));
        assert_eq!(of(r#"{"type":"network","path":"/run/netns/a"}"#), None);
    }

    #[test]
    fn only_davits_containers_have_their_ids_mapped_here() {
        let of = |annotation: &str, users: &str, groups: &str| {
            config(&format!(
                r#"{{"annotations":{{"{annotation}":"/r"}},"linux":{{"uidMappings":[{users}],"gidMappings":[{groups}]}}}}"#
            ))
            .davits_ids()
        };
        let one = r#"{"containerID":0,"hostID":131072,"size":65536}"#;
        let range = IdRange {
            first: 131_072,
            count: 65_536,
        };
        assert_eq!(of("davit.run-dir", one, one).unwrap(), Some(range));
        assert_eq!(of("davit.slot-dir", one, one).unwrap(), Some(range));
        assert_eq!(of("davit.run-dir", "", "").unwrap(), None);
        assert_eq!(of("other", one, "").unwrap(), None);
        let from_one = r#"{"containerID":1,"hostID":131072,"size":65536}"#;
        for (users, groups) in [(one, ""), (one, from_one), (from_one, from_one)] {
            assert!(of("davit.run-dir", users, groups).is_err());
        }
    }

    #[test]
    fn groups_come_from_annotations() {
        assert_eq!(config("{}").group("a"), "a");
        let pod = config(r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"pod"}}"#);
        assert_eq!(pod.group("a"), "pod");
    }

    #[test]
    fn record_survives_the_disk_and_pids_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(ShimRecord::read(dir.path()).unwrap(), None);
        let record = ShimRecord {
            runtime: "/usr/bin/crun".into(),
            root: "/run/x/default".into(),
            systemd_cgroup: false,
            run_dir: None,
            slot_dir: None,
            cgroup: Some("/davit/x".to_owned()),
        };
        record.write(dir.path()).unwrap();
        assert_eq!(ShimRecord::read(dir.path()).unwrap(), Some(record));

        let pid = dir.path().join("init.pid");
        std::fs::write(&pid, "17\n").unwrap();
        assert_eq!(read_pid(&pid).unwrap(), 17);
        for broken in ["", "0", "-1", "x"] {
            std::fs::write(&pid, broken).unwrap();
            assert!(read_pid(&pid).is_err(), "{broken:?}");
        }
    }
}
