//! Images that must be signed, from the real registry.

use davit_executor::images::{ImageError, ImageStoreOptions, ResolvedImage, SignatureRules};
use davit_types::PullPolicy;
use serde_json::json;

use crate::signing::{
    Hand, INDEX, Repository, Skopeo, digest_of, must_be_signed, payload, registry_with_referrers,
};
use crate::support::{Host, REGISTRY, ensure};

fn busybox() -> String {
    format!("{REGISTRY}/davit/busybox:1")
}

/// The sentence of a refusal for want of a signature; it names the image, what it stands for, and the setting.
fn unsigned(answer: Result<ResolvedImage, ImageError>, name: &str) -> String {
    let error = answer.expect_err("it is not signed as it must be");
    let ImageError::Unsigned {
        ref image,
        ref digest,
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!(image, name);
    let sentence = error.to_string();
    for part in [digest.as_str(), "image_signatures", "sign this digest"] {
        assert!(sentence.contains(part), "{sentence}");
    }
    sentence
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn what_skopeo_signs_runs_and_nothing_else_does() {
    let host = Host::new().await;
    let (ours, theirs) = (Skopeo::new(), Skopeo::new());
    let repository = Repository::new();
    let (signed, bare) = (repository.image("signed"), repository.image("bare"));
    theirs.copy(&busybox(), &bare);

    // Not signed at all: nothing is fetched, nothing is left.
    let store = host.store(must_be_signed(&[ours.public_key()])).await;
    let refused = ensure(&store, &bare, PullPolicy::Missing).await;
    assert!(unsigned(refused, &bare).contains("holds no signature"));
    host.wait_empty().await;
    // Signed by somebody.
    theirs.copy_signed(&busybox(), &signed);
    let refused = ensure(&store, &signed, PullPolicy::Missing).await;
    assert!(unsigned(refused, &signed).contains("none of 1 signatures there is by a key"));
    host.wait_empty().await;
    // By us too. The name that was copied without a signature stands for the same content.
    ours.copy_signed(&busybox(), &signed);
    let image = ensure(&store, &signed, PullPolicy::Missing).await.unwrap();
    let same = ensure(&store, &bare, PullPolicy::Missing).await.unwrap();
    assert_eq!(image.digest, same.digest);

    // The verdict is of the content and the key, and outlives the executor.
    let fresh = host.store(must_be_signed(&[ours.public_key()])).await;
    ensure(&fresh, &signed, PullPolicy::Never).await.unwrap();
    let either = [theirs.public_key(), ours.public_key()];
    let fresh = host.store(must_be_signed(&either)).await;
    ensure(&fresh, &signed, PullPolicy::Never).await.unwrap();
    let swapped = host
        .store(must_be_signed(&[Skopeo::new().public_key()]))
        .await;
    for policy in [PullPolicy::Never, PullPolicy::Missing, PullPolicy::Always] {
        unsigned(ensure(&swapped, &signed, policy).await, &signed);
    }
    // Asked for another key's signature as well, it is looked for: it is there.
    let mut both = SignatureRules::default();
    both.add(&["*"], &[ours.public_key()]).unwrap();
    both.add(&[format!("{REGISTRY}/signed/*")], &[theirs.public_key()])
        .unwrap();
    let both = host
        .store(ImageStoreOptions {
            signatures: both,
            ..ImageStoreOptions::default()
        })
        .await;
    unsigned(ensure(&both, &signed, PullPolicy::Never).await, &signed);
    ensure(&both, &signed, PullPolicy::Missing).await.unwrap();
    ensure(&both, &signed, PullPolicy::Never).await.unwrap();
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn what_is_here_already_is_verified_before_it_runs() {
    let host = Host::new().await;
    let hand = Hand::new();
    let repository = Repository::new();
    let name = repository.image("1");
    Skopeo::new().copy(&busybox(), &name);
    // Unpacked here from a time without rules, and in use.
    let open = host.store(ImageStoreOptions::default()).await;
    let image = ensure(&open, &name, PullPolicy::Missing).await.unwrap();
    let store = host.store(must_be_signed(&[hand.public_key()])).await;
    let never = unsigned(ensure(&store, &name, PullPolicy::Never).await, &name);
    assert!(never.contains("pull policy never"), "{never}");
    let missing = unsigned(ensure(&store, &name, PullPolicy::Missing).await, &name);
    assert!(missing.contains("holds no signature"), "{missing}");
    // Signed meanwhile: that is asked for, the image is not pulled anew.
    let signed = [hand.signed(&image.digest)];
    repository.put_signatures(&image.digest, &signed).await;
    unsigned(ensure(&store, &name, PullPolicy::Never).await, &name);
    let here = ensure(&store, &name, PullPolicy::Missing).await.unwrap();
    assert_eq!(here.chain_id, image.chain_id);
    ensure(&store, &name, PullPolicy::Never).await.unwrap();
    // With the content its verdict goes.
    drop((here, image));
    store.remove(&name).await.unwrap();
    host.ctr(&["content", "fetch", "--plain-http", &name]);
    let fresh = host.store(must_be_signed(&[hand.public_key()])).await;
    unsigned(ensure(&fresh, &name, PullPolicy::Never).await, &name);
}

/// A payload and a signature.
type Signed = (Vec<u8>, Vec<u8>);

/// What must not count as a signature of `hand` over `digest`, and what the refusal says of it.
fn worthless(hand: &Hand, digest: &str) -> Vec<(&'static str, Signed, &'static str)> {
    const OTHERS: &str = "by a key that counts";
    const ELSEWHERE: &str = "of something else";
    let (good, signature) = hand.signed(digest);
    let of_another = hand.signed(&format!("sha256:{}", "7".repeat(64)));
    let under_another = (good.clone(), of_another.1.clone());
    let spaced = [good.as_slice(), b" "].concat();
    let text = String::from_utf8(payload(digest)).unwrap();
    let kind = text.replace("cosign container image", "some other");
    let padded = text + &" ".repeat(64 * 1024);
    let signed = |text: &str| (text.as_bytes().to_vec(), hand.sign(text.as_bytes()));
    vec![
        ("of another image", of_another, ELSEWHERE),
        ("its payload changed", (spaced, signature), OTHERS),
        ("a payload under another's", under_another, OTHERS),
        ("somebody else's", Hand::new().signed(digest), OTHERS),
        ("no signature", (good, Vec::new()), OTHERS),
        ("of another type", signed(&kind), ELSEWHERE),
        ("of no JSON", signed("hello"), ELSEWHERE),
        ("beyond its bound", signed(&padded), "holds no signature"),
    ]
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn signatures_of_something_else_count_for_nothing() {
    let host = Host::new().await;
    let hand = Hand::new();
    let repository = Repository::new();
    let name = repository.image("1");
    Skopeo::new().copy(&busybox(), &name);
    let digest = digest_of(&repository.manifest("1").await);
    let store = host.store(must_be_signed(&[hand.public_key()])).await;
    for (what, signed, part) in worthless(&hand, &digest) {
        repository.put_signatures(&digest, &[signed]).await;
        let refused = unsigned(ensure(&store, &name, PullPolicy::Missing).await, &name);
        assert!(refused.contains(part), "{what}: {refused}");
    }
    let many = vec![hand.signed(&digest); 65];
    repository.put_signatures(&digest, &many).await;
    let refused = unsigned(ensure(&store, &name, PullPolicy::Missing).await, &name);
    assert!(refused.contains("65 layers, at most 64"), "{refused}");
    host.wait_empty().await;

    // Among others', and after one of something else, a good one is found.
    let signed = [
        Hand::new().signed(&digest),
        hand.signed("sha256:1"),
        hand.signed(&digest),
    ];
    repository.put_signatures(&digest, &signed).await;
    ensure(&store, &name, PullPolicy::Missing).await.unwrap();
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn of_an_index_the_index_is_signed() {
    let host = Host::new().await;
    let hand = Hand::new();
    let repository = Repository::new();
    Skopeo::new().copy(&busybox(), &repository.image("plain"));
    let manifest = repository.manifest("plain").await;
    let kind = serde_json::from_slice::<serde_json::Value>(&manifest).unwrap()["mediaType"].clone();
    let child = digest_of(&manifest);
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{
        "mediaType": kind, "digest": child, "size": manifest.len(),
        "platform": {"os": "linux", "architecture": "amd64"},
    }]});
    let index = repository.put_manifest("index", INDEX, &index).await;
    let name = repository.image("index");
    let store = host.store(must_be_signed(&[hand.public_key()])).await;

    repository
        .put_signatures(&child, &[hand.signed(&child)])
        .await;
    let refused = unsigned(ensure(&store, &name, PullPolicy::Missing).await, &name);
    assert!(refused.contains(&index), "{refused}");
    repository
        .put_signatures(&index, &[hand.signed(&index)])
        .await;
    let image = ensure(&store, &name, PullPolicy::Missing).await.unwrap();
    assert_eq!(image.digest, index);
    // The manifest in it was signed for itself, and may be asked for by itself.
    let pinned = format!("{REGISTRY}/{}@{child}", repository.name);
    ensure(&store, &pinned, PullPolicy::Missing).await.unwrap();
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn bundles_count_where_the_registry_lists_referrers_and_where_it_does_not() {
    const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
    let host = Host::new().await;
    let (hand, other) = (Hand::new(), Hand::new());
    let repository = Repository::new();
    let name = repository.image("1");
    Skopeo::new().copy(&busybox(), &name);
    let digest = digest_of(&repository.manifest("1").await);
    let elsewhere = format!("sha256:{}", "7".repeat(64));
    let store = host.store(must_be_signed(&[hand.public_key()])).await;
    let tag = digest.replacen(':', "-", 1);
    let mut tampered = hand.bundle(SIGN, &elsewhere);
    let good = hand.bundle(SIGN, &digest);
    tampered["dsseEnvelope"]["payload"] = good["dsseEnvelope"]["payload"].clone();
    for (what, bundle, part) in [
        (
            "of another image",
            hand.bundle(SIGN, &elsewhere),
            "of something else",
        ),
        (
            "an attestation",
            hand.bundle("https://example.com/scan", &digest),
            "of something else",
        ),
        (
            "somebody else's",
            other.bundle(SIGN, &digest),
            "by a key that counts",
        ),
        ("another's signature", tampered, "by a key that counts"),
        ("no bundle", json!({}), "holds no signature"),
    ] {
        let list = repository.put_bundles(&[bundle]).await;
        repository.put_manifest(&tag, INDEX, &list).await;
        let refused = unsigned(ensure(&store, &name, PullPolicy::Missing).await, &name);
        assert!(refused.contains(part), "{what}: {refused}");
    }
    host.wait_empty().await;
    let list = repository
        .put_bundles(&[other.bundle(SIGN, &digest), good])
        .await;

    // The tag still says otherwise: this registry keeps the list.
    let address = registry_with_referrers(&list).await;
    let listing = name.replace(REGISTRY, &address);
    let image = ensure(&store, &listing, PullPolicy::Missing).await.unwrap();
    drop(image);
    store.remove(&listing).await.unwrap();
    host.wait_empty().await;

    let store = host.store(must_be_signed(&[hand.public_key()])).await;
    unsigned(ensure(&store, &name, PullPolicy::Missing).await, &name);
    repository.put_manifest(&tag, INDEX, &list).await;
    ensure(&store, &name, PullPolicy::Missing).await.unwrap();
    ensure(&store, &name, PullPolicy::Never).await.unwrap();
}
