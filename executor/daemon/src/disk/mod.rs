//! What a container may write to its root file system: a project quota on the layer of its own.
//!
//! ```text
//!  Disk::open ── settings, snapshotter, its file system ──► on, or why not; what was left is forgotten    (support)
//!  launch, slot ── claim(layer) ──► a project for upper and work directory          before anything is written there
//!  launch ──────── bound(bytes) ──► limits of that project                          before the job; a slot's, when given
//!  cleanup ─────── release() ─────► no limits: with the layer's last file the project is gone
//! ```
//!
//! Invariants:
//! - the layer bears its project (an attribute of the directory), which is no other's: a project is taken only if nothing
//!   is in it. So nothing is to be remembered over an executor's death;
//! - limits come after the project is on the layer: limits of a project without a file are nobody's, and are swept;
//! - nothing is asked or written where a host has no quotas.
//!
//! Files on disk are counted by blocks, whoever wrote them: the job, what was unpacked for it, copies of the image's files
//! that it changed. Memory (`/tmp`, `/dev/shm`) is the cgroup's matter; what is collected from a run lies elsewhere.
//!
//! Absent on purpose: a loop image where the file system has no quotas. A file system a run would have to be made, mounted,
//! written back and taken away with it, which is more than the whole launch of a container takes.

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use davit_quota::{Limits, ProjectId, Usage};
use davit_types::{Bytes, RunSpec};
use rustix::fs::{Mode, OFlags};

use crate::containerd::{ContainerName, Containerd, ContainerdError, Mount};
use crate::settings::{DiskQuotaMode, Settings};

/// The projects that davit takes, away from what people and other programs number from 1 on.
const FIRST: u32 = 0x6000_0000;
const PROJECTS: u32 = 0x1000_0000;
/// Projects looked at for one in which nothing is.
const TRIED_MAX: u32 = 1_024;
/// Room for each file that a run may have, bytes, and files that it may have at least.
const FILE_BYTES: u64 = 8 << 10;
const FILES_MIN: u64 = 4_096;

/// Why a layer cannot be bounded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error("the root file system has no directory of its own to bound")]
    NoLayer,
    #[error("cannot bound what is written to {}", path.display())]
    Layer {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("none of {TRIED_MAX} projects is free")]
    NoProject,
    #[error("its layer has no project")]
    Unclaimed,
    #[error("cannot limit project {project}")]
    Limit {
        project: u32,
        #[source]
        source: io::Error,
    },
    #[error(
        "its files take {} in {files} files and directories, and its disk holds {} in {files_max}",
        Bytes(*bytes),
        Bytes(*bytes_max)
    )]
    NoRoom {
        bytes: u64,
        files: u64,
        bytes_max: u64,
        files_max: u64,
    },
}

/// The host's disk quotas.
#[derive(Debug)]
pub(crate) struct Disk {
    /// The directory of layers, where there are quotas; else why not.
    place: Result<OwnedFd, String>,
    wished: bool,
    /// Projects that this executor gave.
    held: Mutex<BTreeMap<ContainerName, ProjectId>>,
}

impl Disk {
    /// Finds out whether this host can, and forgets the limits that nobody has.
    ///
    /// # Errors
    /// When the settings want what cannot be had: why.
    pub(crate) async fn open(
        settings: &Settings,
        containerd: &Containerd,
        no_user_namespaces: Option<&str>,
    ) -> Result<Self, String> {
        let mode = settings.disk_quota.mode;
        let required = mode == DiskQuotaMode::Required && containerd.is_known();
        let place = support::open(settings, containerd).await;
        if let (true, Err(why)) = (required, &place) {
            return Err(why.clone());
        }
        if let (true, Some(why)) = (required, no_user_namespaces) {
            return Err(format!(
                "a job without a user namespace can leave its quota, and there are none: {why}"
            ));
        }
        if let Ok(place) = &place {
            support::sweep(place);
        }
        Ok(Self {
            place,
            wished: mode != DiskQuotaMode::Off,
            held: Mutex::default(),
        })
    }

    /// Why nothing is bounded; `None`: it is.
    pub(crate) fn absent(&self) -> Option<&str> {
        self.place.as_ref().err().map(String::as_str)
    }

