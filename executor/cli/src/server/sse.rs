//! Server-sent events out of a stream of bytes, as the HTML standard has them.
//!
//! ```text
//!  bytes ─► lines ─► id:, event:, data: … ─ empty line ─► Event
//! ```
//!
//! Pure. What is not ended by an empty line is no event: a connection that breaks in the middle of one has not brought it.

/// Largest event: a record of a log has at most some 16 KiB.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) data: String,
}

/// A piece of the stream that ends nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Endless;

/// What came and is no whole event yet.
#[derive(Debug, Default)]
pub(super) struct Events {
    bytes: Vec<u8>,
    open: Event,
}

impl Events {
    /// Takes bytes, gives the events that they end.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<Vec<Event>, Endless> {
        self.bytes.extend_from_slice(piece);
        let mut events = Vec::new();
        let mut from = 0;
        while let Some(length) = self.bytes[from..].iter().position(|&byte| byte == b'\n') {
            let line = &self.bytes[from..from + length];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                let event = std::mem::take(&mut self.open);
                if !event.data.is_empty() {
                    events.push(event);
                }
            } else {
                take(&mut self.open, &String::from_utf8_lossy(line));
            }
            from += length + 1;
        }
        self.bytes.drain(..from);
        if self.bytes.len() + self.open.data.len() > EVENT_BYTES_MAX {
            return Err(Endless);
        }
        Ok(events)
    }
}

fn take(event: &mut Event, line: &str) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    let value = value.strip_prefix(' ').unwrap_or(value);
    match name {
        "id" => event.id = Some(value.to_owned()),
        "event" => value.clone_into(&mut event.name),
        "data" => {
            if !event.data.is_empty() {
                event.data.push('\n');
            }
            event.data.push_str(value);
        }
        // Comments have no name; `retry` is ours to decide.
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "retry: 1000\n\nid: 1\nevent: log\ndata: {\"a\":\"é\"}\n\n:\n\nid: 2.1\r\n\
                          event: log\r\ndata: one\r\ndata: two\r\n\r\nevent: state\ndata:";

    #[test]
    fn events_are_the_same_however_the_bytes_come() {
        let event = |id: &str, data: &str| Event {
            id: Some(id.to_owned()),
            name: "log".to_owned(),
            data: data.to_owned(),
        };
        // The last one has no end.
        let wanted = [event("1", "{\"a\":\"é\"}"), event("2.1", "one\ntwo")];
        for size in 1..STREAM.len() {
            let mut events = Events::default();
            let mut seen = Vec::new();
            for piece in STREAM.as_bytes().chunks(size) {
                seen.extend(events.push(piece).unwrap());
            }
            assert_eq!(seen, wanted, "pieces of {size}");
        }
    }

    #[test]
    fn what_never_ends_is_refused() {
        let mut events = Events::default();
        let piece = vec![b'x'; EVENT_BYTES_MAX / 2 + 1];
        assert_eq!(events.push(&piece), Ok(Vec::new()));
        assert_eq!(events.push(&piece), Err(Endless));
    }
}
