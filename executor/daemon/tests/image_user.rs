//! Users read straight from the layers of an image, as the container will see them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use davit_executor::containerd::Mount;
use davit_executor::oci::{ResolvedUser, UserError, resolve_user};
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// Layers below one directory; the first one made is the lowest.
struct Image {
    directory: tempfile::TempDir,
    layers: usize,
}

impl Image {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            layers: 0,
        }
    }

    /// A new layer upon the others.
    fn layer(&mut self) -> PathBuf {
        self.layers += 1;
        let path = self.path(self.layers);
        fs::create_dir(&path).unwrap();
        path
    }

    fn path(&self, number: usize) -> PathBuf {
        self.directory.path().join(format!("layer-{number}"))
    }

    /// As containerd mounts it for a run: an empty upper directory on the layers.
    fn mounts(&self) -> Vec<Mount> {
        let upper = self.directory.path().join("upper");
        fs::create_dir_all(&upper).unwrap();
        let lower: Vec<String> = (1..=self.layers)
            .rev()
            .map(|number| self.path(number).display().to_string())
            .collect();
        let options = vec![
            format!("workdir={}", upper.display()),
            format!("upperdir={}", upper.display()),
            format!("lowerdir={}", lower.join(":")),
        ];
        vec![Mount {
            r#type: "overlay".into(),
            options,
            ..Mount::default()
        }]
    }

    fn resolve(&self, user: &str) -> Result<ResolvedUser, UserError> {
        resolve_user(&self.mounts(), user)
    }

    fn uid(&self, user: &str) -> Option<u32> {
        self.resolve(user).ok().map(|user| user.uid)
    }
}

fn passwd(layer: &Path, name: &str, uid: u32) {
    fs::create_dir_all(layer.join("etc")).unwrap();
    fs::write(
        layer.join("etc/passwd"),
        format!("{name}:x:{uid}:{uid}::/home:/bin/sh\n"),
    )
    .unwrap();
}

/// An overlay whiteout, which needs no privilege since Linux 5.8.
fn whiteout(path: &Path) {
    mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
}

#[test]
fn the_upper_layer_wins() {
    let mut image = Image::new();
    passwd(&image.layer(), "app", 1);
    passwd(&image.layer(), "app", 2);
    assert_eq!(image.uid("app"), Some(2));
    let lowest = image.layer();
    fs::create_dir(lowest.join("etc")).unwrap();
    assert_eq!(
        image.uid("app"),
        Some(2),
        "a directory without the file hides nothing"
    );
}

#[test]
fn what_an_upper_layer_deleted_is_gone() {
    let mut image = Image::new();
    passwd(&image.layer(), "app", 1);
    let upper = image.layer();
    fs::create_dir(upper.join("etc")).unwrap();
    whiteout(&upper.join("etc/passwd"));
    assert_eq!(image.uid("app"), None);
    assert_eq!(image.uid("7"), Some(7), "numbers need no file");
    let mut image = Image::new();
    passwd(&image.layer(), "app", 1);
    whiteout(&image.layer().join("etc"));
    assert_eq!(
        image.uid("app"),
        None,
        "a deleted directory takes its files along"
    );
}

#[test]
#[ignore = "needs root, for trusted attributes: scripts/test runs it"]
fn an_opaque_directory_hides_the_lower_ones() {
    let mut image = Image::new();
    passwd(&image.layer(), "app", 1);
    let etc = image.layer().join("etc");
    fs::create_dir(&etc).unwrap();
    rustix::fs::setxattr(
        &etc,
        "trusted.overlay.opaque",
        b"y",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    assert_eq!(image.uid("app"), None);
}

#[test]
fn links_are_followed_within_the_image_only() {
    let mut image = Image::new();
    let base = image.layer();
    fs::create_dir_all(base.join("usr/share/accounts")).unwrap();
    fs::write(base.join("usr/share/accounts/passwd"), "app:x:5:6::/:\n").unwrap();
    let upper = image.layer();
    fs::create_dir(upper.join("etc")).unwrap();
    // Over two layers, absolute, and with more `..` than there are directories.
    symlink(
        "/usr/../../../usr/share/accounts/passwd",
        upper.join("etc/passwd"),
    )
    .unwrap();
    assert_eq!(image.uid("app"), Some(5));

    let mut hostile = Image::new();
    let layer = hostile.layer();
    let outside = hostile.directory.path().join("secret");
    fs::write(&outside, "app:x:66:66::/:\n").unwrap();
    fs::create_dir(layer.join("etc")).unwrap();
    for target in [
        outside.to_str().unwrap(),
        "../../secret",
        "/proc/self/root/etc/passwd",
    ] {
        symlink(target, layer.join("etc/passwd")).unwrap();
        assert_eq!(hostile.uid("app"), None, "{target}");
        assert_eq!(hostile.uid("root"), None, "{target}");
        fs::remove_file(layer.join("etc/passwd")).unwrap();
    }
}

#[test]
fn circles_devices_and_giants_are_errors_not_hangs() {
    let mut image = Image::new();
    let layer = image.layer();
    fs::create_dir(layer.join("etc")).unwrap();
    let file = layer.join("etc/passwd");
    symlink("passwd", &file).unwrap();
    assert!(matches!(
        image.resolve("app"),
        Err(UserError::Rootfs { .. })
    ));
    fs::remove_file(&file).unwrap();
    // A reader of a FIFO without a writer would wait for ever.
    mknodat(CWD, &file, FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert!(matches!(
        image.resolve("app"),
        Err(UserError::Rootfs { .. })
    ));
    fs::remove_file(&file).unwrap();
    fs::File::create(&file).unwrap().set_len(2 << 20).unwrap();
    assert!(matches!(
        image.resolve("app"),
        Err(UserError::Rootfs { .. })
    ));
}

#[test]
fn an_image_without_accounts_still_has_numbers() {
    let mut image = Image::new();
    image.layer();
    assert_eq!(image.uid(""), Some(0));
    assert_eq!(image.uid("12:34"), Some(12));
    assert!(matches!(image.resolve("app"), Err(UserError::Unknown(e)) if e.field == "user"));
}

#[test]
fn a_single_bind_mount_is_read_too() {
    let mut image = Image::new();
    let layer = image.layer();
    passwd(&layer, "app", 9);
    let mount = Mount {
        r#type: "bind".into(),
        source: layer.display().to_string(),
        ..Mount::default()
    };
    assert_eq!(resolve_user(&[mount], "app").unwrap().uid, 9);
}
