//! The cache: what is in use stays, what was used least recently goes.

use davit_executor::images::{ImageError, ImageStoreOptions};
use davit_types::PullPolicy;

use crate::lying_registry::{LyingRegistry, Mood};
use crate::support::{Host, ensure};

const IMAGE_BYTES: usize = 1_000_000;

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn the_least_recently_used_goes_first_and_never_one_in_use() {
    let host = Host::new().await;
    let unbounded = host.store(ImageStoreOptions::default()).await;
    let mut registries = Vec::new();
    let mut held = Vec::new();
    for _ in 0..4 {
        let registry = LyingRegistry::start(Mood::Honest, IMAGE_BYTES).await;
        held.push(
            ensure(&unbounded, &registry.image(), PullPolicy::Missing)
                .await
                .unwrap(),
        );
        registries.push(registry);
    }
    // Packed and unpacked an image takes twice its bytes: two fit.
    let store = host
        .store(ImageStoreOptions {
            cache_bytes_max: Some(5 * IMAGE_BYTES as u64),
            ..ImageStoreOptions::default()
        })
        .await;
    // In use by this store's count: the oldest one.
    let in_use = ensure(&store, &registries[0].image(), PullPolicy::Never)
        .await
        .unwrap();
    held.clear();
    let evicted = store.evict().await.unwrap();
    assert_eq!(evicted, [registries[1].image(), registries[2].image()]);
    let left: Vec<String> = store
        .list()
        .await
        .unwrap()
        .into_iter()
        .map(|i| i.name)
        .collect();
    assert_eq!(left.len(), 2);
    assert!(
        left.contains(&in_use.name) && left.contains(&registries[3].image()),
        "{left:?}"
    );
    assert!(
        store.evict().await.unwrap().is_empty(),
        "within the bound nothing is evicted"
    );
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn an_image_in_use_is_not_removed() {
    let host = Host::new().await;
    let store = host.store(ImageStoreOptions::default()).await;
    let registry = LyingRegistry::start(Mood::Honest, IMAGE_BYTES).await;
    let image = ensure(&store, &registry.image(), PullPolicy::Missing)
        .await
        .unwrap();
    let refused = store.remove(&registry.image()).await;
    assert!(
        matches!(refused, Err(ImageError::InUse { .. })),
        "{refused:?}"
    );
    drop(image);
    store.remove(&registry.image()).await.unwrap();
    host.wait_empty().await;
    let gone = store.remove(&registry.image()).await;
    assert!(matches!(gone, Err(ImageError::NotHere { .. })), "{gone:?}");
}
