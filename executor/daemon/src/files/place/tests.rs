//! Working directories in layers that were made to mislead.

use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

/// An overlay of an image's layer and a container's own.
struct Layers2 {
    dir: tempfile::TempDir,
}

impl Layers2 {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("image")).unwrap();
        fs::create_dir(dir.path().join("own")).unwrap();
        Self { dir }
    }

    fn image(&self) -> std::path::PathBuf {
        self.dir.path().join("image")
    }

    fn own(&self) -> std::path::PathBuf {
        self.dir.path().join("own")
    }

    fn open(&self, path: &str) -> Result<OwnedFd, PlaceError> {
        let here = rustix::process::getuid().as_raw();
        let group = rustix::process::getgid().as_raw();
        let mount = Mount {
            r#type: "overlay".into(),
            source: "overlay".into(),
            target: String::new(),
            options: vec![
                format!("lowerdir={}", self.image().display()),
                format!("upperdir={}", self.own().display()),
            ],
        };
        open(&[mount], path, (here, group))
    }

    /// Opens `path`, which must be `wanted` in the container's own layer.
    fn is(&self, path: &str, wanted: &str) {
        let opened = self.open(path).unwrap();
        let found = rustix::fs::fstat(&opened).unwrap();
        let at = fs::metadata(self.own().join(wanted)).unwrap();
        assert_eq!(found.st_ino, at.ino(), "{path} is not {wanted}");
    }
}

#[test]
fn links_lead_where_they_lead_in_the_container() {
    let layers = Layers2::new();
    fs::create_dir_all(layers.image().join("srv/app")).unwrap();
    fs::set_permissions(
        layers.image().join("srv/app"),
        fs::Permissions::from_mode(0o2770),
    )
    .unwrap();
    symlink("/srv/app", layers.image().join("absolute")).unwrap();
    symlink("../../../../srv/app", layers.image().join("up")).unwrap();
    fs::write(layers.image().join("file"), "").unwrap();
    layers.is("/absolute", "srv/app");
    layers.is("/up/new", "srv/app/new");
    layers.is("/srv/../made/here", "made/here");
    layers.is("/", "");
    let mode = |name: &str| {
        let meta = fs::metadata(layers.own().join(name)).unwrap();
        meta.permissions().mode() & 0o7777
    };
    assert_eq!((mode("srv/app"), mode("srv/app/new")), (0o2770, 0o755));
    let told = layers.open("/file/x").unwrap_err();
    assert!(matches!(told, PlaceError::Rootfs { .. }), "{told}");
    let outside = layers.dir.path();
    let names = fs::read_dir(outside).unwrap().count();
    assert_eq!(names, 2, "something was made outside");
    assert!(!Path::new("/srv/app/new").exists());
}

#[test]
fn what_the_job_would_not_see_is_refused() {
    let layers = Layers2::new();
    symlink("tmp/deep", layers.image().join("work")).unwrap();
    for path in ["/tmp", "/tmp/x", "/dev/shm/x", "/proc", "/work"] {
        let told = layers.open(path).unwrap_err();
        assert!(matches!(told, PlaceError::Hidden { .. }), "{told}");
        assert!(told.to_string().contains("choose another"), "{told}");
    }
    layers.is("/tmpfiles", "tmpfiles");
}
