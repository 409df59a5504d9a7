//! The executor's end of `slot.sock`: one connection, held open as long as the slot waits.

use std::io;
use std::path::Path;
use std::time::Duration;

use davit_rundir::{Assignment, ControlError, FRAME_BYTES_MAX, SlotId, SlotReply, SlotRequest};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Longest wait for an answer, milliseconds.
const ANSWER_MS_MAX: u64 = 5_000;
/// Bytes read at a time.
const READ_BYTES: usize = 8 << 10;

/// A failed exchange with a slot's shim.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SlotError {
    #[error("cannot connect to the slot")]
    Connect(#[source] io::Error),
    #[error("the connection to the slot broke")]
    Broken(#[source] io::Error),
    #[error("the slot closed the connection without an answer")]
    Closed,
    #[error("the slot did not answer within {ANSWER_MS_MAX} ms")]
    Silent,
    #[error("the slot's answer has more than {FRAME_BYTES_MAX} bytes")]
    TooLong,
    #[error("the slot's answer is not understood")]
    Malformed(#[source] serde_json::Error),
    #[error(transparent)]
    Refused(ControlError),
}

/// A connection to a slot.
#[derive(Debug)]
pub(super) struct Line {
    stream: UnixStream,
}

impl Line {
    pub(super) async fn connect(socket: &Path) -> Result<Self, SlotError> {
        let stream = UnixStream::connect(socket).await;
        stream
            .map(|stream| Self { stream })
            .map_err(SlotError::Connect)
    }

    /// Returns when the shim is gone, or says what nobody asked. Reads nothing: by then the slot may
    /// have been taken, and the answer be somebody's.
    pub(super) async fn is_over(&self) {
        // An error says the same.
        drop(self.stream.ready(Interest::READABLE).await);
    }

    /// Gives the slot to a run; on return the run is created, and waits to be let go.
    pub(super) async fn assign(&self, assignment: Assignment) -> Result<(), SlotError> {
        match self.ask(&SlotRequest::Assign(Box::new(assignment))).await? {
            SlotReply::Assigned(_) => Ok(()),
            SlotReply::Revoked => Err(SlotError::Closed),
            SlotReply::Error(error) => Err(SlotError::Refused(error)),
        }
    }

    async fn ask(&self, request: &SlotRequest) -> Result<SlotReply, SlotError> {
        let exchange = self.exchange(request);
        match tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), exchange).await {
            Ok(reply) => reply,
            Err(_) => Err(SlotError::Silent),
        }
    }

    async fn exchange(&self, request: &SlotRequest) -> Result<SlotReply, SlotError> {
        let mut line = serde_json::to_vec(request).map_err(SlotError::Malformed)?;
        line.push(b'\n');
        let mut sent = 0;
        while sent < line.len() {
            match self.stream.try_write(&line[sent..]) {
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stream.writable().await.map_err(SlotError::Broken)?;
                }
                Err(error) => return Err(SlotError::Broken(error)),
            }
        }
        line.clear();
        let mut bytes = [0; READ_BYTES];
        while line.last() != Some(&b'\n') {
            match self.stream.try_read(&mut bytes) {
                Ok(0) => return Err(SlotError::Closed),
                Ok(count) => line.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stream.readable().await.map_err(SlotError::Broken)?;
                }
                Err(error) => return Err(SlotError::Broken(error)),
            }
            if line.len() > FRAME_BYTES_MAX {
                return Err(SlotError::TooLong);
            }
        }
        serde_json::from_slice(&line).map_err(SlotError::Malformed)
    }
}

/// Tells the slot behind `socket` to take no run any more; returns the run's state if it is one.
pub(crate) async fn revoke(
    socket: &Path,
) -> Result<Option<Box<davit_rundir::StateRecord>>, SlotError> {
    match Line::connect(socket)
        .await?
        .ask(&SlotRequest::Revoke)
        .await?
    {
        SlotReply::Assigned(state) => Ok(Some(state)),
        SlotReply::Revoked => Ok(None),
        SlotReply::Error(error) => Err(SlotError::Refused(error)),
    }
}

/// A name for a slot to be made.
pub(super) fn fresh_id() -> SlotId {
    SlotId::from_random(uuid::Uuid::new_v4().as_u128())
}
