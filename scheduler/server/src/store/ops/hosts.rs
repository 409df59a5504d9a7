//! Hosts: joining, saying hello, beating, being listed.

use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;

use uuid::Uuid;

use super::super::error::Failure;
use super::super::model::{
    Assigned, AuditEntry, Beat, Done, Drain, DrainOrder, HeldRun, Hello, Host, HostState,
    JoinRequest, JoinToken, Refusal, Session, Verdict,
};
use super::super::tx::{Bulk, Kind, Row, Sql, Tx, values};
use super::{audit, load, rows};

pub(crate) async fn add_join_token(tx: &mut dyn Tx, token: &JoinToken) -> Result<(), Failure> {
    let insert =
        Sql::both("INSERT INTO join_tokens (hash, region, expires_ms) VALUES ($1, $2, $3)");
    let values = values![&token.hash[..], &token.region, token.expires_ms];
    tx.query(insert, values).await?;
    let entry = AuditEntry {
        tenant: None,
        actor: token.actor.clone(),
        action: "join_token.created",
        subject: token.region.clone(),
        detail: String::new(),
        at_ms: token.at_ms,
    };
    audit::append(tx, vec![entry]).await
}

pub(crate) async fn join(
    tx: &mut dyn Tx,
    request: &JoinRequest,
) -> Result<Result<Done, Refusal>, Failure> {
    let select = Sql {
        sqlite: "SELECT region, expires_ms, host FROM join_tokens WHERE hash = $1",
        postgres: "SELECT region, expires_ms, host FROM join_tokens WHERE hash = $1 FOR UPDATE",
    };
    let found = tx.query(select, values![&request.hash[..]]).await?;
    let Some(row) = found.into_iter().next() else {
        return Ok(Err(Refusal::BadJoinToken));
    };
    let mut c = row.columns();
    let (region, expires_ms, used_by) = (c.text()?, c.u64()?, c.opt_uuid()?);
    match used_by {
        // The same host again, after a lost answer.
        Some(host) if host == request.host => return Ok(Ok(Done::Duplicate)),
        Some(_) => return Ok(Err(Refusal::BadJoinToken)),
        None if request.at_ms >= expires_ms => return Ok(Err(Refusal::BadJoinToken)),
        None => {}
    }
    let insert = Sql::both(
        "INSERT INTO hosts (host, name, region, state, body, created_ms) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING host",
    );
    let online = rows::position(&HostState::ALL, HostState::Online);
    let values = values![
        request.host,
        &request.name,
        &region,
        online,
        &request.body,
        request.at_ms,
    ];
    if tx.query(insert, values).await?.is_empty() {
        return Ok(Err(Refusal::NameTaken {
            name: request.name.clone(),
        }));
    }
    let used = Sql::both("UPDATE join_tokens SET host = $2 WHERE hash = $1");
    tx.query(used, values![&request.hash[..], request.host])
        .await?;
    let entry = AuditEntry {
        tenant: None,
        actor: format!("host {}", request.host),
        action: "host.joined",
        subject: request.host.to_string(),
        detail: request.name.clone(),
        at_ms: request.at_ms,
    };
    audit::append(tx, vec![entry]).await?;
    Ok(Ok(Done::Applied))
}

static HELD: LazyLock<String> = LazyLock::new(|| {
    let columns = rows::list(rows::ACTIVE, "a");
    format!("SELECT {columns} FROM active_runs a WHERE a.host = $1 ORDER BY a.run")
});

/// A new session: from here on, what comes by the host's earlier connection is refused.
pub(crate) async fn hello(
    tx: &mut dyn Tx,
    hello: &Hello,
) -> Result<Result<Assigned, Refusal>, Failure> {
    let known = Sql {
        sqlite: "SELECT state FROM hosts WHERE host = $1",
        postgres: "SELECT state FROM hosts WHERE host = $1 FOR UPDATE",
    };
    let found = tx.query(known, values![hello.host]).await?;
    let Some(row) = found.into_iter().next() else {
        return Ok(Err(Refusal::NoSession { host: hello.host }));
    };
    let state = rows::at(&HostState::ALL, &mut row.columns())?;
    if state == HostState::Removed {
        return Ok(Err(Refusal::HostClosed { state }));
    }
    let lock = Sql {
        sqlite: "SELECT epoch FROM host_sessions WHERE host = $1",
        postgres: "SELECT epoch FROM host_sessions WHERE host = $1 FOR UPDATE",
    };
    tx.query(lock, values![hello.host]).await?;
    let bump = Sql::both(
        "INSERT INTO host_sessions (host, epoch, replica, boot_id, heard_ms, beat) \
         VALUES ($1, 1, $2, $3, $4, $5) ON CONFLICT (host) DO UPDATE SET \
         epoch = host_sessions.epoch + 1, replica = excluded.replica, \
         boot_id = excluded.boot_id, heard_ms = excluded.heard_ms, beat = excluded.beat \
         RETURNING epoch",
    );
    let now_ms = tx.now_ms().await?;
    let values = values![
        hello.host,
        hello.replica,
        &hello.boot_id,
        now_ms,
        &hello.beat,
    ];
    let bumped = tx.query(bump, values).await?;
    let epoch = first(bumped)?.columns().u64()?;
    let runs = held(tx, hello.host).await?;
    Ok(Ok(Assigned { epoch, runs }))
}

