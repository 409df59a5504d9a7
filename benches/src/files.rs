//! `davit-bench files`: many files into a run and out of it again, against `tar | tar` from directory to directory.
//!
//! ```text
//!  davit run --dir TREE --extract /work:OUT ─► payload's stamp ─► end of the command
//!  └────────────── files_in ───────────────┘└────── files_out ──────┘
//! ```
//!
//! davit's figures hold the launch and the end of a run, its archives on the way, their digests, and that what it keeps of
//! the run is on disk. Each turn begins a while after the last one's files were removed, with nothing left to write:
//! an ext4 without a journal looks at every inode that was freed in the last minute before it gives another one out, and
//! makes 3,000 files a second then instead of 14,000.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use crate::clock::Instant;
use crate::davit::Davit;
use crate::peers::Peer;
use crate::sample::{Quantity, Sample};
use crate::session::{self, Bench, Options};
use crate::target::{Bound, Target};
use crate::{command, image};

const PEERS: [&str; 2] = ["davit", "tar"];
const FILES: u32 = 100_000;
const FILES_A_DIRECTORY: u32 = 100;
/// Of all files together, 1 GiB.
const BYTES: u64 = 1 << 30;
/// After a removal, until the file system gives out inodes as quickly as before (ext4: `EXT4_RECENTCY_MIN`, 60 s).
const SETTLE: Duration = Duration::from_secs(65);
/// So much a second as `tar | tar`, as time.
const TIME_RATIO_MAX: f64 = 1.0 / 0.7;

const FILES_IN: Quantity = Quantity {
    name: "files_in",
    unit: "ms",
    spans: "from right before the command until all files were where they belong; for davit until the job's first \
            instruction",
};

const FILES_OUT: Quantity = Quantity {
    name: "files_out",
    unit: "ms",
    spans: "the same back; for davit from the job's first instruction until the command returned, which includes the end \
            of the run",
};

const TARGETS: [Target; 2] = [
    Target::Ratio("files_in: davit / tar", Bound::AtMost(TIME_RATIO_MAX)),
    Target::Ratio("files_out: davit / tar", Bound::AtMost(TIME_RATIO_MAX)),
];

const BENCH: Bench<'_> = Bench {
    peers: &PEERS,
    quantities: &[FILES_IN, FILES_OUT],
    targets: &TARGETS,
    rounds: 5,
    warm_up_rounds: 1,
};

/// Measures and reports.
///
/// # Errors
/// When davit or tar fails, or not all files come back.
pub(crate) fn measure(options: &Options) -> anyhow::Result<()> {
    session::measure(options, &BENCH, |name, stage| {
        let tree = stage.scratch().join("tree");
        if !tree.exists() {
            make(&tree)?;
        }
        let place = stage.scratch().to_owned();
        let peer: Box<dyn Peer> = match name {
            "davit" => Box::new(ThroughDavit {
                davit: stage.davit()?,
                socket: stage.socket()?,
                tree,
                place,
            }),
            "tar" => Box::new(TarToTar { tree, place }),
            _ => bail!("there is no peer {name}"),
        };
        Ok(vec![peer])
    })
}

/// The files, no two alike.
fn make(tree: &Path) -> anyhow::Result<()> {
    let bytes_each = usize::try_from(BYTES / u64::from(FILES)).context("a size")?;
    for number in 0..FILES {
        let directory = tree.join(format!("d{:04}", number / FILES_A_DIRECTORY));
        if number % FILES_A_DIRECTORY == 0 {
            fs::create_dir_all(&directory).context("make the tree")?;
        }
        let line = format!("{number:015}\n");
        let content = line.repeat(bytes_each / line.len() + 1);
        File::create(directory.join(format!("f{number:06}")))
            .and_then(|mut file| file.write_all(&content.as_bytes()[..bytes_each]))
            .context("make the tree")?;
    }
    Ok(())
}

