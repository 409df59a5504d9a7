//! Files that come out of runs: one upload for each of a run's, of its latest attempt, kept as long as the run.

use std::time::Duration;

use davit_scheduler::store::*;
use davit_types::{Attempt, RunKey};
use uuid::Uuid;

use crate::world::{NOW_MS, World, cases, end, segment, update};

cases![
    an_extract_has_one_upload_that_is_found_again,
    a_later_attempt_takes_the_place_and_an_earlier_one_never,
    an_extract_goes_with_its_run_and_no_sooner,
    extracts_are_no_unfinished_uploads_of_the_tenant,
];

const DAY_MS: u64 = 86_400_000;

fn new(world: &World, key: RunKey, number: u32, life_ms: u64) -> NewExtract {
    NewExtract {
        key,
        number,
        tenant: world.tenant.clone(),
        upload: Uuid::now_v7(),
        life_ms,
    }
}

async fn begin(world: &World, key: RunKey, number: u32, life_ms: u64) -> Result<Upload, Refusal> {
    let new = new(world, key, number, life_ms);
    world.store.begin_extract(new).await.unwrap()
}

/// Makes an upload of ten bytes whole.
async fn fill(world: &World, upload: &Upload) {
    let part = UploadPart {
        upload: upload.upload,
        begins: 0,
        bytes: 10,
        object: "a".to_owned(),
    };
    let tenant = || world.tenant.clone();
    let added = world.store.add_upload_part(tenant(), part, u64::MAX);
    added.await.unwrap().unwrap();
    let whole = world
        .store
        .complete_upload(tenant(), upload.upload, 10, "0".repeat(64));
    whole.await.unwrap().unwrap();
}

async fn an_extract_has_one_upload_that_is_found_again(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    let first = begin(&world, key, 0, DAY_MS).await.unwrap();
    assert_eq!(
        (first.bytes, first.tenant.clone()),
        (0, world.tenant.clone())
    );
    let other = begin(&world, key, 1, DAY_MS).await.unwrap();
    assert_ne!(first.upload, other.upload);
    let again = begin(&world, key, 0, DAY_MS).await.unwrap();
    assert_eq!(again, first, "the same call again");
    fill(&world, &first).await;
    let whole = begin(&world, key, 0, DAY_MS).await.unwrap();
    assert_eq!((whole.upload, whole.bytes), (first.upload, 10));
    assert!(whole.sha256.is_some());
    let found = world.store.extract(key.run, 0).await.unwrap();
    assert_eq!(found, Some((1, whole)));
    assert_eq!(world.store.extract(key.run, 2).await.unwrap(), None);
    world.store.drop_extract(first.upload).await.unwrap();
    assert_eq!(world.store.extract(key.run, 0).await.unwrap(), None);
    let anew = begin(&world, key, 0, DAY_MS).await.unwrap();
    assert_ne!(anew.upload, first.upload);
}

async fn a_later_attempt_takes_the_place_and_an_earlier_one_never(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    let first = begin(&world, key, 0, DAY_MS).await.unwrap();
    fill(&world, &first).await;
    let attempt = Attempt::new(2).unwrap();
    let later = RunKey { attempt, ..key };
    let second = begin(&world, later, 0, DAY_MS).await.unwrap();
    assert_ne!(second.upload, first.upload);
    let refused = begin(&world, key, 0, DAY_MS).await;
    let (given, live) = (key.attempt, 2);
    assert_eq!(refused, Err(Refusal::StaleAttempt { given, live }));
    let (attempt, upload) = world.store.extract(key.run, 0).await.unwrap().unwrap();
    assert_eq!((attempt, upload.upload), (2, second.upload));
}

async fn an_extract_goes_with_its_run_and_no_sooner(world: World) {
    let store = &world.store;
    let peer = world.host().await;
    let key = world.running(peer).await;
    let whole = begin(&world, key, 0, 300).await.unwrap();
    fill(&world, &whole).await;
    let broken = begin(&world, key, 1, 300).await.unwrap();
    let told = Some(r#"[{"status":"ok"}]"#.to_owned());
    let over = Event::Ended(AttemptEnd {
        extracts: told.clone(),
        ..end(10, 0)
    });
    let last = update(peer, key, 2, over, vec![segment(key, 0, 0, 10)]);
    world.report(last).await.unwrap();
    assert_eq!(store.attempts(key.run).await.unwrap()[0].extracts, told);

    tokio::time::sleep(Duration::from_millis(400)).await;
    let none = Vec::<Uuid>::new();
    assert_eq!(
        store.expired_uploads(0, 10).await.unwrap(),
        none,
        "its run has them"
    );
    let (_, kept) = store.extract(key.run, 0).await.unwrap().unwrap();
    assert_eq!(kept.upload, whole.upload, "whole ones do not expire");
    assert_eq!(store.extract(key.run, 1).await.unwrap(), None);
    // One that expired half-way is begun anew, and is nobody's then.
    let anew = begin(&world, key, 1, DAY_MS).await.unwrap();
    assert_ne!(anew.upload, broken.upload);
    assert_eq!(store.expired_uploads(0, 10).await.unwrap(), [broken.upload]);
    let keep = Retention {
        runs_before_ms: NOW_MS + 1_000,
        audit_before_ms: 0,
        keys_before_ms: 0,
        rows_max: 100,
    };
    assert_eq!(store.sweep_retention(keep).await.unwrap().runs, 1);
    assert_eq!(store.extract(key.run, 0).await.unwrap(), None);
    let mut expired = store.expired_uploads(0, 10).await.unwrap();
    expired.sort_unstable();
    let mut wanted = vec![whole.upload, broken.upload];
    wanted.sort_unstable();
    assert_eq!(expired, wanted);
}

async fn extracts_are_no_unfinished_uploads_of_the_tenant(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    for number in 0..=limits::UPLOADS_OPEN_MAX {
        begin(&world, key, number, DAY_MS).await.unwrap();
    }
    let own = NewUpload {
        upload: Uuid::now_v7(),
        tenant: world.tenant.clone(),
        life_ms: DAY_MS,
    };
    world.store.begin_upload(own).await.unwrap().unwrap();
}
