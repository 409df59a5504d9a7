//! Connections that break, executors that are replaced, and a scheduler that stays away.

use std::time::{Duration, Instant};

use davit_rpc::link;
use davit_rpc::link::report::Event;
use davit_rpc::local::RunRef;
use tonic::Code;

use super::{assignment, key, linked, over, run_dir, settled};
use crate::scheduler::{Mood, State};
use crate::support::{Executor, refusal};

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn connections_that_break_lose_and_repeat_nothing() {
    let (scheduler, executor) = linked().await;
    let keys = [key(1), key(1), key(1)];
    for key in &keys {
        let count = "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo $i; sleep 0.02; done";
        scheduler.assign(assignment(key, count));
    }
    scheduler
        .until(&keys[0], |stored| stored.lines.len() > 20)
        .await;
    for round in 0..4 {
        // What it says now is stored, but it does not hear so; or is lost.
        scheduler.state().mood = if round % 2 == 0 {
            Mood::Mute
        } else {
            Mood::Deaf
        };
        tokio::time::sleep(Duration::from_millis(700)).await;
        if round == 3 {
            // It missed something, and says so in the same session.
            scheduler.state().mood = Mood::Well;
            continue;
        }
        let hellos = scheduler.state().hellos.len();
        scheduler.cut(Mood::Well);
        scheduler
            .wait(|state| (state.hellos.len() > hellos).then_some(()))
            .await;
    }
    let expected: String = (1..=400).map(|n| format!("{n}\n")).collect();
    for key in &keys {
        let stored = scheduler.until(key, over).await;
        assert_eq!(stored.stdout(), expected);
        assert_eq!(stored.ended.unwrap().exit_code, Some(0));
        settled(&executor, key).await;
    }
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn an_executor_replaced_in_the_middle_goes_on_where_the_scheduler_is() {
    let (scheduler, mut executor) = linked().await;
    let key = key(1);
    let count = "i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo $i; sleep 0.03; done";
    scheduler.assign(assignment(&key, count));
    scheduler
        .until(&key, |stored| stored.lines.len() > 20)
        .await;
    executor.kill_and_restart().await;
    scheduler
        .until(&key, |stored| stored.lines.len() > 100)
        .await;
    executor.terminate();
    executor.restart().await;
    let stored = scheduler.until(&key, over).await;
    let expected: String = (1..=200).map(|n| format!("{n}\n")).collect();
    assert_eq!(stored.stdout(), expected);
    let starts = stored
        .events
        .iter()
        .filter(|e| matches!(e, Event::Started(_)));
    assert_eq!(starts.count(), 1);
    settled(&executor, &key).await;
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_run_that_ends_while_nobody_serves_is_told_later() {
    let (scheduler, mut executor) = linked().await;
    let key = key(1);
    scheduler.assign(assignment(&key, "echo up; sleep 1; echo down; exit 4"));
    scheduler
        .until(&key, |stored| stored.lines.len() == 1)
        .await;
    executor.kill();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    executor.restart().await;
    let stored = scheduler.until(&key, over).await;
    assert_eq!(
        (stored.stdout(), stored.ended.unwrap().exit_code),
        ("up\ndown\n".into(), Some(4))
    );
    settled(&executor, &key).await;
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn secrets_are_given_again_to_an_executor_that_did_not_hear_them() {
    let (scheduler, mut executor) = linked().await;
    for round in 0..4 {
        let key = key(1);
        let mut assign = assignment(&key, "echo \"$TOKEN\"");
        assign.secret_env = vec![link::EnvVar {
            key: "TOKEN".into(),
            value: format!("hush-{round}"),
        }];
        scheduler.assign(assign);
        scheduler.until(&key, |stored| stored.step >= 1).await;
        executor.kill_and_restart().await;
        let stored = scheduler.until(&key, over).await;
        assert_eq!(stored.stdout(), format!("hush-{round}\n"), "{stored:#?}");
        settled(&executor, &key).await;
    }
    executor.finish().await;
}

/// A run that its host ends when it has had no scheduler for so long.
fn bound_for(key: &link::AttemptKey, stop_after_ms: u64) -> link::Assign {
    link::Assign {
        on_lost: Some(link::OnLost {
            policy: "requeue".into(),
            stop_after_ms,
        }),
        ..assignment(key, "echo up; sleep 600")
    }
}

async fn fenced_within(executor: &Executor, key: &link::AttemptKey, longest: Duration) {
    let mark = run_dir(executor, key).join("end.json");
    let begin = Instant::now();
    while !mark.exists() {
        assert!(begin.elapsed() < longest, "{}", executor.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(run_dir(executor, key).join("fenced.json").exists());
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_run_that_may_be_given_away_ends_with_its_hosts_connection() {
    let (scheduler, mut executor) = linked().await;
    let (bound, free) = (key(1), key(1));
    scheduler.assign(bound_for(&bound, 8_000));
    scheduler.assign(assignment(&free, "sleep 600"));
    for key in [&bound, &free] {
        scheduler
            .until(key, |stored| stored.state == "running")
            .await;
    }
    scheduler.cut(Mood::Away);
    // The time goes on over a restart.
    tokio::time::sleep(Duration::from_millis(5_000)).await;
    executor.kill_and_restart().await;
    // Anew it would take longer.
    fenced_within(&executor, &bound, Duration::from_secs(6)).await;
    assert!(!run_dir(&executor, &free).join("fenced.json").exists());
    let reference = RunRef {
        run: bound.run_id.clone(),
    };
    let refused = refusal(executor.client.remove(reference).await);
    assert_eq!(refused.0, Code::FailedPrecondition, "{refused:?}");
    scheduler.state().mood = Mood::Well;
    let ended = scheduler.until(&bound, over).await.ended.unwrap();
    assert_eq!(
        (&ended.end_reason[..], ended.exit_code),
        ("executor_lost", None)
    );
    assert!(ended.message.contains("no scheduler"), "{ended:?}");
    settled(&executor, &bound).await;
    let stop = link::Want {
        key: Some(free.clone()),
        revision: 1,
        stop: Some(link::Stop {
            signal: 9,
            grace_ms: 0,
        }),
        ..link::Want::default()
    };
    scheduler.want(stop);
    scheduler.until(&free, over).await;
    settled(&executor, &free).await;
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn an_open_connection_keeps_no_run_whose_heartbeats_are_not_answered() {
    let (scheduler, executor) = linked().await;
    let bound = key(1);
    scheduler.assign(bound_for(&bound, 3_000));
    scheduler
        .until(&bound, |stored| stored.state == "running")
        .await;
    // Answered heartbeats keep it, for longer than it may go without.
    tokio::time::sleep(Duration::from_millis(4_500)).await;
    assert!(!run_dir(&executor, &bound).join("fenced.json").exists());
    let sessions = scheduler.state().hellos.len();
    scheduler.state().mood = Mood::Deaf;
    fenced_within(&executor, &bound, Duration::from_secs(20)).await;
    assert_eq!(scheduler.state().hellos.len(), sessions, "it was connected");
    // What was said to the deaf is said again in the next session.
    scheduler.cut(Mood::Well);
    let ended = scheduler.until(&bound, over).await.ended.unwrap();
    assert_eq!(ended.end_reason, "executor_lost");
    settled(&executor, &bound).await;
    executor.finish().await;
}

/// Reports of all attempts that a host sends without an answer.
const UNANSWERED_MAX: u32 = 128;

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn reports_without_an_answer_are_few_over_all_attempts() {
    let (scheduler, executor) = linked().await;
    scheduler.state().mood = Mood::Mute;
    // Each alone would send sixteen: an acceptance, a start, and how far it is metered.
    let keys: Vec<_> = (0..10).map(|_| key(1)).collect();
    for key in &keys {
        scheduler.assign(assignment(key, "sleep 15"));
    }
    let told = |state: &State| {
        state
            .attempts
            .values()
            .map(|stored| stored.step)
            .sum::<u32>()
    };
    scheduler
        .wait(|state| (told(state) >= UNANSWERED_MAX).then_some(()))
        .await;
    let heartbeats = scheduler.state().heartbeats.len();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(told(&scheduler.state()), UNANSWERED_MAX);
    assert!(scheduler.state().heartbeats.len() > heartbeats + 5);

    scheduler.cut(Mood::Well);
    for key in &keys {
        scheduler.until(key, over).await;
        settled(&executor, key).await;
    }
    assert!(told(&scheduler.state()) > UNANSWERED_MAX);
    executor.finish().await;
}

/// Log batches of all attempts that a host sends without an answer.
const BATCHES_UNANSWERED_MAX: u32 = 48;

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn log_batches_without_an_answer_are_few_over_all_attempts() {
    let (scheduler, executor) = linked().await;
    scheduler.state().mood = Mood::Mute;
    // Each alone would send four.
    let keys: Vec<_> = (0..14).map(|_| key(1)).collect();
    let count = "i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo $i; sleep 0.1; done";
    for key in &keys {
        scheduler.assign(assignment(key, count));
    }
    scheduler
        .wait(|state| (state.log_batches >= BATCHES_UNANSWERED_MAX).then_some(()))
        .await;
    let heartbeats = scheduler.state().heartbeats.len();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(scheduler.state().log_batches, BATCHES_UNANSWERED_MAX);
    assert!(scheduler.state().heartbeats.len() > heartbeats + 5);

    scheduler.cut(Mood::Well);
    let expected: String = (1..=100).map(|n| format!("{n}\n")).collect();
    for key in &keys {
        assert_eq!(scheduler.until(key, over).await.stdout(), expected);
        settled(&executor, key).await;
    }
    executor.finish().await;
}