/// Live attempts of a host, and what each executes.
pub(crate) async fn held(tx: &mut dyn Tx, host: Uuid) -> Result<Vec<HeldRun>, Failure> {
    let found = tx.query(Sql::both(&HELD), values![host]).await?;
    let rows: Result<Vec<_>, _> = found.into_iter().map(rows::active).collect();
    let rows = rows?;
    let mut specs = load::specs(tx, rows.iter().map(|row| row.run)).await?;
    let runs = rows.into_iter().map(|row| HeldRun {
        spec: specs.remove(&row.run).unwrap_or_default(),
        row,
    });
    Ok(runs.collect())
}

/// The row of a statement that always returns one.
fn first(rows: Vec<Row>) -> Result<Row, Failure> {
    rows.into_iter().next().ok_or(Failure::Corrupt {
        column: 0,
        wanted: "a row",
        found: String::new(),
    })
}

static BEAT: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        &[Kind::Uuid, Kind::Int, Kind::Int, Kind::Text],
        "UPDATE host_sessions SET heard_ms = $3, beat = $4 WHERE host = $1 AND epoch = $2 \
         RETURNING host, epoch",
        "UPDATE host_sessions s SET heard_ms = u.heard_ms, beat = u.beat FROM ( \
           SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[]) \
           AS v(host, epoch, heard_ms, beat) ORDER BY host) AS u \
         WHERE s.host = u.host AND s.epoch = u.epoch RETURNING s.host, s.epoch",
    )
});

/// Hosts are alive; one verdict each.
pub(crate) async fn beat(tx: &mut dyn Tx, batch: &[Beat]) -> Result<Vec<Verdict>, Failure> {
    let now_ms = tx.now_ms().await?;
    let beats = batch
        .iter()
        .map(|beat| values![beat.from.host, beat.from.epoch, now_ms, &beat.body]);
    let found = tx.bulk(&BEAT, beats.collect()).await?;
    let alive: Result<HashSet<(Uuid, u64)>, Failure> = found
        .into_iter()
        .map(|row| {
            let mut c = row.columns();
            Ok((c.uuid()?, c.u64()?))
        })
        .collect();
    let alive = alive?;
    let is_alive = |beat: &Beat| alive.contains(&(beat.from.host, beat.from.epoch));
    // Few, if any: why are they not?
    let refused = batch.iter().filter(|beat| !is_alive(beat));
    let speakers = load::speakers(tx, refused.map(|beat| beat.from.host)).await?;
    let verdict = |beat: &Beat| match speakers.get(&beat.from.host) {
        _ if is_alive(beat) => Ok(Done::Applied),
        None => Err(Refusal::NoSession {
            host: beat.from.host,
        }),
        Some(speaker) => Err(Refusal::StaleEpoch {
            given: beat.from.epoch,
            current: speaker.epoch,
        }),
    };
    Ok(batch.iter().map(verdict).collect())
}

static HEARD_NOW: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        &[Kind::Uuid, Kind::Int],
        "UPDATE host_sessions SET heard_ms = $2 WHERE host = $1",
        "UPDATE host_sessions s SET heard_ms = u.heard_ms \
         FROM unnest($1::uuid[], $2::bigint[]) AS u(host, heard_ms) WHERE s.host = u.host",
    )
});

/// Silence of these hosts, already locked, counts from now on.
pub(super) async fn heard_now(
    tx: &mut dyn Tx,
    hosts: BTreeSet<Uuid>,
    now_ms: u64,
) -> Result<(), Failure> {
    let rows = hosts.into_iter().map(|host| values![host, now_ms]);
    let rows: Vec<_> = rows.collect();
    tx.bulk(&HEARD_NOW, rows).await.map(drop)
}

pub(crate) async fn set_state(
    tx: &mut dyn Tx,
    host: Uuid,
    state: HostState,
    actor: &str,
    at_ms: u64,
) -> Result<bool, Failure> {
    let update = Sql::both(
        "UPDATE hosts SET state = $2, drain_deadline_ms = NULL, drain_stops = 0 \
         WHERE host = $1 AND state <> $2 RETURNING host",
    );
    let position = rows::position(&HostState::ALL, state);
    let changed = tx.query(update, values![host, position]).await?;
    if changed.is_empty() {
        return Ok(false);
    }
    let entry = AuditEntry {
        tenant: None,
        actor: actor.to_owned(),
        action: "host.state",
        subject: host.to_string(),
        detail: state.to_string(),
        at_ms,
    };
    audit::append(tx, vec![entry]).await?;
    Ok(true)
}

const DRAIN: Sql = Sql::both(
    "UPDATE hosts SET state = $2, drain_deadline_ms = $3, drain_stops = $4 \
     WHERE host = $1 AND state <> $5 RETURNING host",
);