    /// Why the disk of `run` is not bounded as it should be.
    pub(crate) fn absent_for(&self, run: &RunSpec) -> Option<&str> {
        run.instance_type.disk_bytes_max.and(self.absent())
    }

    /// What `run` is to be held to here.
    pub(crate) fn bound_of(&self, run: &RunSpec) -> Option<Bytes> {
        let wanted = run.instance_type.disk_bytes_max;
        wanted.filter(|_| self.wished && self.place.is_ok())
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<ContainerName, ProjectId>> {
        // A map stays a map even if somebody panicked over it.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the layer that `mounts` write to a project of its own. Blocking, for some system calls.
    ///
    /// # Errors
    /// When there is no such layer, or it cannot be had.
    pub(crate) fn claim(&self, name: &ContainerName, mounts: &[Mount]) -> Result<(), DiskError> {
        let Ok(place) = &self.place else {
            return Ok(());
        };
        let layer = Layer::of(mounts).ok_or(DiskError::NoLayer)?;
        let upper = open(&layer.upper)?;
        let work = open(&layer.work)?;
        // One at a time: a project is free until something is in it.
        let mut held = self.held();
        let found = davit_quota::project_of(&upper).map_err(failed(&layer.upper))?;
        let project = match is_ours(found) {
            true => found,
            false => free(place, layer.number())?,
        };
        davit_quota::join(&work, project).map_err(failed(&layer.work))?;
        davit_quota::join(&upper, project).map_err(failed(&layer.upper))?;
        held.insert(name.clone(), project);
        Ok(())
    }

    fn project(&self, name: &ContainerName) -> Result<(&OwnedFd, ProjectId), DiskError> {
        let project = self.held().get(name).copied();
        match (&self.place, project) {
            (Ok(place), Some(project)) => Ok((place, project)),
            _ => Err(DiskError::Unclaimed),
        }
    }

    /// Holds the claimed layer of `name` to `bytes_max`. Blocking, for one system call.
    ///
    /// # Errors
    /// When it was never claimed, or the file system refuses.
    pub(crate) fn bound(&self, name: &ContainerName, bytes_max: Bytes) -> Result<(), DiskError> {
        let (place, project) = self.project(name)?;
        let limits = Limits {
            bytes_max: bytes_max.0,
            inodes_max: (bytes_max.0 / FILE_BYTES).max(FILES_MIN),
        };
        limit(place, project, limits)
    }

    /// Whether the layer of `name` is within its bounds. Blocking, for one system call.
    ///
    /// # Errors
    /// [`DiskError::NoRoom`] when it is not.
    pub(crate) fn has_room(&self, name: &ContainerName) -> Result<(), DiskError> {
        let (place, project) = self.project(name)?;
        let Usage {
            bytes,
            inodes,
            limits,
        } = davit_quota::usage(place, project).map_err(|source| DiskError::Limit {
            project: project.0,
            source,
        })?;
        if bytes <= limits.bytes_max && inodes <= limits.inodes_max {
            return Ok(());
        }
        Err(DiskError::NoRoom {
            bytes,
            files: inodes,
            bytes_max: limits.bytes_max,
            files_max: limits.inodes_max,
        })
    }

    /// Takes the limits off the layer of `name`, which is about to be removed; fine if it is gone.
    ///
    /// # Errors
    /// When containerd cannot be asked where the layer is.
    pub(crate) async fn release(
        &self,
        containerd: &Containerd,
        name: &ContainerName,
    ) -> Result<(), ContainerdError> {
        let Ok(place) = &self.place else {
            return Ok(());
        };
        let held = self.held().remove(name);
        let project = match held {
            Some(project) => Some(project),
            // An executor before this one gave it.
            None => match containerd.snapshot_mounts(name).await {
                Ok(mounts) => found_on(&mounts),
                Err(error) if error.is_not_found() => None,
                Err(error) => return Err(error),
            },
        };
        let Some(project) = project else {
            return Ok(());
        };
        if let Err(error) = limit(place, project, Limits::default()) {
            // The next executor sweeps it.
            tracing::warn!(%name, problem = crate::runs::sentence(&error), "a disk quota stays behind");
        }
        Ok(())
    }
}

/// The directories of an overlay that are the container's own.
#[derive(Debug, PartialEq, Eq)]
struct Layer {
    upper: PathBuf,
    work: PathBuf,
}

impl Layer {
    fn of(mounts: &[Mount]) -> Option<Self> {
        let [mount] = mounts else { return None };
        let option = |name: &str| {
            let mut options = mount.options.iter();
            options
                .find_map(|option| option.strip_prefix(name))
                .map(PathBuf::from)
        };
        Some(Self {
            upper: option("upperdir=")?,
            work: option("workdir=")?,
        })
    }

    /// The snapshotter's number of it (`…/snapshots/17/fs`), which it gives no other.
    fn number(&self) -> u32 {
        let directory = self.upper.parent().and_then(Path::file_name);
        let number = directory.and_then(|name| name.to_str()?.parse::<u64>().ok());
        u32::try_from(number.unwrap_or(0) % u64::from(PROJECTS)).unwrap_or(0)
    }
}

fn found_on(mounts: &[Mount]) -> Option<ProjectId> {
    let upper = open(&Layer::of(mounts)?.upper).ok()?;
    let found = davit_quota::project_of(&upper).ok()?;
    is_ours(found).then_some(found)
}

const fn is_ours(project: ProjectId) -> bool {
    project.0 >= FIRST && project.0 - FIRST < PROJECTS
}

/// The first project from the `number`th on in which nothing is.
fn free(place: &OwnedFd, number: u32) -> Result<ProjectId, DiskError> {
    for step in 0..TRIED_MAX {
        let project = ProjectId(FIRST + (number + step) % PROJECTS);
        let usage = davit_quota::usage(place, project).map_err(|source| DiskError::Limit {
            project: project.0,
            source,
        })?;
        if usage.is_empty() {
            return Ok(project);
        }
    }
    Err(DiskError::NoProject)
}

fn limit(place: &OwnedFd, project: ProjectId, limits: Limits) -> Result<(), DiskError> {
    davit_quota::limit(place, project, limits).map_err(|source| DiskError::Limit {
        project: project.0,
        source,
    })
}

fn open(path: &Path) -> Result<File, DiskError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    opened
        .map(File::from)
        .map_err(|errno| failed(path)(errno.into()))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> DiskError {
    move |source| DiskError::Layer {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(options: &[&str]) -> Vec<Mount> {
        vec![Mount {
            r#type: "overlay".into(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            ..Mount::default()
        }]
    }

    #[test]
    fn a_layer_is_known_by_its_number() {
        let mounts = overlay(&[
            "workdir=/c/snapshots/17/work",
            "upperdir=/c/snapshots/17/fs",
        ]);
        let layer = Layer::of(&mounts).unwrap();
        assert_eq!(
            (layer.number(), &*layer.work),
            (17, Path::new("/c/snapshots/17/work"))
        );
        assert_eq!(
            Layer::of(&overlay(&["lowerdir=/a"])),
            None,
            "nothing can be written there"
        );
        assert_eq!(Layer::of(&[]), None);
        let odd = overlay(&["workdir=/w", "upperdir=/u"]);
        assert_eq!(Layer::of(&odd).unwrap().number(), 0);
    }

    #[test]
    fn projects_of_others_are_left_alone() {
        assert!(!is_ours(ProjectId(0)));
        assert!(!is_ours(ProjectId(1_048_577)), "where others count from");
        assert!(is_ours(ProjectId(FIRST)) && is_ours(ProjectId(FIRST + PROJECTS - 1)));
        assert!(!is_ours(ProjectId(FIRST + PROJECTS)));
    }

    #[test]
    fn where_there_are_no_quotas_nothing_is_asked() {
        let disk = Disk {
            place: Err("no quotas here".into()),
            wished: true,
            held: Mutex::default(),
        };
        let mut spec = crate::runs::samples::spec();
        assert_eq!(disk.absent_for(&spec), None, "it has no bound");
        spec.instance_type.disk_bytes_max = Some(Bytes::gib(1));
        assert_eq!(disk.absent_for(&spec), Some("no quotas here"));
        assert_eq!(disk.bound_of(&spec), None);
        let name = ContainerName::Run(spec.key());
        assert!(disk.claim(&name, &[]).is_ok());
        assert!(matches!(
            disk.bound(&name, Bytes::gib(1)),
            Err(DiskError::Unclaimed)
        ));
    }
}
