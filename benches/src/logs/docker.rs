//! docker's json-file: the shim copies the pipe into a FIFO, dockerd copies the FIFO into the file.

use std::path::Path;

use super::cpu::CpuWatch;
use super::lines::{Check, Job};
use super::{Captured, Capturer, file};
use crate::peers::docker::Docker as Client;
use crate::{command, process};

/// The shim and dockerd.
pub(super) struct Docker {
    client: Client,
}

impl Docker {
    pub(super) fn prepare(scratch: &Path) -> anyhow::Result<Self> {
        let client = Client::prepare(None, scratch)?;
        Ok(Self { client })
    }

    fn say(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = command::output(&mut self.client.command(arguments))?;
        Ok(String::from_utf8_lossy(&output).trim().to_owned())
    }
}

impl Capturer for Docker {
    fn capture(&self, job: Job) -> anyhow::Result<Captured> {
        let dockerd = CpuWatch::from_now(self.client.daemon_pid())?;
        let arguments = job.arguments();
        let arguments = arguments.each_ref().map(String::as_str);
        let output = command::output(&mut self.client.run(&["--detach"], &arguments))?;
        let id = String::from_utf8_lossy(&output).trim().to_owned();
        let shim = CpuWatch::from_birth(process::find("containerd-shim-runc-v2", &id)?);
        let log = self.client.log_path(&id);
        let complete = file::wait_until_complete(&log, job)?;
        let cpu = shim.stop()? + dockerd.stop()?;
        self.say(&["wait", &id])?;
        let (begun, latencies_us) = file::check(&log, job, file::json_file).and_then(Check::end)?;
        self.say(&["rm", &id])?;
        Ok(Captured {
            took: complete.since(begun)?,
            cpu,
            latencies_us,
        })
    }
}
