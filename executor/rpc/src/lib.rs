//! The executor's wire: generated gRPC code and its conversions to davit's own types.
//!
//! ```text
//!  SubmitRequest ⇄ RunRequest          request.rs
//!  Usage, LogTotals, LogRecord →       records.rs
//!  FieldErrors ⇄ Status + BadRequest   errors.rs
//!  the link's messages ⇄ bytes         codec.rs
//! ```
//!
//! Invariants:
//! - generated types stop here and in the two places that serve or call the API; nothing behind them
//!   sees a proto type;
//! - an unknown word in an enumerated text field is a [`davit_types::FieldError`], never a default.
//!
//! Absent on purpose: field checks (they are [`davit_types::RunRequest::parse`]'s), transport, tokens.

#![forbid(unsafe_code)]

mod codec;
mod errors;
mod records;
mod request;

pub use errors::{field_errors, invalid};
pub use records::log_record;
pub use request::{run_request, submit_request};

/// `davit.console.v1`: a client at the side of a run's process, over the local socket and the link alike.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    reason = "generated; documented in the .proto"
)]
pub mod console {
    tonic::include_proto!("davit.console.v1");
}

/// `davit.local.v1`: the API on the host's unix socket.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    reason = "generated; documented in the .proto"
)]
pub mod local {
    tonic::include_proto!("davit.local.v1");

    /// For the reflection service.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/local_descriptor.bin"));
}

/// `davit.executor.v1`: the link between a host and the scheduler.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    reason = "generated; documented in the .proto"
)]
pub mod link {
    tonic::include_proto!("davit.executor.v1");

    /// For the reflection service.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/link_descriptor.bin"));
}
