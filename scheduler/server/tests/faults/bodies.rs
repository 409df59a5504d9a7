//! Clients that send too much, too slowly, or nothing: refused or cut off, with memory that stays where it was.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use crate::world::{Replica, World};

/// What each of the senders below sends, if it is let.
const SENT_BYTES: usize = 100 * 1_000_000;
const PIECE_BYTES: usize = 64 * 1024;
/// Senders at once.
const SENDERS: usize = 8;
/// What a replica may grow by meanwhile, KiB: far less than one of those bodies.
const GROWTH_KIB_MAX: u64 = 48 * 1024;
/// A client that does not get on is cut off within this time, on a busy machine too. The limit is ten seconds.
const CUT_OFF_MS_MAX: u64 = 25_000;
/// Longest that others wait meanwhile.
const ANSWER_MS_MAX: u128 = 5_000;

fn head(world: &World, more: &str) -> String {
    format!(
        "POST /v1/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\n{more}\r\n",
        world.token
    )
}

/// Sends a head and a stream of pieces, for as long as anybody takes them, and reads the answer. Its status; `None` if the
/// connection was cut off before.
async fn send(address: SocketAddr, head: String, piece: Vec<u8>, bytes: usize) -> Option<u16> {
    let (mut from, mut to) = TcpStream::connect(address).await.unwrap().into_split();
    let sending = tokio::spawn(async move {
        to.write_all(head.as_bytes()).await?;
        for _ in 0..bytes / piece.len() {
            to.write_all(&piece).await?;
        }
        std::io::Result::Ok(to)
    });
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    // A connection that is reset may take its answer along: then it was cut off.
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        answer.extend_from_slice(&buffer[..count]);
        if answer.windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
    }
    sending.abort();
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.split(' ').nth(1)?.parse().ok()
}

fn is_refused(status: Option<u16>) -> bool {
    status.is_none_or(|status| (400..500).contains(&status))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_a_hundred_megabytes_are_refused_in_little_memory() {
    let world = World::sqlite().await;
    let replica = world.start();
    world.get(&replica, "/v1/runs").await;
    let before_kib = replica.memory_peak_kib();
    let spaces = vec![b' '; PIECE_BYTES];
    let chunk = [format!("{PIECE_BYTES:x}\r\n").as_bytes(), &spaces, b"\r\n"].concat();
    let length = format!("Content-Length: {SENT_BYTES}\r\n");
    let kinds: [(&str, String, Vec<u8>); 6] = [
        ("told", head(&world, &length), spaces.clone()),
        (
            "chunked",
            head(&world, "Transfer-Encoding: chunked\r\n"),
            chunk,
        ),
        (
            "more than told",
            head(&world, "Content-Length: 10\r\n"),
            spaces.clone(),
        ),
        (
            "no token",
            format!("POST /v1/runs HTTP/1.1\r\nHost: x\r\n{length}\r\n"),
            spaces,
        ),
        (
            "a header",
            "GET /v1/runs HTTP/1.1\r\nHost: x\r\nX: ".to_owned(),
            vec![b'x'; PIECE_BYTES],
        ),
        ("a path", "GET /".to_owned(), vec![b'x'; PIECE_BYTES]),
    ];
    for (kind, head, piece) in kinds {
        let senders =
            (0..SENDERS).map(|_| send(replica.rest, head.clone(), piece.clone(), SENT_BYTES));
        for status in futures::future::join_all(senders).await {
            assert!(is_refused(status), "{kind}: {status:?}");
        }
    }
    let small = b"A: b\r\n".repeat(PIECE_BYTES / 6);
    let many = "GET /v1/runs HTTP/1.1\r\nHost: x\r\n".to_owned();
    let status = send(replica.rest, many, small, SENT_BYTES / 100).await;
    assert!(is_refused(status), "headers without end: {status:?}");
    // As large and as deep as a body may be.
    for body in [
        b"[".repeat(1 << 20),
        b"{\"a\":".repeat((1 << 20) / 5),
        vec![0xff; 1 << 20],
    ] {
        let length = format!("Content-Length: {}\r\n", body.len());
        let senders = (0..SENDERS).map(|_| {
            let head = head(&world, &length);
            send(replica.rest, head, body.clone(), body.len())
        });
        for status in futures::future::join_all(senders).await {
            assert!(matches!(status, Some(400 | 422)), "{status:?}");
        }
    }
    let grown_kib = replica.memory_peak_kib() - before_kib;
    println!("memory grew by {grown_kib} KiB at most, from {before_kib}");
    assert!(grown_kib <= GROWTH_KIB_MAX, "{grown_kib} KiB");
    world.get(&replica, "/v1/runs").await;
}

/// How a client is slow.
#[derive(Clone, Copy, Debug)]
enum Slow {
    /// Connects, and says nothing.
    Silent,
    /// Begins a head, of HTTP/1 or 2, and says nothing more.
    Begins(&'static str),
    /// A byte of a head now and then.
    Head,
    /// A head, then a byte of a body now and then.
    Body,
}

/// Is slow, for as long as it is let; how long it was.
async fn dawdle(slow: Slow, address: SocketAddr, head: String) -> (Slow, Duration) {
    let begin = Instant::now();
    let (mut from, to) = TcpStream::connect(address).await.unwrap().into_split();
    let sending = tokio::spawn(dribble(slow, to, head));
    let mut answer = Vec::new();
    let read = from.read_to_end(&mut answer);
    let limit = Duration::from_millis(CUT_OFF_MS_MAX);
    let cut = tokio::time::timeout(limit, read).await;
    sending.abort();
    assert!(cut.is_ok(), "{slow:?} at {address} is not cut off");
    let text = String::from_utf8_lossy(&answer);
    assert!(!text.starts_with("HTTP/1.1 5"), "{slow:?}: {text}");
    (slow, begin.elapsed())
}

async fn dribble(slow: Slow, mut to: OwnedWriteHalf, head: String) -> std::io::Result<()> {
    let drops = match slow {
        Slow::Silent => String::new(),
        Slow::Begins(text) => {
            to.write_all(text.as_bytes()).await?;
            String::new()
        }
        Slow::Head => format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(1_000)),
        Slow::Body => {
            to.write_all(head.as_bytes()).await?;
            " ".repeat(1_000)
        }
    };
    for byte in drops.into_bytes() {
        to.write_all(&[byte]).await?;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    // Held open until this is aborted.
    std::future::pending().await
}

/// Nobody else waits while they are there.
async fn others(world: &World, replica: &Replica) -> ! {
    loop {
        let begin = Instant::now();
        world.get(replica, "/v1/runs").await;
        let took = begin.elapsed();
        assert!(
            took.as_millis() <= ANSWER_MS_MAX,
            "others waited for {took:?}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_cut_off() {
    let world = World::sqlite().await;
    let replica = world.start();
    let every = [
        Slow::Silent,
        Slow::Begins("P"),
        Slow::Begins("PRI * HTTP/2.0\r\n\r\nSM"),
        Slow::Begins("GET / HT"),
        Slow::Head,
        Slow::Body,
    ];
    let head = head(&world, "Content-Length: 1000\r\n");
    let rest = every.map(|slow| dawdle(slow, replica.rest, head.clone()));
    let link = every[..3]
        .iter()
        .map(|slow| dawdle(*slow, replica.address, String::new()));
    let all = futures::future::join_all(rest.into_iter().chain(link));
    tokio::select! {
        done = all => println!("cut off: {done:?}"),
        never = others(&world, &replica) => never,
    }
}
