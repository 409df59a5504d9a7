//! Where the figures come from: kernel, processor, versions of all that takes part.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context as _;

use crate::command;

/// The programs whose version a reader needs to judge the figures.
const PROGRAMS: [&str; 8] = [
    "davit",
    "containerd",
    "ctr",
    "crun",
    "runc",
    "podman",
    "conmon",
    "docker",
];

/// The kernel's release, as `uname -r`.
pub(crate) fn kernel() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

/// Whether cpu, memory and pids can be limited here.
pub(crate) fn has_controllers() -> bool {
    let text = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let there: Vec<&str> = text.split_whitespace().collect();
    ["cpu", "memory", "pids"]
        .iter()
        .all(|name| there.contains(name))
}

/// Processor and number of CPUs, e.g. `2 × Intel(R) Xeon(R) Processor`.
pub(crate) fn machine() -> anyhow::Result<String> {
    let text = fs::read_to_string("/proc/cpuinfo").context("read /proc/cpuinfo")?;
    Ok(describe(&text))
}

fn describe(cpuinfo: &str) -> String {
    let models: Vec<&str> = cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(key, _)| key.trim_end() == "model name")
        .map(|(_, value)| value.trim())
        .collect();
    format!(
        "{} × {}",
        models.len(),
        models.first().unwrap_or(&"unknown processor")
    )
}

/// The first line of `--version` of every program that may take part; of one that cannot be asked, why.
pub(crate) fn versions() -> BTreeMap<String, String> {
    let version = |program: &str| match command::output(&mut command::of(program, &["--version"])) {
        Ok(output) => first_line(&output),
        Err(error) => format!("{program} is absent: {:#}", error.root_cause()),
    };
    PROGRAMS
        .iter()
        .map(|program| ((*program).to_owned(), version(program)))
        .collect()
}

fn first_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    text.lines().next().unwrap_or("").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted() {
        let cpuinfo =
            "processor\t: 0\nmodel name\t: Foo 3\n\nprocessor\t: 1\nmodel name\t: Foo 3\n";
        assert_eq!(describe(cpuinfo), "2 × Foo 3");
        assert_eq!(describe(""), "0 × unknown processor");
    }

    #[test]
    fn a_missing_program_is_named_as_absent() {
        let versions = versions();
        assert_eq!(versions.len(), PROGRAMS.len());
        for (program, version) in versions {
            assert!(!version.is_empty(), "{program}");
        }
    }
}
