//! What is not right, by the thousand: refused, never a fault of the server's.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::schema::DOCUMENT;
use crate::world::{World, one_off, runner};

/// Malformed requests that are sent.
const REQUESTS: u64 = 10_000;
/// What their randomness begins with; printed when a request fails.
const SEED: u64 = 0x5eed_0da7;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    fn bytes(&mut self, length_max: usize) -> Vec<u8> {
        let length = self.below(length_max);
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// JSON of any shape.
    fn json(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 7 } else { 9 }) {
            0 => Value::Null,
            1 => json!(self.next().is_multiple_of(2)),
            2 => json!(self.next()),
            3 => json!(-1),
            4 => json!(1e300),
            5 => json!("\u{0}\u{fffd}\u{202e}'; DROP TABLE runs; --"),
            6 => json!("x".repeat(self.below(5_000))),
            7 => (0..self.below(4)).map(|_| self.json(depth - 1)).collect(),
            _ => {
                let names = ["name", "argv", "image", "region", "env_variables", "x\u{0}"];
                let fields = (0..self.below(4)).map(|_| {
                    let name = (*self.pick(&names)).to_owned();
                    (name, self.json(depth - 1))
                });
                Value::Object(fields.collect())
            }
        }
    }
}

/// A path of the document, its parameters filled with this and that.
fn path(random: &mut Random, known: &[String]) -> String {
    let paths: Vec<&String> = DOCUMENT["paths"].as_object().unwrap().keys().collect();
    let template = *random.pick(&paths);
    let odd = [
        "0",
        "..",
        "%00",
        "%ff",
        "%2e%2e",
        "a%20b",
        "x",
        "-",
        "'",
        "%F0%9F%92%A9",
    ];
    let parts = template
        .split('/')
        .map(|part| match (part.starts_with('{'), random.below(3)) {
            (true, 0) => (*random.pick(&odd)).to_owned(),
            (true, _) => random.pick(known).clone(),
            (false, _) => part.to_owned(),
        });
    let mut path = parts.collect::<Vec<_>>().join("/");
    if random.below(3) == 0 {
        let queries = [
            "limit=-1",
            "limit=99999999999999999999",
            "after=%ff",
            "after=l00",
            "after_id=x",
            "status=none",
            "attempt=0",
            "format=xml",
            "limit=1&limit=2",
            "a=b",
            "=",
            "%",
            "stream=x",
            "reveal=perhaps",
            "after=i00000000000000000000000000000000ffffffff",
        ];
        path = format!("{path}?{}", random.pick(&queries));
    }
    path
}

fn body(random: &mut Random) -> Vec<u8> {
    match random.below(6) {
        0 => random.bytes(200),
        1 => b"{\"name\": \"\xff\xfe\"}".to_vec(),
        2 => "[".repeat(random.below(3_000)).into_bytes(),
        3 => {
            let mut almost = random.pick(&[runner("one"), one_off()]).clone();
            let fields: Vec<String> = almost.as_object().unwrap().keys().cloned().collect();
            let field = random.pick(&fields).clone();
            almost[field] = random.json(3);
            almost.to_string().into_bytes()
        }
        4 => {
            let whole = runner("one").to_string();
            whole.as_bytes()[..random.below(whole.len())].to_vec()
        }
        _ => random.json(4).to_string().into_bytes(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_malformed_requests_are_refused_and_nothing_breaks() {
    let world = World::begin().await;
    let every = davit_scheduler::service::access::Scope::ALL;
    let client = world.client("acme", &every, None).await;
    let run = client.run().await;
    let made = client
        .post("/v1/runners", &runner("known"))
        .await
        .expect(201);
    let known = [
        run.to_string(),
        made["runner"]["id"].as_str().unwrap().to_owned(),
    ];
    let mut random = Random(SEED);
    let methods = [
        "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW",
    ];
    for number in 0..REQUESTS {
        let path = path(&mut random, &known);
        // These last, or take the token away that the others need.
        if path.contains("/stream") || path.contains("/v1/tokens/") {
            continue;
        }
        let method = *random.pick(&methods);
        let mut request = client.request(method, &path);
        if random.below(2) == 0 {
            let kinds = [
                "application/json",
                "text/plain",
                "application/json; charset=utf-16",
                "",
            ];
            request = request.header("content-type", *random.pick(&kinds));
            request = request.body(body(&mut random));
        }
        if random.below(4) == 0 {
            let names = [
                "idempotency-key",
                "last-event-id",
                "accept",
                "range",
                "expect",
            ];
            let values = ["", "\t", "x", "0-0", "text/html;q=x", "k k"];
            request = request.header(*random.pick(&names), *random.pick(&values));
        }
        let response = request
            .send()
            .await
            .unwrap_or_else(|e| panic!("seed {SEED:#x}, request {number}, {method} {path}: {e:?}"));
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        assert!(
            status < 500,
            "seed {SEED:#x}, request {number}, {method} {path}: {status} {text}"
        );
    }
    assert_eq!(client.get("/readyz").await.status, 200);
}

async fn raw(world: &World, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    // The server may answer and close before all is sent.
    let _sent = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
    let _closed = read.await.expect("the connection is closed");
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(client: &Client, more: &str) -> String {
    let token = client.token.as_deref().unwrap();
    format!(
        "POST /v1/runners HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Authorization: Bearer {token}\r\nContent-Type: application/json\r\n{more}"
    )
}

#[tokio::test]
async fn a_body_of_a_hundred_megabytes_is_not_read() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let told = post(&acme, "Content-Length: 104857600\r\n\r\n");
    let answer = raw(&world, told.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // Without saying so beforehand: cut off at the bound.
    let mut chunked = post(&acme, "Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    let piece = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    for _ in 0..20 {
        chunked.extend_from_slice(&piece);
    }
    let answer = raw(&world, &chunked).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!(acme.get("/v1/runners").await.status, 200);
}

#[tokio::test]
async fn deep_json_and_invalid_utf8_are_told() {
    let world = World::begin().await;
    let acme = world.acme().await;
    for (body, kind) in [
        ("[".repeat(100_000).into_bytes(), "invalid"),
        (
            format!("{{\"labels_wanted\":{}", "{\"a\":".repeat(100_000)).into_bytes(),
            "invalid",
        ),
        (b"{\"name\":\"\xff\"}".to_vec(), "bad-json"),
        (b"{\"name\":\"\\ud800\"}".to_vec(), "bad-json"),
        (b"".to_vec(), "bad-json"),
        (b"{} {}".to_vec(), "invalid"),
    ] {
        let request = acme.request("POST", "/v1/runners");
        let request = request
            .header("content-type", "application/json")
            .body(body);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let problem: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        let told = problem["type"].as_str().unwrap();
        assert!(matches!(status, 400 | 422), "{status} {problem}");
        assert_eq!(told, format!("urn:davit:problem:{kind}"), "{problem}");
    }
    let request = acme.request("POST", "/v1/runners").body("{}");
    assert_eq!(request.send().await.unwrap().status(), 415);
}
