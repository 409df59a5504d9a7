//! The corpus: images that nobody should be able to harm a host with.
//!
//! One function a kind: what registries say, what manifests and configs say, what layers hold.

use serde_json::{Value, json};

use super::archive::{
    Archive, BLOCK_DEVICE, CHARACTER_DEVICE, DIRECTORY, Entry, FIFO, HARD_LINK, SYMLINK,
};
use super::registry::{Content, Odd};
use super::{ESCAPED, FILES_MAX, UNPACKED_BYTES_MAX};
use crate::lying_registry::digest;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const ZSTD_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// What is to become of an image.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// It is refused, with a sentence that holds these words.
    Refused(&'static str),
    /// It may be refused or pulled; in any case it stays where images are.
    Contained,
}

/// One of them.
pub struct Hostile {
    pub name: &'static str,
    pub fate: Fate,
    pub content: Content,
}

fn hostile(name: &'static str, fate: Fate, content: Content) -> Hostile {
    Hostile {
        name,
        fate,
        content,
    }
}

/// A layer, as it is served and as it is unpacked.
struct Layer {
    media_type: &'static str,
    blob: Vec<u8>,
    diff_id: String,
}

impl Layer {
    fn plain(archive: Archive) -> Self {
        let blob = archive.finish();
        Self {
            media_type: LAYER,
            diff_id: digest(&blob),
            blob,
        }
    }

    fn zstd(archive: Archive) -> Self {
        let unpacked = archive.finish();
        Self {
            media_type: ZSTD_LAYER,
            diff_id: digest(&unpacked),
            blob: zstd::encode_all(&unpacked[..], 1).expect("bytes in memory"),
        }
    }
}

/// An image, to be changed before it is put together.
struct Draft {
    layers: Vec<Layer>,
    config: Value,
    odd: Option<(usize, Odd)>,
}

impl Draft {
    fn of(layers: Vec<Layer>) -> Self {
        let diff_ids: Vec<&str> = layers.iter().map(|layer| &layer.diff_id[..]).collect();
        let config = json!({
            "os": "linux", "architecture": "amd64", "config": {"Cmd": ["x"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        Self {
            layers,
            config,
            odd: None,
        }
    }

    fn one(archive: Archive) -> Self {
        Self::of(vec![Layer::plain(archive)])
    }

    /// With its config changed.
    fn config(mut self, change: impl FnOnce(&mut Value)) -> Content {
        change(&mut self.config);
        self.content(|_| ())
    }

    /// With blob `at` (the config, then the layers) served so.
    fn served(mut self, at: usize, odd: Odd) -> Content {
        self.odd = Some((at, odd));
        self.content(|_| ())
    }

    fn whole(self) -> Content {
        self.content(|_| ())
    }

    /// Put together, with its manifest changed.
    fn content(self, change: impl FnOnce(&mut Value)) -> Content {
        let config = self.config.to_string().into_bytes();
        let mut content = Content::default();
        let mut descriptors = vec![descriptor(CONFIG, &config)];
        content.blobs.insert(digest(&config), config);
        for layer in self.layers {
            descriptors.push(descriptor(layer.media_type, &layer.blob));
            content.blobs.insert(digest(&layer.blob), layer.blob);
        }
        if let Some((at, odd)) = self.odd {
            let name = descriptors[at]["digest"].as_str().expect("a digest");
            content.odd.insert(name.to_owned(), odd);
        }
        let config = descriptors.remove(0);
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": descriptors,
        });
        change(&mut manifest);
        content.manifest = manifest.to_string().into_bytes();
        content
    }
}

fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(blob), "size": blob.len()})
}

fn plain() -> Draft {
    Draft::one(Archive::new())
}

/// A document in the manifest's place.
fn document(manifest: Vec<u8>) -> Content {
    Content {
        manifest,
        ..Content::default()
    }
}

pub fn all() -> Vec<Hostile> {
    let kinds = [
        registries(),
        manifests(),
        configs(),
        bombs(),
        paths(),
        things(),
    ];
    kinds.into_iter().flatten().collect()
}

