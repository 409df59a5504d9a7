//! One replica, as `davit scheduler serve` runs it, without the rest of davit's binary.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use davit_scheduler::serve::Scheduler;
use tokio::io::AsyncReadExt as _;
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

use crate::{place, process};

/// Where it serves, and over what.
#[derive(Args)]
pub(crate) struct Wish {
    /// Its state.
    #[arg(long)]
    state: PathBuf,
    /// REST.
    #[arg(long)]
    rest: SocketAddr,
    /// Hosts.
    #[arg(long)]
    link: SocketAddr,
    /// PostgreSQL's URL; SQLite without.
    #[arg(long)]
    url_file: Option<PathBuf>,
}

/// Serves until standard input ends.
pub(crate) fn run(wish: &Wish) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_env("BENCH_LOG").unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    process::allow_descriptors()?;
    Runtime::new()
        .context("start a runtime")?
        .block_on(serve(wish))
}

async fn serve(wish: &Wish) -> anyhow::Result<()> {
    let settings = place::settings(&wish.state, wish.rest, wish.link, wish.url_file.clone());
    let scheduler = Scheduler::open(&settings).await?;
    println!("ready");
    let stop = async {
        let mut rest = Vec::new();
        // Whatever ends it: nobody needs this replica any more.
        drop(tokio::io::stdin().read_to_end(&mut rest).await);
    };
    Ok(scheduler.serve(stop).await?)
}
