//! What hosts say of attempts, and what replicas decide about them.

use davit_types::{EndReason, RunId, RunKey, UsageSegment};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Who speaks: compared with what the store knows before anything is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The host.
    pub host: Uuid,
    /// The session's epoch its connection was given.
    pub epoch: u64,
}

/// A claimed run gets a host: the next attempt begins.
#[derive(Clone, Copy, Debug)]
pub struct Assignment {
    /// Who assigns; must have claimed it and end the host's connection.
    pub replica: Uuid,
    /// Which run.
    pub run: RunId,
    /// To whom, in which session.
    pub to: Sender,
    /// When.
    pub at_ms: u64,
}

/// One message about an attempt. A host numbers an attempt's messages 1, 2, 3… and repeats each, with the
/// same number, until it is acknowledged.
#[derive(Clone, Debug)]
pub struct AttemptUpdate {
    /// Which attempt.
    pub key: RunKey,
    /// Who says so.
    pub from: Sender,
    /// The message's number.
    pub step: u32,
    /// What happened.
    pub event: Event,
    /// Usage since the last message.
    pub segments: Vec<UsageSegment>,
    /// When it happened, the host's Unix milliseconds.
    pub at_ms: u64,
}

/// What happened to an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is on the host's disk.
    Accepted,
    /// The host will not have it, and has not begun it.
    Declined {
        /// Why.
        message: String,
    },
    /// The container executes.
    Started {
        /// What exactly.
        image_digest: String,
        /// Locked in with what, as far as its host says so.
        profile: Option<Profile>,
    },
    /// It is frozen.
    Paused,
    /// It goes on.
    Resumed,
    /// Nothing but usage.
    Metered,
    /// The host has done what was wanted at this revision.
    Heeded {
        /// [`super::ActiveRun::desired_revision`].
        revision: u32,
    },
    /// It is over.
    Ended(AttemptEnd),
}

/// What an attempt is locked in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Made of the body: equal ones have the same.
    pub id: Uuid,
    /// [`davit_types::SecurityProfile`], JSON.
    pub body: String,
}

impl Profile {
    /// Names a profile by its content.
    #[must_use]
    pub fn new(body: String) -> Self {
        let digest: [u8; 32] = Sha256::digest(&body).into();
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        Self {
            id: uuid::Builder::from_custom_bytes(half).into_uuid(),
            body,
        }
    }
}

/// The end of an attempt, from its durable exit record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptEnd {
    /// Why.
    pub reason: EndReason,
    /// What the kernel said.
    pub exit_code: Option<u8>,
    /// For people.
    pub message: String,
    /// Totals, JSON.
    pub usage: String,
    /// Container start to end, milliseconds: the ledger must reach it.
    pub wall_ms: u64,
    /// The last log line: the index must reach it.
    pub log_last_id: u64,
    /// What became of the files that were to come out of it, JSON.
    pub extracts: Option<String>,
    /// Whether there is to be another attempt.
    pub retry: Option<Retry>,
}

/// The run goes back to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Not before, Unix milliseconds.
    pub not_before_ms: u64,
}

/// An attempt that no host will ever report on.
#[derive(Clone, Debug)]
pub struct Loss {
    /// Which.
    pub key: RunKey,
    /// What proves that it is over.
    pub fenced_by: FencedBy,
    /// Whether there is to be another attempt.
    pub retry: Option<Retry>,
    /// For people.
    pub message: String,
    /// Who decided.
    pub actor: String,
    /// When.
    pub at_ms: u64,
}

/// Why an attempt cannot be alive any more (invariant 3). The store checks the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FencedBy {
    /// The host was silent for longer than it lets such a run live without a connection.
    Lease {
        /// stop_after + kill grace + clock margin, milliseconds.
        silent_ms_min: u64,
    },
    /// The host came back in another boot.
    Boot,
    /// Somebody looked.
    Operator,
}

/// A piece of an attempt's log that lies in the object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// Whose.
    pub key: RunKey,
    /// Its first line.
    pub first_id: u64,
    /// Its last line.
    pub last_id: u64,
    /// Where it lies.
    pub object: String,
    /// Bytes there.
    pub bytes: u64,
    /// When it was indexed, Unix milliseconds.
    pub at_ms: u64,
}

impl AttemptUpdate {
    /// Whether it may put a run back into the queue, or make room below a runner's cap.
    #[must_use]
    pub const fn frees(&self) -> bool {
        matches!(self.event, Event::Ended(_) | Event::Declined { .. })
    }
}

impl Event {
    /// What the attempt is locked in with, if that is what it tells.
    #[must_use]
    pub const fn profile(&self) -> Option<&Profile> {
        match self {
            Self::Started { profile, .. } => profile.as_ref(),
            _ => None,
        }
    }
}
