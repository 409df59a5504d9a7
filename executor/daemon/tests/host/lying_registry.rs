//! A registry on loopback that serves one made-up image and can be told to misbehave. It counts what
//! it is asked for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How layers are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// As they should be.
    Honest,
    /// The connection closes half-way, and ranges are not known.
    Truncates,
    /// It closes half-way; asked for the rest, it sends the rest.
    BreaksOnce,
    /// The right number of wrong bytes.
    Lies,
    /// One byte at a time, slowly.
    Drips,
    /// Nothing until [`LyingRegistry::open_gate`].
    Waits,
    /// A manifest without end.
    FloodsManifest,
    /// As they should be, to who brings the token of its token server, which wants a password.
    WantsToken,
}

/// `davit:davit-test`, as basic authentication has it.
const BASIC: &str = "authorization: basic zgf2axq6zgf2axqtdgvzda==";
const TOKEN: &str = "token-of-the-lying-registry";

/// The registry; it serves until the test's runtime ends.
pub struct LyingRegistry {
    pub address: String,
    pub manifest_digest: String,
    counts: Arc<Mutex<BTreeMap<String, u32>>>,
    gate: watch::Sender<bool>,
    pub index_digest: String,
}

struct Content {
    address: String,
    index: Vec<u8>,
    mood: Mood,
    manifest: Vec<u8>,
    blobs: BTreeMap<String, Vec<u8>>,
    layer_digest: String,
    gate: watch::Receiver<bool>,
    counts: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl LyingRegistry {
    /// Serves `app:1`, an image of one file of `bytes` bytes, unlike any other image.
    pub async fn start(mood: Mood, bytes: usize) -> Self {
        let layer = tar_of_one_file(&unique_bytes(bytes));
        let layer_digest = digest(&layer);
        let config = format!(
            r#"{{"os":"linux","architecture":"amd64","config":{{"Cmd":["x"]}},
                "rootfs":{{"type":"layers","diff_ids":["{layer_digest}"]}}}}"#
        )
        .into_bytes();
        let config_digest = digest(&config);
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
                "config":{{"mediaType":"application/vnd.oci.image.config.v1+json",
                  "digest":"{config_digest}","size":{}}},
                "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar",
                  "digest":"{layer_digest}","size":{}}}]}}"#,
            config.len(),
            layer.len()
        )
        .into_bytes();
        let manifest_digest = digest(&manifest);
        let index = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[
                {{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,
                  "digest":"sha256:{}","platform":{{"os":"linux","architecture":"s390x"}}}},
                {{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":{},
                  "digest":"{manifest_digest}","platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#,
            "0".repeat(64),
            manifest.len()
        )
        .into_bytes();
        let index_digest = digest(&index);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let (gate, seen) = watch::channel(false);
        let counts = Arc::default();
        let content = Arc::new(Content {
            mood,
            address: address.clone(),
            index,
            blobs: BTreeMap::from([(config_digest, config), (layer_digest.clone(), layer)]),
            layer_digest,
            gate: seen,
            counts: Arc::clone(&counts),
            manifest,
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&content)));
            }
        });
        Self {
            address,
            manifest_digest,
            index_digest,
            counts,
            gate,
        }
    }

    /// The image it serves.
    pub fn image(&self) -> String {
        format!("{}/app:1", self.address)
    }

    /// The same image behind an index with another platform before it.
    pub fn indexed_image(&self) -> String {
        format!("{}/app:index", self.address)
    }

    /// How often something of this kind was asked for: `manifests` or `blobs`.
    pub fn count(&self, kind: &str) -> u32 {
        self.counts.lock().unwrap().get(kind).copied().unwrap_or(0)
    }

    /// Lets [`Mood::Waits`] go on.
    pub fn open_gate(&self) {
        self.gate.send_replace(true);
    }
}

