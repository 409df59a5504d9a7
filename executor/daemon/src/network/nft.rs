//! Changing the packet filter: nft(8), a transaction each.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{Access, access};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Longest a transaction may take, milliseconds.
const DEADLINE_MS: u64 = 10_000;
/// Characters of nft's complaint that are told.
const COMPLAINT_CHARS_MAX: usize = 600;

/// A transaction that came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NftError {
    #[error("cannot execute {}", binary.display())]
    Execute {
        binary: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("nft did not answer within {DEADLINE_MS} ms")]
    Silent,
    #[error("nft refused the rules: {0}")]
    Refused(String),
}

/// nft, wherever it is.
pub(super) fn find(additional: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Services of some systems have no sbin in their PATH.
    let usual = [PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")];
    std::env::split_paths(&path)
        .chain(additional.iter().cloned())
        .chain(usual)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join("nft"))
        .find(|path| path.is_file() && access(path, Access::EXEC_OK).is_ok())
}

/// Does all of `commands`, or nothing.
pub(super) async fn apply(binary: &Path, commands: &str) -> Result<(), NftError> {
    let failed = |source| NftError::Execute {
        binary: binary.to_owned(),
        source,
    };
    let mut child = Command::new(binary)
        .args(["-f", "-"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut input = child.stdin.take().expect("a piped stdin");
    let done = async {
        // A child that ends early says why on its standard error.
        let written = input.write_all(commands.as_bytes()).await;
        drop(input);
        let output = child.wait_with_output().await?;
        if output.status.success() {
            written?;
        }
        Ok(output)
    };
    let output = match tokio::time::timeout(Duration::from_millis(DEADLINE_MS), done).await {
        Ok(output) => output.map_err(failed)?,
        Err(_) => return Err(NftError::Silent),
    };
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let told = complaint.trim().chars().take(COMPLAINT_CHARS_MAX);
    Err(NftError::Refused(told.collect()))
}
