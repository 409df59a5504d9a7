//! What /proc tells about processes: memory, threads, descriptors, wake-ups, CPU time.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, bail};

/// Memory of a process, from `/proc/<pid>/smaps_rollup`, KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Memory {
    /// Its own pages, clean and dirty.
    pub(crate) private_kib: f64,
    /// The same, and its share of what it has in common with others.
    pub(crate) proportional_kib: f64,
}

/// What a process did so far: threads that are gone are not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Activity {
    /// By thread: times it went to sleep by itself (each is followed by a wake-up), and nanoseconds on a CPU.
    threads: BTreeMap<u32, (u64, u64)>,
}

/// Memory of process `pid`.
pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let path = file(pid, "smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    parse_memory(&text).with_context(|| format!("understand {}", path.display()))
}

fn parse_memory(text: &str) -> anyhow::Result<Memory> {
    let kib = |name: &str| -> anyhow::Result<f64> {
        let Some(value) = field(text, name).and_then(|value| value.strip_suffix(" kB")) else {
            bail!("there is no line {name} in kB");
        };
        value
            .parse()
            .with_context(|| format!("{name} is {value:?}"))
    };
    Ok(Memory {
        private_kib: kib("Private_Clean")? + kib("Private_Dirty")?,
        proportional_kib: kib("Pss")?,
    })
}

/// The value of a line `name: value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map(str::trim)
}

/// Threads of process `pid`.
pub(crate) fn threads(pid: u32) -> anyhow::Result<f64> {
    entries(pid, "task")
}

/// Open descriptors of process `pid`.
pub(crate) fn descriptors(pid: u32) -> anyhow::Result<f64> {
    entries(pid, "fd")
}

fn entries(pid: u32, directory: &str) -> anyhow::Result<f64> {
    let path = file(pid, directory);
    let list = fs::read_dir(&path).with_context(|| format!("list {}", path.display()))?;
    #[expect(clippy::cast_precision_loss, reason = "a few thousand at most")]
    let count = list.count() as f64;
    Ok(count)
}

/// What process `pid` did so far.
pub(crate) fn activity(pid: u32) -> anyhow::Result<Activity> {
    let path = file(pid, "task");
    let mut activity = Activity::default();
    for entry in fs::read_dir(&path).with_context(|| format!("list {}", path.display()))? {
        let entry = entry.with_context(|| format!("list {}", path.display()))?;
        let read = |name| fs::read_to_string(entry.path().join(name));
        // A thread that ends meanwhile is not counted.
        let (Ok(status), Ok(schedule)) = (read("status"), read("schedstat")) else {
            continue;
        };
        let sleeps = field(&status, "voluntary_ctxt_switches").and_then(|n| n.parse().ok());
        let cpu_ns = schedule.split(' ').next().and_then(|n| n.parse().ok());
        let thread = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let (Some(thread), Some(sleeps), Some(cpu_ns)) = (thread, sleeps, cpu_ns) {
            activity.threads.insert(thread, (sleeps, cpu_ns));
        }
    }
    Ok(activity)
}

impl Activity {
    /// Wake-ups and CPU nanoseconds since `earlier`, of the same process. A new thread counts whole.
    pub(crate) fn since(&self, earlier: &Self) -> (u64, u64) {
        let mut sum = (0, 0);
        for (thread, now) in &self.threads {
            let before = earlier.threads.get(thread).copied().unwrap_or_default();
            sum.0 += now.0.saturating_sub(before.0);
            sum.1 += now.1.saturating_sub(before.1);
        }
        sum
    }
}

/// CPU time that process `pid` and its threads, also ended ones, have used, in ticks of 10 ms; `None` once it
/// is reaped.
pub(crate) fn cpu_ticks(pid: u32) -> Option<u64> {
    parse_cpu_ticks(&fs::read_to_string(file(pid, "stat")).ok()?)
}

/// "pid (name) state …": the name may itself hold parentheses.
fn parse_cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let words: Vec<&str> = rest.split(' ').collect();
    let ticks = |at: usize| words.get(at)?.parse::<u64>().ok();
    Some(ticks(11)? + ticks(12)?)
}

