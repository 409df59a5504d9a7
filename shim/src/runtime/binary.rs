//! The OCI runtime's program: found by name, and executed so that no container can write to it.
//!
//! ```text
//!  crun ──open_tree──► detached read-only bind mount ──exec /proc/self/fd/N──► crun create …
//! ```
//!
//! crun refuses to work from a file that a container could overwrite through `/proc/PID/exe` (CVE-2019-5736): it
//! makes such a mount of itself and executes itself a second time, at every command. Executed from one, it sees so
//! and goes on. The mount is in no mount table, is of this one command, and ends with it; a package upgrade is seen
//! by the next command.
//!
//! Absent on purpose: the same for runc, which protects itself another way, and for scripts, whose interpreter could
//! not open the descriptor.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::RuntimeError;
use crate::sys;

/// Names looked for when the client asks for no runtime. runc first: it is what containerd's clients mean by
/// silence, and what their tools look into. Runs of davit name theirs.
const DEFAULT_BINARIES: [&str; 2] = ["runc", "crun"];
/// How a program begins that the kernel loads itself.
const ELF_MAGIC: [u8; 4] = *b"\x7fELF";

/// Resolves the runtime to use: a path as it is, a name through PATH, nothing through the defaults.
pub(crate) fn find_binary(wanted: &str) -> Result<PathBuf, RuntimeError> {
    if wanted.contains('/') {
        return Ok(PathBuf::from(wanted));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates: &[&str] = if wanted.is_empty() {
        &DEFAULT_BINARIES
    } else {
        &[wanted]
    };
    candidates
        .iter()
        .find_map(|name| in_path(&path, name))
        .ok_or_else(|| RuntimeError::NotFound(candidates.join(", ")))
}

fn in_path(path: &OsStr, name: &str) -> Option<PathBuf> {
    std::env::split_paths(path)
        .map(|dir| dir.join(name))
        .find(|file| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok())
}

/// A command of the runtime's, and the mount its program is in.
#[derive(Debug)]
pub(super) struct Invocation {
    pub(super) command: Command,
    binary: PathBuf,
    /// Until exec the child finds the program by this descriptor.
    mount: Option<OwnedFd>,
}

impl Invocation {
    /// Of `binary` by its path.
    pub(super) fn by_path(binary: &Path) -> Self {
        Self {
            command: Command::new(binary),
            binary: binary.to_owned(),
            mount: None,
        }
    }

    /// Of `binary` from a read-only mount; by its path where that cannot be had: crun helps itself then.
    pub(super) fn read_only(binary: &Path) -> Self {
        let mount = match read_only_mount(binary) {
            Ok(Some(mount)) => mount,
            Ok(None) => return Self::by_path(binary),
            Err(error) => {
                log::debug!("no read-only mount of {}: {error}", binary.display());
                return Self::by_path(binary);
            }
        };
        let mut command = Command::new(format!("/proc/self/fd/{}", mount.as_raw_fd()));
        command.arg0(binary);
        Self {
            command,
            binary: binary.to_owned(),
            mount: Some(mount),
        }
    }

    pub(super) fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.command.arg(argument);
        self
    }

    /// Hands `fds` over, from descriptor 3 on.
    pub(super) fn pass(&mut self, fds: Vec<OwnedFd>) -> Result<(), RuntimeError> {
        sys::pass_descriptors(&mut self.command, fds).map_err(|source| self.refused(source))
    }

    /// Starts it. All that it holds is the child's alone afterwards.
    pub(super) fn spawn(mut self) -> Result<Child, RuntimeError> {
        let spawned = self.command.spawn().map_err(|source| self.refused(source));
        // Only now: the child finds the program there.
        drop(self.mount);
        spawned
    }

    fn refused(&self, source: io::Error) -> RuntimeError {
        RuntimeError::Execute {
            binary: self.binary.clone(),
            source,
        }
    }
}

/// The program in a read-only mount that is nowhere attached; `None` if it is a script.
fn read_only_mount(binary: &Path) -> Result<Option<OwnedFd>, Errno> {
    if !is_elf(binary)? {
        return Ok(None);
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(rustix::fs::CWD, binary, flags)?;
    sys::make_mount_read_only(&mount)?;
    // Above those that are passed on, which would overwrite it in the child.
    let above = rustix::io::fcntl_dupfd_cloexec(&mount, sys::PASSED_FDS_END)?;
    Ok(Some(above))
}

fn is_elf(binary: &Path) -> Result<bool, Errno> {
    use rustix::fs::{Mode, OFlags, open};
    let file = open(binary, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut begin = [0; ELF_MAGIC.len()];
    let read = rustix::io::read(&file, &mut begin)?;
    Ok(read == begin.len() && begin == ELF_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    #[test]
    fn binaries_are_found_by_path_name_or_default() {
        assert_eq!(find_binary("/x/crun").unwrap(), Path::new("/x/crun"));
        assert!(find_binary("sh").unwrap().ends_with("sh"));
        assert!(matches!(
            find_binary("no-such-runtime"),
            Err(RuntimeError::NotFound(name)) if name == "no-such-runtime"
        ));
    }

    #[test]
    fn a_program_is_executed_from_where_nobody_can_write() {
        let mut invocation = Invocation::read_only(&find_binary("sleep").unwrap());
        let root = rustix::process::geteuid().is_root();
        assert_eq!(invocation.mount.is_some(), root, "root alone makes mounts");
        invocation.arg("60");
        let mut child = invocation.spawn().unwrap();
        let program = format!("/proc/{}/exe", child.id());
        let flags = rustix::fs::statvfs(program.as_str()).unwrap().f_flag;
        assert_eq!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY), root);
        // The kernel has let go of our pipe by then, and may not have put its arguments in place.
        let words = (0..1_000).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            let words = std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
            Some(words).filter(|words| !words.is_empty())
        });
        let words = words.expect("it has a command line");
        assert!(words.ends_with(b"/sleep\x0060\0"), "{words:?}");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_script_is_executed_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("crun");
        std::fs::write(&script, "#!/bin/sh\necho \"$1\"\n").unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let mut invocation = Invocation::read_only(&script);
        assert!(invocation.mount.is_none());
        invocation.arg("heard").command.stdout(Stdio::piped());
        let output = invocation.spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(output.stdout, b"heard\n");
    }
}
