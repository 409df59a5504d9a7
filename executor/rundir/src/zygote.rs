//! The words between the executor and the process its shims are forked from.
//!
//! ```text
//!  executor ──SOCK_SEQPACKET, one JSON object a message──► zygote ──fork──► shim
//!           ◄── Spawned, with the shim's pidfd ───────────┘
//! ```
//!
//! One request is answered before the next is read. The end of the socket is the end of the zygote and of no
//! shim.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Longest message in either direction, bytes.
pub const ZYGOTE_MESSAGE_BYTES_MAX: usize = 4_096;

/// The link to its container's bundle that a shim keeps beside its task API socket as long as it lives: after its
/// death it tells what is to be cleared up.
#[must_use]
pub fn bundle_link(socket: &Path) -> PathBuf {
    let mut link = OsString::from(socket);
    link.push(BUNDLE_LINK_SUFFIX);
    link.into()
}

/// What the name of a [`bundle_link`] ends with.
pub const BUNDLE_LINK_SUFFIX: &str = ".bundle";

/// Have a shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZygoteRequest {
    /// The container it is for.
    pub id: String,
    /// Absolute path of the socket it is to serve the task API on; it listens when the answer comes.
    pub socket: PathBuf,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum ZygoteReply {
    /// The shim runs; its pidfd comes along.
    Spawned {
        /// Its process.
        pid: u32,
    },
    /// There is none.
    Failed {
        /// A sentence.
        problem: String,
    },
}
