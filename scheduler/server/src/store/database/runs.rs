//! Runs, orders and logs.

use async_trait::async_trait;
use davit_types::{Attempt, RunId, Tenant};
use uuid::Uuid;

use super::super::Stored;
use super::super::contract::RunStore;
use super::super::limits::{DOCUMENT_BYTES_MAX, NAME_BYTES_MAX, PAGE_ROWS_MAX, SUBMIT_SECRETS_MAX};
use super::super::model::*;
use super::super::ops::{claim, logs, orders, profiles, report, submit, views};
use super::{Database, Driver, bounded, fits_batch, fits_page, fits_secret, keys, run};

#[async_trait]
impl<D: Driver> RunStore for Database<D> {
    async fn submit(&self, batch: Vec<Submission>) -> Stored<Vec<Result<Submitted, Refusal>>> {
        let key = keys(batch.iter().map(|s| s.base.run));
        submission_bounds("submit", &key, &batch)?;
        let done = run!(self.write, "submit", key, [batch], |tx| submit::submit(
            tx, &batch
        ));
        self.driver.wake();
        done
    }

    async fn submit_together(&self, batch: Vec<Submission>) -> Stored<Result<Submitted, Refusal>> {
        let key = keys(batch.iter().map(|s| s.base.run));
        let operation = "submit_together";
        submission_bounds(operation, &key, &batch)?;
        let keys_max = usize::from(batch.first().is_some_and(|s| s.idempotency.is_some()));
        let keys = batch.iter().filter(|s| s.idempotency.is_some()).count();
        bounded(operation, &key, "idempotency keys", keys, keys_max)?;
        let done = run!(self.write, operation, key, [batch], |tx| {
            submit::submit_together(tx, &batch)
        });
        self.driver.wake();
        done
    }

    async fn waiting(
        &self,
        region: String,
        after: Option<Tenant>,
        tenants_max: usize,
    ) -> Stored<Vec<Tenant>> {
        let key = region.clone();
        fits_page("waiting", &key, tenants_max)?;
        run!(
            self.read,
            "waiting",
            key,
            [region, after, tenants_max],
            |tx| claim::waiting(tx, &region, after.as_ref().as_ref(), *tenants_max)
        )
    }

    async fn claim(&self, claim: Claim) -> Stored<Vec<ClaimedRun>> {
        let key = claim.replica.to_string();
        let wish = claim;
        claim_bounds(&key, &wish)?;
        run!(self.write_lightly, "claim", key, [wish], |tx| {
            claim::claim(tx, &wish)
        })
    }

    async fn claims(&self, replica: Uuid) -> Stored<Vec<ClaimedRun>> {
        let key = replica.to_string();
        run!(self.read, "claims", key, [replica], |tx| claim::claims(
            tx, *replica
        ))
    }

    async fn unclaim(&self, replica: Uuid, runs: Vec<RunId>) -> Stored<usize> {
        let key = keys(runs.iter());
        fits_batch("unclaim", &key, runs.len())?;
        let done = run!(self.write_lightly, "unclaim", key, [replica, runs], |tx| {
            claim::unclaim(tx, *replica, &runs)
        });
        self.driver.wake();
        done
    }

    async fn reject(&self, rejection: Rejection) -> Stored<Verdict> {
        let key = rejection.run.to_string();
        run!(self.write, "reject", key, [rejection], |tx| claim::reject(
            tx, &rejection
        ))
    }

    async fn assign(&self, batch: Vec<Assignment>) -> Stored<Vec<Verdict>> {
        let key = keys(batch.iter().map(|a| a.run));
        fits_batch("assign", &key, batch.len())?;
        run!(self.write, "assign", key, [batch], |tx| claim::assign(
            tx, &batch
        ))
    }

    async fn report(&self, batch: Vec<AttemptUpdate>) -> Stored<Vec<Verdict>> {
        let key = keys(batch.iter().map(|u| u.key));
        fits_batch("report", &key, batch.len())?;
        let changes_queue = batch.iter().any(AttemptUpdate::frees);
        let done = run!(self.write, "report", key, [batch], |tx| report::report(
            tx, &batch
        ));
        if changes_queue {
            self.driver.wake();
        }
        done
    }

    async fn lose(&self, batch: Vec<Loss>) -> Stored<Vec<Verdict>> {
        let key = keys(batch.iter().map(|loss| loss.key));
        fits_batch("lose", &key, batch.len())?;
        let done = run!(self.write, "lose", key, [batch], |tx| report::lose(
            tx, &batch
        ));
        self.driver.wake();
        done
    }

    async fn order(&self, batch: Vec<Order>) -> Stored<Vec<Result<Ordered, Refusal>>> {
        let key = keys(batch.iter().map(|order| order.run));
        fits_batch("order", &key, batch.len())?;
        let done = run!(self.write, "order", key, [batch], |tx| orders::order(
            tx, &batch
        ));
        self.driver.wake();
        done
    }

