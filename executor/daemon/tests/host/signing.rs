//! Who signs: skopeo, as people do it, and a hand that signs whatever a test wants to see refused.

use std::path::{Path, PathBuf};
use std::process::Command;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use davit_executor::images::{ImageStoreOptions, SignatureRules};
use reqwest::header::{CONTENT_TYPE, LOCATION};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::support::REGISTRY;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const SIGNATURE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// Options that have images of every repository signed with one of `keys`.
pub fn must_be_signed<P: AsRef<Path>>(keys: &[P]) -> ImageStoreOptions {
    let mut signatures = SignatureRules::default();
    signatures.add(&["*"], keys).unwrap();
    ImageStoreOptions {
        signatures,
        ..ImageStoreOptions::default()
    }
}

/// A pair of keys of skopeo's making (ECDSA P-256, as cosign's), and its settings.
pub struct Skopeo {
    dir: tempfile::TempDir,
}

impl Skopeo {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        std::fs::write(path.join("passphrase"), "hush").unwrap();
        std::fs::create_dir(path.join("registries.d")).unwrap();
        let beside = "default-docker:\n  use-sigstore-attachments: true\n";
        std::fs::write(path.join("registries.d/default.yaml"), beside).unwrap();
        let skopeo = Self { dir };
        skopeo.run(&[
            "generate-sigstore-key",
            "--output-prefix",
            &skopeo.file("key"),
            "--passphrase-file",
            &skopeo.file("passphrase"),
        ]);
        skopeo
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub fn public_key(&self) -> PathBuf {
        self.dir.path().join("key.pub")
    }

    fn run(&self, arguments: &[&str]) {
        let output = Command::new("skopeo")
            .args(["--insecure-policy", "--registries.d"])
            .arg(self.file("registries.d"))
            .args(arguments)
            .output()
            .expect("skopeo runs");
        assert!(output.status.success(), "skopeo {arguments:?}: {output:?}");
    }

    /// Copies an image of the registry's to a new name there, and signs it.
    pub fn copy_signed(&self, from: &str, to: &str) {
        self.run(&[
            "copy",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            "--sign-by-sigstore-private-key",
            &self.file("key.private"),
            "--sign-passphrase-file",
            &self.file("passphrase"),
            &format!("docker://{from}"),
            &format!("docker://{to}"),
        ]);
    }

    /// Copies without signing.
    pub fn copy(&self, from: &str, to: &str) {
        let (from, to) = (format!("docker://{from}"), format!("docker://{to}"));
        self.run(&[
            "copy",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            &from,
            &to,
        ]);
    }
}

/// A key that signs anything.
pub struct Hand {
    key: Ed25519KeyPair,
    dir: tempfile::TempDir,
}

impl Hand {
    pub fn new() -> Self {
        let key = Ed25519KeyPair::generate().unwrap();
        let spki: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
        let text = STANDARD.encode(spki.as_ref());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("hand.pub"), pem).unwrap();
        Self { key, dir }
    }

    pub fn public_key(&self) -> PathBuf {
        self.dir.path().join("hand.pub")
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign(message).as_ref().to_vec()
    }

    /// A bundle with the statement of kind `predicate` about `digest`, as cosign 3 makes it.
    pub fn bundle(&self, predicate: &str, digest: &str) -> Value {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"digest": {"sha256": digest.trim_start_matches("sha256:")}}],
            "predicateType": predicate,
            "predicate": {},
        })
        .to_string();
        let kind = "application/vnd.in-toto+json";
        let message = format!(
            "DSSEv1 {} {kind} {} {statement}",
            kind.len(),
            statement.len()
        );
        let signature = STANDARD.encode(self.sign(message.as_bytes()));
        json!({"mediaType": BUNDLE, "verificationMaterial": {}, "dsseEnvelope": {
            "payload": STANDARD.encode(statement), "payloadType": kind, "signatures": [{"sig": signature}],
        }})
    }

    /// A payload about `digest`, and its signature.
    pub fn signed(&self, digest: &str) -> (Vec<u8>, Vec<u8>) {
        let payload = payload(digest);
        let signature = self.sign(&payload);
        (payload, signature)
    }
}

/// What cosign signs.
pub fn payload(digest: &str) -> Vec<u8> {
    json!({"critical": {
        "identity": {"docker-reference": ""},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }, "optional": null})
    .to_string()
    .into_bytes()
}

