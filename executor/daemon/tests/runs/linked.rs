//! Runs that a scheduler gives: a real executor dials a real server of the link, over connections that break.

mod breaks;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use davit_rpc::link::report::Event;
use davit_rpc::link::scheduler_message::Message;
use davit_rpc::link::{self, AttemptKey};
use davit_rpc::local::Empty;
use davit_rpc::local::host_client::HostClient;
use davit_types::{RunId, SecurityProfile};

use super::scheduler::{Mood, Scheduler, Stored};
use super::support::{BUSYBOX, Executor};

const SIZE: &str = r#"{"slug":"tiny","name":"Tiny","resources":{"cpu_millis":500,"memory_bytes_max":134217728,"pids_max":64},"price_second_micros":1}"#;

fn key(attempt: u32) -> AttemptKey {
    AttemptKey {
        run_id: RunId::generate().to_string(),
        attempt,
    }
}

/// `sh -c command`, for the attempt `key`.
fn assignment(key: &AttemptKey, command: &str) -> link::Assign {
    let request = serde_json::json!({ "image": BUSYBOX, "command": command });
    link::Assign {
        key: Some(key.clone()),
        tenant: "acme".into(),
        request_json: request.to_string(),
        instance_type_json: SIZE.into(),
        on_lost: Some(link::OnLost {
            policy: "wait".into(),
            stop_after_ms: 0,
        }),
        ..link::Assign::default()
    }
}

fn run_dir(executor: &Executor, key: &AttemptKey) -> PathBuf {
    let runs = executor.settings().state_dir.join("runs");
    runs.join(format!("{}.{}", key.run_id, key.attempt))
}

fn over(stored: &Stored) -> bool {
    !stored.is_live()
}

async fn linked() -> (Scheduler, Executor) {
    let scheduler = Scheduler::start().await;
    let executor = Executor::start_linked(&scheduler.url).await;
    scheduler.wait(|state| state.hellos.first().map(drop)).await;
    (scheduler, executor)
}

