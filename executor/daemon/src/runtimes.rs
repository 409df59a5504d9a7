//! The OCI runtimes this host offers: found once at start, asked for their version, warned about.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use davit_types::OciRuntime;
use rustix::fs::{Access, access};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// Time a runtime has to say its version, milliseconds.
const VERSION_DEADLINE_MS: u64 = 5_000;
/// Bytes of its answer read.
const VERSION_BYTES_MAX: u64 = 4_096;
/// Oldest runc without known ways out of the container.
const RUNC_SAFE: [u32; 3] = [1, 3, 6];

/// A runtime on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRuntime {
    /// Which.
    pub runtime: OciRuntime,
    /// Absolute path of its binary.
    pub path: PathBuf,
    /// As it says itself, e.g. `1.28`.
    pub version: String,
    /// What the operator should know.
    pub warning: Option<String>,
}

/// A runtime that is not offered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// No such binary.
    #[error(
        "{0} was not found on PATH nor in additional_binary_paths: install it or add its directory"
    )]
    NotFound(&'static str),
    /// It does not answer.
    #[error("{} --version {problem}", path.display())]
    Broken {
        /// The binary.
        path: PathBuf,
        /// What it does instead.
        problem: String,
    },
}

/// All runtimes davit knows, each with where it is or why it is not offered. `additional` directories
/// are searched before PATH: they are the operator's explicit choice.
pub async fn find_runtimes(
    additional: &[PathBuf],
) -> Vec<(OciRuntime, Result<FoundRuntime, RuntimeError>)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = additional
        .iter()
        .cloned()
        .chain(std::env::split_paths(&path))
        .collect();
    let mut found = Vec::new();
    for runtime in [OciRuntime::Crun, OciRuntime::Runc, OciRuntime::Runsc] {
        found.push((runtime, find_runtime(runtime, &directories).await));
    }
    found
}

async fn find_runtime(
    runtime: OciRuntime,
    directories: &[PathBuf],
) -> Result<FoundRuntime, RuntimeError> {
    let path =
        search(runtime.binary(), directories).ok_or(RuntimeError::NotFound(runtime.binary()))?;
    let broken = |problem: String| RuntimeError::Broken {
        path: path.clone(),
        problem,
    };
    let deadline = Duration::from_millis(VERSION_DEADLINE_MS);
    let text = tokio::time::timeout(deadline, ask_version(&path))
        .await
        .map_err(|_| broken(format!("did not answer within {VERSION_DEADLINE_MS} ms")))?
        .map_err(|error| broken(format!("failed: {error}")))?;
    let version = version_in(&text).ok_or_else(|| broken("names no version".to_owned()))?;
    Ok(FoundRuntime {
        warning: warning(runtime, &version),
        runtime,
        path,
        version,
    })
}

/// The first executable file of this name. Relative directories are not searched: what they hold
/// depends on where the executor was started.
fn search(name: &str, directories: &[PathBuf]) -> Option<PathBuf> {
    directories
        .iter()
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|path| path.is_file() && access(path, Access::EXEC_OK).is_ok())
}

async fn ask_version(path: &Path) -> std::io::Result<String> {
    let mut child = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut bytes = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout
            .take(VERSION_BYTES_MAX)
            .read_to_end(&mut bytes)
            .await?;
    }
    child.wait().await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The first word after `version` in the first line: `crun version 1.28`, `runc version 1.3.6`,
/// `runsc version release-20240729.0`.
fn version_in(text: &str) -> Option<String> {
    let mut words = text.lines().next()?.split_whitespace();
    words.find(|word| *word == "version")?;
    words.next().map(str::to_owned)
}

fn warning(runtime: OciRuntime, version: &str) -> Option<String> {
    if runtime != OciRuntime::Runc {
        return None;
    }
    let mut numbers = version
        .split(|c: char| !c.is_ascii_digit())
        .map(|digits| digits.parse::<u32>().unwrap_or(0));
    let found = [(); 3].map(|()| numbers.next().unwrap_or(0));
    (found < RUNC_SAFE).then(|| {
        let [major, minor, patch] = RUNC_SAFE;
        format!("runc {version} has known ways out of the container: update to {major}.{minor}.{patch} or newer, or use crun")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn script(directory: &Path, name: &str, body: &str) {
        let path = directory.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn versions_are_read_from_the_first_line() {
        assert_eq!(
            version_in("crun version 1.28\ncommit: x"),
            Some("1.28".into())
        );
        assert_eq!(
            version_in("runsc version release-20240729.0\nspec: 1.1.0"),
            Some("release-20240729.0".into())
        );
        assert_eq!(version_in("hello"), None);
    }

    #[test]
    fn only_an_old_runc_is_warned_about() {
        for old in ["1.1.15+ds1", "1.3.5", "1.2.9", "1.3"] {
            assert!(warning(OciRuntime::Runc, old).is_some(), "{old}");
        }
        for fine in ["1.3.6+ds1", "1.4.0-rc.1", "2.0.0"] {
            assert!(warning(OciRuntime::Runc, fine).is_none(), "{fine}");
        }
        assert!(warning(OciRuntime::Crun, "0.1").is_none());
    }

    #[tokio::test]
    async fn additional_directories_come_first_and_a_hang_is_an_error() {
        let first = tempfile::tempdir().unwrap();
        let second = tempfile::tempdir().unwrap();
        script(first.path(), "runc", "echo runc version 1.1.0");
        script(second.path(), "runc", "echo runc version 9.9.9");
        script(second.path(), "crun", "echo no idea");
        std::fs::write(first.path().join("crun"), "not executable").unwrap();
        let directories = [first.path().to_owned(), second.path().to_owned()];
        let runc = find_runtime(OciRuntime::Runc, &directories).await.unwrap();
        assert_eq!(
            (runc.version.as_str(), runc.path),
            ("1.1.0", first.path().join("runc"))
        );
        assert!(runc.warning.is_some());
        let crun = find_runtime(OciRuntime::Crun, &directories).await;
        assert!(
            matches!(crun, Err(RuntimeError::Broken { path, .. }) if path.starts_with(second.path()))
        );
        let runsc = find_runtime(OciRuntime::Runsc, &directories).await;
        assert_eq!(runsc, Err(RuntimeError::NotFound("runsc")));
    }
}
