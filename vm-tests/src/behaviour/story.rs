//! The words the stories are told in: a run, and the records it leaves.
//!
//! Invariant: what a test asserts of time comes from the stamps of the run's own records, never from
//! how long a command took: under emulation a command may take seconds.
//!
//! Absent on purpose: davit's record types. The files are read as the JSON that anybody would see.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::host::{CGROUP_ROOT, CommandOutput, Host};
use crate::wait::wait_for;

/// How long a run may take from its submission to its first instruction, image pull included.
const START_SECONDS_MAX: u64 = 90;
/// The step of `/proc/uptime`, milliseconds.
const UPTIME_STEP_MS: u64 = 10;
/// What a job does not see of its own time, milliseconds, also where instructions are emulated on a busy machine.
pub(crate) const EXEC_AND_EXIT_MS_MAX: u64 = 1_000;
/// How much later than its deadline a run may end.
const LATE_MS_MAX: u64 = 250;

/// One run of the test's executor.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    id: String,
    directory: PathBuf,
}

impl Run {
    /// `davit run --detach OPTIONS busybox -- sh -c SCRIPT`.
    pub(crate) fn submit(host: &Host, options: &[&str], script: &str) -> anyhow::Result<Self> {
        let image = host.image("busybox");
        Self::submit_argv(host, options, &image, &["sh", "-c", script])
    }

    /// `davit run --detach OPTIONS IMAGE -- ARGV…`.
    pub(crate) fn submit_argv(
        host: &Host,
        options: &[&str],
        image: &str,
        argv: &[&str],
    ) -> anyhow::Result<Self> {
        let mut arguments = vec!["run", "--detach"];
        arguments.extend(options);
        arguments.push(image);
        if !argv.is_empty() {
            arguments.push("--");
            arguments.extend(argv);
        }
        let id = host.davit(arguments)?.success()?.text();
        ensure!(
            id.len() == 36 && !id.contains(char::is_whitespace),
            "`davit run --detach` should print a run id, not {id:?}"
        );
        Ok(Self::known(host, &id))
    }

    /// The run of this id, whoever submitted it.
    pub(crate) fn known(host: &Host, id: &str) -> Self {
        let directory = runs_directory(host).join(format!("{id}.1"));
        Self {
            id: id.to_owned(),
            directory,
        }
    }

    /// The run that was accepted last.
    pub(crate) fn newest(host: &Host) -> anyhow::Result<Self> {
        // Run ids begin with their time.
        let directory = run_directories(host)?.into_iter().max();
        let directory = directory.context("no run was accepted")?;
        let name = directory.file_name().context("a directory has a name")?;
        let name = name.to_string_lossy();
        let id = name
            .strip_suffix(".1")
            .context("it is not a first attempt")?;
        Ok(Self {
            id: id.to_owned(),
            directory: directory.clone(),
        })
    }

    /// Its id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Its run directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// `davit COMMAND OPTIONS ID`.
    pub(crate) fn davit(
        &self,
        host: &Host,
        command: &str,
        options: &[&str],
    ) -> anyhow::Result<CommandOutput> {
        host.davit([command].iter().chain(options).chain(&[self.id()]))
    }

    /// What `davit inspect` tells of it.
    pub(crate) fn inspect(&self, host: &Host) -> anyhow::Result<Record> {
        let output = self.davit(host, "inspect", &["-o", "json"])?.success()?;
        let told = Record::parse("inspect", &output.stdout)?.list("")?;
        told.into_iter().next().context("inspect tells of no run")
    }

    /// Its standard output so far, byte for byte.
    pub(crate) fn stdout(&self, host: &Host) -> anyhow::Result<Vec<u8>> {
        Ok(self
            .davit(host, "logs", &["--stream", "stdout"])?
            .success()?
            .stdout)
    }

