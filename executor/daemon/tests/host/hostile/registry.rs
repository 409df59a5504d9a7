//! A registry that serves one image, whatever it is, and misbehaves as told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What is served.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// For every tag and digest.
    pub manifest: Vec<u8>,
    /// By digest.
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// Blobs that are served in another way.
    pub odd: BTreeMap<String, Odd>,
}

/// A way to serve a blob.
#[derive(Clone, Copy, Debug)]
pub enum Odd {
    Missing,
    /// Half of it, and the connection closes.
    Half,
    /// Itself, and as much again.
    Twice,
    /// The right number of other bytes.
    Other,
    /// A byte now and then.
    Drips,
    /// Somewhere else, which is here.
    RedirectsInCircles,
    /// Nothing at all, for ever.
    Silent,
}

/// Serves `content` until the test's runtime ends; the image's name.
pub async fn serve(content: Content) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let content = Arc::new(content);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&content)));
        }
    });
    format!("{address}/app:1")
}

async fn answer(mut stream: TcpStream, content: Arc<Content>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let path = head.split(' ').nth(1)?.to_owned();
    let name = path.rsplit('/').next()?;
    if path.contains("/manifests/") {
        // By digest: a manifest of an index, which is among the blobs.
        let document = content.blobs.get(name).unwrap_or(&content.manifest);
        return send(&mut stream, "200 OK", document.len(), document).await;
    }
    let Some(blob) = content.blobs.get(name) else {
        return send(&mut stream, "404 Not Found", 0, b"").await;
    };
    let length = blob.len();
    match content.odd.get(name) {
        None => send(&mut stream, "200 OK", length, blob).await,
        Some(Odd::Missing) => send(&mut stream, "404 Not Found", 0, b"").await,
        Some(Odd::Half) => send(&mut stream, "200 OK", length, &blob[..length / 2]).await,
        Some(Odd::Twice) => {
            send(
                &mut stream,
                "200 OK",
                2 * length,
                &[&blob[..], blob].concat(),
            )
            .await
        }
        Some(Odd::Other) => {
            let other: Vec<u8> = blob.iter().map(|byte| !byte).collect();
            send(&mut stream, "200 OK", length, &other).await
        }
        Some(Odd::Drips) => {
            send(&mut stream, "200 OK", length, b"").await?;
            for byte in blob {
                stream.write_all(&[*byte]).await.ok()?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Some(())
        }
        Some(Odd::RedirectsInCircles) => {
            let head = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: {path}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.ok()
        }
        Some(Odd::Silent) => {
            tokio::time::sleep(Duration::from_secs(600)).await;
            None
        }
    }
}

async fn send(stream: &mut TcpStream, status: &str, length: usize, body: &[u8]) -> Option<()> {
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body).await.ok()
}
