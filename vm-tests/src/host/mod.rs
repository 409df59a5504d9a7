//! The host under test: containerd, a registry, and one executor with a state directory of its own.
//!
//! ```text
//!  Host ── executor: Option<Executor>   davit executor serve, settings and log in `directory`
//!       ├─ containerd: Containerd       systemd's, or a plain process with a pid file
//!       └─ baseline: Leftovers          what the kernel had before the test; containerd is to have nothing
//! ```
//!
//! Invariants: everything davit makes in a test lies in [`NAMESPACE`], below [`CGROUP_PARENT`] or in
//! the test's directory, so the fixture can tell and remove it; nothing else is touched.
//!
//! Absent on purpose: davit's own crates. A test says what a user would type.

#![allow(
    dead_code,
    reason = "the fixture is the tests' vocabulary: complete, whichever words today's tests use"
)]

mod cleaning;
mod command;
mod containerd;
mod executor;
mod files;
mod leftovers;
mod settings;

pub(crate) use self::cleaning::clean;
pub(crate) use self::command::{CommandOutput, run_command};
pub(crate) use self::containerd::Containerd;
pub(crate) use self::executor::Executor;
pub(crate) use self::files::tail;
pub(crate) use self::settings::ExecutorSettings;

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use self::leftovers::Leftovers;
use crate::outcome::skip;
use crate::wait::wait_for;

/// containerd namespace of all tests; images stay in it from one test to the next.
pub(crate) const NAMESPACE: &str = "davit-test";
/// Cgroup below which the executor under test puts its runs.
pub(crate) const CGROUP_PARENT: &str = "/davit-test";
/// Where the cgroup v2 hierarchy is.
pub(crate) const CGROUP_ROOT: &str = "/sys/fs/cgroup";
/// Below it lie the tests' state directories: a real disk, as davit wants it.
const STATE_ROOT: &str = "/var/lib/davit-test";
/// How long a `davit` command may take unless a test says otherwise.
const DAVIT_SECONDS_MAX: u64 = 60;
/// How long davit may take to remove what an ended run left.
const CLEAN_UP_SECONDS_MAX: u64 = 30;
/// A registry without credentials that serves `davit/{python,busybox,entry}:1`.
const REGISTRY: &str = "127.0.0.1:5000";
/// The same behind a password.
const REGISTRY_WITH_PASSWORD: &str = "127.0.0.1:5001";
/// Its public credentials.
pub(crate) const REGISTRY_USER: &str = "davit";
/// See [`REGISTRY_USER`].
pub(crate) const REGISTRY_PASSWORD: &str = "davit-test";

/// The fixture handed to every test.
pub(crate) struct Host {
    directory: PathBuf,
    binaries: PathBuf,
    containerd: Containerd,
    executor: Option<Executor>,
    last_settings: Option<ExecutorSettings>,
    baseline: Leftovers,
}

impl Host {
    /// A host for the named test, its directory empty.
    pub(crate) fn new(test: &str) -> anyhow::Result<Self> {
        let directory = directory_of(test);
        if directory.exists() {
            fs::remove_dir_all(&directory)
                .with_context(|| format!("cannot empty {}", directory.display()))?;
        }
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let mut host = Self::of(test)?;
        host.baseline = Leftovers::on_host()?;
        Ok(host)
    }

    /// The host of a test that was begun in another boot, its directory as it is. Nothing that is left of
    /// that boot is excused.
    pub(crate) fn again(test: &str) -> anyhow::Result<Self> {
        let host = Self::of(test)?;
        host.containerd.wait_until_ready()?;
        Ok(host)
    }

    fn of(test: &str) -> anyhow::Result<Self> {
        Ok(Self {
            directory: directory_of(test),
            binaries: binaries()?,
            containerd: Containerd::of_this_host()?,
            executor: None,
            last_settings: None,
            baseline: Leftovers::default(),
        })
    }

    /// This test's directory, on a real disk.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Path of a program of davit's.
    pub(crate) fn binary(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.binaries.join(name);
        ensure!(
            path.exists(),
            "there is no {}: set DAVIT_BIN_DIR",
            path.display()
        );
        Ok(path)
    }

    /// containerd, to be asked, killed, restarted.
    pub(crate) fn containerd(&self) -> &Containerd {
        &self.containerd
    }

    /// The reference of a test image (`python`, `busybox`, `entry`) in the open registry.
    pub(crate) fn image(&self, name: &str) -> String {
        format!("{}/davit/{name}:1", self.registry())
    }

    /// Address of the registry that asks for nothing.
    pub(crate) fn registry(&self) -> String {
        env::var("DAVIT_TEST_REGISTRY").unwrap_or_else(|_| REGISTRY.to_owned())
    }

    /// Address of the registry that asks for [`REGISTRY_USER`] and [`REGISTRY_PASSWORD`].
    pub(crate) fn registry_with_password(&self) -> String {
        env::var("DAVIT_TEST_REGISTRY_AUTH").unwrap_or_else(|_| REGISTRY_WITH_PASSWORD.to_owned())
    }