    /// Its standard output so far, as text.
    pub(crate) fn stdout_text(&self, host: &Host) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&self.stdout(host)?).into_owned())
    }

    /// A record of its directory: `spec`, `launch`, `state`, `exit` or `end`.
    pub(crate) fn record(&self, name: &str) -> anyhow::Result<Record> {
        let path = self.directory.join(format!("{name}.json"));
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Record::parse(name, &bytes)
    }

    /// Waits until it is settled which container it has.
    pub(crate) fn wait_launched(&self) -> anyhow::Result<Record> {
        let limit = Duration::from_secs(START_SECONDS_MAX);
        wait_for("the launch", limit, || self.record("launch"))
    }

    /// Waits until the job was let go.
    pub(crate) fn wait_started(&self) -> anyhow::Result<Record> {
        wait_for(
            "the job starts",
            Duration::from_secs(START_SECONDS_MAX),
            || {
                if let Ok(end) = self.record("end") {
                    ensure!(
                        !end.is_null("/started"),
                        "the run ended before it began: {end}"
                    );
                }
                let state = self.record("state")?;
                ensure!(!state.is_null("/started"), "created only: {state}");
                Ok(state)
            },
        )
    }

    /// Waits until its standard output holds `text`.
    pub(crate) fn wait_printed(&self, host: &Host, text: &str) -> anyhow::Result<()> {
        wait_for(
            &format!("the job prints {text:?}"),
            Duration::from_secs(60),
            || {
                let printed = self.stdout_text(host)?;
                ensure!(printed.contains(text), "it printed {printed:?}");
                Ok(())
            },
        )
    }

    /// Waits for the shim's durable exit record; needs neither executor nor containerd.
    pub(crate) fn wait_exit_record(&self, limit_seconds: u64) -> anyhow::Result<Record> {
        let limit = Duration::from_secs(limit_seconds);
        wait_for("the exit record", limit, || self.record("exit"))
    }

    /// `davit wait`, which exits as the job did; then what is told of the run.
    pub(crate) fn wait_ended(&self, host: &Host, exit_code: i32) -> anyhow::Result<Record> {
        self.davit(host, "wait", &[])?.expect_code(exit_code)?;
        self.inspect(host)
    }

    /// Its cgroup's directory.
    pub(crate) fn cgroup(&self) -> anyhow::Result<PathBuf> {
        let launch = self.record("launch")?;
        Ok(Path::new(CGROUP_ROOT).join(launch.text("/cgroup")?.trim_start_matches('/')))
    }

    /// A file of its cgroup, without the newline at its end.
    pub(crate) fn cgroup_file(&self, name: &str) -> anyhow::Result<String> {
        let path = self.cgroup()?.join(name);
        let text = fs::read_to_string(&path);
        Ok(text
            .with_context(|| format!("cannot read {}", path.display()))?
            .trim_end()
            .to_owned())
    }

    /// The value of a `key value` line of a cgroup file.
    pub(crate) fn cgroup_value(&self, file: &str, key: &str) -> anyhow::Result<u64> {
        flat_value(&self.cgroup_file(file)?, key)
    }
}

/// Waits until the executor holds at least `count` containers that wait for runs.
pub(crate) fn await_warm_slots(host: &Host, count: u64) -> anyhow::Result<()> {
    const READY: &str = "davit_warm_slots{state=\"ready\"} ";
    wait_for("containers wait for runs", Duration::from_secs(60), || {
        let metrics = host.davit(["metrics"])?.success()?.text();
        let ready = metrics.lines().find_map(|line| line.strip_prefix(READY));
        let ready: u64 = ready.context("no such metric")?.parse()?;
        ensure!(ready >= count, "{ready} wait");
        Ok(())
    })
}

/// The number after `key` in a cgroup's flat-keyed text.
pub(crate) fn flat_value(text: &str, key: &str) -> anyhow::Result<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    let value = line.with_context(|| format!("no {key} in {text:?}"))?;
    value.parse().with_context(|| format!("{key} is {value:?}"))
}

/// Where the executor under test keeps its runs.
pub(crate) fn runs_directory(host: &Host) -> PathBuf {
    host.directory().join("state/runs")
}

/// All run directories.
pub(crate) fn run_directories(host: &Host) -> anyhow::Result<Vec<PathBuf>> {
    let runs = runs_directory(host);
    let entries = fs::read_dir(&runs).with_context(|| format!("cannot list {}", runs.display()))?;
    entries
        .map(|entry| Ok(entry.context("cannot list the runs")?.path()))
        .collect()
}

/// A JSON document with a name for messages.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    name: String,
    value: Value,
}

impl Record {
    /// The document in `bytes`.
    pub(crate) fn parse(name: &str, bytes: &[u8]) -> anyhow::Result<Self> {
        let value = serde_json::from_slice(bytes)
            .with_context(|| format!("{name} is no JSON: {}", String::from_utf8_lossy(bytes)))?;
        Ok(Self {
            name: name.to_owned(),
            value,
        })
    }

