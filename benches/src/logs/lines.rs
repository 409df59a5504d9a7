//! What the payload is told to write, and whether a record holds exactly that.

use anyhow::{Context as _, ensure};

use crate::clock::Instant;

/// Bytes of a line up to its filler: sixteen digits and a space.
const NUMBER_BYTES: usize = 17;

/// What the payload writes after its stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Lines of one length, as fast as they are taken.
    Flood {
        /// How many.
        count: u64,
        /// Bytes of each, newline included.
        line_bytes: u64,
    },
    /// Lines of 64 bytes with the time of their writing.
    Paced {
        /// How many.
        count: u64,
        /// Microseconds between two.
        interval_us: u64,
    },
}

impl Job {
    /// The payload's arguments.
    pub(super) fn arguments(self) -> [String; 3] {
        match self {
            Self::Flood { count, line_bytes } => {
                ["lines".into(), count.to_string(), line_bytes.to_string()]
            }
            Self::Paced { count, interval_us } => {
                ["paced".into(), count.to_string(), interval_us.to_string()]
            }
        }
    }

    const fn count(self) -> u64 {
        match self {
            Self::Flood { count, .. } | Self::Paced { count, .. } => count,
        }
    }

    /// How the number of its last line is written: it occurs nowhere before.
    pub(super) fn last_number(self) -> String {
        format!("{:016}", self.count().saturating_sub(1))
    }
}

/// Reads a record line by line and refuses anything that the payload did not write just then.
pub(super) struct Check {
    job: Job,
    stamp: Option<Instant>,
    lines: u64,
    latencies_us: Vec<f64>,
}

impl Check {
    pub(super) const fn of(job: Job) -> Self {
        Self {
            job,
            stamp: None,
            lines: 0,
            latencies_us: Vec::new(),
        }
    }

    /// The next line, without its newline, and the time that its record bears.
    pub(super) fn line(&mut self, line: &[u8], recorded_unix_ns: u64) -> anyhow::Result<()> {
        if self.stamp.is_none() {
            self.stamp = Some(Instant::printed(line)?);
            return Ok(());
        }
        let expected = self.lines;
        let wrong = || format!("line {expected} reads {:?}", String::from_utf8_lossy(line));
        let (number, rest) = line.split_at_checked(NUMBER_BYTES).with_context(wrong)?;
        ensure!(
            number == format!("{expected:016} ").as_bytes(),
            "{}",
            wrong()
        );
        match self.job {
            Job::Flood { line_bytes, .. } => {
                let whole = line.len() as u64 + 1 == line_bytes;
                let filled = rest.iter().all(|&byte| byte == b'x');
                ensure!(whole && filled, "{}", wrong());
            }
            Job::Paced { .. } => {
                let written = rest.split(|&byte| byte == b' ').next().unwrap_or(rest);
                let written = std::str::from_utf8(written).with_context(wrong)?;
                let written_unix_ns: u64 = written.parse().with_context(wrong)?;
                // Both times are of one clock; a record stamped before its write would be a lie.
                let ns = recorded_unix_ns
                    .checked_sub(written_unix_ns)
                    .with_context(wrong)?;
                #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
                self.latencies_us.push(ns as f64 / 1e3);
            }
        }
        self.lines += 1;
        Ok(())
    }

    /// When the job began, and the latencies of its lines; an error unless all of them came.
    pub(super) fn end(self) -> anyhow::Result<(Instant, Vec<f64>)> {
        let count = self.job.count();
        ensure!(
            self.lines == count,
            "the record holds {} of {count} lines",
            self.lines
        );
        let stamp = self.stamp.context("the record holds no stamp")?;
        Ok((stamp, self.latencies_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOD: Job = Job::Flood {
        count: 2,
        line_bytes: 20,
    };

    fn checked(job: Job, lines: &[&str]) -> anyhow::Result<Vec<f64>> {
        let mut check = Check::of(job);
        for line in lines {
            check.line(line.as_bytes(), 2_500)?;
        }
        Ok(check.end()?.1)
    }

    #[test]
    fn only_the_very_lines_in_their_order_are_taken() {
        let (first, second) = ("0000000000000000 xx", "0000000000000001 xx");
        checked(FLOOD, &["7", first, second]).unwrap();
        for wrong in [
            &["7", first][..],
            &["7", second, first],
            &["7", first, first],
            &["7", first, second, second],
            &["7", first, "0000000000000001 x"],
            &["7", first, "0000000000000001 xy"],
            &[first, second],
        ] {
            assert!(checked(FLOOD, wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(FLOOD.last_number(), "0000000000000001");
    }

    #[test]
    fn a_paced_line_tells_how_late_its_record_was() {
        let paced = Job::Paced {
            count: 1,
            interval_us: 1,
        };
        let latencies = checked(paced, &["7", "0000000000000000 500 xxx"]).unwrap();
        assert_eq!(latencies, [2.0]);
        assert!(checked(paced, &["7", "0000000000000000 9000 xx"]).is_err());
    }
}
