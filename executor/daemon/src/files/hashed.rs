//! What is read, and its SHA-256 on the way.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// A stream that is hashed while it is read.
pub(super) struct Hashed<R> {
    stream: R,
    hash: Sha256,
}

impl<R> Hashed<R> {
    pub(super) fn new(stream: R) -> Self {
        Self {
            stream,
            hash: Sha256::new(),
        }
    }

    /// The digest of what was read.
    pub(super) fn digest(self) -> String {
        hex(self.hash)
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.stream.read(buffer)?;
        self.hash.update(&buffer[..bytes]);
        Ok(bytes)
    }
}

/// A digest as text.
pub(crate) fn hex(hash: Sha256) -> String {
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
