//! `ctr run --rm` with containerd's own runc shim, driving runc or crun: a container through containerd
//! as its own tool does it. `ctr` returns once task, shim, container and snapshot are gone.

use serde_json::Value;

use crate::clock::Instant;
use crate::peers::Peer;
use crate::sample::{Quantity, Sample};
use crate::{command, image};

/// The containerd namespace of everything the peers make.
const NAMESPACE: &str = "davit-bench";
const RUNTIME: &str = "io.containerd.runc.v2";
/// Specs must not ask for limits where no controller is: ctr's default would set CPU shares.
const NO_LIMITS: [&str; 2] = ["--cpu-shares", "0"];

/// `ctr run` with one low-level runtime.
pub(crate) struct Ctr {
    name: &'static str,
    runtime_binary: &'static str,
    launches: u64,
}

impl Ctr {
    /// `ctr run` driving `runtime_binary`; [`pull`] must have been called.
    pub(crate) const fn driving(name: &'static str, runtime_binary: &'static str) -> Self {
        Self {
            name,
            runtime_binary,
            launches: 0,
        }
    }
}

impl Peer for Ctr {
    fn name(&self) -> &'static str {
        self.name
    }

    fn measure_once(&mut self) -> anyhow::Result<Sample> {
        self.launches += 1;
        let id = format!("{}-{}", self.name, self.launches);
        let mut run = command::of("ctr", &["--namespace", NAMESPACE, "run", "--rm"]);
        run.args(NO_LIMITS)
            .args(["--runtime", RUNTIME, "--runc-binary", self.runtime_binary])
            .args([image::REFERENCE, &id, image::PAYLOAD_PATH]);
        let submitted = Instant::now();
        let output = command::output(&mut run)?;
        let cleaned = Instant::now();
        let first = Instant::printed(&output)?;
        Ok(Sample::from([
            (
                Quantity::FirstUserInstruction,
                first.milliseconds_since(submitted)?,
            ),
            (Quantity::Cleaned, cleaned.milliseconds_since(submitted)?),
        ]))
    }
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
