//! The object store fails, hangs, is full or damaged; a replica dies between object and index; retention.

use std::sync::atomic::Ordering;
use std::time::Duration;

use davit_scheduler::logs::{ChunkProblem, LogError};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use tempfile::TempDir;

use crate::book::{Book, admit, all, directory, eager, lines, long_lines, patient};
use crate::faulty::Hang;
use crate::small_disk::SmallDisk;
use crate::world::wait_for;

/// Later than anything these tests index, which bears the true time.
const LATER_MS: u64 = 9_000_000_000_000;

async fn objects(book: &Book) -> Vec<ObjectMeta> {
    book.objects.list(None).try_collect().await.unwrap()
}

#[tokio::test]
async fn an_object_store_that_fails_for_a_while_loses_nothing() {
    let book = Book::open(eager()).await;
    let (peer, key) = book.running().await;
    book.objects.failing.store(4, Ordering::SeqCst);
    let receipt = admit(&book.logs, peer.sender, key, lines(1, 20))
        .await
        .unwrap();
    assert_eq!(receipt.stored().await.unwrap(), 20);
    assert_eq!(book.objects.writes.load(Ordering::SeqCst), 5);
    assert_eq!(book.stored(key).await, lines(1, 20));
}

/// Time goes by itself here where everybody waits: half a minute of tries takes no time.
#[tokio::test]
async fn an_object_store_that_stays_away_is_an_error_for_all_who_wait() {
    let book = Book::open(eager()).await;
    let (peer, key) = book.running().await;
    book.logs
        .append(peer.sender, key, lines(1, 5))
        .await
        .unwrap();
    book.objects.failing.store(usize::MAX, Ordering::SeqCst);
    let one = admit(&book.logs, peer.sender, key, lines(6, 10))
        .await
        .unwrap();
    let two = admit(&book.logs, peer.sender, key, lines(11, 15))
        .await
        .unwrap();
    tokio::time::pause();
    for receipt in [one, two] {
        let error = receipt.stored().await.unwrap_err();
        assert!(
            matches!(
                error,
                LogError::Object {
                    operation: "write",
                    ..
                } | LogError::Gap { .. }
            ),
            "{error}"
        );
    }
    tokio::time::resume();
    assert_eq!(
        book.indexed(key).await,
        5,
        "nothing is indexed that is not there"
    );
    book.objects.failing.store(0, Ordering::SeqCst);
    // What was admitted is forgotten: the host goes on from its place.
    let hole = book
        .logs
        .append(peer.sender, key, lines(16, 20))
        .await
        .unwrap_err();
    assert!(matches!(hole, LogError::Gap { expected: 6, .. }), "{hole}");
    assert_eq!(
        book.logs
            .append(peer.sender, key, lines(6, 20))
            .await
            .unwrap(),
        20
    );
    assert_eq!(book.stored(key).await, lines(1, 20));
}

#[tokio::test]
async fn a_crash_between_object_and_index_is_repaired_by_the_repeat() {
    let book = Book::open(patient()).await;
    let (peer, key) = book.running().await;
    // This replica writes the object and is never heard of again.
    let dead = book.replica(eager());
    book.objects.hang(Some(Hang::After));
    let lost = admit(&dead, peer.sender, key, lines(1, 30)).await.unwrap();
    wait_for("the object", async || {
        (!objects(&book).await.is_empty()).then_some(())
    })
    .await;
    assert_eq!(book.indexed(key).await, 0);
    drop((dead, lost));
    book.objects.hang(None);
    // The host repeats with other boundaries.
    let alive = book.replica(eager());
    assert_eq!(
        alive.append(peer.sender, key, lines(1, 20)).await.unwrap(),
        20
    );
    assert_eq!(
        alive.append(peer.sender, key, lines(21, 40)).await.unwrap(),
        40
    );
    assert_eq!(all(&alive, key).await.unwrap(), lines(1, 40));
    // What the dead one left behind goes with the rest.
    book.end(peer, key, 40).await;
    assert!(alive.sweep(LATER_MS).await.unwrap() >= 2);
    assert_eq!(objects(&book).await, []);
}

#[tokio::test]
async fn a_hanging_object_store_holds_up_nobody_else() {
    let book = Book::open(eager()).await;
    let (peer, key) = book.running().await;
    let (other, its) = book.running().await;
    book.objects.hang(Some(Hang::Before));
    let waiting = admit(&book.logs, peer.sender, key, lines(1, 5))
        .await
        .unwrap();
    wait_for("the write", async || {
        (book.objects.writes.load(Ordering::SeqCst) > 0).then_some(())
    })
    .await;
    let admit = admit(&book.logs, other.sender, its, lines(1, 5));
    let admitted = tokio::time::timeout(Duration::from_secs(5), admit).await;
    let admitted = admitted
        .expect("admission waits for the object store")
        .unwrap();
    book.objects.hang(None);
    assert_eq!(admitted.stored().await.unwrap(), 5);
    assert_eq!(waiting.stored().await.unwrap(), 5);
}