/// Waits until the host knows that an end is stored.
async fn settled(executor: &Executor, key: &AttemptKey) {
    let mark = run_dir(executor, key).join("settled.json");
    let begin = Instant::now();
    while !mark.exists() {
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "{}",
            executor.log()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn what_is_marked_as_secret_reaches_the_job_and_not_the_scheduler() {
    let (scheduler, executor) = linked().await;
    let key = key(1);
    let command = "echo \"$TOKEN $LEVEL\"; cat /run/secrets/key; wc -c </run/secrets/key";
    let mut assign = assignment(&key, command);
    let var = |key: &str, value: &str| link::EnvVar {
        key: key.into(),
        value: value.into(),
    };
    assign.secret_env = vec![var("TOKEN", "hush-hush"), var("LEVEL", "debug")];
    assign.redacted_env = vec!["TOKEN".into()];
    assign.secret_files = vec![link::SecretFile {
        name: "key".into(),
        value: b"canary-file\n".to_vec(),
    }];
    scheduler.assign(assign);
    let stored = scheduler.until(&key, over).await;
    assert_eq!(stored.stdout(), "[redacted] debug\n[redacted]\n12\n");
    settled(&executor, &key).await;
    for file in std::fs::read_dir(run_dir(&executor, &key)).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("hush-hush") && !text.contains("canary-file"));
    }
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_run_is_told_from_its_acceptance_to_its_end_with_log_and_usage() {
    let (scheduler, executor) = linked().await;
    let key = key(1);
    let mut assign = assignment(
        &key,
        "echo \"$TOKEN\"; echo oops >&2; sleep 1.3; printf end; exit 3",
    );
    assign.secret_env = vec![link::EnvVar {
        key: "TOKEN".into(),
        value: "hush-hush".into(),
    }];
    scheduler.assign(assign);
    let stored = scheduler.until(&key, over).await;
    assert_eq!(stored.stdout(), "hush-hush\nend");
    assert_eq!(
        stored
            .lines
            .iter()
            .filter(|line| line.stream == "stderr")
            .count(),
        1
    );
    let ended = stored.ended.unwrap();
    assert_eq!(
        (&ended.end_reason[..], ended.exit_code),
        ("exited", Some(3))
    );
    assert!(ended.wall_ms >= 1_300, "{ended:?}");
    assert!(ended.usage_json.contains("\"wall_ms\""), "{ended:?}");
    assert!(matches!(stored.events[0], Event::Accepted(_)));
    let Event::Started(started) = &stored.events[1] else {
        panic!("{:?}", stored.events)
    };
    assert!(started.image_digest.starts_with("sha256:"), "{started:?}");
    let told: SecurityProfile =
        serde_json::from_str(started.security_json.as_deref().expect("locked in with")).unwrap();
    assert!(told.no_new_privileges && told.seccomp_digest.is_some());
    assert_eq!((told.capabilities.len(), told.ids), (0, None), "{told:?}");
    assert!(told.namespaces.contains(&"user".to_owned()), "{told:?}");
    let phases = started.phases.expect("how its start went");
    let parts = [
        phases.pull_us,
        phases.prepare_us,
        phases.create_us,
        phases.start_us,
    ];
    assert!(parts.iter().all(Option::is_some), "{phases:?}");
    let metered = stored
        .events
        .iter()
        .filter(|e| matches!(e, Event::Metered(_)));
    assert!(metered.count() >= 2, "{:?}", stored.events);
    settled(&executor, &key).await;
    secret_is_in_the_log_only(&run_dir(&executor, &key), b"hush-hush");
    the_host_tells_of_itself(&scheduler, &executor).await;
    scheduler.cut(Mood::Well);
    let again = scheduler.wait(|state| state.hellos.get(1).cloned()).await;
    assert!(again.held.is_empty(), "its end is stored: {:?}", again.held);
    executor.finish().await;
}

fn secret_is_in_the_log_only(run_dir: &Path, secret: &[u8]) {
    for entry in std::fs::read_dir(run_dir).unwrap() {
        let path = entry.unwrap().path();
        let is_log = path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("log.");
        let bytes = std::fs::read(&path).unwrap_or_default();
        let found = bytes.windows(secret.len()).any(|part| part == secret);
        assert_eq!(found, is_log, "{}", path.display());
    }
}

async fn the_host_tells_of_itself(scheduler: &Scheduler, executor: &Executor) {
    let state = scheduler
        .wait(|state| (state.renewed > 0).then(|| state.hellos[0].clone()))
        .await;
    assert_eq!(state.labels["rack"], "7");
    let capacity = state.capacity.unwrap();
    assert!(
        capacity.cpu_millis >= 1_000 && capacity.memory_bytes > 0,
        "{capacity:?}"
    );
    let beat = scheduler
        .wait(|state| state.heartbeats.last().cloned())
        .await;
    assert!(
        beat.images.iter().any(|image| image.contains("busybox")),
        "{beat:?}"
    );
    let info = HostClient::new(executor.channel())
        .info(Empty {})
        .await
        .unwrap();
    let link = info.into_inner().link.unwrap();
    assert_eq!(
        (&link.state[..], link.epoch, &link.region[..]),
        ("connected", Some(1), "here")
    );
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn an_attempt_is_executed_once_however_often_it_is_assigned() {
    let (scheduler, executor) = linked().await;
    let first = key(1);
    let assign = assignment(&first, "echo once; sleep 1");
    scheduler.assign(assign.clone());
    scheduler.say(Message::Assign(assign.clone()));
    scheduler
        .until(&first, |stored| stored.state == "running")
        .await;
    scheduler.say(Message::Assign(assign.clone()));
    let stored = scheduler.until(&first, over).await;
    assert_eq!(stored.stdout(), "once\n");
    settled(&executor, &first).await;
    // The next attempt, on the same host; then the first again, as from a replica that lags.
    let second = AttemptKey {
        attempt: 2,
        ..first.clone()
    };
    scheduler.assign(assignment(&second, "echo twice; sleep 1"));
    scheduler
        .until(&second, |stored| stored.state == "running")
        .await;
    scheduler.say(Message::Assign(assign));
    let stored = scheduler.until(&second, over).await;
    assert_eq!(stored.stdout(), "twice\n");
    settled(&executor, &second).await;
    assert_eq!(
        scheduler.state().attempts[&(first.run_id.clone(), 1)].stdout(),
        "once\n"
    );
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn what_the_scheduler_gave_away_is_ended_and_what_cannot_be_is_declined() {
    let (scheduler, mut executor) = linked().await;
    let (stale, told) = (key(1), key(1));
    for key in [&stale, &told] {
        scheduler.assign(assignment(key, "sleep 600"));
        scheduler
            .until(key, |stored| stored.state == "running")
            .await;
    }
    let local = executor.sh("sleep 600").await;
    scheduler.say(Message::Forget(link::Forget {
        key: Some(told.clone()),
        reason: "another host has it".into(),
    }));
    settled(&executor, &told).await;
    // While the host was away its attempt was declared lost.
    scheduler
        .state()
        .attempts
        .remove(&(stale.run_id.clone(), 1));
    scheduler.state().attempts.remove(&(told.run_id.clone(), 1));
    scheduler.cut(Mood::Well);
    settled(&executor, &stale).await;
    assert_eq!(
        executor.get(&local).await.status,
        "running",
        "it is nobody else's"
    );
    executor.stop(&local, 0).await;
    let odd = key(1);
    let mut assign = assignment(&odd, "true");
    assign.request_json = serde_json::json!({
        "image": BUSYBOX, "network": "host", "capabilities": ["CAP_CHOWN"],
    })
    .to_string();
    scheduler.assign(assign);
    let stored = scheduler.until(&odd, over).await;
    assert!(
        matches!(&stored.events[..], [Event::Declined(no)]
            if no.message.contains("allow_host") && no.message.contains("capabilities_allowed")),
        "{stored:?}"
    );
    assert!(!run_dir(&executor, &odd).exists());
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn what_is_wanted_is_done_and_told() {
    let (scheduler, executor) = linked().await;
    let key = key(1);
    scheduler.assign(assignment(
        &key,
        "trap 'echo bye; exit 5' TERM; echo up; while true; do sleep 0.05; done",
    ));
    scheduler
        .until(&key, |stored| stored.lines.len() == 1)
        .await;
    let want = |revision, change: fn(&mut link::Want)| {
        let mut want = link::Want {
            key: Some(key.clone()),
            revision,
            ..link::Want::default()
        };
        change(&mut want);
        want
    };
    scheduler.want(want(1, |want| {
        want.paused = true;
        want.timeout_seconds = Some(7_200);
    }));
    let stored = scheduler.until(&key, |stored| stored.heeded == 1).await;
    assert_eq!(stored.state, "paused");
    // Old news, and news that come while there is no connection.
    scheduler.say(Message::Want(want(0, |_| ())));
    scheduler.cut(Mood::Away);
    tokio::time::sleep(Duration::from_millis(300)).await;
    scheduler.want(want(2, |_| ()));
    scheduler.state().mood = Mood::Well;
    let stored = scheduler.until(&key, |stored| stored.heeded == 2).await;
    assert_eq!(stored.state, "running");
    let paused: u64 = stored
        .segments
        .iter()
        .filter(|s| s.paused)
        .map(|s| s.end_ms - s.begin_ms)
        .sum();
    assert!(paused >= 300, "{:?}", stored.segments);
    scheduler.want(want(3, |want| {
        want.stop = Some(link::Stop {
            signal: 15,
            grace_ms: 20_000,
        });
    }));
    let stored = scheduler.until(&key, over).await;
    let ended = stored.ended.as_ref().unwrap();
    assert_eq!(
        (&ended.end_reason[..], ended.exit_code),
        ("canceled", Some(5))
    );
    assert_eq!(stored.stdout(), "up\nbye\n");
    settled(&executor, &key).await;
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn an_image_is_warmed_before_runs_need_it() {
    let (scheduler, executor) = linked().await;
    for (warm_id, image) in [("good", BUSYBOX), ("bad", "127.0.0.1:5000/davit/no-such:1")] {
        scheduler.say(Message::Warm(link::Warm {
            warm_id: warm_id.into(),
            image: image.into(),
            credentials: None,
        }));
    }
    let warmed = scheduler
        .wait(|state| (state.warmed.len() == 2).then(|| state.warmed.clone()))
        .await;
    let outcome = |id: &str| {
        warmed
            .iter()
            .find(|w| w.warm_id == id)
            .unwrap()
            .outcome
            .clone()
            .unwrap()
    };
    use davit_rpc::link::warmed::Outcome;
    assert!(
        matches!(outcome("good"), Outcome::ImageDigest(digest) if digest.starts_with("sha256:"))
    );
    assert!(matches!(outcome("bad"), Outcome::Problem(_)));
    executor.finish().await;
}
