//! podman's k8s-file, written by conmon, which holds the pipe itself.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::cpu::CpuWatch;
use super::lines::{Check, Job};
use super::{Captured, Capturer, file};
use crate::command;
use crate::peers::podman::Podman as Client;

/// conmon.
pub(super) struct Podman {
    client: Client,
    pid_file: PathBuf,
}

impl Podman {
    pub(super) fn prepare(scratch: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            client: Client::prepare(None, scratch)?,
            pid_file: scratch.join("conmon.pid"),
        })
    }

    fn say(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = command::output(&mut self.client.command(arguments))?;
        Ok(String::from_utf8_lossy(&output).trim().to_owned())
    }
}

impl Capturer for Podman {
    fn capture(&self, job: Job) -> anyhow::Result<Captured> {
        let pid_file = format!("--conmon-pidfile={}", self.pid_file.display());
        let arguments = job.arguments();
        let arguments = arguments.each_ref().map(String::as_str);
        let mut run = self.client.run(&["--detach", &pid_file], &arguments);
        let id = String::from_utf8_lossy(&command::output(&mut run)?)
            .trim()
            .to_owned();
        let pid = std::fs::read_to_string(&self.pid_file).context("read conmon's pid")?;
        let conmon = CpuWatch::from_birth(pid.trim().parse().context("understand conmon's pid")?);
        let log = self.client.log_path(&id);
        let complete = file::wait_until_complete(&log, job)?;
        let cpu = conmon.stop()?;
        self.say(&["wait", &id])?;
        let (begun, latencies_us) = file::check(&log, job, file::k8s_file).and_then(Check::end)?;
        self.say(&["rm", &id])?;
        Ok(Captured {
            took: complete.since(begun)?,
            cpu,
            latencies_us,
        })
    }
}
