//! Many who want one image.

use davit_executor::images::ImageStoreOptions;
use davit_types::PullPolicy;

use crate::lying_registry::{LyingRegistry, Mood};
use crate::support::{Host, ensure, wait_for};

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn concurrent_pulls_of_one_image_are_one() {
    let host = Host::new().await;
    let registry = LyingRegistry::start(Mood::Waits, 100_000).await;
    let store = host.store(ImageStoreOptions::default()).await;
    let image = registry.image();
    let mut waiters: Vec<_> = (0..4)
        .map(|_| {
            let (store, image) = (store.clone(), image.clone());
            tokio::spawn(async move { ensure(&store, &image, PullPolicy::Missing).await })
        })
        .collect();
    wait_for("the layer is asked for", || registry.count("blobs") == 2).await;
    // One gives up; the others do not notice.
    let quitter = waiters.pop().unwrap();
    quitter.abort();
    assert!(quitter.await.unwrap_err().is_cancelled());
    registry.open_gate();
    for waiter in waiters {
        let resolved = waiter.await.unwrap().unwrap();
        assert_eq!(resolved.digest, registry.manifest_digest);
    }
    assert_eq!(
        (registry.count("manifests"), registry.count("blobs")),
        (1, 2)
    );
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_pull_nobody_waits_for_is_cancelled_and_leaves_nothing() {
    let host = Host::new().await;
    let registry = LyingRegistry::start(Mood::Waits, 100_000).await;
    let store = host.store(ImageStoreOptions::default()).await;
    let image = registry.image();
    let waiter = {
        let (store, image) = (store.clone(), image.clone());
        tokio::spawn(async move { ensure(&store, &image, PullPolicy::Missing).await })
    };
    wait_for("the layer is asked for", || registry.count("blobs") == 2).await;
    assert!(
        !host.leftovers().is_empty(),
        "the pull holds something by now"
    );
    waiter.abort();
    host.wait_empty().await;
    // And the next one starts anew, to its end.
    registry.open_gate();
    ensure(&store, &image, PullPolicy::Missing).await.unwrap();
    assert_eq!(registry.count("manifests"), 2);
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_restarted_executor_sweeps_what_a_pull_left_behind() {
    let host = Host::new().await;
    let registry = LyingRegistry::start(Mood::Waits, 100_000).await;
    let store = host.store(ImageStoreOptions::default()).await;
    let image = registry.image();
    let (die, death) = tokio::sync::oneshot::channel::<()>();
    let dying = std::thread::spawn({
        let store = store.clone();
        move || {
            // A runtime that ends in the middle of a pull, as a killed process does.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let pull = ensure(&store, &image, PullPolicy::Missing);
                tokio::select! {
                    done = pull => panic!("the registry waits, and yet: {done:?}"),
                    told = death => told.unwrap(),
                }
            });
            runtime.shutdown_background();
        }
    });
    wait_for("the layer is asked for", || registry.count("blobs") == 2).await;
    die.send(()).unwrap();
    tokio::task::spawn_blocking(move || dying.join().unwrap())
        .await
        .unwrap();
    assert!(
        host.leftovers()
            .iter()
            .any(|line| line.starts_with("davit-pull")),
        "the dead pull left its lease"
    );
    let _fresh = host.store(ImageStoreOptions::default()).await;
    let leases: Vec<String> = host
        .leftovers()
        .into_iter()
        .filter(|l| l.starts_with("davit-pull"))
        .collect();
    assert!(leases.is_empty(), "{leases:?}");
}
