//! Where a scheduler of the bench keeps and finds its things, and what is in it before the first run.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use davit_scheduler::serve::Scheduler;
use davit_scheduler::service::executors;
use davit_scheduler::settings::{Database, Settings};
use davit_types::{Bytes, InstanceType, Resources, Tenant};
use futures::{StreamExt as _, TryStreamExt as _};
use std::io::Write as _;

/// The region that [`Scheduler::prepare_development`] makes.
pub(crate) const REGION: &str = "local";
/// The only size.
pub(crate) const SIZE: &str = "tiny";
/// Millionths a second.
pub(crate) const PRICE_SECOND_MICROS: u64 = 7;
/// Join tokens made at once: they share commits.
const TOKENS_AT_ONCE: usize = 200;
const JOIN_SECONDS: u64 = 3_600;
/// More than any generator here sends: what is measured is not the limit.
const REQUESTS_PER_SECOND: u32 = 1_000_000;

/// What a run of the bench wants: little, so that hosts have room by number.
pub(crate) fn size() -> InstanceType {
    InstanceType {
        slug: SIZE.to_owned(),
        name: "Tiny".to_owned(),
        resources: Resources {
            cpu_millis: 10,
            memory_bytes_max: Bytes::mib(4),
            pids_max: 16,
        },
        price_second_micros: PRICE_SECOND_MICROS,
        disk_bytes_max: None,
    }
}

/// The settings of a replica.
pub(crate) fn settings(
    state: &Path,
    rest: SocketAddr,
    link: SocketAddr,
    url_file: Option<PathBuf>,
) -> Settings {
    let mut settings = Settings {
        state_dir: state.to_owned(),
        ..Settings::default()
    };
    settings.rest.listener.listen = rest.to_string();
    settings.rest.requests_per_second = REQUESTS_PER_SECOND;
    settings.rest.requests_burst = REQUESTS_PER_SECOND;
    settings.link.listen = link.to_string();
    if url_file.is_some() {
        settings.store.database = Database::Postgresql;
        settings.store.url_file = url_file;
    }
    settings
}

/// Writes a file that nobody else may read.
pub(crate) fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("write {}", path.display()))
}

/// What clients and hosts come with.
pub(crate) struct Prepared {
    pub(crate) tenant: Tenant,
    pub(crate) api_token: String,
    pub(crate) join_tokens: Vec<String>,
}

/// Makes region, size, tenant, a token, and a join token for each host.
pub(crate) async fn prepare(settings: &Settings, hosts: usize) -> anyhow::Result<Prepared> {
    let scheduler = Scheduler::open(settings).await?;
    scheduler.prepare_development(vec![size()]).await?;
    let tenant: Tenant = "acme".parse().map_err(anyhow::Error::msg)?;
    let api_token = scheduler.operator_token(&tenant, "bench").await?;
    let service = scheduler.service().clone();
    let tokens = futures::stream::iter(0..hosts).map(|_| async {
        let minted = executors::add_join_token(&service, "bench", REGION, JOIN_SECONDS).await?;
        anyhow::Ok(minted.text)
    });
    let join_tokens = tokens
        .buffer_unordered(TOKENS_AT_ONCE)
        .try_collect()
        .await?;
    scheduler.serve(std::future::ready(())).await?;
    Ok(Prepared {
        tenant,
        api_token,
        join_tokens,
    })
}
