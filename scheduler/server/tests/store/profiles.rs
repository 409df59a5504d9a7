//! What attempts are locked in with: stored once, kept with each, forgotten long after.

use davit_scheduler::store::*;

use crate::world::{NOW_MS, World, cases, end, only, update};

cases![
    what_an_attempt_is_locked_in_with_is_stored_once_and_kept_with_it,
    profiles_go_long_after_the_runs_that_had_them,
];

async fn what_an_attempt_is_locked_in_with_is_stored_once_and_kept_with_it(world: World) {
    let peer = world.host().await;
    let profile = Profile::new("{\"runtime\":\"crun\"}".to_owned());
    let other = Profile::new("{\"runtime\":\"runc\"}".to_owned());
    assert_eq!(world.store.profile(profile.id).await.unwrap(), None);
    let locked_in = |profile: &Profile| Event::Started {
        image_digest: "sha256:00".to_owned(),
        profile: Some(profile.clone()),
    };
    let (first, second) = (world.assigned(peer).await, world.assigned(peer).await);
    let third = world.assigned(peer).await;
    let batch = vec![
        update(peer, first, 1, locked_in(&profile), vec![]),
        update(peer, second, 1, locked_in(&profile), vec![]),
        update(peer, third, 1, locked_in(&other), vec![]),
    ];
    let told = world.store.report(batch).await.unwrap();
    assert!(
        told.iter().all(|verdict| *verdict == Ok(Done::Applied)),
        "{told:?}"
    );
    for (key, its) in [(first, &profile), (second, &profile), (third, &other)] {
        assert_eq!(world.row(key.run).await.profile, Some(its.id));
        let body = world.store.profile(its.id).await.unwrap();
        assert_eq!(body.as_ref(), Some(&its.body));
    }
    // The next attempt has not started: nothing is known of it.
    let mut lost = end(0, 0);
    lost.retry = Some(Retry { not_before_ms: 0 });
    world.say(peer, first, 2, Event::Ended(lost)).await.unwrap();
    let attempt = only(world.store.attempts(first.run).await.unwrap());
    assert_eq!(attempt.profile, Some(profile.id));
    assert_eq!(world.claim(1).await[0].row.run, first.run);
    world.assign(first.run, peer).await.unwrap();
    assert_eq!(world.row(first.run).await.profile, None);
}

async fn profiles_go_long_after_the_runs_that_had_them(world: World) {
    const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
    let peer = world.host().await;
    let key = world.assigned(peer).await;
    let profile = Profile::new("{}".to_owned());
    let started = Event::Started {
        image_digest: String::new(),
        profile: Some(profile.clone()),
    };
    world.say(peer, key, 1, started).await.unwrap();
    for (days, gone) in [(1, 0), (59, 0), (62, 1), (62, 0)] {
        let keep = Retention {
            runs_before_ms: NOW_MS + days * DAY_MS,
            audit_before_ms: 0,
            keys_before_ms: 0,
            rows_max: 10,
        };
        let swept = world.store.sweep_retention(keep).await.unwrap();
        assert_eq!(swept.profiles, gone, "{days} days on");
    }
    assert_eq!(world.store.profile(profile.id).await.unwrap(), None);
}
