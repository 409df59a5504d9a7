//! Loading what a batch is about, locked where others could change it meanwhile.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use davit_types::{RunId, RunKey, RunStatus, Tenant};
use uuid::Uuid;

use super::super::error::Failure;
use super::super::model::{ActiveRun, HostState};
use super::super::rules::{HostRow, Speaker};
use super::super::tx::{Bulk, Columns, Kind, Tx, values};
use super::rows;

static ACTIVE_BY_RUN: LazyLock<Bulk> = LazyLock::new(|| {
    let columns = rows::list(rows::ACTIVE, "a");
    Bulk::new(
        &[Kind::Uuid],
        &format!("SELECT {columns} FROM active_runs a WHERE a.run = $1"),
        &format!(
            "SELECT {columns} FROM active_runs a WHERE a.run = ANY($1::uuid[]) ORDER BY a.run FOR UPDATE"
        ),
    )
});

/// The live ones of these runs, locked.
pub(super) async fn active(
    tx: &mut dyn Tx,
    runs: impl Iterator<Item = RunId>,
) -> Result<HashMap<RunId, ActiveRun>, Failure> {
    let runs: BTreeSet<RunId> = runs.collect();
    let keys = runs.into_iter().map(|run| values![run]).collect();
    let found = tx.bulk(&ACTIVE_BY_RUN, keys).await?;
    found
        .into_iter()
        .map(|row| rows::active(row).map(|row| (row.run, row)))
        .collect()
}

static HOSTS: LazyLock<Bulk> = LazyLock::new(|| {
    let select = "SELECT h.host, h.state, s.replica, s.epoch, s.boot_id, s.heard_ms \
                  FROM hosts h JOIN host_sessions s ON s.host = h.host WHERE h.host";
    Bulk::new(
        &[Kind::Uuid],
        &format!("{select} = $1"),
        // A heartbeat may go on beside this lock, a hello (FOR UPDATE) may not.
        &format!("{select} = ANY($1::uuid[]) ORDER BY h.host FOR KEY SHARE OF s"),
    )
});

static SPEAKERS: LazyLock<Bulk> = LazyLock::new(|| {
    let select = "SELECT host, epoch, boot_id, heard_ms FROM host_sessions WHERE host";
    Bulk::new(
        &[Kind::Uuid],
        &format!("{select} = $1"),
        &format!("{select} = ANY($1::uuid[]) ORDER BY host FOR KEY SHARE"),
    )
});

/// Who speaks for these hosts, held against a new hello.
pub(super) async fn speakers(
    tx: &mut dyn Tx,
    hosts: impl Iterator<Item = Uuid>,
) -> Result<HashMap<Uuid, Speaker>, Failure> {
    let hosts: BTreeSet<Uuid> = hosts.collect();
    let keys = hosts.into_iter().map(|host| values![host]).collect();
    let mut found = HashMap::new();
    for row in tx.bulk(&SPEAKERS, keys).await? {
        let mut c = row.columns();
        found.insert(c.uuid()?, speaker(&mut c)?);
    }
    Ok(found)
}

fn speaker(c: &mut Columns) -> Result<Speaker, Failure> {
    Ok(Speaker {
        epoch: c.u64()?,
        boot_id: c.text()?,
        heard_ms: c.u64()?,
    })
}

/// The same, and how the hosts stand.
pub(super) async fn hosts(
    tx: &mut dyn Tx,
    hosts: impl Iterator<Item = Uuid>,
) -> Result<HashMap<Uuid, HostRow>, Failure> {
    let hosts: BTreeSet<Uuid> = hosts.collect();
    let keys = hosts.into_iter().map(|host| values![host]).collect();
    let mut found = HashMap::new();
    for row in tx.bulk(&HOSTS, keys).await? {
        let mut c = row.columns();
        let host = c.uuid()?;
        let row = HostRow {
            state: rows::at(&HostState::ALL, &mut c)?,
            replica: c.opt_uuid()?,
            speaker: speaker(&mut c)?,
        };
        found.insert(host, row);
    }
    Ok(found)
}

static SPECS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        &[Kind::Uuid],
        "SELECT run, spec FROM runs WHERE run = $1",
        "SELECT run, spec FROM runs WHERE run = ANY($1::uuid[])",
    )
});

/// What these runs execute.
pub(super) async fn specs(
    tx: &mut dyn Tx,
    runs: impl Iterator<Item = RunId>,
) -> Result<HashMap<RunId, String>, Failure> {
    let keys = runs.map(|run| values![run]).collect();
    let mut found = HashMap::new();
    for row in tx.bulk(&SPECS, keys).await? {
        let mut c = row.columns();
        found.insert(c.run()?, c.text()?);
    }
    Ok(found)
}

/// Runs and attempts that are over.
#[derive(Default)]
pub(super) struct Past {
    /// Whose they are, and how they ended.
    pub(super) runs: HashMap<RunId, (Tenant, RunStatus)>,
    /// Whether a host reported the end itself.
    pub(super) attempts: HashMap<(RunId, u32), bool>,
}

impl Past {
    /// Whether the attempt's own end is stored: whatever its host repeats of it is a duplicate.
    pub(super) fn has_ended(&self, key: RunKey) -> bool {
        self.attempts.get(&(key.run, key.attempt.number())) == Some(&true)
    }
}

static ENDED: LazyLock<Bulk> = LazyLock::new(|| {
    let columns = rows::list(rows::ENDED, "e");
    Bulk::new(
        &[Kind::Uuid],
        &format!("SELECT {columns} FROM ended_runs e WHERE e.run = $1"),
        &format!("SELECT {columns} FROM ended_runs e WHERE e.run = ANY($1::uuid[])"),
    )
});

static ATTEMPTS: LazyLock<Bulk> = LazyLock::new(|| {
    let select = "SELECT run, attempt, complete FROM attempts WHERE run";
    Bulk::new(
        &[Kind::Uuid],
        &format!("{select} = $1"),
        &format!("{select} = ANY($1::uuid[])"),
    )
});

/// What is known of runs that have no live row, or of their earlier attempts.
pub(super) async fn past(tx: &mut dyn Tx, runs: BTreeSet<RunId>) -> Result<Past, Failure> {
    let keys: Vec<_> = runs.into_iter().map(|run| values![run]).collect();
    let mut past = Past::default();
    for row in tx.bulk(&ENDED, keys.clone()).await? {
        let ended = rows::ended(row)?;
        past.runs.insert(ended.run, (ended.tenant, ended.status));
    }
    for row in tx.bulk(&ATTEMPTS, keys).await? {
        let mut c = row.columns();
        let key = (c.run()?, c.number()?);
        past.attempts.insert(key, c.flag()?);
    }
    Ok(past)
}

static HOSTS_OF: LazyLock<Bulk> = LazyLock::new(|| {
    let select = "SELECT host FROM active_runs WHERE host IS NOT NULL AND run";
    Bulk::new(
        &[Kind::Uuid],
        &format!("{select} = $1"),
        &format!("{select} = ANY($1::uuid[])"),
    )
});

/// The hosts of these runs, without a lock: a first look.
pub(super) async fn hosts_of(
    tx: &mut dyn Tx,
    runs: BTreeSet<RunId>,
) -> Result<BTreeSet<Uuid>, Failure> {
    let keys = runs.into_iter().map(|run| values![run]).collect();
    let found = tx.bulk(&HOSTS_OF, keys).await?;
    found.into_iter().map(|row| row.columns().uuid()).collect()
}
