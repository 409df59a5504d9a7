//! Files that runs come with, as their hosts fetch them.

use std::sync::Arc;

use davit_rpc::link::scheduler_message::Message;
use davit_rpc::link::{Assign, AttemptKey, FilesRequest};
use davit_scheduler::files::{Files, FilesSettings};
use davit_scheduler::service::planned::{PlannedFiles, PlannedRun};
use object_store::{ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};
use tonic::{Code, Request, Status};
use uuid::Uuid;

use crate::host::{Host, client};
use crate::world::{Replica, Tweak, World, plan, wait_for};

/// Bytes of the tests' upload: two parts and a little.
const BYTES: usize = 8_500_000;

fn content() -> Vec<u8> {
    (0..BYTES)
        .map(|at: usize| (at * 7 + at / 253).to_le_bytes()[0])
        .collect()
}

/// A plan that comes with `content`, which is stored as REST stores it.
async fn with_files(files: &Files, content: &[u8]) -> PlannedRun {
    let tenant = "acme".parse().unwrap();
    let upload = files.begin(&tenant, Uuid::now_v7()).await.unwrap().upload;
    let body = bytes::Bytes::copy_from_slice(content);
    let body = futures::stream::iter([Ok::<_, String>(body)]);
    files.append(&tenant, upload, 0, body).await.unwrap();
    let hash = Sha256::digest(content);
    let sha256: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let bytes = content.len() as u64;
    files
        .complete(&tenant, upload, bytes, &sha256)
        .await
        .unwrap();
    let files = Some(PlannedFiles {
        upload,
        bytes,
        sha256,
    });
    PlannedRun { files, ..plan() }
}

fn files_of(world: &World, settings: FilesSettings) -> Files {
    let objects: Arc<dyn ObjectStore> = Arc::clone(&world.objects) as _;
    Files::new(Arc::clone(&world.store), objects, settings)
}

async fn fetch(
    host: &Host,
    replica: &Replica,
    key: &AttemptKey,
    offset: u64,
) -> Result<Vec<u8>, Status> {
    let mut request = Request::new(FilesRequest {
        key: Some(key.clone()),
        offset,
    });
    let token = host.token(replica.address).await?;
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    let mut client = client(replica.address).await;
    let mut pieces = client.fetch_files(request).await?.into_inner();
    let mut all = Vec::new();
    while let Some(piece) = pieces.message().await? {
        assert!(piece.data.len() <= 512 << 10, "a piece is bounded");
        all.extend(piece.data);
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_fetches_what_its_attempt_comes_with_from_any_offset() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &replica, "host-1", 1).await;
    let other = Host::join(&world, &replica, "host-2", 0).await;
    let mut line = host.connect(&replica, vec![]).await;
    let content = content();
    let plan = with_files(&files_of(&world, FilesSettings::default()), &content).await;
    world.submit(&plan).await;
    let assign: Assign = loop {
        if let Some(Message::Assign(assign)) = line.next().await {
            break assign;
        }
    };
    let told = assign.files.unwrap();
    let planned = plan.files.unwrap();
    assert_eq!((told.bytes, told.sha256), (planned.bytes, planned.sha256));

    let key = assign.key.unwrap();
    let whole = fetch(&host, &replica, &key, 0).await.unwrap();
    assert!(whole == content, "other bytes came");
    let middle = 4_194_304 + 17;
    let rest = fetch(&host, &replica, &key, middle as u64).await.unwrap();
    assert!(rest == content[middle..], "it goes on elsewhere");
    let nothing = fetch(&host, &replica, &key, BYTES as u64).await.unwrap();
    assert!(nothing.is_empty(), "there is nothing at its end");

    let code = async |host: &Host, key: &AttemptKey, offset: usize| {
        let refused = fetch(host, &replica, key, offset as u64).await;
        refused.map(|all| all.len()).unwrap_err().code()
    };
    assert_eq!(code(&host, &key, BYTES + 1).await, Code::InvalidArgument);
    assert_eq!(
        code(&other, &key, 0).await,
        Code::FailedPrecondition,
        "it is another host's"
    );
    let mut later = key.clone();
    later.attempt = 2;
    assert_eq!(code(&host, &later, 0).await, Code::FailedPrecondition);
    let mut thief = client(replica.address).await;
    let bare = thief.fetch_files(FilesRequest {
        key: Some(key),
        offset: 0,
    });
    assert_eq!(bare.await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_go_with_an_upload_that_nobody_used() {
    let world = World::sqlite().await;
    let settings = FilesSettings {
        upload_life_ms: 8_000,
        grace_ms: 0,
        ..FilesSettings::default()
    };
    let files = files_of(&world, settings);
    let plan = with_files(&files, &content()).await;
    let lasting = files_of(&world, FilesSettings::default());
    with_files(&lasting, b"kept").await;
    // Left by one who was killed between object and row.
    let upload = plan.files.unwrap().upload;
    let stray = format!("files/{upload}/stray");
    let stray = object_store::path::Path::from(stray);
    let put = world.objects.put(&stray, "x".into()).await;
    put.unwrap();
    let count = async || {
        use futures::StreamExt;
        world.objects.list(None).count().await
    };
    assert_eq!(count().await, 5);
    assert_eq!(files.sweep().await.unwrap(), 0, "it has not expired");
    let swept = wait_for("the sweep", async || {
        let swept = files.sweep().await.unwrap();
        (swept > 0).then_some(swept)
    });
    assert_eq!(swept.await, 1);
    assert_eq!(count().await, 1, "what is kept is another's");
}
