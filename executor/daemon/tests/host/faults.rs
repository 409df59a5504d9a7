//! Registries that break off, lie, drip or flood: the error says which, and nothing is left.

use std::time::{Duration, Instant};

use davit_executor::images::{ImageError, ImageStoreOptions, PullLimits};
use davit_types::PullPolicy;

use crate::lying_registry::{LyingRegistry, Mood};
use crate::support::{Host, ensure};

fn with_limits(change: impl FnOnce(&mut PullLimits)) -> ImageStoreOptions {
    let mut options = ImageStoreOptions::default();
    change(&mut options.limits);
    options
}

/// The error of pulling from a registry in this mood; fails unless all is cleaned up after.
async fn error_of(host: &Host, mood: Mood, options: ImageStoreOptions) -> ImageError {
    let registry = LyingRegistry::start(mood, 200_000).await;
    let store = host.store(options).await;
    let error = ensure(&store, &registry.image(), PullPolicy::Missing)
        .await
        .unwrap_err();
    host.wait_empty().await;
    error
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_truncated_layer_is_an_error_and_leaves_nothing() {
    let host = Host::new().await;
    let error = error_of(&host, Mood::Truncates, ImageStoreOptions::default()).await;
    assert!(
        matches!(error, ImageError::Truncated { received_bytes, total_bytes, .. }
            if received_bytes > 0 && received_bytes < total_bytes),
        "{error:?}"
    );
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_broken_transfer_is_resumed_where_it_ended() {
    let host = Host::new().await;
    let registry = LyingRegistry::start(Mood::BreaksOnce, 2_000_000).await;
    let store = host.store(ImageStoreOptions::default()).await;
    let image = ensure(&store, &registry.image(), PullPolicy::Missing)
        .await
        .unwrap();
    assert_eq!(image.digest, registry.manifest_digest);
    assert_eq!(
        registry.count("blobs"),
        3,
        "config, first half, second half"
    );
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn wrong_bytes_are_never_kept() {
    let host = Host::new().await;
    let error = error_of(&host, Mood::Lies, ImageStoreOptions::default()).await;
    assert!(matches!(error, ImageError::WrongDigest { .. }), "{error:?}");
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_dripping_registry_is_stalled_not_progressing() {
    let host = Host::new().await;
    let options = with_limits(|limits| {
        limits.stall_window = Duration::from_secs(2);
        limits.stall_bytes_min = 1_000;
    });
    let begin = Instant::now();
    let error = error_of(&host, Mood::Drips, options).await;
    assert!(
        matches!(
            error,
            ImageError::Stalled {
                received_bytes: 1..,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(
        begin.elapsed() < Duration::from_secs(15),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn the_deadline_counts_for_the_whole_pull() {
    let host = Host::new().await;
    let options = with_limits(|limits| limits.deadline = Duration::from_secs(1));
    let error = error_of(&host, Mood::Waits, options).await;
    assert!(matches!(error, ImageError::Deadline { .. }), "{error:?}");
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn an_endless_manifest_is_cut_off() {
    let host = Host::new().await;
    let error = error_of(&host, Mood::FloodsManifest, ImageStoreOptions::default()).await;
    assert!(
        error.to_string().contains("more than 4194304 bytes"),
        "{error}"
    );
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn an_image_that_unpacks_too_large_is_refused() {
    let host = Host::new().await;
    let options = with_limits(|limits| limits.unpacked_bytes_max = 100_000);
    let error = error_of(&host, Mood::Honest, options).await;
    assert!(
        matches!(
            error,
            ImageError::TooLarge {
                what: "the unpacked size",
                ..
            }
        ),
        "{error:?}"
    );
    let options = with_limits(|limits| limits.compressed_bytes_max = 100_000);
    let error = error_of(&host, Mood::Honest, options).await;
    assert!(error.to_string().contains("compressed"), "{error}");
}
