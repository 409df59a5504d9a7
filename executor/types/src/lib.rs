//! The words of davit: ids, run specifications, resources, ends and usage.
//!
//! Every other crate speaks in these types; they carry their own limits, so a value that exists is
//! a value that may be used. Text from outside enters as [`RunRequest`] and leaves
//! [`RunRequest::parse`] either whole or as a list of [`FieldError`]s that name field, value and limit.
//!
//! ```text
//!  CLI / RPC / REST ── RunRequest ──parse──► RunSpec ──► lifecycle, spec builder, scheduler
//!                                     └────► Vec<FieldError> ──► INVALID_ARGUMENT / 422
//! ```
//!
//! Absent on purpose: I/O, clocks, randomness other than [`RunId::generate`], async, containerd, OCI.

#![forbid(unsafe_code)]

mod bytes;
mod capability;
mod end;
mod error;
mod files;
mod id;
mod network;
mod request;
mod resources;
mod security;
mod spec;
mod usage;

pub use bytes::Bytes;
pub use capability::Capability;
pub use end::{EndReason, ExitStatus, RunStatus, TIMEOUT_EXIT_CODE};
pub use error::{FieldError, FieldErrors};
pub use files::{ExtractKind, ExtractPath, ExtractStatus, Extracted};
pub use id::{Attempt, ParseIdError, RunId, RunKey, Tenant};
pub use network::{EgressRule, NetworkMode, Ports, Protocol, PublishedPort, addresses};
pub use request::{ExecRequest, NamedSecret, RunRequest, check_secret_values};
pub use resources::{InstanceType, Resources};
pub use security::{IdRange, MountPoint, SecurityProfile};
pub use spec::{Command, EnvVar, Labels, OciRuntime, PullPolicy, RunSpec, StopSignal, limits};
pub use usage::{Usage, UsageSegment, segment_id};
