//! One scheduler with its hosts: what a figure is measured on.
//!
//! ```text
//!  begin: directory or cluster ─► prepared in this process ─► replicas ─► hosts, all in session
//!  close: hosts and replicas end in order ─► books read back
//! ```

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use davit_scheduler::store::{self, PostgresSettings, Store, StoreSettings, Tls};
use davit_types::Tenant;
use std::sync::Arc;
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::fleet::{self, Behaviour, Counts, Seen};
use crate::process::{Worker, cpu_ms};
use crate::{books, clock, place};

/// What a figure needs.
pub(crate) struct Plan<'a> {
    pub(crate) postgres: bool,
    pub(crate) replicas: usize,
    pub(crate) hosts: usize,
    /// Room for so many runs on each.
    pub(crate) runs_each: u64,
    pub(crate) behaviour: Behaviour,
    pub(crate) seed: u64,
    /// Below which directories are made.
    pub(crate) dir: Option<&'a std::path::Path>,
}

/// Where a replica listens.
#[derive(Clone, Copy)]
pub(crate) struct Address {
    pub(crate) rest: SocketAddr,
    pub(crate) link: SocketAddr,
}

pub(crate) struct World {
    dir: TempDir,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) addresses: Vec<Address>,
    pub(crate) replicas: Vec<Option<Worker>>,
    fleet: Worker,
    tenant: Tenant,
    pub(crate) api_token: String,
    cpu: Cpu,
    /// CPU milliseconds of replicas that were killed.
    gone_ms: u64,
}

/// CPU milliseconds by party.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) at_ns: u64,
    pub(crate) scheduler_ms: u64,
    pub(crate) database_ms: u64,
    pub(crate) hosts_ms: u64,
    pub(crate) load_ms: u64,
}

impl World {
    pub(crate) async fn begin(plan: &Plan<'_>) -> anyhow::Result<Self> {
        let dir = plan.dir.map_or_else(TempDir::new, TempDir::new_in);
        let dir = dir.context("make a directory")?;
        let cluster = if plan.postgres {
            let cluster = Cluster::start(free_address()?.port())?;
            place::write_secret(&dir.path().join("url"), &cluster.url())?;
            Some(cluster)
        } else {
            None
        };
        let mut addresses = Vec::new();
        for _ in 0..plan.replicas {
            let (rest, link) = (free_address()?, free_address()?);
            addresses.push(Address { rest, link });
        }
        let state = dir.path().join("state");
        let url_file = cluster.as_ref().map(|_| dir.path().join("url"));
        let settings = place::settings(&state, addresses[0].rest, addresses[0].link, url_file);
        let prepared = place::prepare(&settings, plan.hosts).await?;
        let tokens = dir.path().join("join-tokens");
        place::write_secret(&tokens, &prepared.join_tokens.join("\n"))?;
        let mut replicas = Vec::new();
        for address in &addresses {
            replicas.push(Some(start(&dir, cluster.is_some(), *address).await?));
        }
        let links: Vec<SocketAddr> = addresses.iter().map(|address| address.link).collect();
        let mut fleet = fleet::start(&tokens, &links, plan.runs_each, plan.behaviour, plan.seed)?;
        let ready = fleet.line().await?;
        ensure!(ready == "ready", "the hosts say {ready}");
        let mut world = Self {
            dir,
            cluster,
            addresses,
            replicas,
            fleet,
            tenant: prepared.tenant,
            api_token: prepared.api_token,
            cpu: Cpu::default(),
            gone_ms: 0,
        };
        world.cpu = world.cpu_now();
        Ok(world)
    }

    /// Starts a replica anew where it was.
    pub(crate) async fn start_replica(&mut self, at: usize) -> anyhow::Result<()> {
        let started = start(&self.dir, self.cluster.is_some(), self.addresses[at]).await?;
        self.replicas[at] = Some(started);
        Ok(())
    }

