//! Files for runs: sent in pieces, whole once, a tenant's own.

use davit_scheduler::service::access::Scope;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Answer, Client};
use crate::world::{TENANT_BYTES_MAX, UPLOAD_BYTES_MAX, World, one_off, runner};

fn sha256(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that differ everywhere.
fn content(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|at: usize| (at * 31 + at / 251).to_le_bytes()[0])
        .collect()
}

/// A new upload: its path.
async fn begin(client: &Client) -> String {
    let made = client.tell("/v1/uploads").await;
    let path = made.header("location").unwrap().to_owned();
    let reply = made.expect(201);
    assert_eq!(reply["upload"]["bytes"], 0);
    assert_eq!(path, format!("/v1/uploads/{}", id(&reply)));
    path
}

fn id(reply: &Value) -> &str {
    reply["upload"]["id"].as_str().unwrap()
}

/// The answer to a HEAD, which OpenAPI does not tell of.
async fn head(client: &Client, path: &str) -> Answer {
    let response = client.request("HEAD", path).send().await.unwrap();
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        text: response.text().await.unwrap(),
    }
}

async fn complete(client: &Client, path: &str, content: &[u8]) -> Value {
    let told = json!({"bytes": content.len(), "sha256": sha256(content)});
    let done = client.post(&format!("{path}/complete"), &told).await;
    done.expect(200)
}

/// A run of this upload.
fn with(upload: &str) -> Value {
    let mut asked = one_off();
    asked["files"] = json!({"upload_id": upload});
    asked
}

#[tokio::test]
async fn an_upload_is_sent_in_pieces_and_a_run_comes_with_it() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let content = content(9 << 20);
    let path = begin(&acme).await;
    let (first, rest) = content.split_at(5_000_001);
    let sent = acme.piece(&path, 0, first).await;
    assert_eq!(sent.header("upload-offset"), Some("5000001"));
    sent.expect(200);

    // Whoever lost an answer asks where to go on.
    let told = head(&acme, &path).await;
    assert_eq!(
        (told.status, told.header("upload-offset")),
        (200, Some("5000001"))
    );
    let again = acme.piece(&path, 0, first).await;
    assert_eq!(
        (again.status, again.problem().as_str()),
        (409, "upload-offset")
    );
    assert_eq!(again.header("upload-offset"), Some("5000001"));

    // A run cannot come with half of it.
    let upload = path.rsplit('/').next().unwrap();
    let early = acme.post("/v1/runs", &with(upload)).await;
    assert_eq!(
        (early.status, early.fields()),
        (422, vec!["files.upload_id".to_owned()])
    );
    assert!(early.text.contains("not complete"), "{}", early.text);

    acme.piece(&path, 5_000_001, rest).await.expect(200);
    let whole = complete(&acme, &path, &content).await;
    assert_eq!(whole["upload"]["complete"], true);
    assert_eq!(whole["upload"]["sha256"], sha256(&content));
    complete(&acme, &path, &content).await;
    let more = acme.piece(&path, 9 << 20, b"x").await;
    assert_eq!(
        (more.status, more.problem().as_str()),
        (409, "upload-complete")
    );

    let made = acme.post("/v1/runs", &with(upload)).await.expect(201);
    let files = &made["run"]["files"];
    assert_eq!(files["upload_id"], upload);
    assert_eq!(files["bytes"], 9 << 20);
    assert_eq!(files["sha256"], sha256(&content));
    let saved = acme
        .post("/v1/runners", &runner("with-files"))
        .await
        .expect(201);
    let runs = format!(
        "/v1/runners/{}/runs",
        saved["runner"]["id"].as_str().unwrap()
    );
    let asked = json!({"files": {"upload_id": upload}});
    let made = acme.post(&runs, &asked).await.expect(201);
    assert_eq!(made["run"]["files"]["upload_id"], upload);
    let asked = json!({"runs": [asked, {}]});
    acme.post(&format!("{runs}/batch"), &asked)
        .await
        .expect(201);
    assert_eq!(
        acme.get("/v1/runs?limit=1").await.expect(200)["runs"][0]["files"],
        Value::Null
    );
}

#[tokio::test]
async fn what_arrived_of_a_piece_that_broke_off_is_kept() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let content = content(6 << 20);
    let path = begin(&acme).await;
    let mut line = TcpStream::connect(world.address).await.unwrap();
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nupload-offset: 0\r\n\
         content-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
        acme.token.as_ref().unwrap(),
        content.len(),
    );
    line.write_all(head.as_bytes()).await.unwrap();
    line.write_all(&content[..5 << 20]).await.unwrap();
    line.shutdown().await.unwrap();
    // Answered or not: the offset tells.
    drop(line.read_to_end(&mut Vec::new()).await);
    drop(line);
    let whole_part = 4 << 20;
    let offset = loop {
        let told = acme.get(&path).await.expect(200);
        let bytes = told["upload"]["bytes"].as_u64().unwrap();
        if bytes >= whole_part {
            break bytes;
        }
        tokio::task::yield_now().await;
    };
    let at = usize::try_from(offset).unwrap();
    assert!(at <= 5 << 20, "{at} bytes are more than were sent");
    let rest = &content[at..];
    let mut gone_on = acme.piece(&path, offset, rest).await;
    if gone_on.status == 409 {
        // The rest of what had arrived was stored meanwhile.
        let offset: usize = gone_on.header("upload-offset").unwrap().parse().unwrap();
        gone_on = acme.piece(&path, offset as u64, &content[offset..]).await;
    }
    gone_on.expect(200);
    complete(&acme, &path, &content).await;
}

