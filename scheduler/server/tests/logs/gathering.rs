//! What becomes a chunk, when, and what is taken from whom.

use std::sync::atomic::Ordering;

use davit_scheduler::logs::{LogError, LogSettings, LogStream};
use davit_scheduler::store::{Refusal, Sender};
use davit_types::{Attempt, RunId, RunKey};
use uuid::Uuid;

use crate::book::{Book, admit, all, eager, line, lines, long_lines, patient};
use crate::faulty::Hang;

#[tokio::test]
async fn what_is_appended_is_read_back_as_it_was() {
    let book = Book::open(eager()).await;
    let (peer, key) = book.running().await;
    for first_id in (1..=901).step_by(100) {
        let batch = lines(first_id, first_id + 99);
        let stored = book.logs.append(peer.sender, key, batch).await.unwrap();
        assert_eq!(stored, first_id + 99);
        assert_eq!(
            book.indexed(key).await,
            stored,
            "acknowledged before it was indexed"
        );
    }
    assert_eq!(book.stored(key).await, lines(1, 1_000));
}

#[tokio::test]
async fn a_page_has_its_bounds() {
    let book = Book::open(eager()).await;
    let (peer, key) = book.running().await;
    book.logs
        .append(peer.sender, key, lines(1, 60))
        .await
        .unwrap();
    book.logs
        .append(peer.sender, key, lines(61, 100))
        .await
        .unwrap();
    let page = |after_id, limit, stream| {
        book.logs
            .page(key.run, key.attempt, after_id, limit, stream)
    };
    let some = page(58, 4, None).await.unwrap();
    assert_eq!(
        (some.records, some.after_id, some.more),
        (lines(59, 62), 62, true)
    );
    let rest = page(98, 9, None).await.unwrap();
    assert_eq!(
        (rest.records, rest.after_id, rest.more),
        (lines(99, 100), 100, false)
    );
    let errors = page(0, 2, Some(LogStream::Stderr)).await.unwrap();
    assert_eq!(errors.records, [line(3), line(6)]);
    assert_eq!(
        errors.after_id, 8,
        "the next page begins before the line that did not fit"
    );
    let none = page(99, 9, Some(LogStream::Stderr)).await.unwrap();
    assert_eq!(
        (none.records, none.after_id, none.more),
        (vec![], 100, false)
    );
}

#[tokio::test]
async fn lines_wait_for_company() {
    let settings = LogSettings {
        chunk_lines: 10,
        ..patient()
    };
    let book = Book::open(settings).await;
    let (peer, key) = book.running().await;
    let first = admit(&book.logs, peer.sender, key, lines(1, 9))
        .await
        .unwrap();
    let second = admit(&book.logs, peer.sender, key, lines(10, 12))
        .await
        .unwrap();
    // The tenth line makes a chunk of all that is there.
    assert_eq!(first.stored().await.unwrap(), 12);
    assert_eq!(second.stored().await.unwrap(), 12);
    assert_eq!(book.objects.writes.load(Ordering::SeqCst), 1);
    let third = admit(&book.logs, peer.sender, key, lines(13, 15))
        .await
        .unwrap();
    book.logs.flush(key).await.unwrap();
    assert_eq!(third.stored().await.unwrap(), 15);
    assert_eq!(book.stored(key).await, lines(1, 15));
}

#[tokio::test]
async fn a_chunk_has_its_bytes() {
    let settings = LogSettings {
        chunk_bytes: 300_000,
        ..patient()
    };
    let book = Book::open(settings).await;
    let (peer, key) = book.running().await;
    let one = admit(&book.logs, peer.sender, key, long_lines(1))
        .await
        .unwrap();
    let two = admit(&book.logs, peer.sender, key, long_lines(11))
        .await
        .unwrap();
    assert_eq!(one.stored().await.unwrap(), 20);
    assert_eq!(two.stored().await.unwrap(), 20);
    let chunks = book
        .world
        .store
        .log_chunks(key.run, key.attempt, 0, 9)
        .await
        .unwrap();
    assert_eq!(chunks.len(), 1);
    assert!(
        chunks[0].bytes < 5_000,
        "{} bytes: not compressed",
        chunks[0].bytes
    );
}

