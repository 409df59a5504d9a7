//! Files that come out of attempts, as their hosts send them, and who is given runs that have any.

use davit_rpc::link::extract_from_host::Message as Sent;
use davit_rpc::link::host_message::Message as Said;
use davit_rpc::link::report::Event;
use davit_rpc::link::*;
use davit_scheduler::files::FilesSettings;
use davit_scheduler::service::Placing;
use davit_scheduler::service::planned::{PlannedFiles, PlannedRun};
use davit_scheduler::store::{NewUpload, UploadPart};
use davit_types::{ExtractPath, RunId};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};
use uuid::Uuid;

use crate::host::{Host, client, ended};
use crate::world::{Replica, Tweak, World, plan, wait_for};

/// Bytes of the tests' archive: two parts and a little.
const BYTES: usize = 8_500_000;
const PIECE_BYTES: usize = 512 << 10;

fn content() -> Vec<u8> {
    (0..BYTES)
        .map(|at: usize| (at * 7 + at / 253).to_le_bytes()[0])
        .collect()
}

fn sha256(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A plan of which two come out.
fn with_extracts() -> PlannedRun {
    let path = |name: &str| ExtractPath {
        from: name.to_owned(),
        to: name.to_owned(),
    };
    let mut plan = plan();
    plan.request.extracts = vec![path("out"), path("report")];
    plan
}

/// A call that sends an extract.
struct Call {
    pieces: mpsc::Sender<ExtractFromHost>,
    places: Streaming<ExtractPlace>,
}

fn begin(key: &AttemptKey, number: u32, content: &[u8]) -> ExtractBegin {
    ExtractBegin {
        key: Some(key.clone()),
        number,
        bytes: content.len() as u64,
        sha256: sha256(content),
    }
}

impl Call {
    async fn open(host: &Host, replica: &Replica, begin: ExtractBegin) -> Result<Self, Status> {
        let (pieces, sent) = mpsc::channel(64);
        let message = Some(Sent::Begin(begin));
        pieces.send(ExtractFromHost { message }).await.unwrap();
        let mut request = Request::new(ReceiverStream::new(sent));
        let token = host.token(replica.address).await?;
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        let mut client = client(replica.address).await;
        let places = client.send_extract(request).await?.into_inner();
        Ok(Self { pieces, places })
    }

    async fn send(&self, bytes: &[u8]) {
        for piece in bytes.chunks(PIECE_BYTES) {
            let message = Some(Sent::Data(piece.to_vec()));
            drop(self.pieces.send(ExtractFromHost { message }).await);
        }
    }

    async fn place(&mut self) -> Result<ExtractPlace, Status> {
        let place = self.places.message().await?;
        place.ok_or_else(|| Status::cancelled("it ended"))
    }

    /// Ends what is sent; what is answered then.
    async fn end(mut self) -> Result<ExtractPlace, Status> {
        drop(self.pieces);
        let place = self.places.message().await?;
        place.ok_or_else(|| Status::cancelled("it ended"))
    }
}

/// All of it, in one call.
async fn send(
    host: &Host,
    replica: &Replica,
    begin: ExtractBegin,
    content: &[u8],
) -> Result<ExtractPlace, Status> {
    let mut call = Call::open(host, replica, begin).await?;
    let place = call.place().await?;
    if place.stored {
        return Ok(place);
    }
    let from = usize::try_from(place.offset).unwrap();
    call.send(&content[from..]).await;
    call.end().await
}

fn told(status: &str, message: Option<&str>) -> Extracted {
    Extracted {
        status: status.to_owned(),
        kind: if status == "ok" { "directory" } else { "" }.to_owned(),
        bytes: 5,
        sha256: Some("0".repeat(64)),
        message: message.map(str::to_owned),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_sends_what_came_out_and_goes_on_where_it_broke() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &replica, "host-1", 1).await;
    let mut line = host.connect(&replica, vec![]).await;
    let run = world.submit(&with_extracts()).await;
    let key = line.start().await;
    let content = content();
    let whole = || begin(&key, 0, &content);

    let mut call = Call::open(&host, &replica, whole()).await.unwrap();
    let place = call.place().await.unwrap();
    assert_eq!((place.offset, place.stored), (0, false));
    let middle = 5_000_000;
    call.send(&content[..middle]).await;
    // The connection breaks: nothing is said to be whole.
    assert!(call.end().await.is_err());
    let offset = wait_for("what was sent is stored", async || {
        let mut call = Call::open(&host, &replica, whole()).await.unwrap();
        let place = call.place().await.unwrap();
        (place.offset > 0).then_some(place.offset)
    });
    assert_eq!(offset.await, middle as u64);
    let place = send(&host, &replica, whole(), &content).await.unwrap();
    assert_eq!((place.offset, place.stored), (BYTES as u64, true));
    // An answer that was lost is told again, and nothing is sent for it.
    let mut again = Call::open(&host, &replica, whole()).await.unwrap();
    assert!(again.place().await.unwrap().stored);

    let mut last = ended(&key, 3, 900, 0);
    if let Some(Event::Ended(ended)) = &mut last.event {
        let long = "x".repeat(10_000);
        ended.extracts = vec![told("ok", None), told("missing", Some(&long))];
    }
    line.say(Said::Report(last)).await;
    world.ended(run).await;
    let attempts = world.store.attempts(run).await.unwrap();
    let kept: serde_json::Value =
        serde_json::from_str(attempts[0].extracts.as_ref().unwrap()).unwrap();
    assert_eq!(
        (&kept[0]["status"], &kept[0]["kind"]),
        (&"ok".into(), &"directory".into())
    );
    assert_eq!(kept[1]["status"], "missing");
    assert_eq!(
        kept[1]["message"].as_str().unwrap().len(),
        2_000,
        "it is cut short"
    );
    let (attempt, upload) = world.store.extract(run, 0).await.unwrap().unwrap();
    assert_eq!((attempt, upload.bytes), (1, BYTES as u64));
    assert_eq!(upload.sha256, Some(sha256(&content)));
    // It is over: nothing of it is taken any more.
    let late = send(&host, &replica, whole(), &content).await;
    assert_eq!(late.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_what_its_host_says_is_not_stored() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &replica, "host-1", 1).await;
    let other = Host::join(&world, &replica, "host-2", 0).await;
    let mut line = host.connect(&replica, vec![]).await;
    let run = world.submit(&with_extracts()).await;
    let key = line.start().await;
    let content = b"content".to_vec();
    let whole = || begin(&key, 1, &content);
    let sent = async |host: &Host, begin: ExtractBegin, bytes: &[u8]| {
        let sent = send(host, &replica, begin, bytes).await;
        sent.map(|place| place.stored)
            .map_err(|status| status.code())
    };
    assert_eq!(sent(&host, whole(), b"CONTENT").await, Err(Code::Aborted));
    assert_eq!(
        world.store.extract(run, 1).await.unwrap(),
        None,
        "it is let go of"
    );
    let more = sent(&host, whole(), b"content and more").await;
    assert!(more.is_err(), "more than it said");
    assert_eq!(sent(&host, whole(), &content).await, Ok(true));
    let another = begin(&key, 1, b"another");
    assert_eq!(
        sent(&host, another, b"another").await,
        Ok(true),
        "it replaces it"
    );

    let number = ExtractBegin {
        number: 2,
        ..whole()
    };
    assert_eq!(
        sent(&host, number, &content).await,
        Err(Code::InvalidArgument)
    );
    let odd = ExtractBegin {
        sha256: "0".repeat(63),
        ..whole()
    };
    assert_eq!(sent(&host, odd, &content).await, Err(Code::InvalidArgument));
    let large = ExtractBegin {
        bytes: (1 << 30) + 1,
        ..whole()
    };
    assert_eq!(sent(&host, large, &content).await, Err(Code::OutOfRange));
    assert_eq!(
        sent(&other, whole(), &content).await,
        Err(Code::FailedPrecondition)
    );
    let later = AttemptKey {
        attempt: 2,
        ..key.clone()
    };
    let later = begin(&later, 1, &content);
    assert_eq!(
        sent(&host, later, &content).await,
        Err(Code::FailedPrecondition)
    );
    let mut thief = client(replica.address).await;
    let bare = thief.send_extract(tokio_stream::empty());
    assert_eq!(bare.await.unwrap_err().code(), Code::Unauthenticated);
}

/// A plan that comes with files, which nobody fetches.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_has_too_much_gets_no_more_and_its_host_does_not_wait() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &replica, "host-1", 1).await;
    let mut line = host.connect(&replica, vec![]).await;
    world.submit(&with_extracts()).await;
    let key = line.start().await;
    let content = b"content".to_vec();
    let all_bytes = FilesSettings::default().tenant_bytes_max;
    let kept = NewUpload {
        upload: Uuid::now_v7(),
        tenant: "acme".parse().unwrap(),
        life_ms: 60_000,
    };
    let kept = world.store.begin_upload(kept).await.unwrap().unwrap();
    let part = UploadPart {
        upload: kept.upload,
        begins: 0,
        bytes: all_bytes - 1,
        object: "files/kept".to_owned(),
    };
    let tenant = "acme".parse().unwrap();
    let added = world.store.add_upload_part(tenant, part, all_bytes);
    added.await.unwrap().unwrap();

    let whole = || begin(&key, 0, &content);
    let refused = send(&host, &replica, whole(), &content).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "it does not ask again");
    let said = refused.message();
    assert!(said.contains("files.tenant_bytes_max"), "{said}");
    world.store.forget_uploads(vec![kept.upload]).await.unwrap();
    let taken = send(&host, &replica, whole(), &content).await;
    assert!(taken.unwrap().stored);
}

