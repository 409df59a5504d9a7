//! `cargo xtask bench`: davit and its peers side by side.
//!
//! ```text
//!  build release binaries ─► native namespace (scripts/native): davit-bench launch | rate | …  ─► JSON
//!                         └► limits: that, and again in a VM with limits on (bench_limits)
//!  scheduler: davit-scheduler-bench, built and run where we are, since it starts no containers
//! ```
//!
//! Natively there is a containerd, a registry and a disk of its own, docker and podman, real speed and no
//! limits. Needs root; leaves nothing behind but the JSON file asked for and, for `costs`, the table that
//! is kept in the tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use crate::bench_limits;

/// Where the namespace sees the directory that is named to it in `DAVIT_OUT_DIR`.
const OUT_DIR_INSIDE: &str = "/opt/davit/out";
/// What one call of cargo builds. The shim is apart, as in scripts/lib/build.sh: built together, it would get every
/// feature of tokio that the executor asks for.
const BUILDS: [&[&str]; 2] = [&["davit", "davit-benches"], &["containerd-shim-davit-v1"]];
const BENCHES: [&str; 9] = [
    "launch", "rate", "density", "memory", "logs", "files", "recover", "costs", "limits",
];
/// The bench that needs neither containers nor the executor.
const SCHEDULER: &str = "scheduler";
/// Where `costs` keeps its table.
const COSTS_TABLE: &str = "benches/costs.md";

/// What to measure, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options<'a> {
    /// Sub-command of davit-bench, or `limits`.
    bench: &'a str,
    /// Guest whose containerd, runc and crun are used.
    pub(crate) suite: &'a str,
    /// Where to write the results.
    json: Option<&'a str>,
    /// For davit-bench as they are.
    pub(crate) rest: Vec<&'a str>,
}

impl<'a> Options<'a> {
    fn parse(words: &[&'a str]) -> anyhow::Result<Self> {
        let Some((bench, words)) = words
            .split_first()
            .filter(|(bench, _)| BENCHES.contains(*bench))
        else {
            let names = BENCHES.join(" | ");
            bail!("which one? cargo xtask bench {names} | {SCHEDULER}");
        };
        let mut options = Self {
            bench,
            suite: "forky",
            json: None,
            rest: Vec::new(),
        };
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            let (flag, inline) = word
                .split_once('=')
                .map_or((word, None), |(f, v)| (f, Some(v)));
            if !matches!(flag, "--suite" | "--json") {
                options.rest.push(word);
                continue;
            }
            let value = inline
                .or_else(|| words.next())
                .with_context(|| format!("{flag} what?"))?;
            match flag {
                "--suite" => options.suite = value,
                _ => options.json = Some(value),
            }
        }
        Ok(options)
    }
}

/// What is measured: the tree, its binaries, its commit; and a directory for results while it goes on.
pub(crate) struct Tree<'a> {
    /// The repository.
    pub(crate) root: &'a Path,
    /// Release binaries.
    pub(crate) binaries: PathBuf,
    /// With `-dirty` when the tree differs from it.
    pub(crate) commit: String,
    /// Results, until they are copied to where they belong.
    pub(crate) results: PathBuf,
}

/// Builds, measures, prints.
///
/// # Errors
/// When the build or any measured command fails.
pub(crate) fn run(repository: &Path, words: &[&str]) -> anyhow::Result<()> {
    if let Some((&SCHEDULER, rest)) = words.split_first() {
        return measure_scheduler(repository, rest);
    }
    let options = Options::parse(words)?;
    let tree = Tree::build(repository)?;
    let outcome = measure(&tree, &options);
    let removed = fs::remove_dir_all(&tree.results);
    outcome?;
    removed.with_context(|| format!("remove {}", tree.results.display()))
}

