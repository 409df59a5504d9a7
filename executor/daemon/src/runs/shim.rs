//! The executor's end of `shim.sock`: JSON lines, a connection a request.
//!
//! A connection of its own for each request keeps a stop from waiting behind a pause. The one that
//! carries `Wait` stays open for the run's whole life: its end without an answer is how a shim's
//! death is noticed.

use std::io;
use std::path::Path;
use std::time::Duration;

use davit_rundir::{
    ControlError, ControlReply, ControlRequest, ExitRecord, FRAME_BYTES_MAX, StateRecord,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// Longest wait for the answer to a request other than `Wait`: a freeze of a busy cgroup is the
/// slowest, milliseconds.
const ANSWER_MS_MAX: u64 = 15_000;

/// A failed exchange with a shim.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// Nobody listens.
    #[error("cannot connect to the shim")]
    Connect(#[source] io::Error),
    /// The connection broke.
    #[error("the connection to the shim broke")]
    Broken(#[source] io::Error),
    /// It closed the connection without an answer.
    #[error("the shim closed the connection without an answer")]
    Closed,
    /// It did not answer in time.
    #[error("the shim did not answer within {ANSWER_MS_MAX} ms")]
    Silent,
    /// Its answer is not of the protocol.
    #[error("the shim's answer is not understood")]
    Malformed(#[source] serde_json::Error),
    /// It refused.
    #[error(transparent)]
    Refused(ControlError),
}

impl ShimError {
    /// Whether a living shim is behind it.
    pub(crate) const fn is_of_the_living(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Malformed(_) | Self::Silent => true,
            Self::Connect(_) | Self::Broken(_) | Self::Closed => false,
        }
    }
}

/// What a shim knows of its run.
#[derive(Debug)]
pub(crate) enum ShimState {
    /// It lives.
    Live(Box<StateRecord>),
    /// It is over and `exit.json` durable.
    Exited(Box<ExitRecord>),
}

/// Sends `request` and returns the state it answers with.
pub(crate) async fn ask(socket: &Path, request: ControlRequest) -> Result<ShimState, ShimError> {
    let exchange = exchange(socket, &request);
    match tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), exchange).await {
        Ok(reply) => reply,
        Err(_) => Err(ShimError::Silent),
    }
}

/// Returns once the job is over. However long that takes: a shim that dies closes the connection.
pub(crate) async fn await_exit(socket: &Path) -> Result<ExitRecord, ShimError> {
    match exchange(socket, &ControlRequest::Wait).await? {
        ShimState::Exited(exit) => Ok(*exit),
        // Not an answer to `Wait`; asking again is up to the caller.
        ShimState::Live(_) => Err(ShimError::Closed),
    }
}

async fn exchange(socket: &Path, request: &ControlRequest) -> Result<ShimState, ShimError> {
    let mut stream = UnixStream::connect(socket)
        .await
        .map_err(ShimError::Connect)?;
    let mut line = serde_json::to_vec(request).map_err(ShimError::Malformed)?;
    line.push(b'\n');
    stream.write_all(&line).await.map_err(ShimError::Broken)?;
    let mut reader = BufReader::new(stream).take(FRAME_BYTES_MAX as u64);
    line.clear();
    reader
        .read_until(b'\n', &mut line)
        .await
        .map_err(ShimError::Broken)?;
    if line.is_empty() {
        return Err(ShimError::Closed);
    }
    match serde_json::from_slice(&line).map_err(ShimError::Malformed)? {
        ControlReply::State(state) => Ok(ShimState::Live(state)),
        ControlReply::Exited(exit) => Ok(ShimState::Exited(exit)),
        ControlReply::Error(error) => Err(ShimError::Refused(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::samples::{exit_record, spec, state_record};
    use tokio::net::UnixListener;

    async fn answering(reply: Option<String>) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("shim.sock");
        let listener = UnixListener::bind(&path).expect("bind");
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("accept");
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            stream.read_line(&mut line).await.expect("a request");
            if let Some(reply) = reply {
                stream
                    .write_all(format!("{reply}\n").as_bytes())
                    .await
                    .expect("answer");
            }
        });
        (dir, path)
    }

    fn line(reply: &ControlReply) -> Option<String> {
        serde_json::to_string(reply).ok()
    }

    #[tokio::test]
    async fn a_state_and_an_exit_are_told_apart() {
        let key = spec().key();
        let state = ControlReply::State(Box::new(state_record(key)));
        let (_dir, path) = answering(line(&state)).await;
        let answer = ask(&path, ControlRequest::State).await;
        assert!(matches!(answer, Ok(ShimState::Live(found)) if found.key == key));
        let exit = ControlReply::Exited(Box::new(exit_record(key)));
        let (_dir, path) = answering(line(&exit)).await;
        assert_eq!(await_exit(&path).await.expect("an exit"), exit_record(key));
    }

    #[tokio::test]
    async fn a_death_is_closed_and_an_absence_is_connect() {
        let (dir, path) = answering(None).await;
        assert!(matches!(await_exit(&path).await, Err(ShimError::Closed)));
        let absent = dir.path().join("absent.sock");
        assert!(matches!(
            ask(&absent, ControlRequest::State).await,
            Err(ShimError::Connect(_))
        ));
    }

    #[tokio::test]
    async fn nonsense_is_an_error() {
        let (_dir, path) = answering(Some("{\"is\":\"tired\"}".into())).await;
        assert!(matches!(
            ask(&path, ControlRequest::Pause).await,
            Err(ShimError::Malformed(_))
        ));
    }
}