/// How many files lie below `tree`, and their bytes.
fn count(tree: &Path) -> anyhow::Result<(u32, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in fs::read_dir(tree).with_context(|| format!("list {}", tree.display()))? {
        let entry = entry?;
        let data = entry.metadata()?;
        if data.is_dir() {
            let below = count(&entry.path())?;
            (files, bytes) = (files + below.0, bytes + below.1);
        } else {
            (files, bytes) = (files + 1, bytes + data.len());
        }
    }
    Ok((files, bytes))
}

/// All of it came back; it is taken away.
fn check_and_remove(came: &Path, tree: &Path) -> anyhow::Result<()> {
    let (found, wanted) = (count(came)?, count(tree)?);
    ensure!(
        found == wanted,
        "{found:?} files and bytes came back of {wanted:?}"
    );
    fs::remove_dir_all(came).context("remove what came back")
}

struct ThroughDavit {
    davit: Davit,
    socket: PathBuf,
    tree: PathBuf,
    place: PathBuf,
}

impl Peer for ThroughDavit {
    fn name(&self) -> &'static str {
        "davit"
    }

    fn measure_once(&mut self) -> anyhow::Result<Sample> {
        let out = self.place.join("out");
        let tree = self.tree.display().to_string();
        let extract = format!("/work:{}", out.display());
        let name = "bench-files";
        let arguments = [
            "run",
            "--name",
            name,
            "--dir",
            &tree,
            "--workdir",
            "/work",
            "--extract",
            &extract,
            image::REFERENCE,
            "--",
            image::PAYLOAD_PATH,
        ];
        let mut command = command::of("davit", &arguments);
        command.env("DAVIT_SOCKET", &self.socket);
        settle();
        let begun = Instant::now();
        let output = command::output(&mut command)?;
        let ended = Instant::now();
        let first = Instant::printed(&output)?;
        let run = self.davit.run_named(name)?;
        self.davit.wait_until_cleaned(&run)?;
        self.davit.remove(&run.id)?;
        check_and_remove(&out, &self.tree)?;
        Ok(Sample::from([
            (FILES_IN, first.milliseconds_since(begun)?),
            (FILES_OUT, ended.milliseconds_since(first)?),
        ]))
    }
}

struct TarToTar {
    tree: PathBuf,
    place: PathBuf,
}

impl Peer for TarToTar {
    fn name(&self) -> &'static str {
        "tar"
    }

    fn measure_once(&mut self) -> anyhow::Result<Sample> {
        let (there, back) = (self.place.join("there"), self.place.join("back"));
        settle();
        let begun = Instant::now();
        tar_to_tar(&self.tree, &there)?;
        let middle = Instant::now();
        tar_to_tar(&there, &back)?;
        let ended = Instant::now();
        check_and_remove(&there, &self.tree)?;
        check_and_remove(&back, &self.tree)?;
        Ok(Sample::from([
            (FILES_IN, middle.milliseconds_since(begun)?),
            (FILES_OUT, ended.milliseconds_since(middle)?),
        ]))
    }
}

/// Lets no turn pay for the removals of the one before.
fn settle() {
    thread::sleep(SETTLE);
    rustix::fs::sync();
}

fn tar_to_tar(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir(to).with_context(|| format!("make {}", to.display()))?;
    let line = "set -o pipefail; tar -C \"$1\" -cf - . | tar -C \"$2\" -xf -";
    let mut command = command::of("bash", &["-c", line, "tar-to-tar"]);
    command::output(command.arg(from).arg(to))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_come_back_is_an_error() {
        let place = tempfile::tempdir().unwrap();
        let (tree, came) = (place.path().join("tree"), place.path().join("came"));
        for directory in [&tree, &came] {
            fs::create_dir(directory).unwrap();
            fs::write(directory.join("a"), "1").unwrap();
        }
        fs::write(tree.join("b"), "2").unwrap();
        let error = check_and_remove(&came, &tree).unwrap_err().to_string();
        assert!(
            error.contains("(1, 1)") && error.contains("(2, 2)"),
            "{error}"
        );
        fs::write(came.join("b"), "2").unwrap();
        check_and_remove(&came, &tree).unwrap();
        assert!(!came.exists());
    }
}
