//! `cargo xtask check`: every rule, each with its time and, when broken, the way to mend it. All are
//! tried, so one run shows everything; cheap ones come first.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::metadata::Metadata;
use crate::{arrows, licences, links, tidy};

struct Step {
    name: &'static str,
    /// What to do when it fails.
    mend: &'static str,
    run: fn(&Path) -> Result<()>,
}

const STEPS: &[Step] = &[
    Step {
        name: "tidy",
        mend: "each line above says what and where; the rules are in scripts/xtask/src/tidy.rs",
        run: tidy::check,
    },
    Step {
        name: "links",
        mend: "mend the link, or write the test that the document promises",
        run: links::check,
    },
    Step {
        name: "arrows",
        mend: "move the code to where it may depend on it; the arrows are in ARCHITECTURE.md and \
               scripts/xtask/src/arrows.rs",
        run: |root| arrows::check(&Metadata::load(root)?),
    },
    Step {
        name: "licences",
        mend: "choose another crate or version, or allow it in deny.toml with the reason",
        run: |root| licences::check(root, &Metadata::load(root)?),
    },
    Step {
        name: "fmt",
        mend: "cargo fmt --all",
        run: |root| cargo(root, &["fmt", "--all", "--", "--check"], &[]),
    },
    Step {
        name: "clippy",
        mend: "cargo clippy --workspace --all-targets, and mend what it names",
        run: |root| {
            let arguments = [
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--",
                "-D",
                "warnings",
            ];
            cargo(root, &arguments, &[])
        },
    },
    Step {
        name: "doc",
        mend: "RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps, and mend what it names",
        run: |root| {
            let arguments = [
                "doc",
                "--workspace",
                "--no-deps",
                "--document-private-items",
                "--locked",
            ];
            cargo(root, &arguments, &[("RUSTDOCFLAGS", "-D warnings")])
        },
    },
];

const TESTS: Step = Step {
    name: "tests",
    mend: "cargo test --workspace NAME runs the one that failed",
    run: tests,
};

/// Runs every rule; `with_tests` the unit and property tests too.
pub(crate) fn run(root: &Path, with_tests: bool) -> Result<()> {
    let mut broken = Vec::new();
    for step in STEPS.iter().chain(with_tests.then_some(&TESTS)) {
        println!("── {}", step.name);
        let begin = Instant::now();
        let outcome = (step.run)(root);
        let seconds = begin.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => println!("   {} fine, {seconds:.1} s", step.name),
            Err(error) => {
                println!("   {} FAILED, {seconds:.1} s: {error:#}", step.name);
                println!("   to mend: {}", step.mend);
                broken.push(step.name);
            }
        }
    }
    if !broken.is_empty() {
        bail!("failed: {}", broken.join(", "));
    }
    Ok(())
}

fn tests(root: &Path) -> Result<()> {
    if has_nextest() {
        cargo(
            root,
            &[
                "nextest",
                "run",
                "--workspace",
                "--locked",
                "--no-fail-fast",
            ],
            &[],
        )?;
        // nextest leaves the examples in docs out.
        return cargo(
            root,
            &["test", "--workspace", "--doc", "--locked", "--quiet"],
            &[],
        );
    }
    cargo(root, &["test", "--workspace", "--locked", "--quiet"], &[])
}

fn has_nextest() -> bool {
    Command::new("cargo")
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn cargo(root: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let status = Command::new("cargo")
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root)
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("cargo {} ended with {status}", arguments.join(" "));
    }
    Ok(())
}
