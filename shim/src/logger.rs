//! The shim's own diary: in containerd's log by way of `<bundle>/log`, a FIFO containerd made, or, where no bundle
//! is known yet, in that of the executor by way of the stderr it gave the zygote.
//!
//! Invariants: writing never waits (no reader, full FIFO: the line is dropped and counted); a line is at
//! most PIPE_BUF bytes, so lines of several processes never mix; the FIFO is never created, replaced or
//! read. Held open for reading too, or a restart of containerd would turn writes into EPIPE.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use davit_rundir::Stamp;
use rustix::fs::OFlags;
use rustix::net::SendFlags;

/// Longest line, bytes, newline included: what a pipe writes whole.
const LINE_BYTES_MAX: usize = 4096;

/// Where lines go.
#[derive(Debug)]
pub(crate) enum Sink {
    /// Opened non-blocking, by this program alone.
    File(File),
    /// stderr is a socket (the journal's), which cannot be opened anew: each line is sent without waiting.
    StderrSocket,
}

impl Sink {
    /// stderr, such that a write never waits, whatever it is and whoever shares it. `None` if it cannot be had.
    pub(crate) fn stderr() -> Option<Self> {
        let flags = (OFlags::NONBLOCK | OFlags::APPEND).bits().cast_signed();
        let opened = OpenOptions::new()
            .write(true)
            .custom_flags(flags)
            .open("/proc/self/fd/2");
        match opened {
            Ok(file) => Some(Self::File(file)),
            Err(_) => rustix::net::sockopt::socket_type(std::io::stderr())
                .is_ok()
                .then_some(Self::StderrSocket),
        }
    }

    fn write(&self, line: &[u8]) -> bool {
        match self {
            Self::File(file) => (&*file).write_all(line).is_ok(),
            Self::StderrSocket => {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                rustix::net::send(std::io::stderr(), line, flags) == Ok(line.len())
            }
        }
    }
}

struct Diary {
    sink: Sink,
    id: String,
    dropped_lines: AtomicU64,
}

/// Sends all further log lines of container (or group) `id` to `<bundle>/log`. Without that FIFO, e.g. in a
/// test, nothing is logged.
pub(crate) fn init(bundle: &Path, id: &str, debug: bool) {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(bundle.join("log"));
    if let Ok(file) = opened {
        write_to(Sink::File(file), id, debug);
    }
}

/// Sends all further log lines of container `id` to `sink`.
pub(crate) fn write_to(sink: Sink, id: &str, debug: bool) {
    let diary = Diary {
        sink,
        id: id.to_owned(),
        dropped_lines: AtomicU64::new(0),
    };
    // Leaked: there is one logger, until the process ends.
    if log::set_logger(Box::leak(Box::new(diary))).is_ok() {
        log::set_max_level(if debug {
            log::LevelFilter::Debug
        } else {
            log::LevelFilter::Info
        });
    }
}

impl log::Log for Diary {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = line(
            &self.id,
            record.level(),
            Stamp::now().unix_ns,
            self.dropped_lines.load(Ordering::Relaxed),
            &record.args().to_string(),
        );
        if !self.sink.write(line.as_bytes()) {
            self.dropped_lines.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

/// One line in the key=value form containerd's own log has.
fn line(id: &str, level: log::Level, unix_ns: u64, dropped_lines: u64, message: &str) -> String {
    let mut line = String::with_capacity(128 + message.len());
    let level = level.as_str().to_ascii_lowercase();
    let (seconds, nanos) = (unix_ns / 1_000_000_000, unix_ns % 1_000_000_000);
    // Writing to a String cannot fail.
    let _ok = write!(
        line,
        "time={seconds}.{nanos:09} level={level} shim=davit pid={} id={id} ",
        std::process::id()
    );
    if dropped_lines > 0 {
        let _ok = write!(line, "dropped_lines={dropped_lines} ");
    }
    let _ok = write!(line, "msg={message:?}");
    if line.len() >= LINE_BYTES_MAX {
        let mut end = LINE_BYTES_MAX - 5;
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push('…');
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_and_fits_a_pipe() {
        let text = line("a", log::Level::Warn, 1_500_000_000, 2, "x\ny");
        assert!(text.starts_with("time=1.500000000 level=warn shim=davit pid="));
        assert!(
            text.ends_with("id=a dropped_lines=2 msg=\"x\\ny\"\n"),
            "{text}"
        );
        let long = line("a", log::Level::Info, 0, 0, &"é".repeat(5000));
        assert!(long.len() <= LINE_BYTES_MAX && long.ends_with("…\n"));
    }
}
