//! The cgroup v2 file system of this host.

use std::fs;
use std::path::{Path, PathBuf};

use crate::file::Dir;
use crate::parse;
use crate::{CgroupError, CgroupPath, Controllers};

/// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// Where cgroup v2 is mounted. Cheap to clone; holds no file open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    root: PathBuf,
}

impl Hierarchy {
    /// Finds the mount of this mount namespace.
    ///
    /// # Errors
    /// [`CgroupError::NoCgroup2`] or [`CgroupError::Hybrid`], which say what is there instead.
    pub fn find() -> Result<Self, CgroupError> {
        let path = Path::new("/proc/self/mountinfo");
        let text = fs::read_to_string(path).map_err(CgroupError::io("read", path))?;
        let mounts = parse::cgroup_mounts(&text);
        let v1_controllers = mounts.v1_controllers.join(", ");
        match mounts.cgroup2 {
            Some(_) if !v1_controllers.is_empty() => Err(CgroupError::Hybrid { v1_controllers }),
            Some(root) => Self::at(Path::new(&root)),
            None if v1_controllers.is_empty() => Err(CgroupError::NoCgroup2 {
                found: "nor any cgroup v1".to_owned(),
            }),
            None => Err(CgroupError::NoCgroup2 {
                found: format!("cgroup v1 holds {v1_controllers}"),
            }),
        }
    }

    /// The mount at `root`, which need not be the only one.
    ///
    /// # Errors
    /// When no cgroup v2 file system is there.
    pub fn at(root: &Path) -> Result<Self, CgroupError> {
        let found = rustix::fs::statfs(root).map_err(CgroupError::io("statfs", root))?;
        // The field's type differs between architectures.
        if u64::try_from(found.f_type) != Ok(CGROUP2_MAGIC) {
            return Err(CgroupError::NoCgroup2 {
                found: format!("{} is another file system", root.display()),
            });
        }
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// The mount point.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where `path` lies in the file system.
    #[must_use]
    pub fn locate(&self, path: &CgroupPath) -> PathBuf {
        // A CgroupPath cannot climb; without its `/` it extends the mount point.
        self.root.join(path.as_str().trim_start_matches('/'))
    }

    /// The controllers available at the root: what can be had at all.
    ///
    /// # Errors
    /// When `cgroup.controllers` cannot be read.
    pub fn controllers(&self) -> Result<Controllers, CgroupError> {
        let root = Dir::open(self.root.clone())?;
        Ok(Controllers::parse(&root.read("cgroup.controllers")?))
    }

    /// The cgroup this process is in.
    ///
    /// # Errors
    /// When `/proc/self/cgroup` cannot be read or names none.
    pub fn own_path(&self) -> Result<CgroupPath, CgroupError> {
        let path = Path::new("/proc/self/cgroup");
        let text = fs::read_to_string(path).map_err(CgroupError::io("read", path))?;
        parse::process_cgroup(&text)
            .ok_or_else(|| CgroupError::Malformed {
                path: path.to_owned(),
                problem: "no `0::` line".to_owned(),
            })?
            .parse()
    }

    /// Makes `parent` with its ancestors and enables `wanted` for its children, in every
    /// `cgroup.subtree_control` from the root down. What is enabled already is left alone.
    ///
    /// # Errors
    /// [`CgroupError::MissingControllers`] names the first cgroup that lacks some. A write refused
    /// with EBUSY means that processes sit in an inner cgroup.
    pub fn enable_below(
        &self,
        parent: &CgroupPath,
        wanted: Controllers,
    ) -> Result<(), CgroupError> {
        let mut path = self.root.clone();
        enable_in(path.clone(), wanted)?;
        for part in parent.parts() {
            path.push(part);
            match fs::create_dir(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(CgroupError::io("create", &path)(error));
                }
                _ => enable_in(path.clone(), wanted)?,
            }
        }
        Ok(())
    }
}

fn enable_in(path: PathBuf, wanted: Controllers) -> Result<(), CgroupError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let dir = Dir::open(path)?;
    let missing = wanted.without(Controllers::parse(&dir.read("cgroup.controllers")?));
    if !missing.is_empty() {
        return Err(CgroupError::MissingControllers {
            path: dir.path().to_owned(),
            missing,
        });
    }
    let enabled = Controllers::parse(&dir.read("cgroup.subtree_control")?);
    let words: Vec<String> = wanted
        .without(enabled)
        .iter()
        .map(|controller| format!("+{}", controller.as_str()))
        .collect();
    if words.is_empty() {
        return Ok(());
    }
    dir.write("cgroup.subtree_control", &words.join(" "))
}
