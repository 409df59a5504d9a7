//! An archive on its way to a run directory: bounded, hashed, durable in the end, and readable meanwhile.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use davit_types::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::collect::{Halt, Progress};
use super::hashed::hex;

/// Bytes written at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// Bytes after which those who read along are told.
const TOLD_BYTES: u64 = 1 << 20;

/// The archive; see the module.
pub(super) struct Sink<'a> {
    file: BufWriter<File>,
    /// Of the archive; absent where the digest of what is in it is told.
    hash: Option<Sha256>,
    bytes: u64,
    left: u64,
    bytes_max: Bytes,
    halt: &'a Halt,
    progress: &'a watch::Sender<Progress>,
    told: u64,
    problem: Option<String>,
}

/// What was written.
pub(super) struct Written {
    pub(super) bytes: u64,
    /// Of the archive, if that was wanted.
    pub(super) digest: Option<String>,
}

impl<'a> Sink<'a> {
    /// One that takes `left` bytes of the `bytes_max` there were.
    pub(super) fn new(
        file: File,
        hashes: bool,
        (left, bytes_max): (u64, Bytes),
        halt: &'a Halt,
        progress: &'a watch::Sender<Progress>,
    ) -> Self {
        Self {
            file: BufWriter::with_capacity(BUFFER_BYTES, file),
            hash: hashes.then(Sha256::new),
            bytes: 0,
            left,
            bytes_max,
            halt,
            progress,
            told: 0,
            problem: None,
        }
    }

    /// Why it took no more, if that was its own decision.
    pub(super) fn problem(&mut self) -> Option<String> {
        self.problem.take()
    }

    /// Makes durable what was written; its name is the caller's to make so.
    pub(super) fn finish(self) -> io::Result<Written> {
        let file = self.file.into_inner();
        file.map_err(io::IntoInnerError::into_error)?.sync_data()?;
        Ok(Written {
            bytes: self.bytes,
            digest: self.hash.map(hex),
        })
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let problem = if bytes.len() as u64 > self.left {
            let max = self.bytes_max;
            Some(format!(
                "the files are more than files.extract_bytes_max = {max} in all"
            ))
        } else {
            self.halt.reason()
        };
        if problem.is_some() {
            self.problem = problem;
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        self.file.write_all(bytes)?;
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
        self.left -= bytes.len() as u64;
        self.bytes += bytes.len() as u64;
        if self.bytes - self.told >= TOLD_BYTES {
            self.file.flush()?;
            self.told = self.bytes;
            let told = self.told;
            self.progress.send_modify(|progress| progress.bytes = told);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
