//! One `davit executor serve` for the time of a measurement, with the settings of any host but one: where
//! controllers are missing, as in the place of native measurements, that is allowed.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::costs::allocations::Counted;
use crate::{command, host};

const READY_SECONDS_MAX: u64 = 30;
const READY_POLL_MS: u64 = 2;
const LOG_TAIL_LINES: usize = 20;

/// Settings that differ between measured executors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// As it comes.
    AsShipped,
    /// Without warm slots: every launch goes the plain path through containerd.
    Cold,
    /// As it comes, with its allocations counted.
    Counted,
}

impl Flavour {
    /// Two executors share neither state nor containerd namespace nor cgroup.
    const fn name(self) -> &'static str {
        match self {
            Self::AsShipped => "davit",
            Self::Cold => "davit-cold",
            Self::Counted => "davit-counted",
        }
    }

    /// The containerd namespace of all its containers.
    pub(crate) const fn namespace(self) -> &'static str {
        self.name()
    }

    fn settings(self, scratch: &Path) -> anyhow::Result<String> {
        let name = self.name();
        let mut text = format!(
            "state_dir = \"{state}\"\nsocket = \"{socket}\"\ncgroup_parent = \"/{name}\"\n\
             allow_missing_controllers = {missing}\n\
             [containerd]\nnamespace = \"{name}\"\n\
             [registries.\"127.0.0.1:5000\"]\nplain_http = true\n",
            missing = !host::has_controllers(),
            state = scratch.join(name).display(),
            socket = scratch.join(name).with_extension("sock").display(),
        );
        if self == Self::Cold && knows_warm_slots()? {
            text.push_str("[warm]\nslots_max = 0\n");
            // Two executors of a host cannot have the same addresses.
            text.push_str("[network]\nipv4_subnet = \"100.97.0.0/16\"\n");
            text.push_str("ipv6_subnet = \"fd64:6176:6975::/64\"\n");
        }
        Ok(text)
    }
}

/// Whether this davit has warm slots: one that has none is measured cold either way.
fn knows_warm_slots() -> anyhow::Result<bool> {
    let schema = command::output(&mut command::of("davit", &["executor", "schema"]))?;
    let schema: serde_json::Value =
        serde_json::from_slice(&schema).context("understand the settings' schema")?;
    Ok(!schema["properties"]["warm"].is_null())
}

/// A running executor; killed and reaped when dropped.
pub(crate) struct Executor {
    process: Child,
    settings: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    counted: Option<Counted>,
}

impl Executor {
    /// Starts one that keeps its state in `scratch`, and waits until it answers.
    pub(crate) fn start(scratch: &Path, flavour: Flavour) -> anyhow::Result<Self> {
        let file = |extension: &str| scratch.join(flavour.name()).with_extension(extension);
        let settings = file("toml");
        fs::write(&settings, flavour.settings(scratch)?)
            .with_context(|| format!("write {}", settings.display()))?;
        let (socket, log) = (file("sock"), file("log"));
        let counted = match flavour {
            Flavour::Counted => Some(Counted::prepare(scratch)?),
            Flavour::AsShipped | Flavour::Cold => None,
        };
        let process = spawn(counted.as_ref(), &settings, &log)?;
        let mut executor = Self {
            process,
            settings,
            socket,
            log,
            counted,
        };
        executor.wait_until_ready()?;
        Ok(executor)
    }

    /// Kills it as the kernel would, and reaps it; its socket is left behind.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().context("kill the executor")?;
        self.process.wait().context("reap the executor")?;
        Ok(())
    }

    /// Starts its successor after [`Executor::kill`]; does not wait until it answers.
    pub(crate) fn start_again(&mut self) -> anyhow::Result<()> {
        self.process = spawn(self.counted.as_ref(), &self.settings, &self.log)?;
        Ok(())
    }

    /// The socket of its local API.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its counted allocations, if it is of that flavour.
    pub(crate) fn counted(&self) -> Option<&Counted> {
        self.counted.as_ref()
    }

    /// Returns once it accepts connections.
    pub(crate) fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while UnixStream::connect(&self.socket).is_err() {
            if let Some(status) = self.process.try_wait().context("look at the executor")? {
                bail!("the executor ended with {status}:\n{}", self.log_tail());
            }
            if begun.elapsed() > Duration::from_secs(READY_SECONDS_MAX) {
                bail!(
                    "no executor within {READY_SECONDS_MAX} s:\n{}",
                    self.log_tail()
                );
            }
            std::thread::sleep(Duration::from_millis(READY_POLL_MS));
        }
        Ok(())
    }

    /// The end of its log.
    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // Both fail only when it is gone and reaped already.
        self.process.kill().unwrap_or_default();
        self.process.wait().map(drop).unwrap_or_default();
    }
}

fn spawn(counted: Option<&Counted>, settings: &Path, log: &Path) -> anyhow::Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("open {}", log.display()))?;
    let mut command = counted.map_or_else(|| Command::new("davit"), Counted::executor);
    command
        .args(["executor", "serve", "--config"])
        .arg(settings)
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("share the executor's log")?)
        .stderr(log)
        .spawn()
        .context("start davit executor serve")
}
