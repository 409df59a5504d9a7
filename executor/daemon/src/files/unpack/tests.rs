//! Archives that try to get out, and those that do not.

use super::*;
use crate::files::pack::pack;
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use tar::{Builder, EntryType, Header};

fn dir_fd(path: &Path) -> OwnedFd {
    File::open(path).unwrap().into()
}

fn target(path: &Path) -> Target {
    Target {
        dir: dir_fd(path),
        owner: None,
        bounds: Bounds::NONE,
    }
}

/// An archive of members whose names the `tar` crate would not write by itself.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn add(mut self, name: &[u8], kind: EntryType, link: &[u8], bytes: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o6755);
        header.set_mtime(1_700_000_000);
        header.set_size(bytes.len() as u64);
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, bytes: &str) -> Self {
        self.add(name.as_bytes(), EntryType::Regular, b"", bytes.as_bytes())
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.add(name.as_bytes(), EntryType::Symlink, target.as_bytes(), b"")
    }

    fn hard(self, name: &str, target: &str) -> Self {
        self.add(name.as_bytes(), EntryType::Link, target.as_bytes(), b"")
    }

    fn dir(self, name: &str) -> Self {
        self.add(name.as_bytes(), EntryType::Directory, b"", b"")
    }

    fn done(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// A directory to unpack into, beside one that nothing may get into.
struct Place {
    all: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let all = tempfile::tempdir().unwrap();
        fs::create_dir(all.path().join("in")).unwrap();
        fs::create_dir(all.path().join("outside")).unwrap();
        fs::write(all.path().join("outside/precious"), "precious").unwrap();
        Self { all }
    }

    fn dir(&self) -> std::path::PathBuf {
        self.all.path().join("in")
    }

    fn unpack(&self, tar: Tar) -> Result<Unpacked, UnpackError> {
        let done = unpack(&tar.done()[..], &target(&self.dir()));
        let outside = self.all.path().join("outside");
        let names: Vec<_> = fs::read_dir(&outside).unwrap().collect();
        assert_eq!(names.len(), 1, "something was made outside");
        assert_eq!(fs::read(outside.join("precious")).unwrap(), b"precious");
        done
    }

    fn refuses(&self, tar: Tar, member: &str, because: &str) {
        let told = crate::runs::sentence(&self.unpack(tar).unwrap_err());
        assert!(told.contains(member) && told.contains(because), "{told}");
    }
}

#[test]
fn no_member_gets_out() {
    let refuses = |tar, member: &str, because: &str| Place::new().refuses(tar, member, because);
    refuses(Tar::default().file("../x", "no"), "`../x`", "`..`");
    refuses(Tar::default().file("a/../../x", "no"), "a/../../x", "`..`");
    refuses(Tar::default().file("/etc/x", "no"), "`/etc/x`", "absolute");
    refuses(
        Tar::default().link("a", "../outside").file("a/x", "no"),
        "`a/x`",
        "symbolic link",
    );
    refuses(
        Tar::default().link("a", "..").dir("a/b/c"),
        "`a/b/c`",
        "symbolic link",
    );
    refuses(
        Tar::default().file("f", "").file("f/x", "no"),
        "`f/x`",
        "no directory",
    );
    refuses(
        Tar::default().hard("h", "../outside/precious"),
        "`h`",
        "`..`",
    );
    refuses(
        Tar::default()
            .link("a", "../outside")
            .hard("h", "a/precious"),
        "`h`",
        "symbolic link",
    );
    for absent in ["absent", "absent/too"] {
        refuses(Tar::default().hard("h", absent), "`h`", "not before it");
    }
}

#[test]
fn what_is_no_file_is_refused() {
    for (kind, because) in [
        (EntryType::Char, "device"),
        (EntryType::Block, "device"),
        (EntryType::Fifo, "FIFO"),
        (EntryType::GNUSparse, "sparse"),
        (EntryType::new(b'V'), "type 86"),
    ] {
        let tar = Tar::default().add(b"odd", kind, b"", b"");
        Place::new().refuses(tar, "`odd`", because);
    }
}

