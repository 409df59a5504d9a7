//! Uploads that arrive, and uploads that do not.

use super::*;
use crate::files::UnpackError;

fn reading(stream: &mut dyn Read) -> Result<Unpacked, UnpackError> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    Ok(Unpacked { files: 1, bytes: 4 })
}

/// What comes of the pieces that `feed` sends.
async fn taken<F: Future<Output = ()>>(feed: impl FnOnce(Feed) -> F) -> Result<Unpacked, String> {
    let (feeding, upload) = channel();
    let unpacking = tokio::task::spawn_blocking(move || upload.take(reading));
    feed(feeding).await;
    let taken = unpacking.await.unwrap();
    taken.map_err(|error| crate::runs::sentence(&error))
}

#[tokio::test]
async fn an_upload_counts_only_if_it_is_whole() {
    let whole = taken(async |feed| {
        assert!(feed.data(b"ab".to_vec()).await);
        assert!(feed.data(b"cdef".to_vec()).await);
        feed.end(6).await;
        assert_eq!(feed.taken.await.unwrap().unwrap().files, 1);
    });
    assert!(whole.await.is_ok());
    let no_end = taken(async |feed| {
        assert!(feed.data(b"abcd".to_vec()).await);
    });
    let told = no_end.await.unwrap_err();
    assert!(told.contains("broke off after 4 bytes"), "{told}");
    let too_few = taken(async |feed| {
        assert!(feed.data(b"abcd".to_vec()).await);
        feed.end(5).await;
        let told = feed.taken.await.unwrap().unwrap_err();
        assert!(told.contains("5 were said"), "{told}");
    });
    assert!(too_few.await.unwrap_err().contains("had 4 bytes"));
    let broken = taken(async |feed| {
        assert!(feed.data(b"ab".to_vec()).await);
        feed.broken("for a reason".to_owned()).await;
    });
    let told = broken.await.unwrap_err();
    assert!(told.contains("after 2 bytes: for a reason"), "{told}");
}

#[tokio::test]
async fn what_follows_the_archive_has_a_bound() {
    let endless = taken(async |feed| {
        for _ in 0..40 {
            feed.data(vec![0; PIECE_BYTES_MAX]).await;
        }
    });
    let told = endless.await.unwrap_err();
    assert!(told.contains("follow the end"), "{told}");
}

#[tokio::test]
async fn a_run_that_is_gone_wants_no_more() {
    let (feed, upload) = channel();
    let cancel = upload.cancel();
    cancel.cancel();
    assert!(*feed.canceled.borrow());
    drop(upload);
    assert!(!feed.data(vec![0]).await);
    assert!(feed.taken.await.is_err());
}
