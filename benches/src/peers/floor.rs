//! The floor: what the kernel alone takes for a container, by the resident program `davit-bench-floor`.
//! No launcher can be faster here; what it leaves out is said in its source.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::clock::Instant;
use crate::image;
use crate::peers::{Peer, launch_sample};
use crate::sample::Sample;

const PROGRAM: &str = "davit-bench-floor";

/// The resident launcher; killed and reaped when dropped.
pub(crate) struct Floor {
    launcher: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Floor {
    /// Starts the launcher on a plain directory with the payload, in `scratch`; `number` tells several apart.
    pub(crate) fn prepare(scratch: &Path, number: u32) -> anyhow::Result<Self> {
        let lower = scratch.join(format!("floor-lower-{number}"));
        let writable = scratch.join(format!("floor-{number}"));
        for directory in [&lower, &writable] {
            std::fs::create_dir(directory)
                .with_context(|| format!("create {}", directory.display()))?;
        }
        image::write_plain(&lower)?;
        let program = std::env::current_exe()
            .context("where is this program?")?
            .with_file_name(PROGRAM);
        let mut launcher = Command::new(&program)
            .args([&writable, &lower])
            .arg(image::PAYLOAD_PATH)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let pipes = launcher.stdin.take().zip(launcher.stdout.take());
        let (requests, answers) = pipes.context("the launcher has pipes")?;
        Ok(Self {
            launcher,
            requests,
            answers: BufReader::new(answers),
        })
    }

    /// One launch: when the payload's first instruction was, and when nothing was left.
    pub(crate) fn launch(&mut self) -> anyhow::Result<(Instant, Instant)> {
        let mut answer = String::new();
        self.requests.write_all(b"\n").context("ask the launcher")?;
        self.answers
            .read_line(&mut answer)
            .context("hear the launcher")?;
        let words: Vec<&str> = answer.split_whitespace().collect();
        ensure!(
            words.len() == 2,
            "{PROGRAM} ended; its error is above: {answer:?}"
        );
        let instant = |word: &str| Instant::printed(word.as_bytes());
        Ok((instant(words[0])?, instant(words[1])?))
    }
}

impl Peer for Floor {
    fn name(&self) -> &'static str {
        "floor"
    }

    fn measure_once(&mut self) -> anyhow::Result<Sample> {
        let submitted = Instant::now();
        let (first, cleaned) = self.launch()?;
        launch_sample(submitted, first, cleaned)
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // Both fail only when it is gone and reaped already.
        self.launcher.kill().unwrap_or_default();
        self.launcher.wait().map(drop).unwrap_or_default();
    }
}
