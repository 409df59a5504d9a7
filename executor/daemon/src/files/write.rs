//! Writing a tar stream: GNU format, every name and link target byte for byte as it is.

use std::io::{self, Read, Write};

use tar::{EntryType, Header};

/// Size of all of an archive's blocks, bytes.
const BLOCK_BYTES: usize = 512;
/// Bytes of a name in a header; a longer one comes before it, in a member of its own.
const NAME_BYTES: usize = 100;
/// What GNU calls the members that hold a long name.
const LONG_NAME: &[u8] = b"././@LongLink";

/// What is told of a member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    pub(super) path: &'a [u8],
    pub(super) kind: EntryType,
    pub(super) mode: u32,
    pub(super) mtime: i64,
    pub(super) bytes: u64,
    /// Target of a symbolic link.
    pub(super) target: &'a [u8],
}

/// Why a member was not written whole.
#[derive(Debug)]
pub(super) enum WriteError {
    /// Its bytes cannot be read, or there are fewer than were told.
    Source(io::Error),
    /// The archive cannot be written.
    Sink(io::Error),
}

/// Writes a member without bytes of its own.
pub(super) fn member(out: &mut dyn Write, told: Told<'_>) -> io::Result<()> {
    if told.path.len() > NAME_BYTES {
        long(out, EntryType::GNULongName, told.path)?;
    }
    if told.target.len() > NAME_BYTES {
        long(out, EntryType::GNULongLink, told.target)?;
    }
    let mut header = Header::new_gnu();
    header.set_entry_type(told.kind);
    header.set_mode(told.mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(u64::try_from(told.mtime).unwrap_or(0));
    header.set_size(told.bytes);
    let fields = header.as_old_mut();
    fill(&mut fields.name, told.path);
    fill(&mut fields.linkname, told.target);
    header.set_cksum();
    out.write_all(header.as_bytes())
}

/// Writes a regular file.
pub(super) fn file(
    out: &mut dyn Write,
    told: Told<'_>,
    source: &mut dyn Read,
    buffer: &mut [u8],
) -> Result<(), WriteError> {
    member(out, told).map_err(WriteError::Sink)?;
    let mut left = told.bytes;
    while left > 0 {
        let part = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = source
            .read(&mut buffer[..part])
            .map_err(WriteError::Source)?;
        if read == 0 {
            let cut = io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it became shorter while it was read",
            );
            return Err(WriteError::Source(cut));
        }
        out.write_all(&buffer[..read]).map_err(WriteError::Sink)?;
        left -= read as u64;
    }
    pad(out, told.bytes).map_err(WriteError::Sink)
}

/// Ends the archive.
pub(super) fn finish(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK_BYTES])
}

fn long(out: &mut dyn Write, kind: EntryType, text: &[u8]) -> io::Result<()> {
    let bytes = text.len() as u64 + 1;
    let told = Told {
        path: LONG_NAME,
        kind,
        mode: 0o644,
        mtime: 0,
        bytes,
        target: &[],
    };
    member(out, told)?;
    out.write_all(text)?;
    out.write_all(&[0])?;
    pad(out, bytes)
}

fn pad(out: &mut dyn Write, bytes: u64) -> io::Result<()> {
    let over = usize::try_from(bytes % BLOCK_BYTES as u64).unwrap_or(0);
    match over {
        0 => Ok(()),
        _ => out.write_all(&[0; BLOCK_BYTES][over..]),
    }
}

fn fill(field: &mut [u8], text: &[u8]) {
    let bytes = text.len().min(field.len());
    field[..bytes].copy_from_slice(&text[..bytes]);
}
