//! davit as a user types it: `davit run IMAGE -- /payload`, attached; the process start of the command
//! line included, as it is in `ctr run`.

use std::path::PathBuf;

use crate::clock::Instant;
use crate::davit::{Davit, check_succeeded};
use crate::launch::DURABLE_END;
use crate::peers::{Peer, launch_sample};
use crate::sample::Sample;
use crate::{command, image};

/// The command line against the same executor as [`super::davit`].
pub(crate) struct ThroughCommandLine {
    davit: Davit,
    socket: PathBuf,
    launches: u64,
}

impl ThroughCommandLine {
    /// Runs `davit` against the executor at `socket`; `davit` looks at what became of it.
    pub(crate) const fn new(davit: Davit, socket: PathBuf) -> Self {
        Self {
            davit,
            socket,
            launches: 0,
        }
    }
}

impl Peer for ThroughCommandLine {
    fn name(&self) -> &'static str {
        "davit-cli"
    }

    fn measure_once(&mut self) -> anyhow::Result<Sample> {
        self.launches += 1;
        let name = format!("bench-{}", self.launches);
        let arguments = [
            "run",
            "--name",
            &name,
            image::REFERENCE,
            "--",
            image::PAYLOAD_PATH,
        ];
        let mut command = command::of("davit", &arguments);
        command.env("DAVIT_SOCKET", &self.socket);
        let submitted = Instant::now();
        let output = command::output(&mut command)?;
        let ended = Instant::now();
        let run = self.davit.run_named(&name)?;
        self.davit.wait_until_cleaned(&run)?;
        let cleaned = Instant::now();
        check_succeeded(&run)?;
        let first = Instant::printed(&output)?;
        self.davit.remove(&run.id)?;
        let mut sample = launch_sample(submitted, first, cleaned)?;
        sample.insert(DURABLE_END, ended.milliseconds_since(submitted)?);
        Ok(sample)
    }
}
