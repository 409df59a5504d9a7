//! What was collected, and where it ends up.

use super::*;
use crate::files::hashed::hex;
use crate::files::pack::{pack, pack_file};
use rustix::fs::fstat;
use sha2::{Digest, Sha256};

fn sha(bytes: &[u8]) -> String {
    hex(Sha256::new().chain_update(bytes))
}

fn packed_file(content: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o751)).unwrap();
    let mut file = File::open(&path).unwrap();
    let stat = fstat(&file).unwrap();
    let mut tar = Vec::new();
    pack_file(&mut file, b"f", &stat, &mut tar).unwrap();
    tar
}

#[test]
fn a_file_takes_its_place_whole_or_not_at_all() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let tar = packed_file("hello");
    let get = |to: &Path, sha: &str| {
        receive(&tar[..], ExtractKind::File, "/out/f.txt", to, || {
            sha.to_owned()
        })
    };
    let right = sha(b"hello");
    assert_eq!(get(&at("new/dir/f"), &right).unwrap(), at("new/dir/f"));
    assert_eq!(fs::read(at("new/dir/f")).unwrap(), b"hello");
    let mode = fs::metadata(at("new/dir/f")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o751);
    // Into a directory it goes by its own name.
    assert_eq!(get(&at("new"), &right).unwrap(), at("new/f.txt"));
    assert_eq!(get(&at("made/"), &right).unwrap(), at("made/f.txt"));
    // One that is there is replaced, but not by something else.
    fs::write(at("old"), "old").unwrap();
    let wrong = get(&at("old"), &sha(b"other")).unwrap_err();
    assert!(matches!(wrong, ReceiveError::Differs { .. }), "{wrong}");
    assert_eq!(fs::read(at("old")).unwrap(), b"old");
    get(&at("old"), &right).unwrap();
    assert_eq!(fs::read(at("old")).unwrap(), b"hello");
    let cut = receive(&tar[..600], ExtractKind::File, "f", &at("cut"), || {
        right.clone()
    });
    assert!(cut.is_err() && !at("cut").exists());
    let mut names = Vec::new();
    for entry in fs::read_dir(place.path()).unwrap() {
        names.push(entry.unwrap().file_name());
    }
    names.sort();
    assert_eq!(
        names,
        ["made", "new", "old"],
        "something unfinished is left"
    );
}

#[test]
fn a_directory_is_put_into_to() {
    let from = tempfile::tempdir().unwrap();
    fs::create_dir(from.path().join("sub")).unwrap();
    fs::write(from.path().join("sub/f"), "new").unwrap();
    let mut tar = Vec::new();
    pack(File::open(from.path()).unwrap().into(), &mut tar).unwrap();
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("to");
    fs::create_dir_all(to.join("sub")).unwrap();
    fs::write(to.join("sub/f"), "old").unwrap();
    fs::write(to.join("other"), "stays").unwrap();
    let get = |to: &Path, sha: &str| {
        receive(&tar[..], ExtractKind::Directory, "out", to, || {
            sha.to_owned()
        })
    };
    get(&to, &sha(&tar)).unwrap();
    assert_eq!(fs::read(to.join("sub/f")).unwrap(), b"new");
    assert_eq!(fs::read(to.join("other")).unwrap(), b"stays");
    get(&place.path().join("new/one"), &sha(&tar)).unwrap();
    assert!(place.path().join("new/one/sub/f").exists());
    let wrong = get(&to, &sha(b"")).unwrap_err();
    assert!(matches!(wrong, ReceiveError::Differs { .. }), "{wrong}");
    let in_the_way = get(&to.join("other"), &sha(&tar)).unwrap_err();
    assert!(
        matches!(in_the_way, ReceiveError::Place { .. }),
        "{in_the_way}"
    );
}
