//! The index of logs: where each piece lies, without a hole.

use std::sync::LazyLock;

use davit_types::{Attempt, RunId, RunKey};

use super::super::error::Failure;
use super::super::model::{Done, LogChunk, Sender, Verdict};
use super::super::rules;
use super::super::tx::{Bulk, Kind, Row, Sql, Tx, Value, values};
use super::changes::Changes;
use super::load;
use super::report::{already_over, past_of, unknown};

pub(super) const CHUNK: &[(&str, Kind)] = &[
    ("run", Kind::Uuid),
    ("attempt", Kind::Int),
    ("first_id", Kind::Int),
    ("last_id", Kind::Int),
    ("object", Kind::Text),
    ("bytes", Kind::Int),
    ("at_ms", Kind::Int),
];

pub(super) fn from_chunk(chunk: &LogChunk) -> Vec<Value> {
    values![
        chunk.key.run,
        chunk.key.attempt.number(),
        chunk.first_id,
        chunk.last_id,
        &chunk.object,
        chunk.bytes,
        chunk.at_ms,
    ]
}

pub(crate) async fn index_logs(
    tx: &mut dyn Tx,
    batch: &[(Sender, LogChunk)],
) -> Result<Vec<Verdict>, Failure> {
    let speakers = load::speakers(tx, batch.iter().map(|(from, _)| from.host)).await?;
    let mut active = load::active(tx, batch.iter().map(|(_, chunk)| chunk.key.run)).await?;
    let past = past_of(tx, &active, batch.iter().map(|(_, chunk)| chunk.key)).await?;
    let mut changes = Changes::default();
    let mut verdicts = Vec::with_capacity(batch.len());
    for (from, chunk) in batch {
        let speaker = speakers.get(&from.host);
        let verdict = match active.get_mut(&chunk.key.run) {
            Some(row) => match rules::index_log(row, speaker, *from, chunk) {
                Ok(false) => Ok(Done::Duplicate),
                Ok(true) => {
                    changes.keep(row, row.host);
                    changes.index(chunk);
                    Ok(Done::Applied)
                }
                Err(refusal) => already_over(&past, chunk.key, refusal),
            },
            None => unknown(&past, speaker, chunk.key, *from),
        };
        verdicts.push(verdict);
    }
    changes.write(tx).await?;
    Ok(verdicts)
}

const COLUMNS: &str = "run, attempt, first_id, last_id, object, bytes, at_ms";

fn chunk(row: Row) -> Result<LogChunk, Failure> {
    let mut c = row.columns();
    let run = c.run()?;
    let number: u32 = c.number()?;
    let attempt = Attempt::new(number).ok_or(Failure::Corrupt {
        column: 2,
        wanted: "an attempt from 1",
        found: number.to_string(),
    })?;
    Ok(LogChunk {
        key: RunKey { run, attempt },
        first_id: c.u64()?,
        last_id: c.u64()?,
        object: c.text()?,
        bytes: c.u64()?,
        at_ms: c.u64()?,
    })
}

static PAGE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {COLUMNS} FROM log_chunks WHERE run = $1 \
         AND (attempt, last_id) > ($2, $3) ORDER BY attempt, first_id LIMIT $4"
    )
});

/// Chunks of a run that hold lines after line `after_id` of `attempt`.
pub(crate) async fn chunks(
    tx: &mut dyn Tx,
    run: RunId,
    attempt: Attempt,
    after_id: u64,
    limit: usize,
) -> Result<Vec<LogChunk>, Failure> {
    let values = values![run, attempt.number(), after_id, limit];
    let found = tx.query(Sql::both(&PAGE), values).await?;
    found.into_iter().map(chunk).collect()
}

static EXPIRED: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {COLUMNS} FROM log_chunks c WHERE at_ms < $1 \
         AND NOT EXISTS (SELECT 1 FROM active_runs a WHERE a.run = c.run) ORDER BY at_ms LIMIT $2"
    )
});

/// Chunks of ended runs that were indexed before an instant: their objects may be deleted.
pub(crate) async fn expired(
    tx: &mut dyn Tx,
    before_ms: u64,
    limit: usize,
) -> Result<Vec<LogChunk>, Failure> {
    let found = tx
        .query(Sql::both(&EXPIRED), values![before_ms, limit])
        .await?;
    found.into_iter().map(chunk).collect()
}

static FORGET: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        &[Kind::Uuid, Kind::Int, Kind::Int],
        "DELETE FROM log_chunks WHERE run = $1 AND attempt = $2 AND first_id = $3",
        "DELETE FROM log_chunks c USING unnest($1::uuid[], $2::bigint[], $3::bigint[]) \
         AS u(run, attempt, first_id) \
         WHERE c.run = u.run AND c.attempt = u.attempt AND c.first_id = u.first_id",
    )
});

/// Forgets chunks whose objects are gone.
pub(crate) async fn forget(tx: &mut dyn Tx, chunks: &[LogChunk]) -> Result<(), Failure> {
    let keys = chunks
        .iter()
        .map(|chunk| values![chunk.key.run, chunk.key.attempt.number(), chunk.first_id,]);
    let keys = keys.collect();
    tx.bulk(&FORGET, keys).await.map(drop)
}
