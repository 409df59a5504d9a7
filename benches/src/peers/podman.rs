//! `podman run --rm`, attached, with crun: no daemon; conmon holds the container and writes its log in
//! k8s-file form, podman's own default where there is no journal.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::limits::Limits;
use crate::peers::{Peer, measure_command};
use crate::sample::Sample;
use crate::{command, image};

/// podman with stores of its own.
#[derive(Clone)]
pub(crate) struct Podman {
    root: PathBuf,
    globals: Vec<String>,
    limits: Vec<String>,
}

impl Podman {
    /// Pulls the payload's image into a store in `scratch`.
    pub(crate) fn prepare(limits: Option<Limits>, scratch: &Path) -> anyhow::Result<Self> {
        let root = scratch.join("podman");
        let globals = [
            format!("--root={}", root.display()),
            "--runroot=/run/davit-bench-podman".to_owned(),
            "--storage-driver=overlay".to_owned(),
            "--cgroup-manager=cgroupfs".to_owned(),
            "--events-backend=none".to_owned(),
            "--runtime=crun".to_owned(),
        ];
        let podman = Self {
            root,
            globals: globals.into(),
            // Without controllers its own default of 2048 processes cannot be set.
            limits: limits.map_or_else(|| vec!["--pids-limit=0".to_owned()], Limits::docker_flags),
        };
        let mut pull = podman.command(&["pull", "--quiet", "--tls-verify=false", image::REFERENCE]);
        command::output(&mut pull)?;
        Ok(podman)
    }

    /// Where the k8s-file of container `id` is.
    pub(crate) fn log_path(&self, id: &str) -> PathBuf {
        let directory = self.root.join("overlay-containers").join(id);
        directory.join("userdata/ctr.log")
    }

    /// A podman command.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command.args(&self.globals).args(arguments);
        command
    }

    /// `podman run` with those flags and limits, no network, the log kept as said above.
    pub(crate) fn run(&self, flags: &[&str], arguments: &[&str]) -> Command {
        let mut run = self.command(&["run", "--network=none", "--log-driver=k8s-file"]);
        run.args(&self.limits)
            .args(flags)
            .args([image::REFERENCE, image::PAYLOAD_PATH])
            .args(arguments);
        run
    }
}

impl Peer for Podman {
    fn name(&self) -> &'static str {
        "podman"
    }

    fn measure_once(&mut self) -> anyhow::Result<Sample> {
        measure_command(&mut self.run(&["--rm"], &[]))
    }
}