    async fn open_orders(
        &self,
        replica: Uuid,
        after: Option<RunId>,
        limit: usize,
    ) -> Stored<Vec<OpenOrder>> {
        let key = replica.to_string();
        fits_page("open_orders", &key, limit)?;
        run!(
            self.read,
            "open_orders",
            key,
            [replica, after, limit],
            |tx| orders::open(tx, *replica, *after, *limit)
        )
    }

    async fn hosted(
        &self,
        tenant: Tenant,
        after: Option<(Uuid, RunId)>,
        limit: usize,
    ) -> Stored<Vec<ActiveRun>> {
        let key = tenant.as_str().to_owned();
        fits_page("hosted", &key, limit)?;
        run!(self.read, "hosted", key, [tenant, after, limit], |tx| {
            orders::hosted(tx, &tenant, *after, *limit)
        })
    }

    async fn runs(&self, tenant: Option<Tenant>, runs: Vec<RunId>) -> Stored<Vec<RunView>> {
        let key = keys(runs.iter());
        fits_batch("runs", &key, runs.len())?;
        run!(self.read, "runs", key, [tenant, runs], |tx| views::runs(
            tx,
            tenant.as_ref().as_ref(),
            &runs
        ))
    }

    async fn runs_page(
        &self,
        filter: RunFilter,
        before: Option<RunId>,
        limit: usize,
    ) -> Stored<Vec<RunView>> {
        let key = keys(before.iter());
        fits_page("runs_page", &key, limit)?;
        run!(self.read, "runs_page", key, [filter, before, limit], |tx| {
            views::page(tx, &filter, *before, *limit)
        })
    }

    async fn attempts(&self, run: RunId) -> Stored<Vec<AttemptRow>> {
        let key = run.to_string();
        run!(self.read, "attempts", key, [run], |tx| views::attempts(
            tx,
            *run,
            PAGE_ROWS_MAX
        ))
    }

    async fn profile(&self, profile: Uuid) -> Stored<Option<String>> {
        let key = profile.to_string();
        run!(self.read, "profile", key, [profile], |tx| profiles::find(
            tx, *profile
        ))
    }

    async fn index_logs(&self, batch: Vec<(Sender, LogChunk)>) -> Stored<Vec<Verdict>> {
        let key = keys(batch.iter().map(|(_, chunk)| chunk.key));
        fits_batch("index_logs", &key, batch.len())?;
        run!(self.write, "index_logs", key, [batch], |tx| {
            logs::index_logs(tx, &batch)
        })
    }

    async fn log_chunks(
        &self,
        run: RunId,
        attempt: Attempt,
        after_id: u64,
        limit: usize,
    ) -> Stored<Vec<LogChunk>> {
        let key = run.to_string();
        fits_page("log_chunks", &key, limit)?;
        run!(
            self.read,
            "log_chunks",
            key,
            [run, attempt, after_id, limit],
            |tx| logs::chunks(tx, *run, *attempt, *after_id, *limit)
        )
    }

    async fn expired_log_chunks(&self, before_ms: u64, limit: usize) -> Stored<Vec<LogChunk>> {
        let key = format!("before {before_ms}");
        fits_page("expired_log_chunks", &key, limit)?;
        run!(
            self.read,
            "expired_log_chunks",
            key,
            [before_ms, limit],
            |tx| logs::expired(tx, *before_ms, *limit)
        )
    }

    async fn forget_log_chunks(&self, chunks: Vec<LogChunk>) -> Stored<()> {
        let key = keys(chunks.iter().map(|chunk| chunk.key));
        fits_batch("forget_log_chunks", &key, chunks.len())?;
        run!(self.write, "forget_log_chunks", key, [chunks], |tx| {
            logs::forget(tx, &chunks)
        })
    }
}

/// A whole batch is refused for one document that is too long: the border should have said so.
fn submission_bounds(operation: &'static str, key: &str, submissions: &[Submission]) -> Stored<()> {
    fits_batch(operation, key, submissions.len())?;
    let secrets = submissions.iter().map(|s| s.secrets.len()).sum();
    bounded(operation, key, "secrets", secrets, SUBMIT_SECRETS_MAX)?;
    for submission in submissions {
        let document = submission.base.spec.len().max(submission.answer.len());
        bounded(
            operation,
            key,
            "document bytes",
            document,
            DOCUMENT_BYTES_MAX,
        )?;
        let name = submission.idempotency.as_ref().map_or(0, |i| i.key.len());
        bounded(
            operation,
            key,
            "idempotency key bytes",
            name,
            NAME_BYTES_MAX,
        )?;
        for secret in &submission.secrets {
            fits_secret(operation, key, secret)?;
        }
    }
    Ok(())
}

fn claim_bounds(key: &str, claim: &Claim) -> Stored<()> {
    fits_batch("claim", key, claim.shares.len())?;
    let runs = claim.shares.iter().map(|share| share.runs_max);
    fits_batch("claim", key, runs.fold(0, usize::saturating_add))
}
