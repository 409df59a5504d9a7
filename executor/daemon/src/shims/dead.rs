//! Clearing up after forked shims that died: what containerd does after those it has executed.
//!
//! ```text
//!  <state_dir>/shims/<container>          the socket: answers ─► alive, hands off
//!  <state_dir>/shims/<container>.bundle   link to the bundle ─► `shim delete`
//! ```
//!
//! A shim removes both when it ends in order, so what is found and does not answer was left by a death. The
//! container is dead by the time this is called, or is killed by it.
//!
//! And after shims that containerd has forgotten: one killed within a create comes back without the task, and never
//! tells the shim. Who listens is what the socket says; but it bears the zygote's name until the forked child has spoken
//! up, and the number of a process that ended may be another's by now. So nobody is killed who does not show the shim's
//! command line.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use davit_rundir::{BUNDLE_LINK_SUFFIX, bundle_link};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::process::Command;

use super::Shims;
use crate::runs::{offload, sentence};

/// Longest wait for a forked child to take over its socket, milliseconds,
const SETTLED_MS_MAX: u64 = 2_000;
/// and how often it is looked at.
const SETTLED_LOOK_MS: u64 = 2;
/// Longest wait for a killed shim to be gone, seconds.
const KILLED_SECONDS_MAX: i64 = 2;
/// Longest `shim delete` may take, milliseconds; containerd gives it 5 s.
const DELETE_MS_MAX: u64 = 5_000;

impl Shims {
    /// Clears up after the shim of the container `name` if it was forked and has died; else does nothing.
    pub(crate) async fn clear_dead(&self, name: &str) {
        let socket = self.socket_of(name);
        let looked = socket.clone();
        let Some(bundle) = offload(move || left_by_a_death(&looked)).await else {
            return;
        };
        if let Some(bundle) = bundle
            && let Err(problem) = self.shim_delete(name, &bundle).await
        {
            tracing::warn!(name, problem, "clearing up after a dead shim");
        }
        let removed = offload(move || {
            [bundle_link(&socket), socket].iter().try_for_each(|path| {
                match std::fs::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                }
            })
        });
        if let Err(error) = removed.await {
            tracing::warn!(
                name,
                problem = sentence(&error),
                "removing a dead shim's socket"
            );
        }
    }

    /// Ends the forked shim of the container `name`, if there is one still: containerd has no such task (any more), so
    /// nobody else will.
    pub(crate) async fn end_forgotten(&self, name: &str) {
        let (socket, id) = (self.socket_of(name), name.to_owned());
        match offload(move || kill_listener(&socket, &id)).await {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!(name, "ended a shim that containerd had forgotten");
                self.clear_dead(name).await;
            }
            Err(error) => {
                tracing::warn!(name, problem = sentence(&error), "ending a forgotten shim");
            }
        }
    }

    /// Clears up after all that died: some died with the host, or with nobody watching.
    pub(super) async fn clear_all_dead(&self) {
        let dir = self.inner.dir.clone();
        let listed = offload(move || list(&dir)).await;
        match listed {
            Ok(names) => {
                for name in names {
                    self.clear_dead(&name).await;
                }
            }
            Err(error) => {
                tracing::warn!(
                    problem = sentence(&error),
                    "cannot list the sockets of shims"
                );
            }
        }
    }

    async fn shim_delete(&self, name: &str, bundle: &Path) -> Result<(), String> {
        let binary = self
            .inner
            .binary
            .as_ref()
            .ok_or("the shim's binary is not found")?;
        let deleted = Command::new(binary)
            .args(["-namespace", &self.inner.namespace, "-id", name])
            .arg("-address")
            .arg(self.inner.containerd.socket())
            .arg("-bundle")
            .arg(bundle)
            .arg("delete")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .status();
        match tokio::time::timeout(Duration::from_millis(DELETE_MS_MAX), deleted).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("shim delete: {status}")),
            Ok(Err(error)) => Err(format!("cannot execute {}: {error}", binary.display())),
            Err(_) => Err(format!("shim delete took longer than {DELETE_MS_MAX} ms")),
        }
    }
}

