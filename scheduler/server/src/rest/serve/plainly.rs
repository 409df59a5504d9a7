//! Who speaks plain HTTP to a port of TLS is told so, once, in plain HTTP.
//!
//! A TLS connection begins with a record of type handshake; no method of HTTP begins with that byte.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// First byte of a TLS connection.
const HANDSHAKE: u8 = 22;
/// Bytes of the request that are read, so that the answer is not lost to a reset.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
const ANSWER: &str = "HTTP/1.1 400 Bad Request\r\n\
    content-type: application/problem+json\r\n\
    connection: close\r\n\
    content-length: 101\r\n\r\n\
    {\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,\
    \"detail\":\"this port speaks TLS: use https\"}\n";

/// Whether the client begins with something else than TLS.
pub(super) async fn spoken(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    let read = stream.peek(&mut first).await?;
    Ok(read == 1 && first[0] != HANDSHAKE)
}

/// Tells it, and ends the connection.
pub(super) async fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut request = vec![0; REQUEST_BYTES_MAX];
    if stream.read(&mut request).await? > 0 {
        stream.write_all(ANSWER.as_bytes()).await?;
    }
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_the_bodys() {
        let (head, body) = ANSWER.split_once("\r\n\r\n").unwrap();
        let length = head.split_once("content-length: ").unwrap().1;
        assert_eq!(length, body.len().to_string());
    }
}