#[tokio::test]
async fn repeats_are_taken_once_and_holes_are_named() {
    let book = Book::open(eager()).await;
    let (peer, key) = book.running().await;
    let append = |first_id, last_id| book.logs.append(peer.sender, key, lines(first_id, last_id));
    assert_eq!(append(1, 10).await.unwrap(), 10);
    assert_eq!(append(1, 10).await.unwrap(), 10);
    assert_eq!(append(5, 15).await.unwrap(), 15);
    let hole = append(17, 20).await.unwrap_err();
    assert!(
        matches!(
            hole,
            LogError::Gap {
                given: 17,
                expected: 16,
                ..
            }
        ),
        "{hole}"
    );
    assert_eq!(append(16, 20).await.unwrap(), 20);
    let mut torn = lines(21, 25);
    torn.remove(2);
    let hole = book.logs.append(peer.sender, key, torn).await.unwrap_err();
    assert!(
        matches!(
            hole,
            LogError::Gap {
                given: 24,
                expected: 23,
                ..
            }
        ),
        "{hole}"
    );
    let mut long = lines(21, 21);
    long[0].line = vec![b'x'; 16 * 1024 + 1].into();
    let refused = book.logs.append(peer.sender, key, long).await.unwrap_err();
    assert!(
        matches!(refused, LogError::TooMuch { what: "a line", .. }),
        "{refused}"
    );
    assert_eq!(book.stored(key).await, lines(1, 20));
}

