//! Secrets of a run: how they come, where the job finds them, and that its log does not show them.
//!
//! ```text
//!  executor ──give.sock──► receive ──┬─► place: a tmpfs below the bundle ── files/ ──bind──► /run/secrets
//!                                    │                                  └── config.json, until the container is made
//!                                    └─► patterns ──► redactor, one a stream ──► the log
//! ```
//!
//! Invariants:
//! - a value is in memory only: in this process, on a tmpfs of the container's own, in the job;
//! - containerd has none of it, and when the job runs neither has anything on the host's file systems;
//! - a process that has had a value dumps no core.
//!
//! Absent on purpose: values in another form than they were given (encoded, split by the job, in another order): a log
//! cannot be searched for what a program may make of a text.

mod config;
mod patterns;
mod place;
mod receive;
mod redactor;

use std::path::Path;

use davit_rundir::Secrets;
use davit_types::IdRange;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

pub(crate) use self::patterns::Patterns;
pub(crate) use self::place::{Place, PlaceError, remove as remove_place};
pub(crate) use self::receive::ReceiveError;
pub(crate) use self::redactor::Redactor;
use crate::error::TaskError;
use crate::run::Run;

/// Keeps what this process knows out of core dumps: its own, and of what it executes to make the container.
pub(crate) fn dump_no_core() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Where cores are piped to a program the limit does not count, and this does.
    let dumps = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    if let Err(errno) = dumps.and(rustix::process::setrlimit(Resource::Core, none)) {
        log::error!("cannot do without core dumps: {errno}");
    }
}

/// The secrets that `run` is given: where its runtime finds them, and kept out of the log that it is going to have.
pub(crate) async fn hand_over(
    run: &Run,
    bundle: &Path,
    ids: Option<IdRange>,
) -> Result<Place, TaskError> {
    dump_no_core();
    let secrets = receive::receive(run.records()).await?;
    if let Some(patterns) = patterns(&secrets) {
        run.hide(patterns);
    }
    if !secrets.env.is_empty() {
        let variable = |var: &davit_rundir::SecretEnv| format!("{}={}", var.key, *var.value);
        run.remember_env(secrets.env.iter().map(variable).collect());
    }
    Ok(Place::make(bundle, &secrets, ids)?)
}

/// What of `secrets` a log must not show; `None` if all of it is too short to be looked for.
fn patterns(secrets: &Secrets) -> Option<Patterns> {
    let env = secrets.env.iter().filter(|var| var.redact);
    let env = env.map(|var| var.value.as_bytes());
    let files = secrets.files.iter().map(|file| file.value.as_slice());
    Patterns::of(env.chain(files))
}