    /// kill -9 of a replica; the instant when it was sent.
    pub(crate) async fn kill_replica(&mut self, at: usize) -> anyhow::Result<u64> {
        let replica = self.replicas[at].take().context("it was killed before")?;
        self.gone_ms += cpu_ms(replica.pid);
        let now_ns = clock::now_ns();
        replica.kill().await?;
        Ok(now_ns)
    }

    pub(crate) fn replica_pid(&self, at: usize) -> anyhow::Result<u32> {
        let replica = self.replicas[at].as_ref();
        Ok(replica.context("it was killed")?.pid)
    }

    pub(crate) async fn counts(&mut self) -> anyhow::Result<Counts> {
        let text = self.fleet.ask("count").await?;
        serde_json::from_str(&text).context("read the hosts' counts")
    }

    pub(crate) async fn seen(&mut self) -> anyhow::Result<Seen> {
        let text = self.fleet.ask("seen").await?;
        serde_json::from_str(&text).context("read what the hosts saw")
    }

    /// Forgets times, not runs; from now on CPU time is counted.
    pub(crate) async fn clear(&mut self) -> anyhow::Result<()> {
        self.fleet.ask("clear").await?;
        self.cpu = self.cpu_now();
        Ok(())
    }

    /// What each party used since [`World::clear`].
    pub(crate) fn cpu(&self) -> Cpu {
        let (now, then) = (self.cpu_now(), self.cpu);
        Cpu {
            at_ns: now.at_ns - then.at_ns,
            scheduler_ms: now.scheduler_ms - then.scheduler_ms,
            database_ms: now.database_ms.saturating_sub(then.database_ms),
            hosts_ms: now.hosts_ms - then.hosts_ms,
            load_ms: now.load_ms - then.load_ms,
        }
    }

    fn cpu_now(&self) -> Cpu {
        let replicas = self.replicas.iter().flatten();
        Cpu {
            at_ns: clock::now_ns(),
            scheduler_ms: self.gone_ms + replicas.map(|replica| cpu_ms(replica.pid)).sum::<u64>(),
            database_ms: self.cluster.as_ref().map_or(0, Cluster::cpu_ms),
            hosts_ms: cpu_ms(self.fleet.pid),
            load_ms: cpu_ms(std::process::id()),
        }
    }

    /// Ends everything in order and reads the books.
    pub(crate) async fn close(mut self, expected: &books::Expected) -> anyhow::Result<()> {
        let counts = self.counts().await?;
        self.fleet.end().await?;
        for replica in self.replicas.into_iter().flatten() {
            replica.end().await?;
        }
        let settings = match &self.cluster {
            Some(cluster) => StoreSettings::Postgres(PostgresSettings {
                url: cluster.url(),
                connections_max: 4,
                tls: Tls::Off,
            }),
            None => StoreSettings::Sqlite {
                path: self.dir.path().join("state/scheduler.db"),
            },
        };
        let store: Arc<dyn Store> = store::open(&settings).await?;
        let checked = books::check(store.as_ref(), &self.tenant, counts, expected).await;
        store.close().await;
        checked
    }
}

async fn start(dir: &TempDir, postgres: bool, at: Address) -> anyhow::Result<Worker> {
    let path = |name: &str| -> PathBuf { dir.path().join(name) };
    let mut words = vec!["serve".to_owned(), "--state".to_owned()];
    words.push(path("state").display().to_string());
    words.extend(["--rest".to_owned(), at.rest.to_string()]);
    words.extend(["--link".to_owned(), at.link.to_string()]);
    if postgres {
        words.extend(["--url-file".to_owned(), path("url").display().to_string()]);
    }
    let mut replica = Worker::start("a replica", &words)?;
    let ready = replica.line().await?;
    ensure!(ready == "ready", "a replica says {ready}");
    Ok(replica)
}

/// A port that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    listener.local_addr().context("its number")
}
