//! Seals that hold, keys that change, and places that cannot be swapped.

use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::store::{Secret, SecretKey, Store, StoreSettings, open};

fn ring() -> (TempDir, PathBuf, Keyring) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("keys");
    let keys = Keyring::open(&path).expect("a first key");
    (dir, path, keys)
}

fn key(tenant: &str, name: &str) -> SecretKey {
    SecretKey {
        tenant: tenant.parse().expect("a tenant"),
        owner: Uuid::nil(),
        name: name.to_owned(),
    }
}

fn value(text: &str) -> SecretValue {
    SecretValue::new(text.as_bytes().to_vec())
}

proptest! {
    #[test]
    fn what_is_sealed_opens_as_it_was(bytes in prop::collection::vec(any::<u8>(), 0..2_000), version: u64) {
        let (_dir, _, keys) = ring();
        let secret = keys.seal(&key("acme", "TOKEN"), version, &SecretValue::new(bytes.clone())).expect("sealed");
        let opened = keys.unseal(&secret).expect("opened");
        prop_assert_eq!(opened.expose(), &bytes);
        prop_assert_eq!(secret.sealed.ciphertext.len(), bytes.len() + 29);
    }

    #[test]
    fn a_changed_byte_does_not_open(at in any::<prop::sample::Index>(), bit in 0_u32..8, wrapped: bool) {
        let (_dir, _, keys) = ring();
        let mut secret = keys.seal(&key("acme", "TOKEN"), 1, &value("hush")).expect("sealed");
        let bytes = if wrapped { &mut secret.sealed.wrapped_key } else { &mut secret.sealed.ciphertext };
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let refused = matches!(keys.unseal(&secret), Err(SecretError::Unreadable { .. }));
        prop_assert!(refused);
    }
}

#[test]
fn a_seal_holds_for_its_place_only() {
    let (_dir, _, keys) = ring();
    let sealed = keys
        .seal(&key("acme", "TOKEN"), 3, &value("hush"))
        .expect("sealed");
    let elsewhere = |change: &dyn Fn(&mut Secret)| {
        let mut moved = sealed.clone();
        change(&mut moved);
        matches!(keys.unseal(&moved), Err(SecretError::Unreadable { .. }))
    };
    assert!(elsewhere(
        &|s| s.key.tenant = "other".parse().expect("a tenant")
    ));
    assert!(elsewhere(&|s| s.key.owner = Uuid::max()));
    assert!(elsewhere(&|s| s.key.name = "NAME".to_owned()));
    assert!(elsewhere(&|s| s.version = 2));
    // The boundary between tenant and name belongs to the place, too.
    assert!(elsewhere(&|s| s.key = key("acmeT", "OKEN")));
    assert!(!elsewhere(&|_| ()));
}

#[test]
fn the_same_value_never_looks_the_same() {
    let (_dir, _, keys) = ring();
    let seal = || {
        keys.seal(&key("acme", "TOKEN"), 1, &value("hush"))
            .expect("sealed")
            .sealed
    };
    let (one, other) = (seal(), seal());
    assert_ne!(one.ciphertext, other.ciphertext);
    assert_ne!(one.wrapped_key, other.wrapped_key);
}

#[test]
fn nothing_shows_a_value_or_a_key() {
    let (_dir, path, keys) = ring();
    let file = std::fs::read_to_string(path.join("1.secrets.key")).expect("a key");
    assert_eq!(format!("{:?}", value("hush")), "SecretValue(…)");
    assert_eq!(format!("{keys:?}"), "[\"1\"]");
    assert!(!format!("{keys:?}").contains(file.trim()));
}

#[test]
fn a_value_has_a_bound() {
    let (_dir, _, keys) = ring();
    let seal = |bytes| keys.seal(&key("acme", "BIG"), 1, &SecretValue::new(vec![0; bytes]));
    let longest = seal(VALUE_BYTES_MAX).expect("it fits");
    assert_eq!(longest.sealed.ciphertext.len(), SECRET_BYTES_MAX);
    assert!(matches!(
        seal(VALUE_BYTES_MAX + 1),
        Err(SecretError::TooLong { .. })
    ));
}

#[test]
fn a_wrong_key_file_is_named() {
    let (_dir, path, _) = ring();
    crate::key_files::add(&path, "secrets.key", 2, b"c2hvcnQ=\n").expect("added");
    let error = Keyring::open(&path).expect_err("a short key");
    let cause = std::error::Error::source(&error)
        .expect("a cause")
        .to_string();
    assert!(
        cause.ends_with("2.secrets.key is not 32 bytes in base64"),
        "{cause}"
    );
}

async fn store(dir: &TempDir) -> std::sync::Arc<dyn Store> {
    let settings = StoreSettings::Sqlite {
        path: dir.path().join("db"),
    };
    open(&settings).await.expect("a store")
}

async fn put(store: &dyn Store, secret: Secret) {
    let verdicts = store.put_secrets(vec![secret], "test".to_owned(), 1).await;
    assert!(verdicts.expect("stored").iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_rotation_wraps_everything_anew() {
    let (dir, path, first) = ring();
    let store = store(&dir).await;
    for number in 0..1_500 {
        let key = key("acme", &format!("SECRET_{number}"));
        let secret = first
            .seal(&key, 1, &value(&number.to_string()))
            .expect("sealed");
        put(&*store, secret).await;
    }
    Keyring::rotate(&path).expect("rotated");
    let second = Keyring::open(&path).expect("two keys");
    assert_eq!(second.newest(), "2");
    assert_eq!(
        rewrap_all(&second, &*store, "operator", 2)
            .await
            .expect("wrapped"),
        1_500
    );
    assert_eq!(
        rewrap_all(&second, &*store, "operator", 3)
            .await
            .expect("wrapped"),
        0
    );
    std::fs::remove_file(path.join("1.secrets.key")).expect("removed");
    let only_second = Keyring::open(&path).expect("one key");
    let kept = store
        .secrets("acme".parse().expect("a tenant"), Uuid::nil())
        .await
        .expect("read");
    assert!(!kept.is_empty());
    for secret in &kept {
        let text = only_second.unseal(secret).expect("opened");
        assert_eq!(
            format!("SECRET_{}", String::from_utf8_lossy(text.expose())),
            secret.key.name
        );
        assert!(matches!(
            first.unseal(secret),
            Err(SecretError::UnknownKey { .. })
        ));
    }
    store.close().await;
}

#[tokio::test]
async fn one_that_does_not_open_is_named_and_the_others_are_wrapped() {
    let (dir, path, first) = ring();
    let store = store(&dir).await;
    let good = first
        .seal(&key("acme", "GOOD"), 1, &value("a"))
        .expect("sealed");
    let mut bad = first
        .seal(&key("acme", "BAD"), 1, &value("b"))
        .expect("sealed");
    bad.sealed.wrapped_key[20] ^= 1;
    put(&*store, good).await;
    put(&*store, bad).await;
    Keyring::rotate(&path).expect("rotated");
    let second = Keyring::open(&path).expect("two keys");
    let refused = rewrap_all(&second, &*store, "operator", 2).await;
    assert!(matches!(refused, Err(SecretError::Unreadable { name, .. }) if name == "BAD"));
    let left = store
        .secrets_not_under("2".to_owned(), 10)
        .await
        .expect("read");
    assert_eq!(left.len(), 1);
    store.close().await;
}
