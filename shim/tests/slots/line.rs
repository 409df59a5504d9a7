//! A connection of JSON lines, as the executor has one to a slot or a run.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::support::PATIENCE;

/// A connection of JSON lines.
pub struct Line(BufReader<UnixStream>);

impl Line {
    pub fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    /// `None`: closed without an answer.
    pub fn ask<R: DeserializeOwned>(&mut self, request: &impl Serialize) -> Option<R> {
        let mut line = serde_json::to_string(request).unwrap();
        line.push('\n');
        self.0.get_mut().write_all(line.as_bytes()).ok()?;
        let mut reply = String::new();
        self.0.read_line(&mut reply).ok()?;
        (!reply.is_empty()).then(|| serde_json::from_str(&reply).unwrap())
    }

    /// Waits for the other side's end.
    pub fn closes(&mut self) -> bool {
        self.0.read_line(&mut String::new()).unwrap() == 0
    }
}