#[test]
fn a_link_in_the_place_of_a_member_is_replaced_not_written_through() {
    let place = Place::new();
    let outside = place.all.path().join("outside/precious");
    symlink(&outside, place.dir().join("there")).unwrap();
    let tar = Tar::default()
        .link("here", "../outside/precious")
        .file("here", "mine")
        .file("there", "mine");
    place.unpack(tar).unwrap();
    for name in ["here", "there"] {
        let meta = fs::symlink_metadata(place.dir().join(name)).unwrap();
        assert!(meta.is_file(), "{name} is still a link");
        assert_eq!(fs::read(place.dir().join(name)).unwrap(), b"mine");
    }
    // A directory is not given up for a file.
    let tar = Tar::default().dir("d").file("d", "no");
    place.refuses(tar, "`d`", "directory is already");
}

#[test]
fn modes_lose_their_special_bits_and_times_are_kept() {
    let place = Place::new();
    let tar = Tar::default()
        .dir("d/")
        .file("d/f", "x")
        .hard("g", "d/f")
        .link("l", "/nowhere");
    let unpacked = place.unpack(tar).unwrap();
    assert_eq!((unpacked.files, unpacked.bytes), (4, 1));
    let meta = |name: &str| fs::symlink_metadata(place.dir().join(name)).unwrap();
    assert_eq!(meta("d/f").permissions().mode() & 0o7777, 0o755);
    assert_eq!(meta("d").permissions().mode() & 0o7777, 0o755);
    for name in ["d", "d/f", "l"] {
        assert_eq!(meta(name).mtime(), 1_700_000_000, "{name}");
    }
    assert_eq!(meta("g").ino(), meta("d/f").ino());
    assert_eq!(
        fs::read_link(place.dir().join("l")).unwrap(),
        Path::new("/nowhere")
    );
}

#[test]
fn bounds_are_told_by_name() {
    let place = Place::new();
    let bounded = |bytes, files| Target {
        bounds: Bounds {
            bytes_max: (bytes, "bytes_bound"),
            files_max: (files, "files_bound"),
        },
        ..target(&place.dir())
    };
    let tar = Tar::default().file("a", "12").file("b", "34").done();
    assert!(unpack(&tar[..], &bounded(4, 2)).is_ok());
    let told = unpack(&tar[..], &bounded(3, 2)).unwrap_err().to_string();
    assert!(told.contains("bytes_bound = 3 bytes"), "{told}");
    let told = unpack(&tar[..], &bounded(4, 1)).unwrap_err().to_string();
    assert!(told.contains("files_bound = 1 files"), "{told}");
}

#[test]
fn an_archive_that_breaks_off_is_no_whole_one() {
    let place = Place::new();
    let tar = Tar::default().file("a", &"x".repeat(2_000)).done();
    for bytes in [100, 512 + 700] {
        let cut = unpack(&tar[..bytes], &target(&place.dir()));
        assert!(matches!(cut, Err(UnpackError::Archive(_))), "{cut:?}");
    }
}

#[test]
fn long_names_are_read_and_hostile_ones_bounded() {
    let place = Place::new();
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    builder.append_data(&mut header, &long, &b"x"[..]).unwrap();
    let tar = builder.into_inner().unwrap();
    unpack(&tar[..], &target(&place.dir())).unwrap();
    assert_eq!(fs::read(place.dir().join(&long)).unwrap(), b"x");
    // PAX says it another way.
    let record = |key: &str, value: &str| {
        let rest = format!(" {key}={value}\n");
        let mut length = rest.len();
        while length.to_string().len() + rest.len() != length {
            length = length.to_string().len() + rest.len();
        }
        format!("{length}{rest}")
    };
    let pax = record("path", "from/pax") + &record("mtime", "12.5");
    let named = Tar::default()
        .add(b"pax", EntryType::XHeader, b"", pax.as_bytes())
        .file("short", "y");
    place.unpack(named).unwrap();
    let meta = fs::metadata(place.dir().join("from/pax")).unwrap();
    assert_eq!((meta.mtime(), meta.len()), (12, 1));
    for (pax, because) in [
        (record("path", "../x"), "`..`"),
        (record("size", "9"), "two sizes"),
        (record("GNU.sparse.major", "1"), "sparse"),
        ("x".repeat(70_000), "extension of 70000 bytes"),
    ] {
        let tar = Tar::default()
            .add(b"pax", EntryType::XHeader, b"", pax.as_bytes())
            .file("short", "y");
        place.refuses(tar, "", because);
    }
}