pub fn digest_of(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// A repository of the real registry's, written to by hand.
pub struct Repository {
    pub name: String,
    http: reqwest::Client,
}

impl Repository {
    /// One that nobody has written to.
    pub fn new() -> Self {
        Self {
            name: format!("signed/{}", uuid::Uuid::new_v4().simple()),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    /// The name of an image in it.
    pub fn image(&self, tag: &str) -> String {
        format!("{REGISTRY}/{}:{tag}", self.name)
    }

    pub async fn put_blob(&self, bytes: &[u8]) -> String {
        let digest = digest_of(bytes);
        let url = format!("http://{REGISTRY}/v2/{}/blobs/uploads/", self.name);
        let begun = self.http.post(url).send().await.unwrap();
        let place = begun.headers()[LOCATION].to_str().unwrap().to_owned();
        let place = if place.starts_with('/') {
            format!("http://{REGISTRY}{place}")
        } else {
            place
        };
        let mark = if place.contains('?') { '&' } else { '?' };
        let put = self.http.put(format!("{place}{mark}digest={digest}"));
        let put = put
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(bytes.to_vec());
        let answer = put.send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        digest
    }

    pub async fn put_manifest(&self, tag: &str, kind: &str, manifest: &Value) -> String {
        let bytes = manifest.to_string().into_bytes();
        let digest = digest_of(&bytes);
        let url = format!("http://{REGISTRY}/v2/{}/manifests/{tag}", self.name);
        let put = self.http.put(url).header(CONTENT_TYPE, kind).body(bytes);
        let answer = put.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{status} {text}");
        digest
    }

    pub async fn manifest(&self, tag: &str) -> Vec<u8> {
        let url = format!("http://{REGISTRY}/v2/{}/manifests/{tag}", self.name);
        let get = self.http.get(url).header("accept", MANIFEST);
        let answer = get.send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        answer.bytes().await.unwrap().to_vec()
    }

    /// Puts these signatures, each with its payload, where those of `digest` are looked for.
    pub async fn put_signatures(&self, digest: &str, signed: &[(Vec<u8>, Vec<u8>)]) {
        let config = self.put_blob(b"{}").await;
        let mut layers = Vec::new();
        for (payload, signature) in signed {
            layers.push(json!({
                "mediaType": SIGNATURE,
                "digest": self.put_blob(payload).await,
                "size": payload.len(),
                "annotations": {"dev.cosignproject.cosign/signature": STANDARD.encode(signature)},
            }));
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
            "layers": layers,
        });
        let tag = format!("{}.sig", digest.replacen(':', "-", 1));
        self.put_manifest(&tag, MANIFEST, &manifest).await;
    }

    /// Puts bundles into the repository; the list that makes them referrers of an image.
    pub async fn put_bundles(&self, bundles: &[Value]) -> Value {
        let config = self.put_blob(b"{}").await;
        let mut manifests = Vec::new();
        for bundle in bundles {
            let bytes = bundle.to_string().into_bytes();
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "artifactType": BUNDLE,
                "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
                "layers": [{"mediaType": BUNDLE, "digest": self.put_blob(&bytes).await, "size": bytes.len()}],
            });
            let digest = digest_of(manifest.to_string().as_bytes());
            self.put_manifest(&digest, MANIFEST, &manifest).await;
            manifests.push(json!({
                "mediaType": MANIFEST, "digest": digest, "size": manifest.to_string().len(), "artifactType": BUNDLE,
            }));
        }
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
    }
}

/// A registry before the real one that knows what refers to an image: `list`, whatever is asked about. Returns its address.
pub async fn registry_with_referrers(list: &Value) -> String {
    let list = list.to_string();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_before(stream, list.clone()));
        }
    });
    address
}

async fn serve_before(mut stream: TcpStream, list: String) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    if head.split(' ').nth(1)?.contains("/referrers/sha256:") {
        let length = list.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {INDEX}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{list}"
        );
        return stream.write_all(answer.as_bytes()).await.ok();
    }
    let mut real = TcpStream::connect(REGISTRY).await.ok()?;
    // One request a connection: the next may be for the list.
    let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    real.write_all(head.as_bytes()).await.ok()?;
    copy_bidirectional(&mut stream, &mut real)
        .await
        .ok()
        .map(drop)
}
