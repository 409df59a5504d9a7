//! `slot.sock`: the executor's line to a slot, until it is given away.
//!
//! One JSON request a line, one reply each, in order; see `davit_rundir::SlotRequest`. An idle connection is how
//! the executor notices that a slot is lost: it is closed when the slot's init has ended, and with the shim.
//!
//! Invariants: connections and line length are bounded; whoever connected before the slot was taken is answered.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use davit_rundir::{
    Assignment, ControlError, ControlErrorCode, FRAME_BYTES_MAX, SlotReply, SlotRequest,
    StateRecord,
};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

use super::Slot;
use crate::error::chain;
use crate::lines::{Lines, ListenError, Said, listen};

/// Connections at a time; the executor needs one, its successor another.
const CONNECTIONS_MAX: usize = 4;

/// How long a taken slot waits for what was sent to it before, milliseconds: the event loop may not know yet.
const LAST_WORDS_MS: u64 = 100;

/// The container's part: what to do with an assignment, and what became of one.
pub(crate) trait Assign: Send + Sync + 'static {
    /// Makes the slot a run.
    fn assign(&self, assignment: Assignment) -> Result<StateRecord, ControlError>;

    /// The run it was made, if it was.
    fn run_state(&self) -> Option<StateRecord>;
}

/// Listens until the slot is taken.
pub(crate) fn serve<A: Assign>(slot: Arc<Slot>, container: A) -> Result<(), ListenError> {
    let listener = listen(&slot.dir.socket_path())?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let container = Arc::new(container);
    tokio::spawn(async move {
        loop {
            // The place first: a connection too many waits in the socket's backlog.
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            let stream = match unless_taken(&slot, listener.accept()).await {
                Some(Ok((stream, _))) => stream,
                Some(Err(error)) => return log::error!("slot socket: {error}"),
                None => return,
            };
            let (slot, container) = (slot.clone(), container.clone());
            tokio::spawn(async move {
                if let Err(error) = converse(&slot, &*container, stream).await {
                    log::debug!("slot connection: {error}");
                }
                drop(place);
            });
        }
    });
    Ok(())
}

/// What `next` comes to, or `None` if the slot is taken and it does not come soon.
async fn unless_taken<T>(slot: &Slot, next: impl Future<Output = T>) -> Option<T> {
    let mut taken = slot.taken.subscribe();
    tokio::pin!(next);
    tokio::select! {
        biased;
        come = &mut next => return Some(come),
        _taken = taken.wait_for(|taken| *taken) => {}
    }
    tokio::time::timeout(Duration::from_millis(LAST_WORDS_MS), next)
        .await
        .ok()
}

async fn converse(slot: &Slot, container: &impl Assign, stream: UnixStream) -> io::Result<()> {
    let mut lines = Lines::new(stream, FRAME_BYTES_MAX);
    // Who says nothing by then learns that there is nothing to be had.
    while let Some(said) = unless_taken(slot, lines.next()).await {
        let reply = match said? {
            Said::Line(line) => reply_to(&line, slot, container),
            Said::TooMuch => {
                let why = format!("the line is longer than {FRAME_BYTES_MAX} bytes");
                return lines.send(&malformed(why)).await;
            }
            Said::End => return Ok(()),
        };
        lines.send(&reply).await?;
    }
    Ok(())
}

fn reply_to(line: &[u8], slot: &Slot, container: &impl Assign) -> SlotReply {
    match serde_json::from_slice(line) {
        Ok(SlotRequest::Assign(assignment)) => match container.assign(*assignment) {
            Ok(state) => SlotReply::Assigned(Box::new(state)),
            Err(error) => {
                log::warn!("not assigned: {}", chain(&error));
                SlotReply::Error(error)
            }
        },
        Ok(SlotRequest::Revoke) => match container.run_state() {
            Some(state) => SlotReply::Assigned(Box::new(state)),
            None => {
                slot.revoke();
                SlotReply::Revoked
            }
        },
        Err(error) => malformed(error.to_string()),
    }
}

fn malformed(message: String) -> SlotReply {
    SlotReply::Error(ControlError {
        code: ControlErrorCode::Malformed,
        message,
    })
}
