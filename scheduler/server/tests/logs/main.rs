//! Logs on a real store and real object stores, and what they must survive.
//!
//! ```text
//!  gathering   what becomes a chunk, when, and what is taken from whom
//!  following   stored, live, by another replica, too slow
//!  faults      the object store fails, hangs, is full; a crash between object and index
//!  s3          the same words against a server that speaks S3 (moto)
//! ```

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod book;
mod faults;
mod faulty;
mod following;
mod gathering;
mod s3;
#[path = "../fixtures/small_disk.rs"]
mod small_disk;
#[path = "../store/world.rs"]
#[allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "the store's tests need more of it"
)]
mod world;