#[tokio::test]
async fn what_is_not_as_its_sender_says_is_refused() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let path = begin(&acme).await;
    acme.piece(&path, 0, b"hello").await.expect(200);
    let complete = format!("{path}/complete");
    let wrong = json!({"bytes": 5, "sha256": sha256(b"hullo")});
    let refused = acme.post(&complete, &wrong).await;
    assert_eq!(
        (refused.status, refused.fields()),
        (422, vec!["sha256".to_owned()])
    );
    assert!(refused.text.contains(&sha256(b"hello")), "{}", refused.text);
    let short = json!({"bytes": 6, "sha256": sha256(b"hello")});
    let refused = acme.post(&complete, &short).await;
    assert_eq!(
        (refused.status, refused.header("upload-offset")),
        (409, Some("5"))
    );
    let no_digest = acme
        .post(&complete, &json!({"bytes": 5, "sha256": "abc"}))
        .await;
    assert_eq!(no_digest.fields(), ["sha256"]);
    let told = acme.get(&path).await.expect(200);
    assert_eq!(told["upload"]["complete"], false);

    let bare = acme.request("PATCH", &path).body("x").send().await.unwrap();
    assert_eq!(bare.status().as_u16(), 400, "without an offset");
    let octets = [("upload-offset", "5"), ("content-type", "text/plain")];
    let text = acme
        .send("PATCH", &path, &octets, Some("x".to_owned()))
        .await;
    assert_eq!(text.status, 415);
}

#[tokio::test]
async fn an_upload_is_its_tenants_own() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let beta = world.client("beta", &[Scope::RunsWrite], None).await;
    let reader = world.client("acme", &[Scope::RunsRead], None).await;
    let path = begin(&acme).await;
    acme.piece(&path, 0, b"mine").await.expect(200);
    complete(&acme, &path, b"mine").await;
    let upload = path.rsplit('/').next().unwrap();
    assert_eq!(beta.get(&path).await.status, 404);
    assert_eq!(beta.piece(&path, 4, b"x").await.status, 404);
    let told = json!({"bytes": 4, "sha256": sha256(b"mine")});
    let complete = beta.post(&format!("{path}/complete"), &told).await;
    assert_eq!(complete.status, 404);
    let run = beta.post("/v1/runs", &with(upload)).await;
    assert_eq!(
        (run.status, run.fields()),
        (422, vec!["files.upload_id".to_owned()])
    );
    let unknown = beta
        .post("/v1/runs", &with(&uuid::Uuid::now_v7().to_string()))
        .await;
    let about = |answer: &Answer| answer.json()["errors"][0]["problem"].clone();
    assert_eq!(about(&run), about(&unknown), "nobody learns of it");
    assert_eq!(reader.get(&path).await.status, 403);
    assert_eq!(reader.tell("/v1/uploads").await.status, 403);
}

#[tokio::test]
async fn no_upload_is_larger_than_the_operator_allows() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let path = begin(&acme).await;
    let max = usize::try_from(UPLOAD_BYTES_MAX).unwrap();
    let content = content(max + 1);
    let refused = acme.piece(&path, 0, &content).await;
    assert_eq!(
        (refused.status, refused.problem().as_str()),
        (413, "too-large")
    );
    assert!(
        refused.text.contains("files.upload_bytes_max"),
        "{}",
        refused.text
    );
    let told = head(&acme, &path).await;
    let at: usize = told.header("upload-offset").unwrap().parse().unwrap();
    acme.piece(&path, at as u64, &content[at..max])
        .await
        .expect(200);
    assert_eq!(acme.piece(&path, UPLOAD_BYTES_MAX, b"x").await.status, 413);
    complete(&acme, &path, &content[..max]).await;
}

#[tokio::test]
async fn all_files_of_a_tenant_are_as_large_as_the_operator_allows() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let content = content(usize::try_from(UPLOAD_BYTES_MAX).unwrap());
    let (first, second) = (begin(&acme).await, begin(&acme).await);
    acme.piece(&first, 0, &content).await.expect(200);
    let refused = acme.piece(&second, 0, &content).await;
    assert_eq!(
        (refused.status, refused.problem().as_str()),
        (507, "files-full")
    );
    let said = &refused.text;
    assert!(said.contains("files.tenant_bytes_max"), "{said}");
    let told = head(&acme, &second).await;
    let at: u64 = told.header("upload-offset").unwrap().parse().unwrap();
    assert!(at <= TENANT_BYTES_MAX - UPLOAD_BYTES_MAX, "{at}");

    let beta = world.client("beta", &[Scope::RunsWrite], None).await;
    let theirs = begin(&beta).await;
    beta.piece(&theirs, 0, &content).await.expect(200);
}

#[tokio::test]
async fn a_key_begins_one_upload() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let key = [("idempotency-key", "k")];
    let first = acme
        .send("POST", "/v1/uploads", &key, None)
        .await
        .expect(201);
    let again = acme
        .send("POST", "/v1/uploads", &key, None)
        .await
        .expect(201);
    assert_eq!(id(&first), id(&again));
    let beta = world.client("beta", &[Scope::RunsWrite], None).await;
    let other = beta
        .send("POST", "/v1/uploads", &key, None)
        .await
        .expect(201);
    assert_ne!(id(&first), id(&other));
}