#[tokio::test]
async fn a_damaged_object_is_named_and_never_shown() {
    let book = Book::open(eager()).await;
    let (peer, key) = book.running().await;
    book.logs
        .append(peer.sender, key, lines(1, 20))
        .await
        .unwrap();
    let chunk = book
        .world
        .store
        .log_chunks(key.run, key.attempt, 0, 1)
        .await
        .unwrap()
        .remove(0);
    let path = Path::parse(&chunk.object).unwrap();
    let whole = book
        .objects
        .get(&path)
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    let mut torn = whole.to_vec();
    torn.truncate(70);
    book.objects.put(&path, torn.into()).await.unwrap();
    let damaged = all(&book.logs, key).await.unwrap_err();
    assert!(
        matches!(&damaged, LogError::Damaged { object, .. } if *object == chunk.object),
        "{damaged}"
    );
    book.objects
        .put(&path, b"something else".to_vec().into())
        .await
        .unwrap();
    let damaged = all(&book.logs, key).await.unwrap_err();
    let LogError::Damaged { problem, .. } = damaged else {
        panic!("{damaged}");
    };
    assert_eq!(problem, ChunkProblem::NotAChunk);
    book.objects.delete(&path).await.unwrap();
    let missing = all(&book.logs, key).await.unwrap_err();
    assert!(
        matches!(
            missing,
            LogError::Object {
                operation: "read",
                ..
            }
        ),
        "{missing}"
    );
    book.objects.put(&path, whole.into()).await.unwrap();
    assert_eq!(book.stored(key).await, lines(1, 20));
}

#[tokio::test]
async fn retention_deletes_what_is_old_and_over() {
    let book = Book::open(eager()).await;
    let (peer, key) = book.running().await;
    let (other, live) = book.running().await;
    book.logs
        .append(peer.sender, key, lines(1, 20))
        .await
        .unwrap();
    book.logs
        .append(peer.sender, key, lines(21, 30))
        .await
        .unwrap();
    book.logs
        .append(other.sender, live, lines(1, 10))
        .await
        .unwrap();
    assert_eq!(book.logs.sweep(LATER_MS).await.unwrap(), 0, "both live");
    book.end(peer, key, 30).await;
    assert_eq!(book.logs.sweep(1).await.unwrap(), 0, "not that old");
    // A crash after the objects and before the index: the next sweep is content.
    let chunk = book
        .world
        .store
        .log_chunks(key.run, key.attempt, 0, 1)
        .await
        .unwrap()
        .remove(0);
    book.objects
        .delete(&Path::parse(&chunk.object).unwrap())
        .await
        .unwrap();
    assert_eq!(book.logs.sweep(LATER_MS).await.unwrap(), 2);
    assert_eq!(book.logs.sweep(LATER_MS).await.unwrap(), 0);
    assert_eq!(book.stored(key).await, []);
    assert_eq!(objects(&book).await.len(), 1);
    assert_eq!(book.stored(live).await, lines(1, 10));
    // Who follows it now is told of the end, not kept waiting for what is gone.
    let mut follower = book.logs.follow(key.run, key.attempt, 0).unwrap();
    let next = tokio::time::timeout(Duration::from_secs(10), follower.next());
    assert_eq!(next.await.unwrap().unwrap(), None);
}

#[tokio::test]
async fn a_full_disk_delays_and_loses_nothing() {
    let disk = SmallDisk::mount("64k");
    let objects = directory(&disk.path().join("objects"));
    let book = Book::over(TempDir::new().unwrap(), objects, eager()).await;
    let (peer, key) = book.running().await;
    // Noise does not compress: 160 kB do not fit.
    let mut noise = long_lines(1);
    let mut state = 7_u32;
    for record in &mut noise {
        let bytes: Vec<u8> = (0..16_000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0]
            })
            .collect();
        record.line = bytes.into();
    }
    let receipt = admit(&book.logs, peer.sender, key, noise.clone())
        .await
        .unwrap();
    wait_for("a second try", async || {
        (book.objects.writes.load(Ordering::SeqCst) > 1).then_some(())
    })
    .await;
    assert_eq!(book.indexed(key).await, 0);
    disk.grow("4m");
    assert_eq!(receipt.stored().await.unwrap(), 10);
    assert_eq!(book.stored(key).await, noise);
}
