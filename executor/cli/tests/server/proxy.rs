//! A connection that breaks where a test wants it to: what a client asks goes through whole, answers are cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Lets so many bytes of each connection's answers through, given the connection's number; the rest is lost with it.
pub(crate) async fn cutting(
    server: SocketAddr,
    bytes_max: impl Fn(usize) -> Option<usize> + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            let bytes_max = bytes_max(number);
            tokio::spawn(async move {
                // Either side may be gone: that is what this is for.
                drop(pass(client, server, bytes_max).await);
            });
        }
    });
    (address, connections)
}

async fn pass(
    client: TcpStream,
    server: SocketAddr,
    bytes_max: Option<usize>,
) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    let (mut client_read, mut client_write) = client.into_split();
    let (mut server_read, mut server_write) = server.into_split();
    tokio::spawn(async move {
        drop(tokio::io::copy(&mut client_read, &mut server_write).await);
    });
    let mut left = bytes_max.unwrap_or(usize::MAX);
    let mut piece = [0; 1024];
    loop {
        // The answer begins before it is lost: the request was carried out.
        let read = server_read.read(&mut piece).await?;
        let passed = read.min(left);
        client_write.write_all(&piece[..passed]).await?;
        left -= passed;
        if read == 0 || left == 0 {
            return client_write.shutdown().await;
        }
    }
}
