//! The process of simulated hosts: they join, hold sessions, and say of runs what real hosts say, without running them.
//!
//! ```text
//!  stdin: count, seen, clear ──► Tally ◄── host ══ the real link ══► a replica
//!                                          host …   one task, one connection each
//! ```
//!
//! Absent on purpose: containers, disks. What a host would have on its disk it has in memory, and goes on from there
//! after a break, as the executor does.

mod host;
mod talk;
mod tally;
mod words;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::runtime::Runtime;

pub(crate) use talk::{LINE_BYTES, Stamp};
pub(crate) use tally::{Counts, Seen};

use crate::process::{self, Worker};
use host::Host;
use tally::Tally;

/// What every run takes by its host's word, milliseconds.
pub(crate) const WALL_MS: u64 = 1;
/// Label and secret of runs whose host compares the two.
pub(crate) const PROOF: &str = "PROOF";
/// Hosts that register at once.
const JOINS_AT_ONCE: usize = 64;

/// What hosts do with a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Behaviour {
    /// Accept, start and end it at once.
    End,
    /// Accept and start it, and keep it.
    Hold,
    /// Accept and start it, write as many lines as its label `lines` says, as fast as they are stored, and end it.
    Flood,
    /// The same at the pace of its label `lines_per_second`.
    Talk,
}

/// The fleet's command line.
#[derive(Args)]
pub(crate) struct Wish {
    /// File of join tokens, a line and a host each.
    #[arg(long)]
    tokens: PathBuf,
    /// Replicas; hosts begin evenly spread over them.
    #[arg(long, value_delimiter = ',')]
    links: Vec<SocketAddr>,
    /// Room for so many runs on each.
    #[arg(long)]
    runs_each: u64,
    #[arg(long, value_enum)]
    behaviour: Behaviour,
    /// Of the pauses between dials.
    #[arg(long)]
    seed: u64,
}

/// Starts the process.
pub(crate) fn start(
    tokens: &Path,
    links: &[SocketAddr],
    runs_each: u64,
    behaviour: Behaviour,
    seed: u64,
) -> anyhow::Result<Worker> {
    let links: Vec<String> = links.iter().map(ToString::to_string).collect();
    let behaviour = behaviour.to_possible_value().context("it has a name")?;
    let words = [
        ("--tokens", tokens.display().to_string()),
        ("--links", links.join(",")),
        ("--runs-each", runs_each.to_string()),
        ("--behaviour", behaviour.get_name().to_owned()),
        ("--seed", seed.to_string()),
    ];
    let mut all = vec!["hosts".to_owned()];
    all.extend(
        words
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value]),
    );
    Worker::start("the hosts", &all)
}

/// Runs it until standard input ends.
pub(crate) fn run(wish: Wish) -> anyhow::Result<()> {
    process::allow_descriptors()?;
    let runtime = Runtime::new().context("start a runtime")?;
    let done = runtime.block_on(serve(wish));
    // What still runs has nothing to say any more.
    runtime.shutdown_background();
    done
}

async fn serve(wish: Wish) -> anyhow::Result<()> {
    let tally = Arc::new(Tally::default());
    let tokens = fs::read_to_string(&wish.tokens).context("read the join tokens")?;
    let links: Arc<[SocketAddr]> = wish.links.into();
    let joins = tokens.lines().enumerate().map(|(number, token)| {
        let (links, tally) = (Arc::clone(&links), Arc::clone(&tally));
        Host::join(
            number,
            token,
            links,
            tally,
            wish.runs_each,
            wish.behaviour,
            wish.seed,
        )
    });
    let hosts: Vec<Host> = futures::stream::iter(joins)
        .buffer_unordered(JOINS_AT_ONCE)
        .try_collect()
        .await?;
    let count = hosts.len();
    for host in hosts {
        tokio::spawn(host.run());
    }
    tally.in_session(count).await;
    println!("ready");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.context("read what to do")? {
        match line.as_str() {
            "count" => println!("{}", serde_json::to_string(&tally.counts())?),
            "seen" => println!("{}", serde_json::to_string(&tally.seen())?),
            "clear" => {
                tally.clear();
                println!("cleared");
            }
            other => anyhow::bail!("hosts cannot {other}"),
        }
    }
    Ok(())
}
