//! The same words against a server that speaks S3: moto, from PyPI, started by the test on a free port.
//!
//! `scripts/test` installs it; `DAVIT_TEST_MOTO` names another `moto_server`.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use davit_scheduler::logs::{LogError, ObjectSettings, open_objects};
use futures::TryStreamExt;
use object_store::ObjectStore;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::book::{Book, admit, eager, lines};
use crate::world::wait_for;

const BUCKET: &str = "davit-logs";

struct Moto {
    server: Child,
    port: u16,
}

impl Moto {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let program = program();
        let server = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{}: {error}; scripts/test installs it", program.display())
            });
        let moto = Self { server, port };
        wait_for("moto", async || moto.make_bucket().await).await;
        moto
    }

    /// `PUT /bucket`, unsigned: moto asks for no signature.
    async fn make_bucket(&self) -> Option<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let request = format!(
            "PUT /{BUCKET} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(())
    }

    fn objects(&self, prefix: &str) -> Arc<dyn ObjectStore> {
        let option = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let settings = ObjectSettings::Url {
            url: format!("s3://{BUCKET}/{prefix}"),
            options: vec![
                option("aws_endpoint", &format!("http://127.0.0.1:{}", self.port)),
                option("aws_allow_http", "true"),
                option("aws_access_key_id", "test"),
                option("aws_secret_access_key", "test"),
                option("aws_region", "us-east-1"),
            ],
        };
        open_objects(&settings).unwrap()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

/// Where `install_s3_server` of scripts/lib/build.sh puts it.
fn program() -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    if let Some(given) = variable("DAVIT_TEST_MOTO") {
        return given;
    }
    let cache = variable("DAVIT_CACHE_DIR")
        .or_else(|| variable("XDG_CACHE_HOME").map(|dir| dir.join("davit")))
        .or_else(|| variable("HOME").map(|dir| dir.join(".cache/davit")));
    cache.unwrap_or_default().join("moto/bin/moto_server")
}

#[tokio::test]
async fn logs_live_in_a_bucket() {
    let moto = Moto::start().await;
    let objects = moto.objects("below/here");
    let book = Book::over(TempDir::new().unwrap(), Arc::clone(&objects), eager()).await;
    let (peer, key) = book.running().await;
    let mut follower = book.logs.follow(key.run, key.attempt, 0).unwrap();
    for first_id in [1, 101, 201] {
        let batch = lines(first_id, first_id + 99);
        assert_eq!(
            book.logs.append(peer.sender, key, batch).await.unwrap(),
            first_id + 99
        );
    }
    assert_eq!(book.stored(key).await, lines(1, 300));
    // Another replica, which has nothing in memory.
    let there = crate::book::all(&book.replica(eager()), key).await.unwrap();
    assert_eq!(there, lines(1, 300));
    book.end(peer, key, 300).await;
    for line in lines(1, 300) {
        assert_eq!(follower.next().await.unwrap(), Some(line));
    }
    assert_eq!(follower.next().await.unwrap(), None);
    let names: Vec<_> = moto.objects("").list(None).try_collect().await.unwrap();
    assert_eq!(names.len(), 3);
    assert!(
        names[0].location.as_ref().starts_with("below/here/logs/"),
        "{names:?}"
    );
    assert_eq!(book.logs.sweep(9_000_000_000_000).await.unwrap(), 3);
    let left: Vec<_> = objects.list(None).try_collect().await.unwrap();
    assert_eq!(left, []);
}

#[tokio::test]
async fn a_bucket_that_cannot_be_reached_is_an_error_in_the_end() {
    let moto = Moto::start().await;
    let objects = moto.objects("");
    drop(moto);
    let book = Book::over(TempDir::new().unwrap(), objects, eager()).await;
    let (peer, key) = book.running().await;
    let receipt = admit(&book.logs, peer.sender, key, lines(1, 3))
        .await
        .unwrap();
    let stored = tokio::time::timeout(Duration::from_secs(90), receipt.stored())
        .await
        .unwrap();
    let error = stored.unwrap_err();
    assert!(
        matches!(
            error,
            LogError::Object {
                operation: "write",
                ..
            } | LogError::Slow { .. }
        ),
        "{error}"
    );
    assert_eq!(book.indexed(key).await, 0);
}
