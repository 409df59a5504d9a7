//! A registry of the test's own: one small image, served well or badly, every request counted.
//!
//! Speaks just enough of the distribution API over HTTP/1.1, one request a connection.
//!
//! Absent on purpose: pushing, authentication (the real registry has it), and TLS.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use sha2::{Digest, Sha256};

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Connections silent for so long are given up: the test is over by then.
const SILENCE_SECONDS_MAX: u64 = 120;
const BUSYBOX_PATHS: [&str; 2] = ["/usr/bin/busybox", "/bin/busybox"];

/// How blobs are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// At once and whole.
    Well,
    /// Whole, after so long.
    Late(Duration),
    /// Half of it, then the connection closes.
    Truncated,
    /// Half of it, then nothing more.
    Silent,
    /// A byte at a time, with a pause after each.
    Dripping,
    /// Whole, with one bit turned.
    Damaged,
}

/// A registry that serves one image under every name.
pub(crate) struct RegistryDouble {
    address: String,
    manifest_digest: String,
    shared: Arc<Shared>,
}

struct Shared {
    manifest: Vec<u8>,
    blobs: BTreeMap<String, Vec<u8>>,
    layer: String,
    manner: Mutex<Manner>,
    requests: Mutex<Vec<String>>,
}

impl RegistryDouble {
    /// Serves an image of its own: busybox, and `padding_bytes` that no other image has.
    pub(crate) fn start(padding_bytes: usize) -> anyhow::Result<Self> {
        let layer = layer(padding_bytes)?;
        let layer_digest = digest(&layer);
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{"Env":["PATH=/bin"],"Cmd":["/bin/busybox","true"]}},"rootfs":{{"type":"layers","diff_ids":["{layer_digest}"]}}}}"#
        )
        .into_bytes();
        let config_digest = digest(&config);
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST_TYPE}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config_digest}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer_digest}","size":{}}}]}}"#,
            config.len(),
            layer.len()
        )
        .into_bytes();
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
        let address = listener
            .local_addr()
            .context("cannot tell the address")?
            .to_string();
        let manifest_digest = digest(&manifest);
        let blobs = [(config_digest, config), (layer_digest.clone(), layer)].into();
        let shared = Arc::new(Shared {
            manifest,
            blobs,
            layer: layer_digest,
            manner: Mutex::new(Manner::Well),
            requests: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                // A client that hangs up in the middle is what some tests want.
                thread::spawn(move || shared.answer(connection).unwrap_or_default());
            }
        });
        Ok(Self {
            address,
            manifest_digest,
            shared,
        })
    }

    /// The reference of its image.
    pub(crate) fn image(&self) -> String {
        format!("{}/double/image:1", self.address)
    }

    /// Digest of the image's manifest.
    pub(crate) fn digest(&self) -> &str {
        &self.manifest_digest
    }

    /// From now on the layer is served like this.
    pub(crate) fn serve(&self, manner: Manner) {
        *self
            .shared
            .manner
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = manner;
    }

    /// How often the layer was asked for.
    pub(crate) fn layer_requests(&self) -> usize {
        self.requests_for(&self.shared.layer)
    }

    /// How often a manifest was asked for.
    pub(crate) fn manifest_requests(&self) -> usize {
        self.requests_for("/manifests/")
    }

    fn requests_for(&self, part: &str) -> usize {
        let requests = self
            .shared
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        requests.iter().filter(|path| path.contains(part)).count()
    }
}

impl Shared {
    fn answer(&self, mut connection: TcpStream) -> io::Result<()> {
        let limit = Some(Duration::from_secs(SILENCE_SECONDS_MAX));
        connection.set_read_timeout(limit)?;
        let head = read_head(&mut connection)?;
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(path.to_owned());
        let last = path.rsplit('/').next().unwrap_or("");
        if path == "/v2/" {
            return send(
                &mut connection,
                method,
                "application/json",
                b"{}",
                Manner::Well,
            );
        }
        if path.contains("/manifests/") {
            return send(
                &mut connection,
                method,
                MANIFEST_TYPE,
                &self.manifest,
                Manner::Well,
            );
        }
        let Some(blob) = self.blobs.get(last) else {
            let reply = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            return connection.write_all(reply.as_bytes());
        };
        let manner = if last == self.layer {
            *self.manner.lock().unwrap_or_else(PoisonError::into_inner)
        } else {
            Manner::Well
        };
        send(
            &mut connection,
            method,
            "application/octet-stream",
            blob,
            manner,
        )
    }
}

fn read_head(connection: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < REQUEST_BYTES_MAX {
        connection.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn send(
    connection: &mut TcpStream,
    method: &str,
    kind: &str,
    body: &[u8],
    manner: Manner,
) -> io::Result<()> {
    if let Manner::Late(pause) = manner {
        thread::sleep(pause);
    }
    let length = body.len();
    let digest = digest(body);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Docker-Content-Digest: {digest}\r\nConnection: close\r\n\r\n"
    );
    connection.write_all(head.as_bytes())?;
    if method == "HEAD" {
        return Ok(());
    }
    let half = &body[..length / 2];
    match manner {
        Manner::Well | Manner::Late(_) => connection.write_all(body),
        Manner::Truncated => connection.write_all(half),
        Manner::Silent => {
            connection.write_all(half)?;
            // Returns when the client gives up.
            connection.read(&mut [0]).map(drop)
        }
        Manner::Dripping => body.iter().try_for_each(|byte| {
            thread::sleep(Duration::from_millis(100));
            connection.write_all(&[*byte])
        }),
        Manner::Damaged => {
            let mut damaged = body.to_vec();
            damaged[length / 2] ^= 1;
            connection.write_all(&damaged)
        }
    }
}

/// A tar of `/bin/busybox`, the directories davit mounts upon, and the padding.
fn layer(padding_bytes: usize) -> anyhow::Result<Vec<u8>> {
    let busybox = BUSYBOX_PATHS.iter().find_map(|path| fs::read(path).ok());
    let busybox = busybox.context("this host has no busybox")?;
    let mut tar = tar::Builder::new(Vec::new());
    for directory in ["bin/", "proc/", "sys/", "dev/", "tmp/", "etc/"] {
        append(&mut tar, directory, 0o755, tar::EntryType::Directory, &[])?;
    }
    append(
        &mut tar,
        "bin/busybox",
        0o755,
        tar::EntryType::Regular,
        &busybox,
    )?;
    append(
        &mut tar,
        "padding",
        0o644,
        tar::EntryType::Regular,
        &noise(padding_bytes)?,
    )?;
    tar.into_inner().context("cannot finish the layer")
}

fn append(
    tar: &mut tar::Builder<Vec<u8>>,
    path: &str,
    mode: u32,
    kind: tar::EntryType,
    bytes: &[u8],
) -> anyhow::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(bytes.len().try_into().context("a small size")?);
    header.set_cksum();
    tar.append_data(&mut header, path, bytes)
        .with_context(|| format!("cannot add {path}"))
}

/// Bytes that no test had before (xorshift seeded by the clock).
fn noise(bytes: usize) -> anyhow::Result<Vec<u8>> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .context("the clock")?;
    let mut state = u64::from(now.subsec_nanos()) | now.as_secs() << 32 | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    Ok(std::iter::repeat_with(next).flatten().take(bytes).collect())
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
