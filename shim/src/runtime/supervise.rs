//! Runs one command of the runtime to its end, or to the end of its time.

use std::time::Duration;

use super::RuntimeError;
use super::binary::Invocation;
use crate::reaper::{Exit, Reaper};
use crate::sys;

/// Longest a single runtime command may take. Hooks and cold disks are slow; for ever is not an answer.
pub(super) const COMMAND_SECONDS_MAX: u64 = 600;

/// Spawns a command, waits for its end within the bound, reaps it.
pub(super) async fn supervise(
    reaper: &Reaper,
    name: &str,
    mut invocation: Invocation,
) -> Result<Exit, RuntimeError> {
    sys::die_with_parent(&mut invocation.command);
    // What the command leaves behind (a container's init, say) must not be taken for a stranger.
    let birth = reaper.expect_birth();
    // Our copies of the container's streams go with it: only the container holds them now.
    let spawned = invocation.spawn()?;
    let watch = |source| RuntimeError::Watch {
        command: name.to_owned(),
        source,
    };
    let child = reaper.adopt(spawned.id().cast_signed()).map_err(watch)?;
    let handle = child.handle.clone();
    let waiting = child.wait();
    tokio::pin!(waiting);
    let bound = Duration::from_secs(COMMAND_SECONDS_MAX);
    let result = match tokio::time::timeout(bound, &mut waiting).await {
        Ok(exit) => exit.map_err(watch),
        Err(_elapsed) => {
            if let Err(error) = handle.signal(libc::SIGKILL) {
                log::warn!("cannot kill OCI runtime {name}: {error}");
            }
            waiting.await.map_err(watch)?;
            Err(RuntimeError::TimedOut {
                command: name.to_owned(),
            })
        }
    };
    drop(birth);
    result
}