/// Its own flags go to it as they are.
fn measure_scheduler(root: &Path, words: &[&str]) -> anyhow::Result<()> {
    build(root, &["davit-scheduler-bench"])?;
    let mut measure = Command::new(target(root).join("release/davit-scheduler-bench"));
    measure
        .args(["measure", "--commit", &commit(root)?])
        .args(words)
        .current_dir(root);
    succeed(&mut measure)
}

fn build(root: &Path, packages: &[&str]) -> anyhow::Result<()> {
    let mut build = Command::new("cargo");
    build
        .args(["build", "--release", "--locked"])
        .current_dir(root);
    for package in packages {
        build.args(["--package", package]);
    }
    succeed(&mut build)
}

fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), |target| root.join(target))
}

fn measure(tree: &Tree<'_>, options: &Options<'_>) -> anyhow::Result<()> {
    let json = match options.bench {
        "limits" => bench_limits::measure(tree, options)?,
        "costs" => {
            let table = Path::new(OUT_DIR_INSIDE).join("table");
            let table = table.to_string_lossy();
            let mut words = vec!["costs", "--table", &table];
            words.extend(&options.rest);
            let json = tree.measure_natively(options.suite, &words)?;
            copy(&tree.results.join("table"), &tree.root.join(COSTS_TABLE))?;
            json
        }
        bench => {
            let mut words = vec![bench];
            words.extend(&options.rest);
            tree.measure_natively(options.suite, &words)?
        }
    };
    match options.json {
        Some(file) => copy(&json, Path::new(file)),
        None => Ok(()),
    }
}

impl<'a> Tree<'a> {
    fn build(root: &'a Path) -> anyhow::Result<Self> {
        for packages in BUILDS {
            build(root, packages)?;
        }
        let target = target(root);
        let results = target.join(format!("bench-results.{}", std::process::id()));
        fs::create_dir_all(&results).with_context(|| format!("make {}", results.display()))?;
        Ok(Self {
            root,
            binaries: target.join("release"),
            commit: commit(root)?,
            results,
        })
    }

    /// Runs davit-bench in the native namespace and returns the file with its results.
    pub(crate) fn measure_natively(&self, suite: &str, words: &[&str]) -> anyhow::Result<PathBuf> {
        let name = format!("native-{suite}.json");
        let mut measure = Command::new(self.root.join("scripts/native"));
        measure
            .arg(format!("{suite}+peers"))
            .args(["--", "davit-bench"])
            .args(words)
            .args(["--commit", &self.commit, "--json"])
            .arg(Path::new(OUT_DIR_INSIDE).join(&name))
            .env("DAVIT_BIN_DIR", &self.binaries)
            .env("DAVIT_OUT_DIR", &self.results);
        succeed(&mut measure)?;
        Ok(self.results.join(name))
    }
}

fn commit(repository: &Path) -> anyhow::Result<String> {
    let git = |arguments: &[&str]| -> anyhow::Result<String> {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(repository);
        let output = command
            .output()
            .with_context(|| format!("start {command:?}"))?;
        ensure!(output.status.success(), "{command:?}: {}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let mut commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    if !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty() {
        commit.push_str("-dirty");
    }
    Ok(commit)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("copy {} to {}", from.display(), to.display()))
}

/// Runs a command to its end.
///
/// # Errors
/// When it does not exit 0.
pub(crate) fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_flags_are_taken_and_the_rest_is_passed_on() {
        let words = [
            "launch",
            "--rounds",
            "9",
            "--json",
            "a.json",
            "--suite=trixie",
            "--only=crun",
        ];
        let expected = Options {
            bench: "launch",
            suite: "trixie",
            json: Some("a.json"),
            rest: vec!["--rounds", "9", "--only=crun"],
        };
        assert_eq!(Options::parse(&words).unwrap(), expected);
    }

    #[test]
    fn a_missing_name_or_value_is_an_error() {
        for words in [
            [].as_slice(),
            &["--json", "x"],
            &["lunch"],
            &["launch", "--json"],
        ] {
            assert!(Options::parse(words).is_err(), "{words:?}");
        }
    }
}