/// Whether there is such a host. A later order replaces an earlier one.
pub(crate) async fn drain(tx: &mut dyn Tx, order: &DrainOrder) -> Result<bool, Failure> {
    let now_ms = tx.now_ms().await?;
    let deadline_ms = order.within_ms.map(|within| now_ms.saturating_add(within));
    let values = values![
        order.host,
        rows::position(&HostState::ALL, HostState::Draining),
        deadline_ms,
        order.stops_runs,
        rows::position(&HostState::ALL, HostState::Removed),
    ];
    if tx.query(DRAIN, values).await?.is_empty() {
        return Ok(false);
    }
    let within = order
        .within_ms
        .map_or_else(String::new, |within| format!(" within {within} ms"));
    let then = if order.stops_runs {
        ", then runs are stopped"
    } else {
        ""
    };
    let entry = AuditEntry {
        tenant: None,
        actor: order.actor.clone(),
        action: "host.state",
        subject: order.host.to_string(),
        detail: format!("{}{within}{then}", HostState::Draining),
        at_ms: order.at_ms,
    };
    audit::append(tx, vec![entry]).await?;
    Ok(true)
}

const DRAINS_DUE: Sql = Sql::both(
    "SELECT h.host FROM hosts h WHERE h.state = $1 AND h.drain_stops = 1 \
     AND h.drain_deadline_ms <= $2 \
     AND EXISTS (SELECT 1 FROM active_runs a WHERE a.host = h.host) ORDER BY h.host LIMIT $3",
);

/// Hosts whose time to drain is over and that still have runs.
pub(crate) async fn drains_due(tx: &mut dyn Tx, limit: usize) -> Result<Vec<Uuid>, Failure> {
    let now_ms = tx.now_ms().await?;
    let draining = rows::position(&HostState::ALL, HostState::Draining);
    let found = tx
        .query(DRAINS_DUE, values![draining, now_ms, limit])
        .await?;
    found.into_iter().map(|row| row.columns().uuid()).collect()
}

/// Hosts and their sessions, joined and chosen so.
macro_rules! hosts {
    ($join:literal, $which:literal) => {
        Sql::both(concat!(
            "SELECT h.host, h.name, h.region, h.state, h.body, h.drain_deadline_ms, h.drain_stops, \
             s.epoch, s.replica, s.boot_id, s.heard_ms, s.beat FROM hosts h ",
            $join,
            " host_sessions s ON s.host = h.host WHERE ",
            $which
        ))
    };
}

const FIND: Sql = hosts!("LEFT JOIN", "h.host = $1");

/// One host.
pub(crate) async fn find(tx: &mut dyn Tx, id: Uuid) -> Result<Option<Host>, Failure> {
    let found = tx.query(FIND, values![id]).await?;
    found.into_iter().next().map(host).transpose()
}

const LIST: Sql = hosts!("LEFT JOIN", "h.host > $1 ORDER BY h.host LIMIT $2");

const LIST_APART: Sql = hosts!(
    "JOIN",
    "h.host > $1 AND h.host IN ( \
       SELECT host FROM hosts WHERE state <> 0 \
       UNION SELECT host FROM host_sessions WHERE replica IS NULL \
       UNION SELECT host FROM host_sessions WHERE replica < $2 \
       UNION SELECT host FROM host_sessions WHERE replica > $2 \
     ) ORDER BY h.host LIMIT $3"
);

/// Hosts by id, after one, that ever connected, but for those online at this replica.
pub(crate) async fn list_apart(
    tx: &mut dyn Tx,
    replica: Uuid,
    after: Option<Uuid>,
    limit: usize,
) -> Result<Vec<Host>, Failure> {
    let after = after.unwrap_or(Uuid::nil());
    let found = tx.query(LIST_APART, values![after, replica, limit]).await?;
    found.into_iter().map(host).collect()
}

/// Columns of a host without its session.
const HOST_COLUMNS: usize = 7;

/// Hosts by id, after one.
pub(crate) async fn list(
    tx: &mut dyn Tx,
    after: Option<Uuid>,
    limit: usize,
) -> Result<Vec<Host>, Failure> {
    let after = after.unwrap_or(Uuid::nil());
    let found = tx.query(LIST, values![after, limit]).await?;
    found.into_iter().map(host).collect()
}

fn host(row: Row) -> Result<Host, Failure> {
    let (host, session) = row.split(HOST_COLUMNS);
    let session = match session.is_absent() {
        true => None,
        false => {
            let mut c = session.columns();
            Some(Session {
                epoch: c.u64()?,
                replica: c.opt_uuid()?,
                boot_id: c.text()?,
                heard_ms: c.u64()?,
                beat: c.text()?,
            })
        }
    };
    let mut c = host.columns();
    Ok(Host {
        host: c.uuid()?,
        name: c.text()?,
        region: c.text()?,
        state: rows::at(&HostState::ALL, &mut c)?,
        body: c.text()?,
        drain: Drain {
            deadline_ms: c.opt_u64()?,
            stops_runs: c.flag()?,
        },
        session,
    })
}
