//! The values, from the executor: asked for on the run's `give.sock`, while the container is being made.

use std::io;
use std::time::Duration;

use davit_rundir::{RunDir, SECRETS_BYTES_MAX, Secrets, SecretsError};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use zeroize::Zeroizing;

/// Longest wait for all of it, milliseconds.
const RECEIVE_MS_MAX: u64 = 5_000;

/// Why a container that was to have secrets has none, and is not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    #[error("cannot receive the run's secrets: the executor that has them is gone")]
    Connect(#[source] io::Error),
    #[error("the run's secrets broke off")]
    Broken(#[source] io::Error),
    #[error("the run's secrets did not come within {RECEIVE_MS_MAX} ms")]
    Silent,
    #[error(transparent)]
    Message(#[from] SecretsError),
}

/// What the run in `dir` is given.
pub(super) async fn receive(dir: &RunDir) -> Result<Secrets, ReceiveError> {
    let message = async {
        let stream = UnixStream::connect(dir.give_path())
            .await
            .map_err(ReceiveError::Connect)?;
        // Never larger, so that it does not move and leave a copy behind.
        let mut message = Zeroizing::new(Vec::with_capacity(SECRETS_BYTES_MAX + 1));
        let mut stream = stream.take(SECRETS_BYTES_MAX as u64 + 1);
        while message.len() < message.capacity() {
            if stream
                .read_buf(&mut *message)
                .await
                .map_err(ReceiveError::Broken)?
                == 0
            {
                break;
            }
        }
        Ok::<_, ReceiveError>(message)
    };
    let limit = Duration::from_millis(RECEIVE_MS_MAX);
    let message = tokio::time::timeout(limit, message)
        .await
        .map_err(|_| ReceiveError::Silent)??;
    if message.len() > SECRETS_BYTES_MAX {
        return Err(SecretsError::TooLong.into());
    }
    Ok(Secrets::decode(&message)?)
}