/// All processes of program `name`, and their arguments.
pub(crate) fn all_of(name: &str) -> anyhow::Result<Vec<(u32, Vec<String>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("list /proc")? {
        let entry = entry.context("list /proc")?;
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A process that ends meanwhile is not one.
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words = line.split(|&byte| byte == 0);
        let mut words = words.map(|word| String::from_utf8_lossy(word).into_owned());
        let program = words.next().unwrap_or_default();
        if program.rsplit('/').next() == Some(name) {
            found.push((pid, words.collect()));
        }
    }
    Ok(found)
}

/// All processes whose parent is one of `parents`.
pub(crate) fn children_of(parents: &[u32]) -> anyhow::Result<Vec<u32>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").context("list /proc")? {
        let name = entry.context("list /proc")?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process that ends meanwhile is not one.
        let stat = fs::read_to_string(file(pid, "stat")).unwrap_or_default();
        if parse_parent(&stat).is_some_and(|parent| parents.contains(&parent)) {
            children.push(pid);
        }
    }
    Ok(children)
}

fn parse_parent(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}

/// The only process of program `name` that has `argument`.
pub(crate) fn find(name: &str, argument: &str) -> anyhow::Result<u32> {
    let has = |(_, words): &(u32, Vec<String>)| words.iter().any(|word| word == argument);
    match all_of(name)?.into_iter().find(has) {
        Some((pid, _)) => Ok(pid),
        None => bail!("no process {name} with argument {argument}"),
    }
}

/// The only process of program `name`.
pub(crate) fn only(name: &str) -> anyhow::Result<u32> {
    match all_of(name)?.as_slice() {
        [(pid, _)] => Ok(*pid),
        several => bail!("{} processes are called {name}", several.len()),
    }
}

fn file(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_memory_is_clean_and_dirty() {
        let text = "55d0-7ffd [rollup]\nRss:  900 kB\nPss:     300 kB\nPss_Dirty: 7 kB\n\
                    Private_Clean:  40 kB\nPrivate_Dirty: 2 kB\n";
        let expected = Memory {
            private_kib: 42.0,
            proportional_kib: 300.0,
        };
        assert_eq!(parse_memory(text).unwrap(), expected);
        assert!(parse_memory("Rss: 1 kB\n").is_err());
    }

    #[test]
    fn cpu_time_is_user_and_system_of_a_process_with_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 30 12 5 6 20 0 1 0 9";
        assert_eq!(parse_cpu_ticks(stat), Some(42));
        assert_eq!(parse_cpu_ticks("7 (a"), None);
        assert!(cpu_ticks(std::process::id()).is_some());
    }

    #[test]
    fn activity_is_of_the_time_between_and_new_threads_count_whole() {
        let at = |threads: &[(u32, (u64, u64))]| Activity {
            threads: threads.iter().copied().collect(),
        };
        let earlier = at(&[(1, (10, 100)), (2, (5, 50))]);
        let later = at(&[(1, (13, 140)), (3, (1, 7))]);
        assert_eq!(later.since(&earlier), (4, 47));
    }

    #[test]
    fn this_very_process_can_be_looked_at() {
        let me = std::process::id();
        assert!(memory(me).unwrap().private_kib > 0.0);
        assert!(threads(me).unwrap() >= 1.0 && descriptors(me).unwrap() >= 3.0);
        assert!(!activity(me).unwrap().threads.is_empty());
    }

    #[test]
    fn a_process_is_found_by_program_and_argument() {
        let mut child = std::process::Command::new("sleep")
            .arg("1987")
            .spawn()
            .unwrap();
        // Right after the fork the child's command line is still this test's.
        let begun = std::time::Instant::now();
        let found = loop {
            match find("sleep", "1987") {
                Err(error) if begun.elapsed().as_secs() > 10 => panic!("{error}"),
                Err(_) => std::thread::yield_now(),
                Ok(pid) => break pid,
            }
        };
        assert_eq!(found, child.id());
        assert!(children_of(&[std::process::id()]).unwrap().contains(&found));
        assert!(find("sleep", "1988").is_err());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
