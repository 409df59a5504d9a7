//! Processes of a measurement: started, spoken with by lines, weighed, killed.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::timeout;

/// How long a process may take to answer a line.
const ANSWER_SECONDS_MAX: u64 = 300;
/// How long it may take to end in order.
const END_SECONDS_MAX: u64 = 60;

/// A process that answers lines.
pub(crate) struct Worker {
    name: &'static str,
    child: tokio::process::Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    pub(crate) pid: u32,
}

impl Worker {
    /// Starts this program with another sub-command.
    pub(crate) fn start(name: &'static str, arguments: &[String]) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("find this program")?;
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("start {name}"))?;
        let output = child.stdout.take().context("its output is a pipe")?;
        Ok(Self {
            name,
            input: child.stdin.take(),
            output: BufReader::new(output).lines(),
            pid: child.id().context("it has just been started")?,
            child,
        })
    }

    /// The next line it prints.
    pub(crate) async fn line(&mut self) -> anyhow::Result<String> {
        let limit = Duration::from_secs(ANSWER_SECONDS_MAX);
        let line = timeout(limit, self.output.next_line()).await;
        line.with_context(|| format!("{} says nothing", self.name))?
            .with_context(|| format!("read from {}", self.name))?
            .with_context(|| format!("{} ended", self.name))
    }

    /// Says a line and reads one.
    pub(crate) async fn ask(&mut self, question: &str) -> anyhow::Result<String> {
        let input = self.input.as_mut().context("it was told to end")?;
        let asked = input.write_all(format!("{question}\n").as_bytes()).await;
        asked.with_context(|| format!("tell {} to {question}", self.name))?;
        self.line().await
    }

    /// Lets it end in order.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        drop(self.input.take());
        let limit = Duration::from_secs(END_SECONDS_MAX);
        let status = timeout(limit, self.child.wait()).await;
        let status = status.with_context(|| format!("{} does not end", self.name))??;
        ensure!(status.success(), "{}: {status}", self.name);
        Ok(())
    }

    /// kill -9, and gone when this returns.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a process id")?, Signal::KILL)
            .with_context(|| format!("kill {}", self.name))?;
        self.child.wait().await?;
        Ok(())
    }
}

/// Raises the number of descriptors to what is allowed: a host is one.
pub(crate) fn allow_descriptors() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).context("raise the limit of descriptors")
}

/// CPU milliseconds that a process has used; 0 of one that is gone.
pub(crate) fn cpu_ms(pid: u32) -> u64 {
    stat(pid, &[11, 12]).map_or(0, |ticks| ticks * 10)
}

/// The same with all its children, those that ended included.
pub(crate) fn family_cpu_ms(pid: u32) -> u64 {
    let own = stat(pid, &[11, 12, 13, 14]).unwrap_or(0) * 10;
    let Ok(all) = fs::read_dir("/proc") else {
        return own;
    };
    let ids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let children = ids.filter(|id| stat(*id, &[1]) == Some(u64::from(pid)));
    own + children.map(cpu_ms).sum::<u64>()
}

/// The sum of fields of `/proc/PID/stat`, counted from the state.
fn stat(pid: u32, fields: &[usize]) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    let all: Vec<&str> = rest.split_whitespace().collect();
    fields
        .iter()
        .map(|at| all.get(*at)?.parse::<u64>().ok())
        .sum()
}

/// Memory that a process holds, bytes.
pub(crate) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).context("read its status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.context("its resident memory")? * 1_024)
}

/// Starts a command whose life is its own.
pub(crate) fn spawn(command: &mut Command) -> anyhow::Result<Child> {
    command
        .spawn()
        .with_context(|| format!("start {command:?}"))
}

/// Runs a command to its good end; what it printed.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let done = command
        .output()
        .with_context(|| format!("start {command:?}"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(
        done.status.success(),
        "{command:?}: {}: {said}",
        done.status
    );
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_can_be_weighed() {
        let own = std::process::id();
        assert!(resident_bytes(own).unwrap() > 1 << 16);
        let begin = std::time::Instant::now();
        let mut sum = 0_u64;
        while cpu_ms(own) < 10 {
            sum = std::hint::black_box(sum + 1);
            assert!(begin.elapsed() < Duration::from_secs(60), "{sum}");
        }
        // The later look sees no less.
        let alone_ms = cpu_ms(own);
        assert!(family_cpu_ms(own) >= alone_ms);
    }
}