/// Batches cut, repeated and reordered in four hundred ways: what is stored is the host's log.
#[tokio::test]
async fn no_order_of_batches_makes_another_log() {
    let book = Book::open(eager()).await;
    let (peer, key) = book.running().await;
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut receipts = Vec::new();
    for _ in 0..400 {
        let first_id = 1 + random(300);
        let batch = lines(first_id, first_id + random(40));
        receipts.push(admit(&book.logs, peer.sender, key, batch).await.unwrap());
    }
    let mut last_id = 0;
    for receipt in receipts {
        match receipt.stored().await {
            Ok(stored) => last_id = last_id.max(stored),
            Err(LogError::Gap { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(book.stored(key).await, lines(1, last_id));
    assert_eq!(book.indexed(key).await, last_id);
}

#[tokio::test]
async fn only_the_attempt_s_own_host_writes_its_log() {
    let book = Book::open(eager()).await;
    let (peer, key) = book.running().await;
    let (other, _) = book.running().await;
    let refusal = |result: Result<u64, LogError>| match result {
        Err(LogError::Refused { refusal, .. }) => refusal,
        other => panic!("{other:?}"),
    };
    let append = |from: Sender, key| book.logs.append(from, key, lines(1, 3));
    assert_eq!(refusal(append(other.sender, key).await), Refusal::WrongHost);
    let stale = RunKey {
        attempt: Attempt::new(2).unwrap(),
        ..key
    };
    assert!(matches!(
        refusal(append(peer.sender, stale).await),
        Refusal::StaleAttempt { .. }
    ));
    let nobody = RunKey {
        run: RunId::generate(),
        ..key
    };
    assert!(matches!(
        refusal(append(peer.sender, nobody).await),
        Refusal::UnknownRun { .. }
    ));
    let stranger = Sender {
        host: Uuid::now_v7(),
        epoch: 1,
    };
    assert_eq!(refusal(append(stranger, key).await), Refusal::WrongHost);
    book.world.hello(peer.sender.host, "boot 1").await;
    let stale = refusal(append(peer.sender, key).await);
    assert!(matches!(stale, Refusal::StaleEpoch { .. }), "{stale}");
    assert_eq!(book.stored(key).await, []);
}

/// A host goes to another replica while its lines are still gathered here, and cuts them differently there.
#[tokio::test]
async fn a_host_that_changes_replicas_leaves_a_whole_log() {
    let book = Book::open(patient()).await;
    let (peer, key) = book.running().await;
    let here = admit(&book.logs, peer.sender, key, lines(1, 50))
        .await
        .unwrap();
    let there = book.replica(eager());
    let epoch = book.world.hello(peer.sender.host, "boot 1").await.epoch;
    let again = Sender {
        epoch,
        ..peer.sender
    };
    assert_eq!(there.append(again, key, lines(1, 30)).await.unwrap(), 30);
    book.logs.flush(key).await.unwrap_err();
    let refused = here.stored().await.unwrap_err();
    assert!(matches!(
        refused,
        LogError::Refused {
            refusal: Refusal::StaleEpoch { .. },
            ..
        }
    ));
    assert_eq!(there.append(again, key, lines(31, 60)).await.unwrap(), 60);
    // And comes back, to a replica that gathered more than it ever stored.
    let epoch = book.world.hello(peer.sender.host, "boot 1").await.epoch;
    let back = Sender {
        epoch,
        ..peer.sender
    };
    let receipt = admit(&book.logs, back, key, lines(61, 70)).await.unwrap();
    book.logs.flush(key).await.unwrap();
    assert_eq!(receipt.stored().await.unwrap(), 70);
    assert_eq!(all(&there, key).await.unwrap(), lines(1, 70));
}

/// The same session speaks through two gatherers: what one has stored, the other leaves out.
#[tokio::test]
async fn what_was_stored_elsewhere_is_not_stored_again() {
    let book = Book::open(patient()).await;
    let (peer, key) = book.running().await;
    let receipt = admit(&book.logs, peer.sender, key, lines(1, 50))
        .await
        .unwrap();
    let there = book.replica(eager());
    assert_eq!(
        there.append(peer.sender, key, lines(1, 30)).await.unwrap(),
        30
    );
    book.logs.flush(key).await.unwrap();
    assert_eq!(receipt.stored().await.unwrap(), 50);
    assert_eq!(book.stored(key).await, lines(1, 50));
}

#[tokio::test]
async fn waiting_lines_are_bounded() {
    let settings = LogSettings {
        attempt_bytes_max: 4 << 20,
        total_bytes_max: 4 << 20,
        ..eager()
    };
    let book = Book::open(settings).await;
    let (peer, key) = book.running().await;
    book.objects.hang(Some(Hang::Before));
    let mut receipts = Vec::new();
    let mut next_id = 1;
    let refused = loop {
        match book.logs.admit(peer.sender, key, long_lines(next_id)) {
            Ok(receipt) => receipts.push(receipt),
            Err(LogError::NoRoom { .. }) => break next_id,
            Err(other) => panic!("{other}"),
        }
        next_id += 10;
        assert!(next_id < 1_000, "no bound on what waits");
    };
    // 26 batches of 160,640 bytes are below 4 MiB, 27 are not.
    assert_eq!(refused, 261);
    book.objects.hang(None);
    let later = admit(&book.logs, peer.sender, key, long_lines(refused)).await;
    receipts.push(later.unwrap());
    for receipt in receipts {
        receipt.stored().await.unwrap();
    }
    assert_eq!(book.indexed(key).await, 270);
}

#[tokio::test]
async fn a_stop_leaves_nothing_gathered() {
    let book = Book::open(patient()).await;
    let mut receipts = Vec::new();
    for _ in 0..20 {
        let (peer, key) = book.running().await;
        receipts.push(
            admit(&book.logs, peer.sender, key, lines(1, 5))
                .await
                .unwrap(),
        );
    }
    book.logs.flush_all().await;
    for receipt in receipts {
        assert_eq!(receipt.stored().await.unwrap(), 5);
    }
}
