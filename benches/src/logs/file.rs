//! Log files of peers: waiting for their last line, and reading their lines.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::lines::{Check, Job};
use crate::clock;

const LOOK_AGAIN_MS: u64 = 1;
/// What the last line takes at most in any form.
const TAIL_BYTES: u64 = 4_096;
const COMPLETE_SECONDS_MAX: u64 = 300;

/// A line without its newline, and the time that its record bears, nanoseconds since 1970.
type Line = (Vec<u8>, u64);

/// Returns when the last line of `job` is in the file.
pub(super) fn wait_until_complete(path: &Path, job: Job) -> anyhow::Result<clock::Instant> {
    let last = job.last_number();
    let begun = Instant::now();
    loop {
        if tail(path)?.is_some_and(|tail| tail.contains(&last)) {
            return Ok(clock::Instant::now());
        }
        let waited = begun.elapsed().as_secs();
        ensure!(
            waited < COMPLETE_SECONDS_MAX,
            "{} is not complete after {waited} s",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(LOOK_AGAIN_MS));
    }
}

/// The end of the file; `None` before it exists.
fn tail(path: &Path) -> anyhow::Result<Option<String>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(|| format!("open {}", path.display()))?,
    };
    let length = file.metadata().context("ask for its length")?.len();
    let mut bytes = vec![0; usize::try_from(length.min(TAIL_BYTES))?];
    file.read_exact_at(&mut bytes, length.saturating_sub(TAIL_BYTES))
        .with_context(|| format!("read {}", path.display()))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Checks each line that `read` finds in the file's.
pub(super) fn check(
    path: &Path,
    job: Job,
    read: fn(&str, &mut Partial) -> anyhow::Result<Option<Line>>,
) -> anyhow::Result<Check> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut check = Check::of(job);
    let mut partial = Partial::default();
    for line in BufReader::new(file).lines() {
        let line = line.with_context(|| format!("read {}", path.display()))?;
        if let Some((bytes, unix_ns)) = read(&line, &mut partial)? {
            check.line(&bytes, unix_ns)?;
        }
    }
    Ok(check)
}

/// The beginning of a line that goes on in the next record.
#[derive(Debug, Default)]
pub(super) struct Partial(Vec<u8>);

#[derive(Deserialize)]
struct JsonLine {
    log: String,
    time: jiff::Timestamp,
}

/// docker's form: a JSON object a record.
pub(super) fn json_file(record: &str, partial: &mut Partial) -> anyhow::Result<Option<Line>> {
    let JsonLine { log, time } =
        serde_json::from_str(record).with_context(|| format!("understand {record:?}"))?;
    partial.0.extend_from_slice(log.as_bytes());
    if partial.0.pop_if(|last| *last == b'\n').is_none() {
        return Ok(None);
    }
    Ok(Some((std::mem::take(&mut partial.0), unix_ns(time)?)))
}

/// conmon's form: `TIME STREAM P|F TEXT`, P where the line goes on.
pub(super) fn k8s_file(record: &str, partial: &mut Partial) -> anyhow::Result<Option<Line>> {
    let wrong = || format!("understand {record:?}");
    let mut words = record.splitn(4, ' ');
    let time: jiff::Timestamp = words
        .next()
        .unwrap_or_default()
        .parse()
        .with_context(wrong)?;
    let tag = words.nth(1).with_context(wrong)?;
    partial
        .0
        .extend_from_slice(words.next().unwrap_or_default().as_bytes());
    match tag {
        "P" => Ok(None),
        _ => Ok(Some((std::mem::take(&mut partial.0), unix_ns(time)?))),
    }
}

fn unix_ns(time: jiff::Timestamp) -> anyhow::Result<u64> {
    u64::try_from(time.as_nanosecond()).context("a time before 1970")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_record_is_a_line_or_part_of_one() {
        let mut partial = Partial::default();
        let mut read = |text: &str| {
            let record = format!(
                "{{\"log\":\"{text}\",\"stream\":\"stdout\",\"time\":\"1970-01-01T00:00:01.000000002Z\"}}"
            );
            json_file(&record, &mut partial).unwrap()
        };
        assert_eq!(read("a\\n"), Some((b"a".to_vec(), 1_000_000_002)));
        assert_eq!(read("b"), None);
        assert_eq!(read("c\\n").unwrap().0, b"bc");
    }

    #[test]
    fn a_k8s_record_is_a_line_or_part_of_one() {
        let mut partial = Partial::default();
        let mut read = |rest: &str| {
            let record = format!("1970-01-01T01:00:01.5+01:00 stdout {rest}");
            k8s_file(&record, &mut partial).unwrap()
        };
        assert_eq!(read("F a b"), Some((b"a b".to_vec(), 1_500_000_000)));
        assert_eq!(read("P c"), None);
        assert_eq!(read("F d").unwrap().0, b"cd");
    }

    #[test]
    fn a_file_is_complete_with_its_last_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let job = Job::Flood {
            count: 3,
            line_bytes: 20,
        };
        std::fs::write(
            file.path(),
            format!("{}0000000000000002 xx", "y".repeat(9_000)),
        )
        .unwrap();
        wait_until_complete(file.path(), job).unwrap();
        assert!(tail(Path::new("/nonexistent")).unwrap().is_none());
    }
}
