//! `docker run --rm`, attached, with dockerd's own runc shim: a daemon between containerd and the user,
//! which copies the log into a json-file.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::limits::Limits;
use crate::peers::{Peer, measure_command};
use crate::sample::Sample;
use crate::{command, image};

const READY_SECONDS_MAX: u64 = 60;
const READY_POLL_MS: u64 = 50;
const SOCKET: &str = "/run/davit-bench-docker.sock";
const CONTAINERD: &str = "/run/containerd/containerd.sock";

/// A dockerd beside the same containerd; killed and reaped when dropped.
pub(crate) struct Docker {
    daemon: Child,
    data_root: PathBuf,
    limits: Vec<String>,
}

impl Docker {
    /// Starts dockerd with its data in `scratch` and pulls the payload's image.
    pub(crate) fn prepare(limits: Option<Limits>, scratch: &Path) -> anyhow::Result<Self> {
        let log = scratch.join("dockerd.log");
        let log_file = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let data_root = scratch.join("docker");
        let daemon = Command::new("dockerd")
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
            .args([
                "--exec-root=/run/davit-bench-docker",
                "--containerd",
                CONTAINERD,
            ])
            .args(["--pidfile=/run/davit-bench-docker.pid"])
            .arg(format!("--host=unix://{SOCKET}"))
            .arg("--data-root")
            .arg(&data_root)
            .stdin(Stdio::null())
            .stdout(log_file.try_clone().context("share dockerd's log")?)
            .stderr(log_file)
            .spawn()
            .context("start dockerd")?;
        let mut docker = Self {
            daemon,
            data_root,
            limits: limits.map(Limits::docker_flags).unwrap_or_default(),
        };
        docker.wait_until_ready(&log)?;
        command::output(&mut docker.command(&["pull", "--quiet", image::REFERENCE]))?;
        Ok(docker)
    }

    fn wait_until_ready(&mut self, log: &Path) -> anyhow::Result<()> {
        let begun = Instant::now();
        while UnixStream::connect(SOCKET).is_err() {
            if let Some(status) = self.daemon.try_wait().context("look at dockerd")? {
                let text = std::fs::read_to_string(log).unwrap_or_default();
                let last = text.lines().last().unwrap_or("it said nothing");
                bail!("dockerd ended with {status}: {last}");
            }
            if begun.elapsed() > Duration::from_secs(READY_SECONDS_MAX) {
                bail!("no dockerd within {READY_SECONDS_MAX} s");
            }
            std::thread::sleep(Duration::from_millis(READY_POLL_MS));
        }
        Ok(())
    }

    /// dockerd's process.
    pub(crate) fn daemon_pid(&self) -> u32 {
        self.daemon.id()
    }

    /// Where the json-file of container `id` is.
    pub(crate) fn log_path(&self, id: &str) -> PathBuf {
        let directory = self.data_root.join("containers").join(id);
        directory.join(format!("{id}-json.log"))
    }

    /// A docker command.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .arg(format!("--host=unix://{SOCKET}"))
            .args(arguments);
        command
    }

    /// `docker run` with those flags and limits, no network.
    pub(crate) fn run(&self, flags: &[&str], arguments: &[&str]) -> Command {
        let mut run = self.command(&["run", "--network=none", "--log-driver=json-file"]);
        run.args(&self.limits)
            .args(flags)
            .args([image::REFERENCE, image::PAYLOAD_PATH])
            .args(arguments);
        run
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // Both fail only when it is gone and reaped already.
        self.daemon.kill().unwrap_or_default();
        self.daemon.wait().map(drop).unwrap_or_default();
    }
}

impl Peer for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn measure_once(&mut self) -> anyhow::Result<Sample> {
        measure_command(&mut self.run(&["--rm"], &[]))
    }
}