/// What there is below `dir`: path, kind and content.
fn tree(dir: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let what = if meta.is_symlink() {
                format!("-> {}", fs::read_link(&path).unwrap().display())
            } else if meta.is_dir() {
                todo.push(path.clone());
                format!("dir {:o}", meta.mode())
            } else {
                format!("{:o} {:?}", meta.mode(), fs::read(&path).unwrap())
            };
            let time = meta.mtime();
            let name = path.strip_prefix(dir).unwrap().display().to_string();
            found.push((name, format!("{what} {time}")));
        }
    }
    found.sort();
    found
}

#[test]
fn what_is_packed_is_unpacked_as_it_was() {
    let from = tempfile::tempdir().unwrap();
    let deep = from.path().join("a/b");
    fs::create_dir_all(&deep).unwrap();
    let long = "n".repeat(250);
    fs::write(deep.join(&long), "long").unwrap();
    fs::write(deep.join("empty"), "").unwrap();
    fs::write(from.path().join("big"), vec![7; 300_000]).unwrap();
    fs::set_permissions(from.path().join("big"), fs::Permissions::from_mode(0o500)).unwrap();
    symlink("t".repeat(300), deep.join("link")).unwrap();
    fs::set_permissions(&deep, fs::Permissions::from_mode(0o750)).unwrap();
    std::os::unix::net::UnixListener::bind(from.path().join("sock")).unwrap();
    let mut tar = Vec::new();
    let packed = pack(dir_fd(from.path()), &mut tar).unwrap();
    assert_eq!(packed.left_out, 1);
    assert!(packed.sentence().unwrap().ends_with("sock"));
    let to = tempfile::tempdir().unwrap();
    let unpacked = unpack(&tar[..], &target(to.path())).unwrap();
    assert_eq!((unpacked.files, packed.files), (6, 6));
    fs::remove_file(from.path().join("sock")).unwrap();
    assert_eq!(tree(to.path()), tree(from.path()));
    // Others read it too.
    let listed = Archive::new(&tar[..])
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().into_owned())
        .collect::<Vec<_>>();
    assert!(listed.contains(&Path::new("a/b").join(&long)), "{listed:?}");
}

use tar::Archive;

/// Names and targets that meet each other often.
fn name() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => Just("a"),
        4 => Just("b"),
        1 => Just("."),
        1 => Just(".."),
        1 => Just("new"),
    ];
    proptest::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"))
}

fn target_of_link() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("../outside".to_owned()),
        Just("../outside/precious".to_owned()),
        Just("../../outside".to_owned()),
        Just("..".to_owned()),
        name(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn whatever_an_archive_says_nothing_gets_out(
        members in proptest::collection::vec((name(), 0u8..4, target_of_link()), 1..12),
    ) {
        let place = Place::new();
        // One by one: what is refused ends an archive, and the next may go on from there.
        for (name, kind, link) in &members {
            let tar = Tar::default();
            let tar = match kind {
                0 => tar.file(name, "escaped"),
                1 => tar.dir(name),
                2 => tar.link(name, link),
                _ => tar.hard(name, link),
            };
            // What it says of it does not matter: `unpack` looks at what is outside.
            drop(place.unpack(tar));
        }
    }
}
