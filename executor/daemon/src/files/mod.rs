//! Trees of files as tar streams: into a run before it begins, out of it after its end, and on the caller's side of both.
//!
//! ```text
//!  caller's directory ─► pack ─► tar stream ─► intake ─► unpack ─► the run's own layer, below its working directory
//!  caller's TO ◄─ unpack ◄─ tar stream ◄─ run directory ◄─ collect ◄─ pack ◄─ view: the run's merged tree, read-only
//!                                             (a caller may read along, and be told in the end whether it counts)
//! ```
//!
//! An archive and a job's tree are hostile, whoever made them. Invariants:
//! - nothing is made, changed or removed outside the directory that is unpacked into: each parent is opened beneath it
//!   without following any link, each name is made anew or not at all;
//! - a member is a regular file, a directory, a symbolic link (its target is stored, never followed) or a hard link to
//!   an earlier member; set-user-ID and set-group-ID bits, owners and extended attributes are not taken from it;
//! - what is read of a job's tree is found inside its root file system, wherever its links point;
//! - bytes, files, the depth of a tree and the length of every name have a bound.
//!
//! Absent on purpose: compression, extended attributes, hard links in what is packed (each name is a file of its own),
//! sparse files (they are written out).

mod archive;
pub(crate) mod collect;
mod hashed;
pub(crate) mod intake;
mod member;
mod pack;
pub mod place;
mod receive;
mod sink;
mod unpack;
mod view;
mod write;

pub(crate) use self::hashed::hex;
pub use self::pack::{PackError, Packed, pack};
pub use self::receive::{ReceiveError, receive};
pub use self::unpack::{Bounds, Target, UnpackError, Unpacked, unpack};
