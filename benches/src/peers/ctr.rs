//! `ctr run --rm` with containerd's own runc shim, driving runc or crun: a container through containerd
//! as its own tool does it. `ctr` returns once task, shim, container and snapshot are gone.

use std::process::Command;

use serde_json::Value;

use crate::clock::Instant;
use crate::limits::Limits;
use crate::peers::{Peer, launch_sample};
use crate::sample::Sample;
use crate::session::say;
use crate::{command, image};

/// The containerd namespace of everything the peers make.
const NAMESPACE: &str = "davit-bench";
const RUNTIME: &str = "io.containerd.runc.v2";
/// Specs must not ask for limits where no controller is: ctr's default would set CPU shares.
const NO_LIMITS: [&str; 2] = ["--cpu-shares", "0"];

/// Launches of a whole run whose output `ctr` may lose although it exits 0: seen about once in a
/// thousand when the container ends at once. Each is told and repeated; one more is a failure.
const LOST_OUTPUTS_MAX: u32 = 5;

/// `ctr run` with one low-level runtime.
pub(crate) struct Ctr {
    name: &'static str,
    runtime_binary: &'static str,
    limits: Option<Limits>,
    launches: u64,
    lost_outputs: u32,
}

impl Ctr {
    /// `ctr run` driving `runtime_binary`; [`pull`] must have been called.
    pub(crate) const fn driving(
        name: &'static str,
        runtime_binary: &'static str,
        limits: Option<Limits>,
    ) -> Self {
        Self {
            name,
            runtime_binary,
            limits,
            launches: 0,
            lost_outputs: 0,
        }
    }

    /// When it was started and what it printed.
    fn launch(&mut self) -> anyhow::Result<(Instant, Vec<u8>)> {
        self.launches += 1;
        let id = format!("{}-{}", self.name, self.launches);
        let mut run = run_attached(self.runtime_binary, self.limits, &id);
        let submitted = Instant::now();
        Ok((submitted, command::output(&mut run)?))
    }
}

impl Peer for Ctr {
    fn name(&self) -> &'static str {
        self.name
    }

    fn measure_once(&mut self) -> anyhow::Result<Sample> {
        loop {
            let (submitted, output) = self.launch()?;
            let cleaned = Instant::now();
            if output.is_empty() && self.lost_outputs < LOST_OUTPUTS_MAX {
                self.lost_outputs += 1;
                let name = self.name;
                say(&format!(
                    "{name} lost its container's output and exited 0; once more"
                ))?;
                continue;
            }
            return launch_sample(submitted, Instant::printed(&output)?, cleaned);
        }
    }
}

/// `ctr run --rm` of the payload, attached, as container `id`.
pub(crate) fn run_attached(runtime_binary: &str, limits: Option<Limits>, id: &str) -> Command {
    let mut run = command::of("ctr", &["--namespace", NAMESPACE, "run", "--rm"]);
    match limits {
        Some(limits) => run.args(limits.ctr_flags()),
        None => run.args(NO_LIMITS),
    };
    run.args(["--runtime", RUNTIME, "--runc-binary", runtime_binary])
        .args([image::REFERENCE, id, image::PAYLOAD_PATH]);
    run
}

/// Pulls and unpacks the payload's image for `ctr`.
pub(crate) fn pull() -> anyhow::Result<()> {
    let pull = [
        "--namespace",
        NAMESPACE,
        "images",
        "pull",
        "--plain-http",
        image::REFERENCE,
    ];
    command::output(&mut command::of("ctr", &pull))?;
    Ok(())
}

/// The OCI spec that `ctr run` gives to its runtime.
pub(crate) fn generated_spec(id: &str) -> anyhow::Result<Value> {
    let containers = |arguments: &[&str]| {
        let mut command = command::of("ctr", &["--namespace", NAMESPACE, "containers"]);
        command::output(command.args(arguments))
    };
    // `create` sets no CPU shares, unlike `run`, and knows no flag for them.
    containers(&["create", image::REFERENCE, id, image::PAYLOAD_PATH])?;
    let spec = containers(&["info", "--spec", id])?;
    containers(&["delete", id])?;
    Ok(serde_json::from_slice(&spec)?)
}

/// Starts the payload with `argument` and returns while it runs.
pub(crate) fn run_detached(id: &str, argument: &str) -> anyhow::Result<()> {
    let mut run = command::of(
        "ctr",
        &["--namespace", NAMESPACE, "run", "--detach", "--null-io"],
    );
    run.args(NO_LIMITS).args([
        "--runtime",
        RUNTIME,
        image::REFERENCE,
        id,
        image::PAYLOAD_PATH,
        argument,
    ]);
    command::output(&mut run)?;
    Ok(())
}

/// Kills and removes a container and its snapshot.
pub(crate) fn remove_running(id: &str) -> anyhow::Result<()> {
    for arguments in [
        ["tasks", "delete", "--force", id].as_slice(),
        &["containers", "delete", id],
    ] {
        command::output(command::of("ctr", &["--namespace", NAMESPACE]).args(arguments))?;
    }
    Ok(())
}