#[rustfmt::skip] // A case a line, as far as it fits.
fn registries() -> Vec<Hostile> {
    use Fate::Refused;
    let large = || Draft::one(Archive::new().file("large", &[b'x'; 200_000]));
    vec![
        hostile("a layer that is not there", Refused("does not exist"), plain().served(1, Odd::Missing)),
        hostile("a config that is not there", Refused("does not exist"), plain().served(0, Odd::Missing)),
        hostile("half a layer", Refused("only"), large().served(1, Odd::Half)),
        hostile("a layer that goes on", Refused(""), plain().served(1, Odd::Twice)),
        hostile("a config that goes on", Refused(""), plain().served(0, Odd::Twice)),
        hostile("another layer", Refused("digest"), plain().served(1, Odd::Other)),
        hostile("another config", Refused("digest"), plain().served(0, Odd::Other)),
        hostile("a dripping layer", Refused(""), large().served(1, Odd::Drips)),
        hostile("a silent layer", Refused(""), large().served(1, Odd::Silent)),
        hostile("redirects in circles", Refused("try again"), plain().served(1, Odd::RedirectsInCircles)),
    ]
}

#[rustfmt::skip] // A case a line, as far as it fits.
fn manifests() -> Vec<Hostile> {
    use Fate::Refused;
    let of = |change: fn(&mut Value)| plain().content(change);
    let entry = |digest: String| {
        json!({"mediaType": MANIFEST, "digest": digest, "size": 2,
            "platform": {"os": "linux", "architecture": "amd64"}})
    };
    let zeros = format!("sha256:{}", "0".repeat(64));
    let index = |entries: Vec<Value>| {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
        document(index.to_string().into_bytes())
    };
    vec![
        hostile("no JSON", Refused("malformed"), document(b"<html>".to_vec())),
        hostile("deep JSON", Refused("malformed"), document(vec![b'['; 1 << 20])),
        hostile("a long manifest", Refused("more than"), document(vec![b' '; 5 << 20])),
        hostile("an old schema", Refused("schema"), of(|m| m["schemaVersion"] = json!(1))),
        hostile("two kinds at once", Refused("malformed"), of(|m| m["manifests"] = json!([]))),
        hostile("no layers", Refused("no layers"), of(|m| m["layers"] = json!([]))),
        hostile("121 layers", Refused("120 layers"), of(|m| {
            m["layers"] = json!(vec![m["layers"][0].clone(); 121]);
        })),
        hostile("a foreign layer", Refused("media type"), of(|m| {
            m["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
        })),
        hostile("a layer below nothing", Refused("malformed"), of(|m| m["layers"][0]["size"] = json!(-1))),
        hostile("a layer of 16 EiB", Refused("bound"), of(|m| m["layers"][0]["size"] = json!(u64::MAX))),
        hostile("a layer larger than told", Refused(""), of(|m| m["layers"][0]["size"] = json!(1))),
        hostile("a layer smaller than told", Refused("only"), of(|m| m["layers"][0]["size"] = json!(9_999_999))),
        hostile("a digest that is a path", Refused("digest"), of(|m| {
            m["layers"][0]["digest"] = json!("sha256:../../../../etc/passwd");
        })),
        hostile("a weak digest", Refused("digest"), of(|m| {
            m["layers"][0]["digest"] = json!("md5:d41d8cd98f00b204e9800998ecf8427e");
        })),
        hostile("a config of 2 MiB", Refused("the config"), of(|m| m["config"]["size"] = json!(2 << 20))),
        hostile("an index of 1001", Refused("1000 manifests"), index(vec![entry(zeros.clone()); 1_001])),
        hostile("an index of nothing", Refused("not made for"), index(vec![])),
        hostile("an index that lies", Refused("digest"), index(vec![entry(zeros)])),
    ]
}

#[rustfmt::skip] // A case a line, as far as it fits.
fn configs() -> Vec<Hostile> {
    use Fate::Refused;
    let of = |change: fn(&mut Value)| plain().config(change);
    vec![
        hostile("a config that is none", Refused("config"), of(|c| *c = json!("config"))),
        hostile("more layers than told", Refused("layers"), of(|c| c["rootfs"]["diff_ids"] = json!([]))),
        hostile("another layer's name", Refused("unpacked layer"), of(|c| {
            c["rootfs"]["diff_ids"] = json!([format!("sha256:{}", "1".repeat(64))]);
        })),
        hostile("another machine", Refused("s390x"), of(|c| c["architecture"] = json!("s390x"))),
        hostile("another system", Refused("windows"), of(|c| c["os"] = json!("windows"))),
        hostile("2,000 variables", Refused("variables"), of(|c| c["config"]["Env"] = json!(vec!["A=b"; 2_000]))),
        hostile("a variable of 300 KiB", Refused("Env"), of(|c| {
            c["config"]["Env"] = json!([format!("A={}", "b".repeat(300 << 10))]);
        })),
        hostile("a NUL in the command", Refused("NUL"), of(|c| c["config"]["Cmd"] = json!(["sh\0x"]))),
        hostile("a command of 2,000 words", Refused("words"), of(|c| c["config"]["Cmd"] = json!(vec!["x"; 2_000]))),
        hostile("a user of a kilobyte", Refused("User"), of(|c| c["config"]["User"] = json!("u".repeat(1_024)))),
        hostile("a directory of 5,000 letters", Refused("WorkingDir"), of(|c| {
            c["config"]["WorkingDir"] = json!(format!("/{}", "d".repeat(5_000)));
        })),
    ]
}

#[rustfmt::skip] // A case a line, as far as it fits.
fn bombs() -> Vec<Hostile> {
    use Fate::Refused;
    let bytes = usize::try_from(4 * UNPACKED_BYTES_MAX).expect("it fits");
    let zeros = vec![0; bytes];
    let bomb = Layer::zstd(Archive::new().file("zeros", &zeros));
    let slices = (0..5).map(|_| Layer::zstd(Archive::new().file("zeros", &zeros[..bytes / 12])));
    let mut many = Archive::new();
    for number in 0..=FILES_MAX {
        many = many.file(&format!("{}/{number}", number % 97), b"");
    }
    vec![
        hostile("a bomb", Refused("the unpacked size"), Draft::of(vec![bomb]).whole()),
        hostile("a bomb in slices", Refused("the unpacked size"), Draft::of(slices.collect()).whole()),
        hostile("many files", Refused("the number of files"), Draft::of(vec![Layer::zstd(many)]).whole()),
        hostile("no archive", Refused(""), Draft::of(vec![Layer {
            media_type: LAYER,
            diff_id: digest(&[b'?'; 10_000]),
            blob: vec![b'?'; 10_000],
        }]).whole()),
        hostile("no compression", Fate::Contained, Draft::of(vec![Layer {
            media_type: ZSTD_LAYER,
            ..Layer::plain(Archive::new())
        }]).whole()),
    ]
}

#[rustfmt::skip] // A case a line, as far as it fits.
fn paths() -> Vec<Hostile> {
    use Fate::Contained;
    let up = "../".repeat(12);
    let through = |target: &str| {
        Archive::new()
            .link(SYMLINK, "way", target)
            .file(&format!("way/{ESCAPED}"), b"out")
    };
    let one = |archive: Archive| Draft::one(archive).whole();
    let beneath = |layers: [Archive; 2]| Draft::of(layers.map(Layer::plain).into()).whole();
    vec![
        hostile("a path upwards", Contained, one(Archive::new().file(&format!("{up}{ESCAPED}"), b"out"))),
        hostile("a path from the root", Contained, one(Archive::new().file(&format!("/{ESCAPED}"), b"out"))),
        hostile("a path in between", Contained, one(Archive::new().file(&format!("a/../../{ESCAPED}"), b"out"))),
        hostile("through a link to the root", Contained, one(through("/"))),
        hostile("through a link upwards", Contained, one(through(&up))),
        hostile("through a link into /proc", Contained, one(through("/proc/self/root"))),
        hostile("through a link below", Contained, beneath([
            Archive::new().link(SYMLINK, "way", &up),
            Archive::new().file(&format!("way/{ESCAPED}"), b"out"),
        ])),
        hostile("a hard link to the host's", Contained, one(Archive::new().link(HARD_LINK, ESCAPED, "/etc/shadow"))),
        hostile("a hard link upwards", Contained, one(
            Archive::new().link(HARD_LINK, ESCAPED, &format!("{up}etc/shadow")).file(ESCAPED, b"out"),
        )),
        hostile("a hard link through a link", Contained, one(
            Archive::new().link(SYMLINK, "way", "/etc").link(HARD_LINK, ESCAPED, "way/shadow"),
        )),
        hostile("a link in a circle", Contained, one(
            Archive::new().link(SYMLINK, "a", "b").link(SYMLINK, "b", "a").file(&format!("a/{ESCAPED}"), b"out"),
        )),
        hostile("a whiteout upwards", Contained, one(Archive::new().file(".wh...", b"").file("a/.wh..", b""))),
        hostile("a whiteout through a link", Contained, one(
            Archive::new().link(SYMLINK, "way", "/etc").file("way/.wh.hostname", b""),
        )),
        hostile("a whiteout of everything", Contained, one(Archive::new().file(".wh..wh..opq", b""))),
        hostile("5,000 directories deep", Contained, one(Archive::new().file(&"d/".repeat(5_000), b""))),
        hostile("a name of 10,000 letters", Contained, one(Archive::new().file(&"n".repeat(10_000), b""))),
    ]
}

#[rustfmt::skip] // A case a line, as far as it fits.
fn things() -> Vec<Hostile> {
    use Fate::Contained;
    let device = |kind, major, minor| Entry {
        kind,
        mode: 0o666,
        device: (major, minor),
        ..Entry::default()
    };
    let of = |name: &str, entry| Draft::one(Archive::new().entry(name, entry)).whole();
    let kind = |kind, mode| Entry {
        kind,
        mode,
        ..Entry::default()
    };
    let xattr = |key: &str, value: &str| {
        let key = format!("SCHILY.xattr.{key}");
        let archive = Archive::new().extended(&key, value);
        Draft::one(archive.entry("marked", kind(DIRECTORY, 0o755))).whole()
    };
    let endless = Entry {
        size: Some(0o7_777_777_777),
        ..Entry::default()
    };
    vec![
        hostile("the host's disk", Contained, of("disk", device(BLOCK_DEVICE, 254, 0))),
        hostile("the host's memory", Contained, of("mem", device(CHARACTER_DEVICE, 1, 1))),
        hostile("a pipe as /etc/passwd", Contained, of("etc/passwd", kind(FIFO, 0o666))),
        hostile("a disk as /etc/passwd", Contained, of("etc/passwd", device(BLOCK_DEVICE, 254, 0))),
        hostile("a program of root's", Contained, of("su", kind(super::archive::FILE, 0o6755))),
        hostile("a file in /dev and /proc", Contained, Draft::one(
            Archive::new().file("dev/null", b"x").file("proc/self/environ", b"x"),
        ).whole()),
        hostile("an overlay's redirect", Contained, xattr("trusted.overlay.redirect", "/../../../etc")),
        hostile("an overlay's metacopy", Contained, xattr("trusted.overlay.metacopy", "")),
        hostile("file capabilities", Contained, xattr("security.capability", "\u{1}\0\0\u{2}")),
        hostile("a file that never ends", Contained, of("endless", endless)),
        hostile("the same file 5,000 times", Contained, {
            let mut archive = Archive::new();
            for _ in 0..5_000 {
                archive = archive.file("again", b"x");
            }
            Draft::one(archive).whole()
        }),
    ]
}
