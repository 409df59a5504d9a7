//! `cargo xtask bench`: davit and its peers side by side, at native speed.
//!
//! Builds the release binaries and runs `davit-bench` in the native test namespace (`scripts/native`):
//! a containerd, a registry and a disk of its own, docker and podman, no limits. Needs root; leaves nothing
//! behind but the JSON file asked for.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

/// Where the namespace sees the directory that is named to it in `DAVIT_OUT_DIR`.
const OUT_DIR_INSIDE: &str = "/opt/davit/out";
const PACKAGES: [&str; 3] = ["davit", "containerd-shim-davit-v1", "davit-benches"];

/// What to measure, and where.
#[derive(Debug, PartialEq, Eq)]
struct Options<'a> {
    /// Sub-command of davit-bench.
    bench: &'a str,
    /// Guest whose containerd, runc and crun are used.
    suite: &'a str,
    /// Where to write the results.
    json: Option<&'a str>,
    /// For davit-bench as they are.
    rest: Vec<&'a str>,
}

impl<'a> Options<'a> {
    fn parse(words: &[&'a str]) -> anyhow::Result<Self> {
        let Some((bench, words)) = words
            .split_first()
            .filter(|(bench, _)| !bench.starts_with('-'))
        else {
            bail!("which one? cargo xtask bench launch | memory");
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

/// Builds, measures, prints.
///
/// # Errors
/// When the build or any measured command fails.
pub(crate) fn run(repository: &Path, words: &[&str]) -> anyhow::Result<()> {
    let options = Options::parse(words)?;
    let mut build = Command::new("cargo");
    build
        .args(["build", "--release", "--locked"])
        .current_dir(repository);
    for package in PACKAGES {
        build.args(["--package", package]);
    }
    succeed(&mut build)?;

    let mut measure = Command::new(repository.join("scripts/native"));
    measure.arg(format!("{}+peers", options.suite));
    measure.args(["--", "davit-bench", options.bench]);
    measure.args(["--commit", &commit(repository)?]);
    if let Some(file) = options.json {
        let file = std::path::absolute(file).context("the JSON file's path")?;
        let (Some(directory), Some(name)) = (file.parent(), file.file_name()) else {
            bail!("--json {}: not a file's path", file.display());
        };
        measure.env("DAVIT_OUT_DIR", directory);
        measure
            .arg("--json")
            .arg(Path::new(OUT_DIR_INSIDE).join(name));
    }
    succeed(measure.args(&options.rest))
}

/// The commit, with `-dirty` when the tree differs from it.
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

fn succeed(command: &mut Command) -> anyhow::Result<()> {
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
        for words in [[].as_slice(), &["--json", "x"], &["launch", "--json"]] {
            assert!(Options::parse(words).is_err(), "{words:?}");
        }
    }
}