async fn serve(mut stream: TcpStream, content: Arc<Content>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let path = head.split(' ').nth(1)?.to_owned();
    let head = head.to_lowercase();
    if path.starts_with("/token?") {
        return serve_token(&mut stream, &path, &head).await;
    }
    if content.mood == Mood::WantsToken && !head.contains(&format!("authorization: bearer {TOKEN}"))
    {
        let challenge = format!(
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\
             WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"lying\"\r\n\r\n",
            content.address
        );
        return stream.write_all(challenge.as_bytes()).await.ok();
    }
    let mut parts = path.rsplit('/');
    let (name, kind) = (parts.next()?, parts.next()?);
    *content
        .counts
        .lock()
        .unwrap()
        .entry(kind.to_owned())
        .or_default() += 1;
    if kind == "manifests" {
        return serve_manifest(&mut stream, name, &content).await;
    }
    let Some(blob) = content.blobs.get(name) else {
        return answer(&mut stream, "404 Not Found", 0, b"").await;
    };
    if name != content.layer_digest {
        return answer(&mut stream, "200 OK", blob.len(), blob).await;
    }
    serve_layer(&mut stream, &content, &head, blob).await
}

async fn serve_layer(
    stream: &mut TcpStream,
    content: &Content,
    head: &str,
    blob: &[u8],
) -> Option<()> {
    let half = blob.len() / 2;
    match content.mood {
        Mood::Honest | Mood::FloodsManifest | Mood::WantsToken => {
            answer(stream, "200 OK", blob.len(), blob).await
        }
        Mood::BreaksOnce
            if head
                .to_lowercase()
                .contains(&format!("range: bytes={half}-")) =>
        {
            let rest = &blob[half..];
            answer(stream, "206 Partial Content", rest.len(), rest).await
        }
        Mood::Truncates | Mood::BreaksOnce => {
            answer(stream, "200 OK", blob.len(), &blob[..half]).await
        }
        Mood::Lies => {
            let wrong: Vec<u8> = blob.iter().map(|byte| !byte).collect();
            answer(stream, "200 OK", wrong.len(), &wrong).await
        }
        Mood::Drips => {
            answer(stream, "200 OK", blob.len(), b"").await?;
            for byte in blob {
                stream.write_all(&[*byte]).await.ok()?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Some(())
        }
        Mood::Waits => {
            let mut gate = content.gate.clone();
            gate.wait_for(|open| *open).await.ok()?;
            answer(stream, "200 OK", blob.len(), blob).await
        }
    }
}

async fn serve_token(stream: &mut TcpStream, path: &str, head: &str) -> Option<()> {
    let asked = path.contains("scope=repository%3Aapp%3Apull") && path.contains("service=lying");
    if !asked || !head.contains(BASIC) {
        return answer(stream, "401 Unauthorized", 0, b"").await;
    }
    let reply = format!(r#"{{"token":"{TOKEN}","expires_in":60}}"#);
    answer(stream, "200 OK", reply.len(), reply.as_bytes()).await
}

async fn serve_manifest(stream: &mut TcpStream, name: &str, content: &Content) -> Option<()> {
    if content.mood != Mood::FloodsManifest {
        let document = if name == "index" {
            &content.index
        } else {
            &content.manifest
        };
        return answer(stream, "200 OK", document.len(), document).await;
    }
    answer(stream, "200 OK", 1 << 40, b"{").await?;
    let flood = vec![b' '; 1 << 20];
    loop {
        stream.write_all(&flood).await.ok()?;
    }
}

async fn answer(stream: &mut TcpStream, status: &str, length: usize, body: &[u8]) -> Option<()> {
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body).await.ok()
}

/// Bytes no other test (and no earlier run) has: containerd shares blobs among namespaces.
fn unique_bytes(length: usize) -> Vec<u8> {
    let seed = davit_types::RunId::generate().to_string();
    seed.bytes().cycle().take(length.max(seed.len())).collect()
}

pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold("sha256:".to_owned(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
}

/// A ustar archive with one file, `data`.
fn tar_of_one_file(data: &[u8]) -> Vec<u8> {
    let mut header = [0u8; 512];
    header[..4].copy_from_slice(b"data");
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].copy_from_slice(b"        ");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend(data);
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}
