//! The payload's image: an OCI layout made here, pushed to the registry.
//!
//! One uncompressed layer: the payload and the directories that runtimes mount on. No shell, no
//! library: what is measured is the launch, not the page cache.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::command;

/// Where it is pushed to and pulled from.
pub(crate) const REFERENCE: &str = "127.0.0.1:5000/davit/bench-payload:1";

/// The payload's path in the image.
pub(crate) const PAYLOAD_PATH: &str = "/payload";

const PAYLOAD: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/payload"));
const DIRECTORIES: &[&str] = &["bin", "dev", "etc", "proc", "run", "sys", "tmp"];
/// containerd-stress runs `true` as the user `games`, whatever the image.
const FILES: &[(&str, u32, &[u8])] = &[
    ("bin/true", 0o755, PAYLOAD),
    ("etc/group", 0o644, b"root:x:0:\n"),
    (
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/payload\ngames:x:5:60:games:/:/payload\n",
    ),
    ("payload", 0o755, PAYLOAD),
];
const MEDIA_TYPE: &str = "application/vnd.oci.image";

/// Builds the image in `scratch` and pushes it to [`REFERENCE`].
pub(crate) fn push(scratch: &Path) -> anyhow::Result<()> {
    let layout = scratch.join("image");
    write_layout(&layout)?;
    let source = format!("oci:{}:1", layout.display());
    let destination = format!("docker://{REFERENCE}");
    let arguments = [
        "copy",
        "--quiet",
        "--insecure-policy",
        "--dest-tls-verify=false",
    ];
    command::output(command::of("skopeo", &arguments).args([source, destination]))?;
    Ok(())
}

/// Writes the image's files below `root`, for runtimes that take a plain directory.
pub(crate) fn write_plain(root: &Path) -> anyhow::Result<()> {
    tar::Archive::new(layer()?.as_slice())
        .unpack(root)
        .with_context(|| format!("write the image's files below {}", root.display()))
}

fn layer() -> anyhow::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for directory in DIRECTORIES {
        append(
            &mut archive,
            directory,
            tar::EntryType::Directory,
            0o755,
            &[],
        )?;
    }
    for (path, mode, content) in FILES {
        append(&mut archive, path, tar::EntryType::Regular, *mode, content)?;
    }
    archive.into_inner().context("end the layer's archive")
}

fn append(
    archive: &mut tar::Builder<Vec<u8>>,
    path: &str,
    kind: tar::EntryType,
    mode: u32,
    content: &[u8],
) -> anyhow::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    archive
        .append_data(&mut header, path, content)
        .with_context(|| format!("put {path} into the layer"))
}

fn write_layout(layout: &Path) -> anyhow::Result<()> {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).with_context(|| format!("create {}", blobs.display()))?;
    let layer = put_blob(&blobs, "layer.v1.tar", &layer()?)?;
    // Uncompressed: the layer's digest is its diff id.
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Cmd": [PAYLOAD_PATH]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    });
    let config = put_blob(&blobs, "config.v1+json", config.to_string().as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": format!("{MEDIA_TYPE}.manifest.v1+json"),
        "config": config, "layers": [layer],
    });
    let mut manifest = put_blob(&blobs, "manifest.v1+json", manifest.to_string().as_bytes())?;
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "1"});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    write(&layout.join("index.json"), index.to_string().as_bytes())?;
    write(
        &layout.join("oci-layout"),
        br#"{"imageLayoutVersion":"1.0.0"}"#,
    )
}

/// Stores `content` and returns its descriptor.
fn put_blob(blobs: &Path, kind: &str, content: &[u8]) -> anyhow::Result<Value> {
    let digest: String = Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    write(&blobs.join(&digest), content)?;
    Ok(json!({
        "mediaType": format!("{MEDIA_TYPE}.{kind}"),
        "digest": format!("sha256:{digest}"),
        "size": content.len(),
    }))
}

fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Instant;

    #[test]
    fn the_payload_runs_anywhere_and_prints_the_time() {
        let root = tempfile::tempdir().unwrap();
        write_plain(root.path()).unwrap();
        let before = Instant::now();
        let program = root.path().join("payload");
        let output = command::output(&mut std::process::Command::new(program)).unwrap();
        let stamp = Instant::printed(&output).unwrap();
        assert!(before <= stamp && stamp <= Instant::now());
    }

    #[test]
    fn the_layout_refers_only_to_blobs_it_holds() {
        let scratch = tempfile::tempdir().unwrap();
        write_layout(scratch.path()).unwrap();
        let read = |path: &str| -> Value {
            serde_json::from_slice(&fs::read(scratch.path().join(path)).unwrap()).unwrap()
        };
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap();
            format!("blobs/{}", digest.replace(':', "/"))
        };
        let manifest = read(&blob(&read("index.json")["manifests"][0]));
        let config = read(&blob(&manifest["config"]));
        let layer = &manifest["layers"][0];
        assert_eq!(config["rootfs"]["diff_ids"][0], layer["digest"]);
        let size = fs::metadata(scratch.path().join(blob(layer)))
            .unwrap()
            .len();
        assert_eq!(layer["size"], size);
    }
}
