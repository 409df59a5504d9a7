//! containerd's own load generator, `containerd-stress`, against the runc shim.
//!
//! Debian leaves it out of its packages; built from containerd's source it may lie beside davit's own
//! binaries. It checks exit codes itself and counts what failed.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::Batch;
use super::meter::{Daemons, Meter};
use crate::{command, image};

const PROGRAM: &str = "containerd-stress";

/// What `--json` prints, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Outcome {
    total: u64,
    failures: u64,
    seconds: f64,
}

/// Whether it can be run.
pub(super) fn is_there() -> anyhow::Result<()> {
    command::output(&mut command::of(PROGRAM, &["--help"]))
        .map(drop)
        .context("Debian does not package it; put one into DAVIT_BIN_DIR to compare with it")
}

pub(super) fn run(daemons: Daemons, concurrency: u32, window: Duration) -> anyhow::Result<Batch> {
    let (concurrency, seconds) = (concurrency.to_string(), window.as_secs());
    let mut stress = command::of(PROGRAM, &["--json", "--runtime", "io.containerd.runc.v2"]);
    stress
        .args(["--concurrent", &concurrency, "--image", image::REFERENCE])
        .args(["--duration", &format!("{seconds}s")]);
    let meter = Meter::begin(daemons)?;
    let (runs, took) = parse(&command::output(&mut stress)?)?;
    Ok(Batch {
        took,
        ..meter.end(runs)?
    })
}

/// Its last line is JSON; what it logs may go before.
fn parse(output: &[u8]) -> anyhow::Result<(usize, Duration)> {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().rfind(|line| line.starts_with('{'));
    let line = line.with_context(|| format!("{PROGRAM} printed no result: {text:?}"))?;
    let Outcome {
        total,
        failures,
        seconds,
    } = serde_json::from_str(line).with_context(|| format!("understand {line:?}"))?;
    ensure!(failures == 0, "{failures} of {total} runs failed");
    let runs = usize::try_from(total).context("count its runs")?;
    let took = Duration::try_from_secs_f64(seconds).context("its time")?;
    Ok((runs, took))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_read_and_failures_are_errors() {
        let parsed = parse(b"noise\n{\"total\":30,\"failures\":0,\"seconds\":3.5,\"x\":1}\n");
        assert_eq!(parsed.unwrap(), (30, Duration::from_millis(3_500)));
        assert!(parse(b"{\"total\":30,\"failures\":1,\"seconds\":3.5}\n").is_err());
        assert!(parse(b"").is_err());
    }
}
