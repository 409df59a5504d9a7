//! What replicas share: settings, keys, a tenant with a token, a size, a region.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use davit_scheduler::serve::Scheduler;
use davit_scheduler::settings::{Database, Settings};
use davit_types::{Bytes, InstanceType, Resources};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) use crate::process::Replica;
pub(crate) use crate::waiting::{WAIT_MS_MAX, unix_ms, wait_for};

/// Ways in for hosts that are made in advance.
const JOIN_TOKENS: usize = 6;

pub(crate) struct World {
    pub(crate) settings_file: PathBuf,
    pub(crate) token: String,
    join_tokens: Mutex<Vec<String>>,
    pub(crate) http: reqwest::Client,
    _dir: TempDir,
}

impl World {
    /// Everything in one directory.
    pub(crate) async fn sqlite() -> Self {
        let dir = TempDir::new().unwrap();
        let state = dir.path().join("state");
        Self::furnish(settings(state), dir).await
    }

    /// Over a PostgreSQL server.
    pub(crate) async fn postgres(url: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let url_file = dir.path().join("url");
        std::fs::write(&url_file, url).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&url_file, mode).unwrap();
        let mut settings = settings(dir.path().join("state"));
        settings.store.database = Database::Postgresql;
        settings.store.url_file = Some(url_file);
        settings.store.connections_max = 12;
        Self::furnish(settings, dir).await
    }

    /// Makes what there must be before anybody asks, and stops again.
    pub(crate) async fn furnish(settings: Settings, dir: TempDir) -> Self {
        let scheduler = Scheduler::open(&settings).await.unwrap();
        let mut join_tokens = Vec::new();
        for _ in 0..JOIN_TOKENS {
            let join = scheduler.prepare_development(vec![size()]).await;
            join_tokens.push(join.unwrap());
        }
        let tenant = "acme".parse().unwrap();
        let token = scheduler.operator_token(&tenant, "test").await.unwrap();
        scheduler.serve(std::future::ready(())).await.unwrap();
        let settings_file = dir.path().join("settings.json");
        let text = serde_json::to_string(&settings).unwrap();
        std::fs::write(&settings_file, text).unwrap();
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(40));
        Self {
            settings_file,
            token,
            join_tokens: Mutex::new(join_tokens),
            http: http.build().unwrap(),
            _dir: dir,
        }
    }

    pub(crate) async fn join_token(&self) -> String {
        let token = self.join_tokens.lock().unwrap().pop();
        token.expect("no more hosts were planned")
    }

    pub(crate) fn start(&self) -> Replica {
        Replica::start(&self.settings_file, &[])
    }

    /// Status and body of a GET; `None` when there was none.
    pub(crate) async fn try_get(&self, replica: &Replica, path: &str) -> Option<(u16, Value)> {
        let url = format!("http://{}{path}", replica.rest);
        let request = self.http.get(url).bearer_auth(&self.token);
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let text = response.text().await.ok()?;
        Some((status, serde_json::from_str(&text).ok()?))
    }

    pub(crate) async fn get(&self, replica: &Replica, path: &str) -> Value {
        let (status, body) = self.try_get(replica, path).await.expect("an answer");
        assert_eq!(status, 200, "{path}: {body}");
        body
    }
}

pub(crate) fn settings(state_dir: PathBuf) -> Settings {
    let mut settings = Settings {
        state_dir,
        ..Settings::default()
    };
    settings.rest.listener.listen = "127.0.0.1:0".to_owned();
    settings.rest.requests_per_second = 100_000;
    settings.rest.requests_burst = 100_000;
    settings.link.listen = "127.0.0.1:0".to_owned();
    settings
}

fn size() -> InstanceType {
    InstanceType {
        slug: "small".to_owned(),
        name: "Small".to_owned(),
        resources: Resources {
            cpu_millis: 500,
            memory_bytes_max: Bytes::mib(64),
            pids_max: 32,
        },
        price_second_micros: 7,
        disk_bytes_max: None,
    }
}

/// The least that makes a run.
pub(crate) fn run() -> Value {
    json!({"image": "busybox:1", "region": "local", "instance_type": "small"})
}

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}
