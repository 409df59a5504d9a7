//! Reading a tar stream member by member, whoever wrote it.
//!
//! The headers are taken apart by the `tar` crate; the extensions that tell long names (GNU and PAX) are read here,
//! because that crate takes them into memory whatever their size.

use std::io::{self, Read};

use tar::{Archive, EntryType, PaxExtensions};

use super::member::{MemberPath, printable};

/// Bytes of one extension: a long name, or a set of PAX records.
const EXTENSION_BYTES_MAX: u64 = 64 << 10;
/// Extensions before one member.
const EXTENSIONS_MAX: u32 = 8;
/// Bytes of a symbolic link's target (Linux: PATH_MAX, less the final NUL).
const TARGET_BYTES_MAX: usize = 4_095;

/// A member's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) path: MemberPath,
    pub(super) kind: Kind,
    /// Permissions alone.
    pub(super) mode: u32,
    /// Seconds since 1970.
    pub(super) mtime: i64,
}

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File { bytes: u64 },
    Directory,
    Symlink { target: Vec<u8> },
    HardLink { to: MemberPath },
}

/// Why an archive cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArchiveError {
    #[error("the archive cannot be read")]
    Read(#[source] io::Error),
    #[error("member `{member}` {problem}")]
    Refused { member: String, problem: String },
}

/// What extensions say of the member after them.
#[derive(Default)]
struct Extensions {
    count: u32,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    mtime: Option<i64>,
    bytes: Option<u64>,
    is_sparse: bool,
}

/// Shows every member of `stream` to `visit`, with the reader of its bytes, until the archive ends.
pub(super) fn each<R: Read, E: From<ArchiveError>>(
    stream: R,
    mut visit: impl FnMut(Head, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E> {
    let mut archive = Archive::new(stream);
    let entries = archive.entries().map_err(ArchiveError::Read)?;
    let mut extensions = Extensions::default();
    for entry in entries.raw(true) {
        let mut entry = entry.map_err(ArchiveError::Read)?;
        if extensions.take(&mut entry)? {
            continue;
        }
        let extensions = std::mem::take(&mut extensions);
        let head = head(entry.header(), extensions)?;
        visit(head, &mut entry)?;
    }
    Ok(())
}

impl Extensions {
    /// Whether `entry` was an extension.
    fn take(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<bool, ArchiveError> {
        let kind = entry.header().entry_type();
        let is_extension = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_local_extensions()
            || kind.is_pax_global_extensions();
        if !is_extension {
            return Ok(false);
        }
        self.count += 1;
        let refused = |problem: String| ArchiveError::Refused {
            member: printable(&entry_name(entry.header())),
            problem,
        };
        if self.count > EXTENSIONS_MAX {
            let problem = format!("comes after more than {EXTENSIONS_MAX} extensions");
            return Err(refused(problem));
        }
        if entry.size() > EXTENSION_BYTES_MAX {
            let problem = format!(
                "is an extension of {} bytes, more than {EXTENSION_BYTES_MAX}",
                entry.size()
            );
            return Err(refused(problem));
        }
        let mut bytes = Vec::new();
        entry
            .take(EXTENSION_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(ArchiveError::Read)?;
        if kind.is_gnu_longname() {
            self.path = Some(until_nul(&bytes).to_vec());
        } else if kind.is_gnu_longlink() {
            self.link = Some(until_nul(&bytes).to_vec());
        } else if kind.is_pax_local_extensions() {
            self.take_records(&bytes)?;
        }
        // Global ones speak of the archive: `git archive` names its commit there.
        Ok(true)
    }

    fn take_records(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        for record in PaxExtensions::new(bytes) {
            let record = record.map_err(ArchiveError::Read)?;
            let value = record.value_bytes();
            let number = || std::str::from_utf8(value).ok()?.split('.').next();
            match record.key_bytes() {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"mtime" => self.mtime = number().and_then(|text| text.parse().ok()),
                b"size" => self.bytes = number().and_then(|text| text.parse().ok()),
                key if key.starts_with(b"GNU.sparse.") => self.is_sparse = true,
                _ => {}
            }
        }
        Ok(())
    }
}

fn head(header: &tar::Header, extensions: Extensions) -> Result<Head, ArchiveError> {
    let raw = extensions.path.unwrap_or_else(|| entry_name(header));
    let refused = |problem: String| ArchiveError::Refused {
        member: printable(&raw),
        problem,
    };
    let path = MemberPath::parse(&raw).map_err(|problem| refused(problem.to_string()))?;
    let link = || {
        let named = || header.link_name_bytes().map(|name| name.into_owned());
        let link = extensions.link.clone().or_else(named).unwrap_or_default();
        if link.is_empty() || link.len() > TARGET_BYTES_MAX || link.contains(&0) {
            let problem = format!("is a link to a path that is not 1 to {TARGET_BYTES_MAX} bytes");
            return Err(refused(problem));
        }
        Ok(link)
    };
    let bytes = header.entry_size().map_err(ArchiveError::Read)?;
    if extensions.bytes.is_some_and(|told| told != bytes) {
        return Err(refused("has two sizes that differ".to_owned()));
    }
    let kind = match header.entry_type() {
        _ if extensions.is_sparse => {
            return Err(refused(SPARSE.to_owned()));
        }
        EntryType::GNUSparse => return Err(refused(SPARSE.to_owned())),
        // The oldest format tells directories by a slash.
        EntryType::Regular if raw.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous => Kind::File { bytes },
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink { target: link()? },
        EntryType::Link => {
            let to = MemberPath::parse(&link()?);
            let to =
                to.map_err(|problem| refused(format!("is a hard link whose target {problem}")))?;
            Kind::HardLink { to }
        }
        EntryType::Char | EntryType::Block => {
            return Err(refused("is a device: they are not taken".to_owned()));
        }
        EntryType::Fifo => return Err(refused("is a FIFO: they are not taken".to_owned())),
        other => {
            let problem = format!("is of type {}: it is not taken", other.as_byte());
            return Err(refused(problem));
        }
    };
    let mtime = header.mtime().map_err(ArchiveError::Read)?;
    Ok(Head {
        path,
        kind,
        mode: header.mode().map_err(ArchiveError::Read)? & 0o1777,
        mtime: extensions
            .mtime
            .unwrap_or_else(|| i64::try_from(mtime).unwrap_or(0)),
    })
}

const SPARSE: &str = "is a sparse file: make the archive without --sparse";

/// The name in the header itself.
fn entry_name(header: &tar::Header) -> Vec<u8> {
    header.path_bytes().into_owned()
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0);
    &bytes[..end.unwrap_or(bytes.len())]
}
