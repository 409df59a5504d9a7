//! Giving the shim a run's secrets, while the container is made.
//!
//! ```text
//!  give.sock bound ─► containerd starts the shim ─► it connects, reads ─► container made ─► give.sock gone
//! ```
//!
//! The shim asks, rather than being told, because it exists only once containerd has been asked for the container. What
//! it asks for passes through no file, and through containerd not at all.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use davit_rundir::{RunDir, Secrets, SecretsError};
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::AbortHandle;
use zeroize::Zeroizing;

/// Longest wait for a shim to read them, milliseconds.
const GIVE_MS_MAX: u64 = 5_000;

/// Why a run's secrets do not reach its container, which is not made then, or not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GiveError {
    #[error(
        "its secrets went with the executor that had heard them, and are nowhere else: submit it again"
    )]
    Gone,
    #[error("the shim did not ask for the run's secrets: it is older than this executor")]
    NotTaken,
    #[error(transparent)]
    Message(#[from] SecretsError),
    #[error("cannot {operation} {}", path.display())]
    Socket {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Secrets that wait for their shim; withdrawn when dropped.
#[derive(Debug)]
pub(super) struct Offer {
    path: PathBuf,
    taken: Arc<AtomicBool>,
    giving: AbortHandle,
}

impl Offer {
    pub(super) fn make(dir: &RunDir, secrets: &Secrets) -> Result<Self, GiveError> {
        let message = secrets.encode()?;
        let path = dir.give_path();
        let failed = |operation| {
            let path = path.clone();
            move |source| GiveError::Socket {
                operation,
                path,
                source,
            }
        };
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove")(error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(failed("listen on"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .map_err(failed("restrict"))?;
        let taken = Arc::new(AtomicBool::new(false));
        let giving = tokio::spawn(give(listener, message, Arc::clone(&taken))).abort_handle();
        Ok(Self {
            path,
            taken,
            giving,
        })
    }

    /// To be asked when the container is made.
    pub(super) fn was_taken(&self) -> Result<(), GiveError> {
        if self.taken.load(Ordering::Acquire) {
            Ok(())
        } else {
            Err(GiveError::NotTaken)
        }
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.giving.abort();
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "removing a socket");
        }
    }
}

async fn give(listener: UnixListener, message: Zeroizing<Vec<u8>>, taken: Arc<AtomicBool>) {
    while let Ok((stream, _)) = listener.accept().await {
        let limit = Duration::from_millis(GIVE_MS_MAX);
        match tokio::time::timeout(limit, send(stream, &message, &taken)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a shim did not take a run's secrets"),
            Err(_) => tracing::warn!("a shim did not take a run's secrets in time"),
        }
    }
}

/// All of it, and the end.
async fn send(mut stream: UnixStream, message: &[u8], taken: &AtomicBool) -> io::Result<()> {
    stream.write_all(message).await?;
    // Before the end, without which the shim makes nothing.
    taken.store(true, Ordering::Release);
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::samples::spec;
    use davit_rundir::SecretFile;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn whoever_asks_is_given_all_of_it_and_nobody_afterwards() {
        let runs = tempfile::tempdir().expect("temporary directory");
        let dir = RunDir::at(runs.path(), spec().key());
        fs::create_dir(dir.path()).expect("run directory");
        let secrets = Secrets {
            env: Vec::new(),
            files: vec![SecretFile {
                name: "large".into(),
                value: vec![7; 250_000].into(),
            }],
        };
        // A socket that another executor left is in nobody's way.
        fs::write(dir.give_path(), "").expect("leftover");
        let offer = Offer::make(&dir, &secrets).expect("offer");
        assert!(matches!(offer.was_taken(), Err(GiveError::NotTaken)));
        let mode = fs::metadata(dir.give_path()).expect("socket").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let mut stream = UnixStream::connect(dir.give_path()).await.expect("connect");
        let mut message = Vec::new();
        stream.read_to_end(&mut message).await.expect("read");
        assert_eq!(Secrets::decode(&message), Ok(secrets));
        assert!(offer.was_taken().is_ok());
        drop(offer);
        assert!(!dir.give_path().exists());
    }
}
