//! The peers: everything that is launched, one file each.

pub(crate) mod bare;
pub(crate) mod ctr;
pub(crate) mod ctr_held;
pub(crate) mod davit;
pub(crate) mod davit_cli;
pub(crate) mod davit_held;
pub(crate) mod docker;
pub(crate) mod floor;
pub(crate) mod podman;

use std::process::Command;

use crate::clock::Instant;
use crate::command;
use crate::launch::{CLEANED, FIRST_USER_INSTRUCTION};
use crate::sample::Sample;

/// One way to run the payload in a container, and what to measure about it.
pub(crate) trait Peer {
    /// Its name in tables, JSON and ratios.
    fn name(&self) -> &'static str;

    /// Runs the payload once, measures, and waits until nothing of the container is left.
    ///
    /// # Errors
    /// When any step fails or the payload does not print its stamp.
    fn measure_once(&mut self) -> anyhow::Result<Sample>;
}

/// Measures a command that runs the payload attached and returns once all is cleaned up.
fn measure_command(run: &mut Command) -> anyhow::Result<Sample> {
    let submitted = Instant::now();
    let output = command::output(run)?;
    let cleaned = Instant::now();
    launch_sample(submitted, Instant::printed(&output)?, cleaned)
}

fn launch_sample(submitted: Instant, first: Instant, cleaned: Instant) -> anyhow::Result<Sample> {
    Ok(Sample::from([
        (FIRST_USER_INSTRUCTION, first.milliseconds_since(submitted)?),
        (CLEANED, cleaned.milliseconds_since(submitted)?),
    ]))
}
