//! No core dumps of a process that holds other people's secrets.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Keeps what this process knows out of core dumps; what it executes has the limit, too.
///
/// # Errors
/// When the kernel refuses.
pub fn dump_no_core() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Where cores are piped to a program the limit does not count, and this does.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(setrlimit(Resource::Core, none)?)
}