fn with_files() -> PlannedRun {
    PlannedRun {
        files: Some(PlannedFiles {
            upload: Uuid::now_v7(),
            bytes: 1,
            sha256: "0".repeat(64),
        }),
        ..plan()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_of_old_is_given_no_run_whose_files_it_would_pass_over() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let mut old = Host::join(&world, &replica, "host-1", 10).await;
    old.features = Vec::new();
    let mut line = old.connect(&replica, vec![]).await;
    let held: Vec<RunId> = [
        world.submit(&with_extracts()).await,
        world.submit(&with_files()).await,
    ]
    .into();
    let plain = world.submit(&plan()).await;
    let given = line.assigned().await.key.unwrap();
    assert_eq!(given.run_id, plain.to_string());
    for run in &held {
        wait_for("it waits for another host", async || {
            let explained = replica.dispatch.explain(*run).await?;
            (explained.hosts.get("no_label") == Some(&1)).then_some(())
        })
        .await;
    }
    // The same host with a newer executor, and a label that says nothing of it.
    drop(line);
    let new = Host {
        features: ["files", "extracts"].map(str::to_owned).into(),
        ..old
    };
    let mut line = new.connect(&replica, vec![given]).await;
    let mut given = Vec::new();
    for _ in &held {
        given.push(line.assigned().await);
    }
    let extracts = given.iter().find(|given| given.files.is_none()).unwrap();
    assert!(
        extracts.request_json.contains("extracts"),
        "{}",
        extracts.request_json
    );
    assert!(given.iter().any(|given| given.files.is_some()));

    // Given, not accepted, and an older executor again: it is not told what to execute.
    drop(line);
    let old = Host {
        features: Vec::new(),
        ..new
    };
    let line = old.connect(&replica, vec![]).await;
    for assign in given {
        let key = assign.key.unwrap();
        let Some(place::Standing::Live(live)) = line.place(&key) else {
            panic!("it is the host's")
        };
        assert_eq!(live.assign, None);
    }
}
