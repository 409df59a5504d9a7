//! The log's promises, tested through its public face on real files.

mod cap;
mod damage;
mod full;
mod roundtrip;

use std::fs;
use std::path::PathBuf;

use super::{LineSplitter, LogReader, LogRecord, LogWriter, Stream};
use crate::RunDir;

/// A run directory that goes away with the test.
struct Scratch {
    run: RunDir,
    _dir: tempfile::TempDir,
}

fn scratch() -> Scratch {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("01890a5d-ac96-774b-bcce-b302099a8057.1");
    fs::create_dir(&path).unwrap();
    Scratch {
        run: RunDir::from_path(&path).unwrap(),
        _dir: dir,
    }
}

impl Scratch {
    fn segment(&self, index: u32) -> PathBuf {
        super::segment::path(self.run.path(), index)
    }

    /// Everything readable; the test fails on an error.
    fn read(&self, after_id: u64) -> Vec<LogRecord> {
        drain(&mut LogReader::open(&self.run, after_id).unwrap())
    }

    /// Everything up to an error, and the error.
    fn read_until_error(&self) -> (Vec<LogRecord>, Option<super::LogError>) {
        let mut records = Vec::new();
        let mut reader = match LogReader::open(&self.run, 0) {
            Ok(reader) => reader,
            Err(error) => return (records, Some(error)),
        };
        loop {
            match reader.next() {
                Ok(Some(record)) => records.push(record),
                Ok(None) => return (records, None),
                Err(error) => return (records, Some(error)),
            }
        }
    }
}

fn drain(reader: &mut LogReader) -> Vec<LogRecord> {
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

/// What the job wrote to `stream`, from the records.
fn output(records: &[LogRecord], stream: Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records.iter().filter(|record| record.stream == stream) {
        bytes.extend_from_slice(&record.line);
        if record.newline {
            bytes.push(b'\n');
        }
    }
    bytes
}

/// Writes whole lines to stdout, one flush at the end.
fn write_lines(writer: &mut LogWriter, lines: impl IntoIterator<Item = String>) {
    for line in lines {
        writer
            .append(Stream::Stdout, line.as_bytes(), true, false, 7)
            .unwrap();
    }
    writer.flush().unwrap();
}
