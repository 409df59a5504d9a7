//! The peers: everything that is launched, one file each.

pub(crate) mod bare;
pub(crate) mod ctr;
pub(crate) mod ctr_held;
pub(crate) mod davit;
pub(crate) mod davit_cli;
pub(crate) mod davit_held;

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
