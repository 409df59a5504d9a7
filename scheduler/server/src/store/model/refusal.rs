//! Why an item of a batch was not taken. Each says enough for the sender to do the right thing next.

use davit_types::{Attempt, RunId, RunStatus, Tenant};
use uuid::Uuid;

use super::{ActiveState, HostState};

/// A request that the rules do not allow. Nothing of the item was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such run, or another tenant's.
    #[error("there is no run {run}")]
    UnknownRun {
        /// As asked for.
        run: RunId,
    },
    /// The run is over; its end stands.
    #[error("the run is {status}")]
    RunEnded {
        /// How it ended.
        status: RunStatus,
    },
    /// A message of an attempt that is not the live one.
    #[error("attempt {given} is not the live one, which is {live}")]
    StaleAttempt {
        /// The message's.
        given: Attempt,
        /// The store's; 0 before the first.
        live: u32,
    },
    /// A message that came by an earlier connection of the host.
    #[error("session epoch {given} is over, the host's current one is {current}")]
    StaleEpoch {
        /// The message's.
        given: u64,
        /// The store's.
        current: u64,
    },
    /// The attempt is another host's.
    #[error("the attempt belongs to another host")]
    WrongHost,
    /// The host is unknown, or its session is another replica's.
    #[error("host {host} has no session here")]
    NoSession {
        /// Which.
        host: Uuid,
    },
    /// The host is not given runs.
    #[error("the host is {state}")]
    HostClosed {
        /// Why not.
        state: HostState,
    },
    /// The event does not follow from the state.
    #[error("cannot happen to a run that is {state}")]
    WrongState {
        /// The run's state.
        state: ActiveState,
    },
    /// A message before this one is missing.
    #[error("step {given} came before step {expected}")]
    StepGap {
        /// The message's.
        given: u32,
        /// What is wanted next.
        expected: u32,
    },
    /// A usage segment that does not begin where the last one ended, or is empty.
    #[error(
        "segment {sequence} must be segment {expected} and begin at {begin_ms} ms, before its end"
    )]
    LedgerGap {
        /// The message's.
        sequence: u32,
        /// What is wanted next.
        expected: u32,
        /// Where it must begin.
        begin_ms: u64,
    },
    /// An end before all of its usage.
    #[error("the ledger reaches to {ledger_ms} of {wall_ms} ms")]
    LedgerIncomplete {
        /// What is there.
        ledger_ms: u64,
        /// What the end says.
        wall_ms: u64,
    },
    /// A chunk of log that does not follow the last one.
    #[error("log line {expected} is wanted next, the chunk begins with {given}")]
    LogGap {
        /// The chunk's first line.
        given: u64,
        /// What is wanted.
        expected: u64,
    },
    /// An end before all of its log.
    #[error("the log is indexed to line {indexed} of {last}")]
    LogIncomplete {
        /// What is there.
        indexed: u64,
        /// What the end says.
        last: u64,
    },
    /// A value no host can mean.
    #[error("{what} = {given} is out of range")]
    OutOfRange {
        /// The field.
        what: &'static str,
        /// The value.
        given: u64,
    },
    /// The run is not claimed by the replica that assigns it.
    #[error("the run is not claimed by this replica")]
    NotClaimed,
    /// Nothing proves that the old host stopped it.
    #[error("nothing proves yet that the host stopped the run")]
    NotFenced,
    /// The first request with this key is still being answered.
    #[error("a request with this idempotency key is under way")]
    KeyInFlight,
    /// The key was used for another request.
    #[error("this idempotency key was used for another request")]
    KeyReused,
    /// No such tenant, or a closed one.
    #[error("tenant `{}` is not open", tenant.as_str())]
    TenantClosed {
        /// Which.
        tenant: Tenant,
    },
    /// The tenant has spent what it may.
    #[error("spent {spent_micros} of {cap_micros} millionths")]
    SpendCap {
        /// So far.
        spent_micros: u64,
        /// The cap.
        cap_micros: u64,
    },
    /// Somebody changed it meanwhile; 0: it does not exist.
    #[error("its revision is {current}, not {given}")]
    Revision {
        /// The caller's.
        given: u64,
        /// The store's.
        current: u64,
    },
    /// The name belongs to another entry.
    #[error("the name `{name}` is taken")]
    NameTaken {
        /// Which.
        name: String,
    },
    /// No such upload, another tenant's, or one that has expired.
    #[error("there is no upload {upload}")]
    UnknownUpload {
        /// As asked for.
        upload: Uuid,
    },
    /// An upload that goes on elsewhere than there, or is as long as that.
    #[error("the upload has {expected} bytes: it goes on there")]
    UploadOffset {
        /// What is stored.
        expected: u64,
    },
    /// An upload that is whole: nothing can be added, nor can it become whole otherwise.
    #[error("the upload is complete, with SHA-256 {sha256}")]
    UploadComplete {
        /// Of what it holds.
        sha256: String,
    },
    /// More parts than an upload may have.
    #[error(
        "the upload has {parts_max} parts, as many as it may: send more bytes with each request"
    )]
    UploadParts {
        /// How many may be.
        parts_max: u32,
    },
    /// As many unfinished uploads as a tenant may have.
    #[error(
        "{open_max} uploads are not complete, as many as may be: complete some, or wait until they expire"
    )]
    UploadsOpen {
        /// How many may be.
        open_max: u32,
    },
    /// As many bytes of files as a tenant may have.
    #[error(
        "the tenant's files have {bytes_max} bytes, as many as they may (files.tenant_bytes_max): some go when uploads expire, and runs that had some are kept no longer"
    )]
    FilesFull {
        /// How many may be.
        bytes_max: u64,
    },
    /// A one-time token that is unknown, used, or too old.
    #[error("the join token is not valid")]
    BadJoinToken,
}