    /// Settings for [`Host::start_executor`]: this test's directory, [`NAMESPACE`],
    /// [`CGROUP_PARENT`]. Where the host cannot limit runs (`scripts/native`), that is allowed.
    pub(crate) fn settings(&self) -> ExecutorSettings {
        let settings = ExecutorSettings::new(self.directory(), self.containerd.socket());
        if self.needs_controllers(&["cpu", "memory", "pids"]).is_ok() {
            settings
        } else {
            settings.value("allow_missing_controllers", "true")
        }
    }

    /// Starts `davit executor serve` and waits until it answers.
    pub(crate) fn start_executor(&mut self, settings: &ExecutorSettings) -> anyhow::Result<()> {
        if self.executor.is_some() {
            bail!("an executor is running already: stop or kill it first");
        }
        let davit = self.binary("davit")?;
        self.binary("containerd-shim-davit-v1")?;
        self.executor = Some(Executor::start(&davit, self.directory(), settings)?);
        self.last_settings = Some(settings.clone());
        Ok(())
    }

    /// The running executor.
    pub(crate) fn executor(&mut self) -> anyhow::Result<&mut Executor> {
        self.executor.as_mut().context("no executor is running")
    }

    /// Ends the executor with SIGTERM and waits; it must exit with 0.
    pub(crate) fn stop_executor(&mut self) -> anyhow::Result<()> {
        self.executor
            .take()
            .context("no executor is running")?
            .stop()
    }

    /// Ends the executor with SIGKILL, as a crash would.
    pub(crate) fn kill_executor(&mut self) -> anyhow::Result<()> {
        self.executor
            .take()
            .context("no executor is running")?
            .kill()
    }

    /// Runs `davit ARGUMENTS…` against this test's executor, running or not.
    pub(crate) fn davit<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<CommandOutput> {
        let limit = Duration::from_secs(DAVIT_SECONDS_MAX);
        run_command(self.davit_command()?.args(arguments), limit)
    }

    /// The same as a command to be started by the test, e.g. to talk to its stdin or to kill it.
    pub(crate) fn davit_command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(self.binary("davit")?);
        command.env("DAVIT_SOCKET", settings::socket_in(self.directory()));
        Ok(command)
    }

    /// Skips the test in `scripts/native` where these controllers are wanted and missing; anywhere
    /// else a missing one fails `host_has_all_controllers`.
    pub(crate) fn needs_controllers(&self, wanted: &[&str]) -> anyhow::Result<()> {
        let present = files::read(Path::new(CGROUP_ROOT).join("cgroup.controllers"))?;
        for controller in wanted {
            if !present.split_whitespace().any(|name| name == *controller) {
                return skip(format!("this host has no {controller} controller"));
            }
        }
        Ok(())
    }

    /// Fails when something that the test made is still there. Called for every test that passed: with
    /// the executor running nothing is left but what waits for runs to come, after its end nothing at all.
    pub(crate) fn expect_nothing_left(&mut self) -> anyhow::Result<()> {
        if self.executor.is_some() {
            self.expect_left("nothing is left of the test's runs", Leftovers::of_runs)?;
            self.stop_executor()?;
        } else if self.left(|left| left)?.is_empty() {
            return Ok(());
        } else if let Some(settings) = self.last_settings.take() {
            // It was killed: the next one finds what waited for runs, and ends it.
            self.start_executor(&settings)?;
            self.stop_executor()?;
        }
        self.expect_left("nothing is left of the test", |left| left)
    }

    /// What of the test is there that counts. containerd, slow to ask, is asked once the kernel has nothing left.
    fn left(&self, counts: impl Fn(Leftovers) -> Leftovers) -> anyhow::Result<Leftovers> {
        let on_host = counts(Leftovers::on_host()?.without(&self.baseline));
        if !on_host.is_empty() {
            return Ok(on_host);
        }
        Ok(counts(Leftovers::in_containerd(&self.containerd)?))
    }

    fn expect_left(
        &self,
        what: &str,
        counts: impl Fn(Leftovers) -> Leftovers,
    ) -> anyhow::Result<()> {
        let limit = Duration::from_secs(CLEAN_UP_SECONDS_MAX);
        wait_for(what, limit, || {
            let left = self.left(&counts)?;
            if left.is_empty() {
                Ok(())
            } else {
                bail!("left behind: {left}")
            }
        })
    }
}

/// Log of the executors that a test started.
pub(crate) fn executor_log(test: &str) -> PathBuf {
    executor::log_in(&directory_of(test))
}

/// Short, whatever the test is called: the sockets of runs lie in it, and the kernel bounds their names.
fn directory_of(test: &str) -> PathBuf {
    // FNV-1a: the same directory for the same test, and hardly ever for two.
    let hash = test.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    Path::new(STATE_ROOT).join(format!("{hash:08x}"))
}

/// Where davit's programs are: `DAVIT_BIN_DIR`, or beside this one.
fn binaries() -> anyhow::Result<PathBuf> {
    if let Some(directory) = env::var_os("DAVIT_BIN_DIR") {
        return Ok(directory.into());
    }
    let own = env::current_exe().context("cannot tell where this program is")?;
    Ok(own
        .parent()
        .context("this program has no directory")?
        .to_owned())
}
