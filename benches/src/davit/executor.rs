//! One `davit executor serve` for the time of a measurement, with the settings of any host but one:
//! controllers may be missing, since the place of native measurements has none.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

const READY_SECONDS_MAX: u64 = 30;
const READY_POLL_MS: u64 = 20;
const LOG_TAIL_LINES: usize = 20;

/// A running executor; killed and reaped when dropped.
pub(crate) struct Executor {
    process: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Executor {
    /// Starts one that keeps its state in `scratch`, and waits until it answers.
    pub(crate) fn start(scratch: &Path) -> anyhow::Result<Self> {
        let socket = scratch.join("executor.sock");
        let settings = scratch.join("executor.toml");
        fs::write(&settings, settings_text(scratch, &socket))
            .with_context(|| format!("write {}", settings.display()))?;
        let log = scratch.join("executor.log");
        let log_file = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let process = Command::new("davit")
            .args(["executor", "serve", "--config"])
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(log_file.try_clone().context("share the executor's log")?)
            .stderr(log_file)
            .spawn()
            .context("start davit executor serve")?;
        let mut executor = Self {
            process,
            socket,
            log,
        };
        executor.wait_until_ready()?;
        Ok(executor)
    }

    /// The socket of its local API.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
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

fn settings_text(scratch: &Path, socket: &Path) -> String {
    format!(
        "state_dir = \"{}\"\nsocket = \"{}\"\nallow_missing_controllers = true\n\
         [registries.\"127.0.0.1:5000\"]\nplain_http = true\n",
        scratch.join("state").display(),
        socket.display()
    )
}
