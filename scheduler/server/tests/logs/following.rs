//! Followers: stored lines, live ones, those of another replica, and their bounds.

use std::sync::atomic::Ordering;
use std::time::Duration;

use davit_scheduler::logs::{LogError, LogFollower, LogRecord, LogSettings};
use davit_types::{RunId, RunKey};

use crate::book::{Book, admit, eager, lines, long_lines, patient};
use crate::faulty::Hang;
use crate::world::{first, wait_for};

async fn few(follower: &mut LogFollower, count: usize) -> Vec<LogRecord> {
    let mut found = Vec::new();
    while found.len() < count {
        found.push(soon(follower).await.unwrap().expect("the log ended early"));
    }
    found
}

async fn soon(follower: &mut LogFollower) -> Result<Option<LogRecord>, LogError> {
    let next = tokio::time::timeout(Duration::from_secs(20), follower.next());
    next.await.expect("no line within 20 s")
}

fn follow(book: &Book, key: RunKey, after_id: u64) -> LogFollower {
    book.logs.follow(key.run, key.attempt, after_id).unwrap()
}

#[tokio::test]
async fn a_follower_sees_what_is_stored_then_what_comes_then_the_end() {
    let book = Book::open(eager()).await;
    let (peer, key) = book.running().await;
    book.logs
        .append(peer.sender, key, lines(1, 600))
        .await
        .unwrap();
    let mut follower = follow(&book, key, 0);
    assert_eq!(few(&mut follower, 600).await, lines(1, 600));
    book.logs
        .append(peer.sender, key, lines(601, 610))
        .await
        .unwrap();
    assert_eq!(few(&mut follower, 10).await, lines(601, 610));
    book.end(peer, key, 610).await;
    assert_eq!(soon(&mut follower).await.unwrap(), None);
    assert_eq!(soon(&mut follower).await.unwrap(), None);
}

#[tokio::test]
async fn a_line_is_seen_before_it_is_stored() {
    let book = Book::open(patient()).await;
    let (peer, key) = book.running().await;
    let mut follower = follow(&book, key, 0);
    let receipt = admit(&book.logs, peer.sender, key, lines(1, 3))
        .await
        .unwrap();
    assert_eq!(few(&mut follower, 3).await, lines(1, 3));
    assert_eq!(book.indexed(key).await, 0);
    book.logs.flush(key).await.unwrap();
    receipt.stored().await.unwrap();
}

#[tokio::test]
async fn a_line_is_seen_while_earlier_ones_are_being_stored() {
    let book = Book::open(patient()).await;
    let (peer, key) = book.running().await;
    let (stranger, _) = book.running().await;
    let mut follower = follow(&book, key, 0);
    let first = admit(&book.logs, peer.sender, key, lines(1, 5))
        .await
        .unwrap();
    book.objects.hang(Some(Hang::Before));
    let logs = book.logs.clone();
    let flushed = tokio::spawn(async move { logs.flush(key).await });
    wait_for("the write", async || {
        (book.objects.writes.load(Ordering::SeqCst) > 0).then_some(())
    })
    .await;
    let mut later = Vec::new();
    for batch in [lines(6, 8), lines(1, 5), lines(9, 9)] {
        later.push(admit(&book.logs, peer.sender, key, batch).await.unwrap());
    }
    assert_eq!(few(&mut follower, 9).await, lines(1, 9));
    assert_eq!(book.indexed(key).await, 0);
    let foreign = admit(&book.logs, stranger.sender, key, lines(10, 11)).await;
    book.objects.hang(None);
    let refused = foreign.unwrap().stored().await;
    assert!(
        matches!(refused, Err(LogError::Refused { .. })),
        "{refused:?}"
    );
    assert_eq!(first.stored().await.unwrap(), 5);
    flushed.await.unwrap().unwrap();
    book.logs.flush(key).await.unwrap();
    for receipt in later {
        assert!(receipt.stored().await.unwrap() >= 5);
    }
    assert_eq!(book.indexed(key).await, 9);
    assert_eq!(book.stored(key).await, lines(1, 9));
}

