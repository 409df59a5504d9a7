//! Uploads: added to at their end only, whole once, kept as long as a run needs them.

use std::time::Duration;

use davit_scheduler::store::*;
use uuid::Uuid;

use crate::world::{NOW_MS, World, cases, end, first, segment, started, update};

cases![
    an_upload_grows_at_its_end_and_becomes_whole_once,
    another_tenants_upload_is_not_there,
    a_tenant_may_have_so_many_unfinished,
    a_tenant_may_have_so_many_bytes,
    an_upload_goes_when_it_expired_and_no_run_needs_it,
];

const DAY_MS: u64 = 86_400_000;
const TENANT_BYTES_MAX: u64 = 1_000;

async fn begin(world: &World, life_ms: u64) -> Result<Upload, Refusal> {
    let new = NewUpload {
        upload: Uuid::now_v7(),
        tenant: world.tenant.clone(),
        life_ms,
    };
    world.store.begin_upload(new).await.unwrap()
}

fn part(upload: &Upload, begins: u64, bytes: u64, object: &str) -> UploadPart {
    UploadPart {
        upload: upload.upload,
        begins,
        bytes,
        object: object.to_owned(),
    }
}

async fn add(world: &World, part: UploadPart) -> Result<Upload, Refusal> {
    let tenant = world.tenant.clone();
    let added = world.store.add_upload_part(tenant, part, TENANT_BYTES_MAX);
    added.await.unwrap()
}

async fn complete(
    world: &World,
    upload: Uuid,
    bytes: u64,
    sha256: &str,
) -> Result<Upload, Refusal> {
    let tenant = world.tenant.clone();
    let done = world
        .store
        .complete_upload(tenant, upload, bytes, sha256.to_owned());
    done.await.unwrap()
}

async fn an_upload_grows_at_its_end_and_becomes_whole_once(world: World) {
    let upload = begin(&world, DAY_MS).await.unwrap();
    assert_eq!((upload.bytes, upload.sha256.as_deref()), (0, None));
    assert_eq!(upload.expires_ms, upload.created_ms + DAY_MS);
    let first = part(&upload, 0, 10, "a");
    assert_eq!(add(&world, first.clone()).await.unwrap().bytes, 10);
    let again = add(&world, first.clone()).await.unwrap();
    assert_eq!((again.bytes, again.parts), (10, 1), "the same call again");
    let expected = 10;
    for wrong in [
        part(&upload, 0, 10, "b"),
        part(&upload, 9, 1, "b"),
        part(&upload, 11, 1, "b"),
        part(&upload, 10, 0, "b"),
    ] {
        let refused = add(&world, wrong).await;
        assert_eq!(refused, Err(Refusal::UploadOffset { expected }));
    }
    let second = part(&upload, 10, 5, "c");
    assert_eq!(add(&world, second.clone()).await.unwrap().bytes, 15);

    let sha256 = "0".repeat(64);
    let short = complete(&world, upload.upload, 14, &sha256).await;
    assert_eq!(short, Err(Refusal::UploadOffset { expected: 15 }));
    for _ in 0..2 {
        let whole = complete(&world, upload.upload, 15, &sha256).await.unwrap();
        assert_eq!(whole.sha256.as_ref(), Some(&sha256));
    }
    let is_whole = Refusal::UploadComplete {
        sha256: sha256.clone(),
    };
    let other = complete(&world, upload.upload, 15, &"1".repeat(64)).await;
    assert_eq!(other, Err(is_whole.clone()));
    let more = add(&world, part(&upload, 15, 1, "d")).await;
    assert_eq!(more, Err(is_whole));

    let parts = async |after, limit| {
        let parts = world.store.upload_parts(upload.upload, after, limit);
        parts.await.unwrap()
    };
    assert_eq!(parts(0, 10).await, [first.clone(), second.clone()]);
    assert_eq!(parts(0, 1).await.first(), Some(&first));
    assert_eq!(parts(0, 1).await.len(), 1);
    assert_eq!(parts(9, 10).await, [first, second.clone()]);
    assert_eq!(parts(10, 10).await, [second]);
    assert_eq!(parts(15, 10).await, []);
}

async fn another_tenants_upload_is_not_there(world: World) {
    let upload = begin(&world, DAY_MS).await.unwrap();
    let beta = world.tenant("beta", None).await;
    let store = &world.store;
    let unknown = Refusal::UnknownUpload {
        upload: upload.upload,
    };
    let found = store.upload(beta.clone(), upload.upload).await;
    assert_eq!(found.unwrap(), None);
    let one = part(&upload, 0, 1, "a");
    let added = store.add_upload_part(beta.clone(), one, TENANT_BYTES_MAX);
    assert_eq!(added.await.unwrap(), Err(unknown.clone()));
    let whole = store.complete_upload(beta, upload.upload, 0, "0".repeat(64));
    assert_eq!(whole.await.unwrap(), Err(unknown));
    let found = store.upload(world.tenant.clone(), upload.upload).await;
    assert_eq!(found.unwrap(), Some(upload));
}

