//! A stored run in the words of placement.
//!
//! Invariants: a plan whose names placement cannot have is refused, never trimmed; a host on which an attempt failed to
//! start is avoided for [`EXCLUDED_MS`] only, so that a fleet of one host is not for ever without a host.

use std::collections::HashMap;

use davit_placement::{
    Amounts, HostName, ImageRef, Priority, Region, Run, Runner, RunnerName, Wants,
};
use davit_types::{Attempt, Bytes, EndReason, ParseIdError, RunId, RunKey, Tenant};
use uuid::Uuid;

use crate::link::feature_label;
use crate::service::planned::PlannedRun;
use crate::store::{ActiveRun, AttemptRow};

/// How long a run avoids a host on which it failed to start.
pub(super) const EXCLUDED_MS: u64 = 60_000;
/// Hosts that a run avoids at once.
pub(super) const EXCLUDED_MAX: usize = 8;

/// A run that is to be told to the engine.
pub(crate) struct Demand<'a> {
    pub(crate) key: RunKey,
    pub(crate) tenant: &'a Tenant,
    pub(crate) runner: Option<Uuid>,
    pub(crate) region: &'a str,
    pub(crate) priority: i32,
    pub(crate) created_ms: u64,
    pub(crate) plan: &'a PlannedRun,
    pub(crate) excluded: Vec<HostName>,
}

impl<'a> Demand<'a> {
    /// An attempt of a stored run.
    pub(crate) fn of(key: RunKey, row: &'a ActiveRun, plan: &'a PlannedRun) -> Self {
        Self {
            key,
            tenant: &row.tenant,
            runner: row.runner,
            region: &row.region,
            priority: row.priority,
            created_ms: row.created_ms,
            plan,
            excluded: Vec::new(),
        }
    }

    /// The run as placement sees it.
    pub(crate) fn run(self) -> Result<Run, ParseIdError> {
        let plan = self.plan;
        let executors: Result<Vec<HostName>, _> =
            plan.executors.iter().map(|name| name.parse()).collect();
        let labels = plan.labels_wanted.clone().into_iter();
        let features = plan.features().map(feature_label);
        Ok(Run {
            key: self.key,
            tenant: self.tenant.clone(),
            runner: self
                .runner
                .map(|id| runner(id, plan.live_runs_max))
                .transpose()?,
            priority: priority(self.priority),
            sequence: self.created_ms,
            // An image that hosts cannot name is just held by none.
            image: plan.request.image.parse::<ImageRef>().ok(),
            wants: Wants {
                need: Amounts::of(&plan.instance_type.resources, Bytes(plan.disk_bytes)),
                region: Some(self.region.parse::<Region>()?),
                executors: executors?,
                labels: labels.chain(features).collect(),
                excluded: self.excluded,
            },
        })
    }
}

fn runner(id: Uuid, live_max: Option<u32>) -> Result<Runner, ParseIdError> {
    Ok(Runner {
        name: runner_name(id)?,
        live_max,
    })
}

/// A runner's name in placement.
pub(crate) fn runner_name(id: Uuid) -> Result<RunnerName, ParseIdError> {
    id.to_string().parse()
}

/// The nearest priority that placement knows.
fn priority(stored: i32) -> Priority {
    let number = u8::try_from(stored.clamp(0, 100)).unwrap_or(0);
    Priority::new(number).unwrap_or(Priority::MIN)
}

/// The attempt that the run's next assignment begins.
pub(crate) fn next_key(run: RunId, attempts: u32) -> Option<RunKey> {
    let attempt = Attempt::new(attempts.checked_add(1)?)?;
    Some(RunKey { run, attempt })
}

/// Hosts on which the run failed to start not long ago, latest first.
pub(crate) fn excluded(
    attempts: &[AttemptRow],
    names: &HashMap<Uuid, HostName>,
    now_ms: u64,
) -> Vec<HostName> {
    let recent = attempts.iter().rev().filter(|attempt| {
        attempt.end_reason == EndReason::StartFailed
            && now_ms.abs_diff(attempt.ended_ms) < EXCLUDED_MS
    });
    let mut hosts: Vec<HostName> = Vec::new();
    for name in recent.filter_map(|attempt| names.get(&attempt.host?)) {
        if !hosts.contains(name) && hosts.len() < EXCLUDED_MAX {
            hosts.push(name.clone());
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::rows::{plan, row};
    use crate::store::ActiveState;

    #[test]
    fn a_stored_run_wants_what_its_plan_says() {
        let mut plan = plan();
        plan.executors = vec!["host-1".to_owned()];
        plan.labels_wanted
            .insert("disk".to_owned(), "fast".to_owned());
        plan.live_runs_max = Some(3);
        let mut row = row(ActiveState::Claimed);
        row.runner = Some(Uuid::from_u128(5));
        row.priority = 900;
        let key = next_key(row.run, row.attempt).unwrap();
        let run = Demand::of(key, &row, &plan).run().unwrap();
        assert_eq!(run.key.attempt, Attempt::FIRST);
        assert_eq!(run.priority, Priority::MAX);
        assert_eq!(
            (run.wants.need.cpu_millis, run.wants.need.disk_bytes),
            (500, 1)
        );
        assert_eq!(run.wants.executors, ["host-1".parse().unwrap()]);
        assert_eq!(run.runner.unwrap().live_max, Some(3));
        plan.executors = vec!["no host".to_owned()];
        assert!(Demand::of(key, &row, &plan).run().is_err());
    }

    #[test]
    fn a_host_is_avoided_for_a_while_after_a_failed_start() {
        let host = |n: u128| Uuid::from_u128(n);
        let names: HashMap<_, HostName> = (1..4)
            .map(|n| (host(n), format!("host-{n}").parse().unwrap()))
            .collect();
        let attempt = |n, end_reason, ended_ms| AttemptRow {
            run: RunId::generate(),
            attempt: 1,
            host: Some(host(n)),
            assigned_ms: None,
            started_ms: None,
            ended_ms,
            end_reason,
            exit_code: None,
            message: String::new(),
            usage: String::new(),
            wall_ms: 0,
            log_last_id: 0,
            complete: true,
            profile: None,
            extracts: None,
        };
        let attempts = [
            attempt(1, EndReason::StartFailed, 1_000),
            attempt(2, EndReason::ImagePullFailed, 2_000),
            attempt(3, EndReason::StartFailed, 3_000),
            attempt(3, EndReason::StartFailed, 4_000),
        ];
        let at = |now_ms| {
            let hosts = excluded(&attempts, &names, now_ms);
            hosts.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(at(5_000), ["host-3", "host-1"]);
        assert_eq!(at(1_000 + EXCLUDED_MS), ["host-3"]);
        assert!(at(4_000 + EXCLUDED_MS).is_empty());
    }
}
