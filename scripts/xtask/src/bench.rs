//! `cargo xtask bench`: davit and its peers side by side, at native speed.
//!
//! Builds the release binaries and runs `davit-bench` in the native test namespace (`scripts/native`):
//! a containerd, a registry and a disk of its own, no limits. Needs root; leaves nothing behind but the
//! JSON file asked for.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// Where the namespace sees the directory that is named to it in `DAVIT_OUT_DIR`.
const OUT_DIR_INSIDE: &str = "/opt/davit/out";
const PACKAGES: [&str; 3] = ["davit", "containerd-shim-davit-v1", "davit-benches"];

/// What to measure, and where.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Sub-command of davit-bench: launch, memory.
    bench: String,
    /// Guest whose containerd, runc and crun are used.
    #[arg(long, default_value = "forky")]
    suite: String,
    /// Write the results to this file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// For davit-bench: --rounds, --warm-up, --seed, --only.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Builds, measures, prints.
///
/// # Errors
/// When the build or any measured command fails.
pub(crate) fn run(repository: &Path, options: &Options) -> anyhow::Result<()> {
    let mut build = Command::new("cargo");
    build.args(["build", "--release", "--locked"]).current_dir(repository);
    for package in PACKAGES {
        build.args(["--package", package]);
    }
    succeed(&mut build)?;

    let mut measure = Command::new(repository.join("scripts/native"));
    measure.args([&options.suite, "--", "davit-bench", &options.bench]);
    measure.args(["--commit", &commit(repository)?]);
    if let Some(file) = &options.json {
        let file = std::path::absolute(file).context("the JSON file's path")?;
        let (Some(directory), Some(name)) = (file.parent(), file.file_name()) else {
            anyhow::bail!("--json {}: not a file's path", file.display());
        };
        measure.env("DAVIT_OUT_DIR", directory);
        measure.arg("--json").arg(Path::new(OUT_DIR_INSIDE).join(name));
    }
    succeed(measure.args(&options.arguments))
}

/// The commit, with `-dirty` when the tree differs from it.
fn commit(repository: &Path) -> anyhow::Result<String> {
    let git = |arguments: &[&str]| -> anyhow::Result<String> {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(repository);
        let output = command.output().with_context(|| format!("start {command:?}"))?;
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
    let status = command.status().with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
