//! Files that come out of runs: for each of a run's one upload, of the latest attempt that sent any.
//!
//! An upload that a later attempt replaced is nobody's, and goes when it expires. Whether the host may speak of the attempt is
//! looked at before; here an earlier attempt never takes the place of a later one.

use davit_types::RunId;
use uuid::Uuid;

use super::super::error::Failure;
use super::super::model::{NewExtract, Refusal, Upload};
use super::super::tx::{Row, Sql, Tx, values};
use super::uploads::{self, Answer};

const FIND: Sql =
    Sql::both("SELECT attempt, upload FROM run_extracts WHERE run = $1 AND number = $2");

const PUT: Sql = Sql::both(
    "INSERT INTO run_extracts (run, number, attempt, upload) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (run, number) DO UPDATE SET attempt = excluded.attempt, upload = excluded.upload \
     RETURNING run",
);

const DROP: Sql = Sql::both("DELETE FROM run_extracts WHERE upload = $1 RETURNING run");

fn place(row: Row) -> Result<(u32, Uuid), Failure> {
    let mut c = row.columns();
    Ok((c.number()?, c.uuid()?))
}

/// The upload that takes the bytes of an extract.
pub(crate) async fn begin(tx: &mut dyn Tx, new: &NewExtract) -> Result<Answer, Failure> {
    tx.hold(vec![format!("extracts/{}", new.key.run)]).await?;
    let found = tx.query(FIND, values![new.key.run, new.number]).await?;
    let attempt = new.key.attempt.number();
    if let Some((live, upload)) = found.into_iter().next().map(place).transpose()? {
        if live > attempt {
            let given = new.key.attempt;
            return Ok(Err(Refusal::StaleAttempt { given, live }));
        }
        if live == attempt
            && let Some(upload) = uploads::standing(tx, upload).await?
        {
            return Ok(Ok(upload));
        }
    }
    let made = uploads::insert(tx, new.upload, &new.tenant, new.life_ms).await?;
    if made.is_ok() {
        let row = values![new.key.run, new.number, attempt, new.upload];
        tx.query(PUT, row).await?;
    }
    Ok(made)
}

/// What was sent of a run's, and by which attempt.
pub(crate) async fn sent(
    tx: &mut dyn Tx,
    run: RunId,
    number: u32,
) -> Result<Option<(u32, Upload)>, Failure> {
    let found = tx.query(FIND, values![run, number]).await?;
    let Some((attempt, upload)) = found.into_iter().next().map(place).transpose()? else {
        return Ok(None);
    };
    let upload = uploads::standing(tx, upload).await?;
    Ok(upload.map(|upload| (attempt, upload)))
}

/// Lets go of an upload whose bytes are not what its host has.
pub(crate) async fn drop_upload(tx: &mut dyn Tx, upload: Uuid) -> Result<(), Failure> {
    tx.query(DROP, values![upload]).await.map(drop)
}
