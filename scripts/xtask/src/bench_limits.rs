//! `cargo xtask bench limits`: the launch ratios again where limits are real.
//!
//! Native measurements have no controllers on most machines, so nobody sets limits there. Here the same
//! few peers are measured natively and in a VM (scripts/vm), there with the same cpu and memory limits for
//! all, and both ratios are printed side by side. Emulated CPUs make every instruction dearer and device
//! and kernel work differently so: only the ratios mean anything, and they only hint.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::bench::{Options, Tree, succeed};

const PEERS: &str = "davit,ctr-runc,crun";
const PROGRAMS: [&str; 3] = ["davit", "containerd-shim-davit-v1", "davit-bench"];
const BIN_INSIDE: &str = "/opt/davit/bin";
const JSON_INSIDE: &str = "/var/tmp/limits.json";
/// An emulated `ctr run` takes more than a second.
const ROUNDS: &str = "15";
const WARM_UP_ROUNDS: &str = "2";

/// Measures in both places; returns the file with the VM's results.
pub(crate) fn measure(tree: &Tree<'_>, options: &Options<'_>) -> anyhow::Result<PathBuf> {
    let mut words = vec!["launch", "--only", PEERS, "--warm-up", WARM_UP_ROUNDS];
    if !options.rest.iter().any(|word| word.starts_with("--rounds")) {
        words.extend(["--rounds", ROUNDS]);
    }
    words.extend(&options.rest);
    let native = tree.measure_natively(options.suite, &words)?;
    words.push("--limits");
    let limited = Guest::up(tree, options.suite)?.measure(&words)?;
    let (native, inside) = (ratios(&native)?, ratios(&limited)?);
    println!("{}", side_by_side(&native, &inside));
    Ok(limited)
}

/// A VM with the binaries in it; ended when dropped.
struct Guest<'a> {
    tree: &'a Tree<'a>,
    suite: &'a str,
    name: String,
}

impl<'a> Guest<'a> {
    fn up(tree: &'a Tree<'a>, suite: &'a str) -> anyhow::Result<Self> {
        let guest = Self {
            tree,
            suite,
            // The next machine to come up ends one whose process is gone.
            name: format!("bench.pid{}", std::process::id()),
        };
        succeed(&mut guest.command("up"))?;
        let mut push = guest.command("push");
        push.args(PROGRAMS.map(|program| tree.binaries.join(program)));
        succeed(push.arg(BIN_INSIDE))?;
        Ok(guest)
    }

    fn command(&self, action: &str) -> Command {
        let mut command = Command::new(self.tree.root.join("scripts/vm"));
        command
            .args([action, self.suite])
            .env("DAVIT_VM", &self.name);
        command
    }

    fn measure(&self, words: &[&str]) -> anyhow::Result<PathBuf> {
        let mut measure = self.command("exec");
        measure.args(["--", "davit-bench"]).args(words).args([
            "--commit",
            &self.tree.commit,
            "--json",
            JSON_INSIDE,
        ]);
        succeed(&mut measure)?;
        succeed(
            self.command("pull")
                .arg(JSON_INSIDE)
                .arg(&self.tree.results),
        )?;
        match Path::new(JSON_INSIDE).file_name() {
            Some(name) => Ok(self.tree.results.join(name)),
            None => bail!("{JSON_INSIDE} is no file"),
        }
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        if let Err(error) = succeed(&mut self.command("down")) {
            eprintln!("{error:#}");
        }
    }
}

#[derive(Deserialize)]
struct Results {
    ratios: BTreeMap<String, f64>,
}

fn ratios(file: &Path) -> anyhow::Result<BTreeMap<String, f64>> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let results: Results =
        serde_json::from_str(&text).with_context(|| format!("understand {}", file.display()))?;
    Ok(results.ratios)
}

fn side_by_side(native: &BTreeMap<String, f64>, limited: &BTreeMap<String, f64>) -> String {
    let mut text = format!("{:<44} {:>8} {:>16}", "ratio", "native", "VM, with limits");
    for (name, native) in native {
        if let Some(limited) = limited.get(name) {
            text.push_str(&format!("\n{name:<44} {native:>8.3} {limited:>16.3}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_both_measured_is_compared() {
        let map = |pairs: &[(&str, f64)]| -> BTreeMap<String, f64> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect()
        };
        let text = side_by_side(&map(&[("a", 0.5), ("b", 1.0)]), &map(&[("a", 0.25)]));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[1].starts_with("a ") && lines[1].contains("0.500"));
        assert!(lines[1].ends_with("0.250"));
    }
}
