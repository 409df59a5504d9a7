//! The words of the store: what goes in, what is kept, what comes out.
//!
//! Bodies (specifications, answers, usage totals, catalogue entries) are JSON text that the store keeps
//! and never reads. Instants are Unix milliseconds, money is millionths of the currency unit.

mod account;
mod attempt;
mod extract;
mod host;
mod ledger;
mod order;
mod refusal;
mod run;
mod upload;

pub use account::{
    CatalogEntry, CatalogKey, CatalogKind, CatalogPut, Sealed, Secret, SecretKey, Tenancy, Token,
};
pub use attempt::{
    Assignment, AttemptEnd, AttemptUpdate, Event, FencedBy, LogChunk, Loss, Profile, Retry, Sender,
};
pub use extract::NewExtract;
pub use host::{
    Assigned, Beat, Drain, DrainOrder, HeldRun, Hello, Host, HostState, JoinRequest, JoinToken,
    Session, Swept,
};
pub use ledger::{
    AuditEntry, AuditRow, Cursor, Expired, LedgerRow, Page, RULE_CEIL_SECOND, Retention, Totals,
    UsageBefore,
};
pub use order::{Cause, Desired, OpenOrder, Order, Ordered, Stop, Want};
pub use refusal::Refusal;
pub use run::{
    ActiveRun, ActiveState, AttemptRow, BaseRun, Claim, ClaimedRun, EndedRun, Idempotency,
    Rejection, RunFilter, RunView, Share, Submission, Submitted,
};
pub use upload::{NewUpload, Upload, UploadPart};

/// What became of one item of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It changed something.
    Applied,
    /// It was there already: the sender may forget it.
    Duplicate,
}

/// One item's outcome. The batch as a whole commits whatever some of its items are refused for.
pub type Verdict = Result<Done, Refusal>;