    /// The value at a JSON pointer.
    pub(crate) fn at(&self, pointer: &str) -> anyhow::Result<&Value> {
        self.value
            .pointer(pointer)
            .with_context(|| format!("no {pointer} in {self}"))
    }

    /// Absent or null?
    pub(crate) fn is_null(&self, pointer: &str) -> bool {
        self.value.pointer(pointer).is_none_or(Value::is_null)
    }

    /// An unsigned number.
    pub(crate) fn number(&self, pointer: &str) -> anyhow::Result<u64> {
        self.at(pointer)?
            .as_u64()
            .with_context(|| format!("{pointer} is no number in {self}"))
    }

    /// A text.
    pub(crate) fn text(&self, pointer: &str) -> anyhow::Result<&str> {
        self.at(pointer)?
            .as_str()
            .with_context(|| format!("{pointer} is no text in {self}"))
    }

    /// The elements of an array.
    pub(crate) fn list(&self, pointer: &str) -> anyhow::Result<Vec<Self>> {
        let list = self.at(pointer)?.as_array();
        let list = list.with_context(|| format!("{pointer} is no list in {self}"))?;
        let element = |value: &Value| Self {
            name: self.name.clone(),
            value: value.clone(),
        };
        Ok(list.iter().map(element).collect())
    }

    /// Itself when the value at `pointer` is `wanted`.
    pub(crate) fn expect(&self, pointer: &str, wanted: impl Into<Value>) -> anyhow::Result<&Self> {
        let wanted = wanted.into();
        let found = self.at(pointer)?;
        if *found != wanted {
            bail!("{pointer} should be {wanted}, not {found}, in {self}");
        }
        Ok(self)
    }
}

impl std::fmt::Display for Record {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.name, self.value)
    }
}

/// Boot-time milliseconds from start to end of an exit record, pauses included.
pub(crate) fn ran_ms(exit: &Record) -> anyhow::Result<u64> {
    let began = exit.number("/started/boot_ns")?;
    let ended = exit.number("/ended/boot_ns")?;
    Ok(ended
        .checked_sub(began)
        .context("it ended before it began")?
        / 1_000_000)
}

/// It was killed at its deadline: not before, and at most [`LATE_MS_MAX`] after.
pub(crate) fn expect_killed_at_deadline(exit: &Record) -> anyhow::Result<()> {
    exit.expect("/end_reason", "timed_out")?;
    let due_ms = exit.number("/timeout_ms")? + exit.number("/usage/paused_ms")?;
    let ran_ms = ran_ms(exit)?;
    // Milliseconds are rounded down on one side only.
    let in_time = ran_ms + 1 >= due_ms && ran_ms <= due_ms + LATE_MS_MAX;
    ensure!(
        in_time,
        "it ran {ran_ms} ms and was due after {due_ms} ms: {exit}"
    );
    Ok(())
}

/// CLOCK_BOOTTIME now, milliseconds, to a hundredth of a second.
pub(crate) fn boot_now_ms() -> anyhow::Result<u64> {
    uptime_ms(&fs::read_to_string("/proc/uptime").context("cannot read /proc/uptime")?)
}

/// How long at least a job ran that printed `/proc/uptime` at its begin and at its end, milliseconds: its exec and its exit,
/// [`EXEC_AND_EXIT_MS_MAX`] at most, are not in it.
pub(crate) fn seen_ms(printed: &str) -> anyhow::Result<u64> {
    let uptimes = printed.lines().map(uptime_ms);
    match uptimes.collect::<anyhow::Result<Vec<u64>>>()?[..] {
        [first_ms, last_ms] => Ok(last_ms.saturating_sub(first_ms + UPTIME_STEP_MS)),
        _ => bail!("the job printed {printed:?}, not two uptimes"),
    }
}

/// A line of `/proc/uptime`: the first number, in hundredths of a second.
fn uptime_ms(line: &str) -> anyhow::Result<u64> {
    let first = line.split_whitespace().next().unwrap_or_default();
    let hundredths: u64 = first
        .replace('.', "")
        .parse()
        .with_context(|| format!("no uptime in {line:?}"))?;
    Ok(hundredths * UPTIME_STEP_MS)
}

/// Fails unless every one of `parts` is in `text`.
pub(crate) fn expect_says(text: &str, parts: &[&str]) -> anyhow::Result<()> {
    for part in parts {
        ensure!(text.contains(part), "{part:?} is missing in: {text}");
    }
    Ok(())
}