/// `None`: there is no shim, or it lives. `Some`: it died, and so did what its bundle had, if that is there still.
fn left_by_a_death(socket: &Path) -> Option<Option<PathBuf>> {
    match UnixStream::connect(socket) {
        // Alive, or too busy to say so.
        Ok(_) => return None,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Between the removal of the two, or none at all.
            bundle_link(socket).symlink_metadata().ok()?;
        }
        Err(error) => {
            tracing::warn!(socket = %socket.display(), %error, "cannot tell whether a shim lives");
            return None;
        }
    }
    let bundle = std::fs::read_link(bundle_link(socket)).ok();
    Some(bundle.filter(|bundle| bundle.is_dir()))
}

/// Kills the shim of `id` that listens on `socket` and waits for the end; `false` if there is none.
fn kill_listener(socket: &Path, id: &str) -> io::Result<bool> {
    let begin = Instant::now();
    let pidfd = loop {
        let Some(pid) = listener(socket)? else {
            return Ok(false);
        };
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty());
        // With the pidfd open the number is this process's, whoever had it before.
        if let Ok(pidfd) = pidfd
            && is_shim_of(pid, id)
        {
            break pidfd;
        }
        if begin.elapsed() >= Duration::from_millis(SETTLED_MS_MAX) {
            let problem = format!("process {pid} listens there, and is no shim of this name");
            return Err(io::Error::other(problem));
        }
        std::thread::sleep(Duration::from_millis(SETTLED_LOOK_MS));
    };
    rustix::process::pidfd_send_signal(&pidfd, Signal::KILL)?;
    let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
    let bound = Timespec {
        tv_sec: KILLED_SECONDS_MAX,
        tv_nsec: 0,
    };
    match poll(&mut ended, Some(&bound))? {
        0 => Err(io::Error::other("a killed shim does not end")),
        _ => Ok(true),
    }
}

/// Whether the process shows itself as the shim of `id`, forked or executed.
fn is_shim_of(pid: Pid, id: &str) -> bool {
    let shown = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
    let shown = shown.unwrap_or_default();
    let words: Vec<&[u8]> = shown.split(|byte| *byte == 0).collect();
    let named = words.windows(2).any(|pair| pair == [b"-id", id.as_bytes()]);
    named && words.contains(&b"daemon".as_slice())
}

fn listener(socket: &Path) -> io::Result<Option<Pid>> {
    match UnixStream::connect(socket) {
        Ok(stream) => {
            let peer = rustix::net::sockopt::socket_peercred(&stream)?;
            Ok(Some(peer.pid))
        }
        Err(error)
            if [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused]
                .contains(&error.kind()) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The containers that have a socket or a link here.
fn list(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let suffix = BUNDLE_LINK_SUFFIX.as_bytes();
        let name = name
            .as_bytes()
            .strip_suffix(suffix)
            .unwrap_or(name.as_bytes());
        // What is no text was not made by us.
        names.extend(OsStr::from_bytes(name).to_str().map(str::to_owned));
    }
    names.sort();
    names.dedup();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// The zygote before the child has taken over, and whoever has the number of one that is gone.
    #[test]
    fn a_listener_that_is_no_shim_of_the_name_is_not_killed() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("a");
        assert!(!kill_listener(&socket, "a").unwrap(), "nobody listens");
        let _listener = UnixListener::bind(&socket).unwrap();
        let begin = Instant::now();
        let refused = kill_listener(&socket, "a").unwrap_err().to_string();
        assert!(refused.contains("no shim of this name"), "{refused}");
        assert!(begin.elapsed() >= Duration::from_millis(SETTLED_MS_MAX));
    }

    #[test]
    fn the_living_the_ended_and_the_dead_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("a");
        let bundle = dir.path().join("bundle");
        std::fs::create_dir(&bundle).unwrap();
        assert_eq!(left_by_a_death(&socket), None, "none there");
        let listener = UnixListener::bind(&socket).unwrap();
        std::os::unix::fs::symlink(&bundle, bundle_link(&socket)).unwrap();
        assert_eq!(left_by_a_death(&socket), None, "alive");
        drop(listener);
        assert_eq!(left_by_a_death(&socket), Some(Some(bundle.clone())));
        std::fs::remove_dir(&bundle).unwrap();
        assert_eq!(left_by_a_death(&socket), Some(None), "bundle gone");
        std::fs::remove_file(&socket).unwrap();
        assert_eq!(left_by_a_death(&socket), Some(None), "socket gone");
        assert_eq!(list(dir.path()).unwrap(), ["a"]);
    }
}
