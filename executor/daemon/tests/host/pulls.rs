//! Pulls from the real registry.

use davit_executor::containerd::ContainerName;
use davit_executor::images::{
    AllowList, Credentials, ImageError, ImageStoreOptions, PullProgress, PullStep, Secret,
};
use davit_executor::oci::{ResolvedUser, resolve_user};
use davit_types::{Attempt, PullPolicy, RunId, RunKey};
use tokio::sync::watch;

use crate::lying_registry::{LyingRegistry, Mood};
use crate::support::{Host, REGISTRY, ensure, ensure_with};

fn basic(password: &str) -> Option<Credentials> {
    Some(Credentials::Basic {
        username: "davit".into(),
        password: Secret::new(password),
    })
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn an_image_is_pulled_once_and_then_local() {
    let host = Host::new().await;
    let store = host.store(ImageStoreOptions::default()).await;
    let name = format!("{REGISTRY}/davit/entry:1");
    let absent = ensure(&store, &name, PullPolicy::Never).await;
    assert!(
        matches!(absent, Err(ImageError::NoLocalCopy { .. })),
        "{absent:?}"
    );

    let (progress, seen) = watch::channel(PullProgress::default());
    let image = store
        .ensure(&name, PullPolicy::Missing, None, progress)
        .await
        .unwrap();
    assert_eq!(image.name, name);
    assert_eq!(image.digest.len(), 71);
    assert_eq!(image.config.cmd, ["default-argument"]);
    assert_eq!(image.config.user, "1000:1000");
    assert_eq!(image.config.workdir.as_deref(), Some("/work/dir"));
    let last = *seen.borrow();
    assert_eq!(last.step, PullStep::Done);
    assert!(
        last.layers_total > 0 && last.layers_done == last.layers_total,
        "{last:?}"
    );

    // A store that knows nothing finds the copy, without asking anybody.
    let fresh = host.store(ImageStoreOptions::default()).await;
    let local = ensure(&fresh, &name, PullPolicy::Never).await.unwrap();
    assert_eq!(
        (&local.digest, &local.chain_id),
        (&image.digest, &image.chain_id)
    );
    let always = ensure(&fresh, &name, PullPolicy::Always).await.unwrap();
    assert_eq!(always.digest, image.digest);

    let pinned = format!("{REGISTRY}/davit/entry@{}", image.digest);
    let by_digest = ensure(&store, &pinned, PullPolicy::Missing).await.unwrap();
    assert_eq!(by_digest.name, pinned);
    assert_eq!(by_digest.chain_id, image.chain_id);

    let listed = store.list().await.unwrap();
    assert_eq!(listed.len(), 2);
    assert!(
        listed
            .iter()
            .all(|info| info.in_use && info.size_bytes > 100_000),
        "{listed:?}"
    );
    let leases: Vec<String> = host
        .leftovers()
        .into_iter()
        .filter(|l| l.contains("davit-pull"))
        .collect();
    assert!(leases.is_empty(), "{leases:?}");
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn users_are_looked_up_inside_the_image() {
    let host = Host::new().await;
    let store = host.store(ImageStoreOptions::default()).await;
    let name = format!("{REGISTRY}/davit/python:1");
    let image = ensure(&store, &name, PullPolicy::Missing).await.unwrap();
    let key = ContainerName::Run(RunKey {
        run: RunId::generate(),
        attempt: Attempt::FIRST,
    });
    let mounts = host
        .containerd
        .snapshot_prepare(&key, &image.chain_id)
        .await
        .unwrap();
    let again = host
        .containerd
        .snapshot_prepare(&key, &image.chain_id)
        .await
        .unwrap();
    assert_eq!(mounts, again, "preparing twice is preparing once");
    let root = resolve_user(&mounts, "root").unwrap();
    assert_eq!((root.uid, root.gid), (0, 0));
    assert_eq!(root.home.as_deref(), Some("/root"));
    let number = resolve_user(&mounts, "4711:4712").unwrap();
    assert_eq!(
        number,
        ResolvedUser {
            uid: 4711,
            gid: 4712,
            additional_gids: vec![4712],
            home: None
        }
    );
    assert!(resolve_user(&mounts, "nobody-of-that-name").is_err());
    let inventory = host.containerd.inventory().await.unwrap();
    assert_eq!(
        inventory
            .snapshots
            .iter()
            .map(|s| s.name.clone())
            .collect::<Vec<_>>(),
        std::slice::from_ref(&key)
    );
    // Nothing but its label holds it when containerd collects garbage.
    host.ctr(&["leases", "create", "--id", "collect"]);
    host.ctr(&["leases", "delete", "--sync", "collect"]);
    assert_eq!(host.containerd.snapshot_mounts(&key).await.unwrap(), mounts);
    for _ in 0..2 {
        host.containerd.snapshot_remove(&key).await.unwrap();
        host.containerd.lease_delete(&key).await.unwrap();
    }
    assert!(
        host.containerd
            .inventory()
            .await
            .unwrap()
            .snapshots
            .is_empty()
    );
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_missing_image_and_an_absent_registry_are_told_apart() {
    let host = Host::new().await;
    let store = host.store(ImageStoreOptions::default()).await;
    let missing = ensure(
        &store,
        &format!("{REGISTRY}/davit/no-such:1"),
        PullPolicy::Missing,
    )
    .await;
    assert!(
        matches!(missing, Err(ImageError::NotFound { .. })),
        "{missing:?}"
    );
    let absent = ensure(&store, "127.0.0.1:1/davit/busybox:1", PullPolicy::Missing).await;
    assert!(
        matches!(absent, Err(ImageError::Unreachable { .. })),
        "{absent:?}"
    );
    let nonsense = ensure(&store, "no good name", PullPolicy::Missing).await;
    assert!(matches!(nonsense, Err(ImageError::Reference(e)) if e.field == "image"));
    host.wait_empty().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn credentials_are_asked_for_refused_and_accepted() {
    let host = Host::new().await;
    let store = host.store(ImageStoreOptions::default()).await;
    let name = "127.0.0.1:5001/davit/busybox:1";
    let none = ensure(&store, name, PullPolicy::Missing).await.unwrap_err();
    assert!(none.to_string().contains("needs credentials"), "{none}");
    let wrong = ensure_with(&store, name, PullPolicy::Missing, basic("hush-hush"))
        .await
        .unwrap_err();
    assert!(
        wrong.to_string().contains("credentials are wrong"),
        "{wrong}"
    );
    assert!(!format!("{wrong:?} {store:?}").contains("hush"));
    let image = ensure_with(&store, name, PullPolicy::Missing, basic("davit-test"))
        .await
        .unwrap();
    assert_eq!(image.name, name);
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn the_allow_list_is_by_repository_or_content() {
    let host = Host::new().await;
    let name = format!("{REGISTRY}/davit/busybox:1");
    let open = host.store(ImageStoreOptions::default()).await;
    let digest = ensure(&open, &name, PullPolicy::Missing)
        .await
        .unwrap()
        .digest;
    open.remove(&name).await.unwrap();

    let only = |entry: &str| ImageStoreOptions {
        allowed: AllowList::parse(&[entry]).unwrap(),
        ..ImageStoreOptions::default()
    };
    let elsewhere = host.store(only("ghcr.io/acme/*")).await;
    let refused = ensure(&elsewhere, &name, PullPolicy::Missing).await;
    assert!(
        matches!(refused, Err(ImageError::NotAllowed { .. })),
        "{refused:?}"
    );
    let other_digest = format!("sha256:{}", "0".repeat(64));
    let other = host.store(only(&other_digest)).await;
    let refused = ensure(&other, &name, PullPolicy::Missing)
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains(&digest),
        "names what to allow: {refused}"
    );
    host.wait_empty().await;
    let by_content = host.store(only(&digest)).await;
    ensure(&by_content, &name, PullPolicy::Missing)
        .await
        .unwrap();
    let by_repository = host.store(only(&format!("{REGISTRY}/davit/*"))).await;
    ensure(&by_repository, &name, PullPolicy::Missing)
        .await
        .unwrap();
    // The list counts for what is here already, too.
    let refused = ensure(&other, &name, PullPolicy::Never).await;
    assert!(
        matches!(refused, Err(ImageError::NotAllowed { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn blobs_that_are_here_are_unpacked_without_the_registry() {
    let host = Host::new().await;
    let name = format!("{REGISTRY}/davit/busybox:1");
    // Fetches the blobs and records the image, but does not unpack it.
    host.ctr(&["content", "fetch", "--plain-http", &name]);
    let store = host.store(ImageStoreOptions::default()).await;
    let image = ensure(&store, &name, PullPolicy::Never).await.unwrap();
    let key = ContainerName::Run(RunKey {
        run: RunId::generate(),
        attempt: Attempt::FIRST,
    });
    host.containerd
        .snapshot_prepare(&key, &image.chain_id)
        .await
        .unwrap();
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn an_index_is_resolved_to_this_hosts_manifest() {
    let host = Host::new().await;
    let registry = LyingRegistry::start(Mood::Honest, 50_000).await;
    // The list may name the index or the manifest in it.
    let options = ImageStoreOptions {
        allowed: AllowList::parse(&[&registry.manifest_digest]).unwrap(),
        ..ImageStoreOptions::default()
    };
    let store = host.store(options).await;
    let image = ensure(&store, &registry.indexed_image(), PullPolicy::Missing)
        .await
        .unwrap();
    assert_eq!(image.digest, registry.index_digest);
    let again = ensure(&store, &registry.indexed_image(), PullPolicy::Never)
        .await
        .unwrap();
    assert_eq!(again.chain_id, image.chain_id);
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn garbage_collection_leaves_a_pulled_image_whole() {
    let host = Host::new().await;
    let registry = LyingRegistry::start(Mood::Honest, 50_000).await;
    let store = host.store(ImageStoreOptions::default()).await;
    let image = ensure(&store, &registry.indexed_image(), PullPolicy::Missing)
        .await
        .unwrap();
    host.ctr(&["leases", "create", "--id", "nothing"]);
    host.ctr(&["leases", "delete", "--sync", "nothing"]);
    let blobs = host.ctr(&["content", "ls", "-q"]);
    assert_eq!(blobs.len(), 4, "index, manifest, config, layer: {blobs:?}");
    let fresh = host.store(ImageStoreOptions::default()).await;
    let here = ensure(&fresh, &registry.indexed_image(), PullPolicy::Never)
        .await
        .unwrap();
    assert_eq!(here.chain_id, image.chain_id);
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_token_is_fetched_where_the_challenge_says() {
    let host = Host::new().await;
    let registry = LyingRegistry::start(Mood::WantsToken, 50_000).await;
    let store = host.store(ImageStoreOptions::default()).await;
    for credentials in [None, basic("wrong")] {
        let refused =
            ensure_with(&store, &registry.image(), PullPolicy::Missing, credentials).await;
        assert!(
            matches!(refused, Err(ImageError::Unauthorized { .. })),
            "{refused:?}"
        );
    }
    let right = basic("davit-test");
    ensure_with(&store, &registry.image(), PullPolicy::Missing, right)
        .await
        .unwrap();
    assert_eq!(
        (registry.count("manifests"), registry.count("blobs")),
        (1, 2)
    );
}
