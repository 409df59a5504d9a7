//! `vm --here`: the behaviours on this very host, where it has all that the VM has.
//!
//! Invariant: the host's own containerd is not touched: `scripts/lib/with-services` starts one for the
//! tests, and a registry, on sockets and ports of their own.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use super::output_directory;
use crate::host::run_command;
use crate::runner::{GuestArguments, run_guest};

const LACKS_SECONDS_MAX: u64 = 30;
/// Set by `with-services` for what it runs.
const INSIDE: &str = "DAVIT_TEST_CONTAINERD_PID_FILE";

/// Checks the host, then runs the behaviours on it; true when none failed.
pub(super) fn run_here(repository: &Path, filter: Option<&str>) -> anyhow::Result<bool> {
    if env::var_os(INSIDE).is_some() {
        let output = output_directory(repository, "here")?;
        return run_guest(&GuestArguments::for_here(filter.map(str::to_owned), output));
    }
    let script = repository.join("scripts/lib/capable.sh");
    let mut lacks = Command::new("bash");
    lacks
        .args(["-c", ". \"$1\" && host_lacks", "capable"])
        .arg(&script);
    let missing = run_command(&mut lacks, Duration::from_secs(LACKS_SECONDS_MAX))?.success()?;
    if !missing.stdout.is_empty() {
        bail!("this host will not do: {}", missing.text());
    }
    let own = env::current_exe().context("cannot tell where this program is")?;
    let status = Command::new(repository.join("scripts/lib/with-services"))
        .arg(own)
        .args(["vm", "--here"])
        .args(filter)
        .stdin(Stdio::null())
        .status()
        .context("cannot start scripts/lib/with-services")?;
    Ok(status.success())
}
