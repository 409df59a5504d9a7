//! strace attached to running processes and all they start, one file a thread.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::trace::Traces;

const ATTACHED_SECONDS_MAX: u64 = 20;
const STOPPED_SECONDS_MAX: u64 = 20;
const LOOK_AGAIN_MS: u64 = 20;

/// A running strace; killed and reaped when dropped.
pub(super) struct Tracing {
    strace: Child,
    directory: PathBuf,
    /// Program of each thread there was at the beginning.
    threads: BTreeMap<u32, String>,
}

impl Tracing {
    /// Attaches to these processes, each of a program; files go to `directory`.
    pub(super) fn start(directory: &Path, daemons: &[(&str, u32)]) -> anyhow::Result<Self> {
        fs::create_dir(directory).with_context(|| format!("create {}", directory.display()))?;
        let mut command = Command::new("strace");
        command.args(["-ff", "-qq", "--string-limit=64", "-o"]);
        command.arg(directory.join("thread"));
        for (_, pid) in daemons {
            command.args(["-p", &pid.to_string()]);
        }
        let strace = command
            .stdin(Stdio::null())
            .spawn()
            .context("start strace")?;
        let mut tracing = Self {
            strace,
            directory: directory.to_owned(),
            threads: BTreeMap::new(),
        };
        for (program, pid) in daemons {
            tracing.wait_until_attached(program, *pid)?;
        }
        Ok(tracing)
    }

    fn wait_until_attached(&mut self, program: &str, pid: u32) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let threads = threads_of(pid)?;
            if threads.values().all(|traced| *traced) {
                let named = threads.into_keys().map(|tid| (tid, program.to_owned()));
                self.threads.extend(named);
                return Ok(());
            }
            let ended = self.strace.try_wait().context("look at strace")?;
            ensure!(
                ended.is_none() && begun.elapsed() < Duration::from_secs(ATTACHED_SECONDS_MAX),
                "strace is not attached to {program} ({pid})"
            );
            std::thread::sleep(Duration::from_millis(LOOK_AGAIN_MS));
        }
    }

    /// Lets all go on untraced, and reads what was written down.
    pub(super) fn stop(mut self) -> anyhow::Result<Traces> {
        let pid = i32::try_from(self.strace.id()).ok().and_then(Pid::from_raw);
        let pid = pid.context("strace has a pid")?;
        kill_process(pid, Signal::INT).context("interrupt strace")?;
        let begun = Instant::now();
        while self.strace.try_wait().context("look at strace")?.is_none() {
            ensure!(
                begun.elapsed() < Duration::from_secs(STOPPED_SECONDS_MAX),
                "strace does not end"
            );
            std::thread::sleep(Duration::from_millis(LOOK_AGAIN_MS));
        }
        let mut traces = Traces::of_threads(std::mem::take(&mut self.threads));
        let list = fs::read_dir(&self.directory)
            .with_context(|| format!("list {}", self.directory.display()))?;
        for entry in list {
            let path = entry.context("list traces")?.path();
            let thread = path.extension().and_then(|tid| tid.to_str()?.parse().ok());
            let thread = thread.with_context(|| format!("{} is of no thread", path.display()))?;
            let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            traces.add(thread, &String::from_utf8_lossy(&text));
        }
        Ok(traces)
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        // Both fail only when it is gone and reaped already.
        self.strace.kill().unwrap_or_default();
        self.strace.wait().map(drop).unwrap_or_default();
    }
}

/// All threads of a process, and whether each is traced.
fn threads_of(pid: u32) -> anyhow::Result<BTreeMap<u32, bool>> {
    let path = format!("/proc/{pid}/task");
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir(&path).with_context(|| format!("list {path}"))? {
        let entry = entry.with_context(|| format!("list {path}"))?;
        let tid = entry.file_name().to_str().and_then(|tid| tid.parse().ok());
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let traced = !status.contains("TracerPid:\t0\n");
        threads.extend(tid.map(|tid| (tid, traced)));
    }
    Ok(threads)
}