async fn a_tenant_may_have_so_many_unfinished(world: World) {
    let open_max = limits::UPLOADS_OPEN_MAX;
    let mut last = Uuid::nil();
    for _ in 0..open_max {
        last = begin(&world, DAY_MS).await.unwrap().upload;
    }
    let refused = begin(&world, DAY_MS).await;
    assert_eq!(refused, Err(Refusal::UploadsOpen { open_max }));
    complete(&world, last, 0, &"0".repeat(64)).await.unwrap();
    begin(&world, DAY_MS).await.unwrap();
}

async fn a_tenant_may_have_so_many_bytes(world: World) {
    let [one, other] = [(); 2].map(|()| begin(&world, DAY_MS));
    let (one, other) = (one.await.unwrap(), other.await.unwrap());
    add(&world, part(&one, 0, 990, "a")).await.unwrap();
    let bytes_max = TENANT_BYTES_MAX;
    let full = Err(Refusal::FilesFull { bytes_max });
    assert_eq!(add(&world, part(&other, 0, 11, "b")).await, full);
    assert_eq!(add(&world, part(&one, 990, 11, "c")).await, full);
    let exactly = part(&other, 0, 10, "d");
    assert_eq!(add(&world, exactly.clone()).await.unwrap().bytes, 10);
    // The same call again adds nothing.
    assert_eq!(add(&world, exactly).await.unwrap().bytes, 10);

    // Another tenant's are no part of it; what is forgotten neither.
    let beta = world.tenant("beta", None).await;
    let new = NewUpload {
        upload: Uuid::now_v7(),
        tenant: beta.clone(),
        life_ms: DAY_MS,
    };
    let theirs = world.store.begin_upload(new).await.unwrap().unwrap();
    let added = world
        .store
        .add_upload_part(beta, part(&theirs, 0, 1_000, "e"), bytes_max);
    assert_eq!(added.await.unwrap().unwrap().bytes, 1_000);
    world.store.forget_uploads(vec![one.upload]).await.unwrap();
    add(&world, part(&other, 10, 990, "f")).await.unwrap();
}

async fn an_upload_goes_when_it_expired_and_no_run_needs_it(world: World) {
    let store = &world.store;
    let [used, unused] = [(); 2].map(|()| begin(&world, 300));
    let (used, unused) = (used.await.unwrap(), unused.await.unwrap());
    add(&world, part(&used, 0, 10, "a")).await.unwrap();
    let lasting = begin(&world, DAY_MS).await.unwrap();
    let mut submission = world.submission();
    submission.upload = Some(used.upload);
    let run = submission.base.run;
    world.submit(&submission).await.unwrap();

    assert_eq!(
        store.expired_uploads(0, 10).await.unwrap(),
        Vec::<Uuid>::new()
    );
    tokio::time::sleep(Duration::from_millis(400)).await;
    let gone = store.upload(world.tenant.clone(), used.upload).await;
    assert_eq!(gone.unwrap(), None, "no further run is made with it");
    let refused = add(&world, part(&unused, 0, 1, "b")).await;
    let upload = unused.upload;
    assert_eq!(refused, Err(Refusal::UnknownUpload { upload }));
    let parts = store.upload_parts(used.upload, 0, 10).await.unwrap();
    assert_eq!(parts.len(), 1, "its run may still need it");
    assert_eq!(
        store.expired_uploads(DAY_MS, 10).await.unwrap(),
        Vec::<Uuid>::new()
    );
    assert_eq!(
        store.expired_uploads(0, 10).await.unwrap(),
        [unused.upload],
        "a run has the other"
    );
    store.forget_uploads(vec![unused.upload]).await.unwrap();
    assert_eq!(
        store.expired_uploads(0, 10).await.unwrap(),
        Vec::<Uuid>::new()
    );

    let peer = world.host().await;
    let key = first(run);
    assert_eq!(world.claim(1).await[0].row.run, run);
    world.assign(run, peer).await.unwrap();
    world.say(peer, key, 1, started()).await.unwrap();
    let over = Event::Ended(end(10, 0));
    let last = update(peer, key, 2, over, vec![segment(key, 0, 0, 10)]);
    world.report(last).await.unwrap();
    assert_eq!(
        store.expired_uploads(0, 10).await.unwrap(),
        Vec::<Uuid>::new()
    );
    let keep = Retention {
        runs_before_ms: NOW_MS + 1_000,
        audit_before_ms: 0,
        keys_before_ms: 0,
        rows_max: 100,
    };
    assert_eq!(store.sweep_retention(keep).await.unwrap().runs, 1);
    assert_eq!(store.expired_uploads(0, 10).await.unwrap(), [used.upload]);
    store.forget_uploads(vec![used.upload]).await.unwrap();
    assert_eq!(store.upload_parts(used.upload, 0, 10).await.unwrap(), []);
    let kept = store.upload(world.tenant.clone(), lasting.upload).await;
    assert_eq!(kept.unwrap(), Some(lasting));
}
