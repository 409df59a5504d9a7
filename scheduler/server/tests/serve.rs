//! The scheduler put together: opened, asked over HTTP, stopped, and opened again over what it kept.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use davit_scheduler::serve::{Scheduler, ServeError, first_token};
use davit_scheduler::settings::{Database, Settings};
use davit_types::{Bytes, InstanceType, Resources, Tenant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

fn settings(dir: &Path) -> Settings {
    let mut settings = Settings {
        state_dir: dir.join("state"),
        ..Settings::default()
    };
    settings.rest.listener.listen = "127.0.0.1:0".to_owned();
    settings.link.listen = "127.0.0.1:0".to_owned();
    settings
}

/// Status and body of a GET.
async fn ask(address: SocketAddr, path: &str, token: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

fn size() -> InstanceType {
    InstanceType {
        slug: "tiny".to_owned(),
        name: "Tiny".to_owned(),
        resources: Resources {
            cpu_millis: 100,
            memory_bytes_max: Bytes::mib(64),
            pids_max: 32,
        },
        price_second_micros: 1,
        disk_bytes_max: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_serves_stops_and_goes_on() {
    let dir = TempDir::new().unwrap();
    let settings = settings(dir.path());
    let tenant: Tenant = "dev".parse().unwrap();
    let token = first_token(&settings, &tenant, "test").await.unwrap();
    for _ in 0..2 {
        let scheduler = Scheduler::open(&settings).await.unwrap();
        let join = scheduler.prepare_development(vec![size()]).await.unwrap();
        assert!(join.starts_with("davit_join_"));
        let address = scheduler.rest_address().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(scheduler.serve(async {
            drop(stopped.await);
        }));
        assert_eq!(ask(address, "/healthz", "").await.0, 200);
        assert_eq!(ask(address, "/v1/regions", "").await.0, 401);
        let (status, answer) = ask(address, "/v1/instance-types", &token).await;
        assert_eq!(status, 200, "{answer}");
        assert!(answer.contains("tiny"), "{answer}");
        drop(stop);
        let ended = tokio::time::timeout(Duration::from_secs(30), serving).await;
        ended.expect("it does not stop").unwrap().unwrap();
    }
}

#[tokio::test]
async fn what_others_may_read_is_no_secret() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("url");
    fs::write(&file, "postgresql://davit:hush@127.0.0.1:1/davit").unwrap();
    let mut settings = settings(dir.path());
    settings.store.database = Database::Postgresql;
    settings.store.url_file = Some(file.clone());
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let refused = Scheduler::open(&settings).await.unwrap_err();
    assert!(
        matches!(&refused, ServeError::Content { path, .. } if *path == file),
        "{refused}"
    );
    assert!(!format!("{refused:?}").contains("hush"));
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let refused = Scheduler::open(&settings).await.unwrap_err();
    assert!(matches!(refused, ServeError::Store(_)), "{refused}");
    assert!(!format!("{refused:?}").contains("hush"));
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let dir = TempDir::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = settings(dir.path());
    settings.link.listen = taken.local_addr().unwrap().to_string();
    let refused = Scheduler::open(&settings).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("cannot listen on {}", settings.link.listen)
    );
}
