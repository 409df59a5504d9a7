//! Where the figures come from: kernel, processor, versions of all that takes part.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context as _;

use crate::command;

/// The programs whose version a reader needs to judge the figures.
const PROGRAMS: &[&str] = &["containerd", "ctr", "crun", "runc"];

/// The kernel's release, as `uname -r`.
pub(crate) fn kernel() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
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

/// The first line of `--version` of every program that takes part.
pub(crate) fn versions() -> anyhow::Result<BTreeMap<String, String>> {
    PROGRAMS
        .iter()
        .map(|program| {
            let output = command::output(&mut command::of(program, &["--version"]))?;
            let text = String::from_utf8_lossy(&output);
            Ok((
                (*program).to_owned(),
                text.lines().next().unwrap_or("").to_owned(),
            ))
        })
        .collect()
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
}