#[tokio::test]
async fn another_host_s_lines_are_judged_once_a_chunk_is_stored_that_was_due() {
    let book = Book::open(eager()).await;
    let (peer, key) = book.running().await;
    let (stranger, _) = book.running().await;
    book.objects.hang(Some(Hang::Before));
    let admitted = admit(&book.logs, peer.sender, key, lines(1, 5)).await;
    wait_for("the write", async || {
        (book.objects.writes.load(Ordering::SeqCst) > 0).then_some(())
    })
    .await;
    let foreign = admit(&book.logs, stranger.sender, key, lines(6, 7)).await;
    book.objects.hang(None);
    assert_eq!(admitted.unwrap().stored().await.unwrap(), 5);
    let answer = tokio::time::timeout(Duration::from_secs(20), foreign.unwrap().stored());
    let refused = answer.await.expect("nobody judged them");
    assert!(
        matches!(refused, Err(LogError::Refused { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_follower_sees_what_another_replica_stores() {
    let book = Book::open(eager()).await;
    let (peer, key) = book.running().await;
    let there = book.replica(eager());
    let mut follower = follow(&book, key, 0);
    for first_id in [1, 11, 21] {
        there
            .append(peer.sender, key, lines(first_id, first_id + 9))
            .await
            .unwrap();
        assert_eq!(few(&mut follower, 10).await, lines(first_id, first_id + 9));
    }
    book.end(peer, key, 30).await;
    assert_eq!(soon(&mut follower).await.unwrap(), None);
}

#[tokio::test]
async fn following_goes_on_after_any_line() {
    let book = Book::open(eager()).await;
    let (peer, key) = book.running().await;
    for first_id in [1, 8, 16] {
        book.logs
            .append(peer.sender, key, lines(first_id, first_id + 8))
            .await
            .unwrap();
    }
    book.end(peer, key, 24).await;
    for after_id in 0..=24 {
        let mut follower = follow(&book, key, after_id);
        let rest = usize::try_from(24 - after_id).unwrap();
        assert_eq!(few(&mut follower, rest).await, lines(after_id + 1, 24));
        assert_eq!(soon(&mut follower).await.unwrap(), None);
    }
}

/// Someone who is behind the latest lines reads stored ones, and loses none.
#[tokio::test]
async fn a_follower_behind_the_latest_lines_loses_none() {
    let book = Book::open(eager()).await;
    let (peer, key) = book.running().await;
    let mut follower = follow(&book, key, 0);
    let mut sent = Vec::new();
    for first_id in (1..=291).step_by(10) {
        book.logs
            .append(peer.sender, key, long_lines(first_id))
            .await
            .unwrap();
        sent.extend(long_lines(first_id));
    }
    assert_eq!(few(&mut follower, 300).await, sent);
}

#[tokio::test]
async fn a_waiting_follower_may_be_dropped_and_asked_again() {
    let book = Book::open(eager()).await;
    let (peer, key) = book.running().await;
    let mut follower = follow(&book, key, 0);
    for id in 1..=20 {
        let nothing = tokio::time::timeout(Duration::from_millis(5), follower.next()).await;
        assert!(nothing.is_err(), "{nothing:?}");
        book.logs
            .append(peer.sender, key, lines(id, id))
            .await
            .unwrap();
        assert_eq!(few(&mut follower, 1).await, lines(id, id));
    }
}

#[tokio::test]
async fn a_slow_follower_is_told_where_to_go_on() {
    let settings = LogSettings {
        slow_ms_max: 30,
        ..eager()
    };
    let book = Book::open(settings).await;
    let (peer, key) = book.running().await;
    book.logs
        .append(peer.sender, key, lines(1, 50))
        .await
        .unwrap();
    let mut follower = follow(&book, key, 0);
    assert_eq!(few(&mut follower, 2).await, lines(1, 2));
    // Slowness is what is tested.
    tokio::time::sleep(Duration::from_millis(60)).await;
    let slow = follower.next().await.unwrap_err();
    assert!(matches!(slow, LogError::TooSlow { after_id: 2 }), "{slow}");
    drop(follower);
    let mut again = follow(&book, key, 2);
    assert_eq!(few(&mut again, 48).await, lines(3, 50));
    // A silent log is nobody's slowness.
    tokio::time::sleep(Duration::from_millis(60)).await;
    book.logs
        .append(peer.sender, key, lines(51, 51))
        .await
        .unwrap();
    assert_eq!(few(&mut again, 1).await, lines(51, 51));
}

#[tokio::test]
async fn followers_are_bounded_and_share_what_they_read() {
    let settings = LogSettings {
        followers_max: 200,
        ..eager()
    };
    let book = Book::open(settings).await;
    let (peer, key) = book.running().await;
    book.logs
        .append(peer.sender, key, lines(1, 100))
        .await
        .unwrap();
    let mut followers: Vec<_> = (0..200).map(|_| follow(&book, key, 0)).collect();
    let refused = book.logs.follow(key.run, key.attempt, 0);
    assert!(matches!(refused, Err(LogError::Busy { max: 200, .. })));
    for follower in &mut followers {
        assert_eq!(few(follower, 100).await, lines(1, 100));
    }
    assert_eq!(
        book.objects.reads.load(Ordering::SeqCst),
        1,
        "one object, read once"
    );
    followers.pop();
    drop(follow(&book, key, 0));
}

#[tokio::test]
async fn an_attempt_that_never_was_has_an_end_too() {
    let book = Book::open(eager()).await;
    let mut nobody = follow(&book, first(RunId::generate()), 0);
    let unknown = soon(&mut nobody).await.unwrap_err();
    assert!(matches!(unknown, LogError::Unknown { .. }), "{unknown}");
    let (peer, key) = book.running().await;
    book.end(peer, key, 0).await;
    assert_eq!(soon(&mut follow(&book, key, 0)).await.unwrap(), None);
}
