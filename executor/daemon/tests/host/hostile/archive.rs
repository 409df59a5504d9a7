//! Archives as nobody should write them: ustar headers without any of the checks of a library.

/// Type flags (POSIX ustar).
pub const FILE: u8 = b'0';
pub const HARD_LINK: u8 = b'1';
pub const SYMLINK: u8 = b'2';
pub const CHARACTER_DEVICE: u8 = b'3';
pub const BLOCK_DEVICE: u8 = b'4';
pub const DIRECTORY: u8 = b'5';
pub const FIFO: u8 = b'6';
const EXTENDED: u8 = b'x';

/// An archive that is being written.
#[derive(Clone, Debug, Default)]
pub struct Archive(Vec<u8>);

/// One entry.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub kind: u8,
    pub mode: u32,
    pub link: &'a str,
    pub device: (u32, u32),
    /// What the header says it has; what it has, when absent.
    pub size: Option<u64>,
    pub data: &'a [u8],
}

impl Default for Entry<'_> {
    fn default() -> Self {
        Self {
            kind: FILE,
            mode: 0o644,
            link: "",
            device: (0, 0),
            size: None,
            data: b"",
        }
    }
}

impl Archive {
    /// With a file that no other image has: containerd shares blobs among namespaces.
    pub fn new() -> Self {
        let id = davit_types::RunId::generate().to_string();
        Self::default().file("id", id.as_bytes())
    }

    pub fn file(self, name: &str, data: &[u8]) -> Self {
        let entry = Entry {
            data,
            ..Entry::default()
        };
        self.entry(name, entry)
    }

    pub fn link(self, kind: u8, name: &str, target: &str) -> Self {
        let entry = Entry {
            kind,
            link: target,
            ..Entry::default()
        };
        self.entry(name, entry)
    }

    pub fn entry(mut self, name: &str, entry: Entry<'_>) -> Self {
        // What the old fields do not hold goes into an extended header.
        if name.len() > 100 {
            self = self.extended("path", name);
        }
        let mut header = [0_u8; 512];
        put(&mut header, 0, name.as_bytes(), 100);
        put(&mut header, 100, octal(entry.mode.into(), 7).as_bytes(), 8);
        put(&mut header, 108, octal(0, 7).as_bytes(), 8);
        put(&mut header, 116, octal(0, 7).as_bytes(), 8);
        let size = entry.size.unwrap_or(entry.data.len() as u64);
        put(&mut header, 124, octal(size, 11).as_bytes(), 12);
        put(&mut header, 136, octal(0, 11).as_bytes(), 12);
        put(&mut header, 148, b"        ", 8);
        header[156] = entry.kind;
        put(&mut header, 157, entry.link.as_bytes(), 100);
        put(&mut header, 257, b"ustar\x0000", 8);
        put(
            &mut header,
            329,
            octal(entry.device.0.into(), 7).as_bytes(),
            8,
        );
        put(
            &mut header,
            337,
            octal(entry.device.1.into(), 7).as_bytes(),
            8,
        );
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        put(
            &mut header,
            148,
            format!("{}\0 ", octal(sum, 6)).as_bytes(),
            8,
        );
        self.0.extend(header);
        self.0.extend(entry.data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// A header that says something more of the next entry (pax).
    pub fn extended(self, key: &str, value: &str) -> Self {
        let rest = format!(" {key}={value}\n");
        let mut length = rest.len();
        while length != rest.len() + length.to_string().len() {
            length = rest.len() + length.to_string().len();
        }
        let entry = Entry {
            kind: EXTENDED,
            data: &format!("{length}{rest}").into_bytes(),
            ..Entry::default()
        };
        self.entry("pax", entry)
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

fn octal(number: u64, digits: usize) -> String {
    format!("{number:0digits$o}")
}

fn put(header: &mut [u8], at: usize, bytes: &[u8], room: usize) {
    let bytes = &bytes[..bytes.len().min(room)];
    header[at..at + bytes.len()].copy_from_slice(bytes);
}
