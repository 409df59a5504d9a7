//! A containerd of an old version, as far as it gets asked: it tells its version and nothing else.
//!
//! Speaks the few HTTP/2 frames (RFC 9113) that one gRPC call needs. Header blocks of requests are not
//! read: whatever is asked, the answer is the version.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use anyhow::Context;

const PREFACE_BYTES: usize = 24;
const FRAME_HEAD_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status: 200`, `content-type: application/grpc` in HPACK (RFC 7541), nothing indexed.
const REPLY_HEADERS: &[u8] = b"\x88\x0f\x10\x10application/grpc";
/// `grpc-status: 0`.
const REPLY_TRAILERS: &[u8] = b"\x00\x0bgrpc-status\x010";

/// Answers on `socket` as containerd `version` would, until the test's process ends.
pub(crate) fn serve(socket: &Path, version: &'static str) -> anyhow::Result<()> {
    let listener = UnixListener::bind(socket)
        .with_context(|| format!("cannot listen on {}", socket.display()))?;
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            // The client hangs up once it has seen enough.
            thread::spawn(move || answer(connection, version).unwrap_or_default());
        }
    });
    Ok(())
}

fn answer(mut connection: UnixStream, version: &str) -> io::Result<()> {
    connection.read_exact(&mut [0; PREFACE_BYTES])?;
    send(&mut connection, SETTINGS, 0, 0, &[])?;
    loop {
        let mut head = [0; FRAME_HEAD_BYTES];
        connection.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        io::copy(&mut (&mut connection).take(length.into()), &mut io::sink())?;
        if kind == SETTINGS && flags & ACK == 0 {
            send(&mut connection, SETTINGS, ACK, 0, &[])?;
        }
        if (kind == DATA || kind == HEADERS) && flags & END_STREAM != 0 {
            send(&mut connection, HEADERS, END_HEADERS, stream, REPLY_HEADERS)?;
            send(&mut connection, DATA, 0, stream, &version_message(version))?;
            let last = END_HEADERS | END_STREAM;
            send(&mut connection, HEADERS, last, stream, REPLY_TRAILERS)?;
        }
    }
}

/// A `VersionResponse` with its first field, behind gRPC's prefix. Only short versions.
fn version_message(version: &str) -> Vec<u8> {
    let length = u8::try_from(version.len()).unwrap_or(0);
    let mut message = vec![0, 0, 0, 0, length + 2, 0x0a, length];
    message.extend(version.as_bytes());
    message
}

fn send(
    connection: &mut UnixStream,
    kind: u8,
    flags: u8,
    stream: u32,
    payload: &[u8],
) -> io::Result<()> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    connection.write_all(&frame)
}
