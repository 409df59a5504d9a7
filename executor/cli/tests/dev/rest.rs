//! A client of one connection per request, without a crate: HTTP/1.0 ends every body, streams too, with the connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for something to come true.
pub(crate) const WAIT: Duration = Duration::from_secs(60);
/// Between two looks at something awaited.
const LOOK_MS: u64 = 50;

#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    /// The body, if the status is this one.
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

/// One of a stream's: its name and data.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) data: Value,
}

impl Client {
    /// What is answered, or why nothing is.
    pub(crate) fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, String> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut request = format!(
            "{method} {path} HTTP/1.0\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n",
            self.address,
            self.token,
            body.len()
        );
        if !body.is_empty() {
            request.push_str("content-type: application/json\r\n");
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        let whole = self
            .exchange(&format!("{request}\r\n{body}"))
            .map_err(|error| format!("{method} {path}: {error}"))?;
        let (head, text) = whole.split_once("\r\n\r\n").ok_or(format!("{whole:?}"))?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok(Answer {
            status: status.ok_or(format!("no status: {head:?}"))?,
            text: text.to_owned(),
        })
    }

    fn exchange(&self, request: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(WAIT))?;
        stream.write_all(request.as_bytes())?;
        let mut whole = String::new();
        stream.read_to_string(&mut whole)?;
        Ok(whole)
    }

    /// A piece of an upload, and what is answered.
    pub(crate) fn piece(&self, path: &str, offset: usize, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        let head = format!(
            "PATCH {path} HTTP/1.0\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\
             content-type: application/octet-stream\r\nupload-offset: {offset}\r\n\r\n",
            self.address,
            self.token,
            bytes.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(bytes).unwrap();
        let mut whole = String::new();
        stream.read_to_string(&mut whole).unwrap();
        let (head, text) = whole.split_once("\r\n\r\n").unwrap();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            text: text.to_owned(),
        }
    }

    pub(crate) fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.try_send(method, path, &[], body)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.send("GET", path, None).expect(200)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, Some(body))
    }

    /// A POST without a body.
    pub(crate) fn tell(&self, path: &str) -> Answer {
        self.send("POST", path, None)
    }

    /// Asks until the answer is as wanted; returns it.
    pub(crate) fn wait(&self, path: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let begin = Instant::now();
        loop {
            let seen = self.get(path);
            if wanted(&seen) {
                return seen;
            }
            assert!(begin.elapsed() < WAIT, "{path}: never {what}: {seen:#}");
            std::thread::sleep(Duration::from_millis(LOOK_MS));
        }
    }

    /// The run as it is when it has ended.
    pub(crate) fn ended(&self, id: &str) -> Value {
        let over = |reply: &Value| {
            let status = reply["run"]["status"].as_str().unwrap();
            ["succeeded", "failed", "canceled"].contains(&status)
        };
        self.wait(&format!("/v1/runs/{id}"), "ended", over)["run"].take()
    }

    /// Waits until so many starts are in the scheduler's metrics, each with all its parts.
    pub(crate) fn wait_counted(&self, starts: u32) {
        let begin = Instant::now();
        let parts = ["queue", "pull", "prepare", "create", "start"];
        let parts =
            parts.map(|phase| format!("phase_seconds_count{{phase=\"{phase}\",region=\"local\"}}"));
        let wanted = parts.map(|part| format!("davit_attempt_start_{part} {starts}"));
        loop {
            let text = self.send("GET", "/metrics", None).text;
            if wanted
                .iter()
                .all(|line| text.lines().any(|told| told == line))
            {
                return;
            }
            assert!(begin.elapsed() < WAIT, "not {wanted:#?}: {text}");
            std::thread::sleep(Duration::from_millis(LOOK_MS));
        }
    }

    /// The whole log, in pages of so many lines.
    pub(crate) fn log(&self, id: &str, limit: usize) -> Vec<Value> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let path = format!("/v1/runs/{id}/logs?limit={limit}&after_id={after}");
            let page = self.get(&path);
            let lines = page["logs"].as_array().unwrap();
            assert!(lines.len() <= limit, "{path}: {page:#}");
            all.extend(lines.iter().cloned());
            after = page["next_after_id"].as_u64().unwrap();
            if page["more"] == false {
                return all;
            }
            assert!(!lines.is_empty(), "{path}: an empty page, and more: {page}");
        }
    }

    /// Waits until the log has so many lines.
    pub(crate) fn logged(&self, id: &str, count: usize) {
        let path = format!("/v1/runs/{id}/logs");
        self.wait(&path, &format!("{count} lines"), |page| {
            page["logs"].as_array().unwrap().len() >= count
        });
    }

    /// All that the stream of a run brings until it ends by itself.
    pub(crate) fn stream(&self, id: &str) -> Vec<Event> {
        let answer = self.send("GET", &format!("/v1/runs/{id}/logs/stream"), None);
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.text.split("\n\n").filter_map(parse).collect()
    }
}

/// Comments and the `retry` at the beginning are no events.
fn parse(text: &str) -> Option<Event> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let data = field("data: ")?;
    Some(Event {
        name: field("event: ").unwrap_or_default().to_owned(),
        data: serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {text}")),
    })
}

/// The id of the run in a reply.
pub(crate) fn run_id(reply: &Value) -> String {
    reply["run"]["id"].as_str().unwrap().to_owned()
}

/// What the lines say, in their order.
pub(crate) fn texts(lines: &[Value]) -> Vec<&str> {
    lines
        .iter()
        .map(|line| line["line"].as_str().unwrap_or("not UTF-8"))
        .collect()
}
