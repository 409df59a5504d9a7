//! How long starts took, as `/metrics` tells: each start once, with the parts that its host knows.

use davit_rpc::link::report::Event;
use davit_rpc::link::*;
use davit_scheduler::store::ActiveState;

use crate::host::{Host, Line, started};
use crate::world::{Replica, Tweak, World, plan};

const PARTS: [&str; 5] = ["queue", "pull", "prepare", "create", "start"];

/// What a replica tells of starts.
struct Told(String);

impl Told {
    async fn by(replica: &Replica) -> Self {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}/metrics", replica.rest);
        let text = client.get(url).send().await.unwrap().text().await.unwrap();
        assert!(text.trim_end().ends_with("# EOF"), "{text}");
        Self(text)
    }

    /// A sample, or zero.
    fn sample(&self, name: &str) -> f64 {
        let mut lines = self.0.lines().filter_map(|line| line.strip_prefix(name));
        let value = lines.next().map(|value| value.trim().parse().unwrap());
        value.unwrap_or_default()
    }

    fn wholes(&self) -> f64 {
        self.sample("davit_attempt_start_seconds_count{region=\"here\"}")
    }

    /// Of the queue, then of the host's own parts.
    fn counts(&self) -> [f64; 5] {
        PARTS.map(|phase| self.part("count", phase))
    }

    fn part(&self, what: &str, phase: &str) -> f64 {
        let name = format!("davit_attempt_start_phase_seconds_{what}");
        self.sample(&format!("{name}{{phase=\"{phase}\",region=\"here\"}}"))
    }
}

fn started_in_parts() -> Event {
    Event::Started(Started {
        image_digest: "sha256:00".to_owned(),
        security_json: None,
        phases: Some(StartPhases {
            pull_us: Some(2_500_000),
            prepare_us: Some(30_000),
            create_us: Some(4_000),
            start_us: Some(500),
        }),
    })
}

/// Says it and waits until that is stored, which is when it is counted.
async fn say(line: &mut Line, key: &AttemptKey, step: u32, event: Event) {
    assert!(line.report(key, step, event).await);
    let ack = line.acked().await;
    assert!(ack.step >= step && ack.refused.is_none(), "{ack:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_is_counted_once_with_its_parts_however_often_it_is_told() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &replica, "host-1", 1).await;
    let mut line = host.connect(&replica, vec![]).await;
    let run = world.submit(&plan()).await;
    let key = line.assigned().await.key.unwrap();
    // Before its turn it is no start.
    line.report(&key, 2, started_in_parts()).await;
    assert!(line.acked().await.refused.is_some());
    say(&mut line, &key, 1, Event::Accepted(Accepted {})).await;
    assert_eq!(Told::by(&replica).await.wholes(), 0.0);
    say(&mut line, &key, 2, started_in_parts()).await;
    say(&mut line, &key, 2, started_in_parts()).await;
    say(&mut line, &key, 1, Event::Accepted(Accepted {})).await;
    say(&mut line, &key, 3, Event::Paused(Paused {})).await;
    say(&mut line, &key, 2, started_in_parts()).await;
    // Again, in a session that knows the attempt from its hello.
    drop(line);
    let mut line = host.connect(&replica, vec![key.clone()]).await;
    say(&mut line, &key, 2, started_in_parts()).await;
    let told = Told::by(&replica).await;
    assert_eq!((told.wholes(), told.counts()), (1.0, [1.0; 5]));
    let sums = PARTS.map(|phase| told.part("sum", phase));
    assert_eq!(sums[1..], [2.5, 0.03, 0.004, 0.000_5]);
    let whole = told.sample("davit_attempt_start_seconds_sum{region=\"here\"}");
    assert!(sums[0] <= whole, "{} s of {whole} s", sums[0]);
    for id in [run.to_string(), host.id.to_string(), "acme".to_owned()] {
        assert!(!told.0.contains(&id), "{id} is in the metrics");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_host_that_tells_no_parts_queue_and_whole_are_counted() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &replica, "host-1", 2).await;
    let mut line = host.connect(&replica, vec![]).await;
    world.submit(&plan()).await;
    let key = line.assigned().await.key.unwrap();
    say(&mut line, &key, 1, Event::Accepted(Accepted {})).await;
    say(&mut line, &key, 2, started()).await;
    let told = Told::by(&replica).await;
    let queue_only = [1.0, 0.0, 0.0, 0.0, 0.0];
    assert_eq!((told.wholes(), told.counts()), (1.0, queue_only));
    // What never starts has no start.
    world.submit(&plan()).await;
    let key = line.assigned().await.key.unwrap();
    let declined = Declined {
        message: "no room".to_owned(),
    };
    say(&mut line, &key, 1, Event::Declined(declined)).await;
    assert_eq!(Told::by(&replica).await.wholes(), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_is_counted_by_the_replica_that_stores_it() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let other = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &replica, "host-1", 1).await;
    let mut line = host.connect(&replica, vec![]).await;
    let run = world.submit(&plan()).await;
    let key = line.assigned().await.key.unwrap();
    drop(line);
    let mut line = host.connect(&other, vec![key.clone()]).await;
    say(&mut line, &key, 1, Event::Accepted(Accepted {})).await;
    say(&mut line, &key, 2, started_in_parts()).await;
    world.in_state(run, ActiveState::Running).await;
    let told = Told::by(&other).await;
    assert_eq!((told.wholes(), told.counts()), (1.0, [1.0; 5]));
    assert_eq!(Told::by(&replica).await.wholes(), 0.0);
}
