//! Tokens against mistyping, and signed ones against forging.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const NOW_MS: u64 = 1_800_000_000_000;

fn signer() -> (TempDir, Signer) {
    let dir = tempfile::tempdir().expect("a directory");
    let signer = Signer::open(&dir.path().join("keys")).expect("a first key");
    (dir, signer)
}

fn token(signer: &Signer) -> String {
    let scopes = ["runs:write".to_owned(), "logs:read".to_owned()];
    signer
        .issue("host 1", "link", &scopes, Duration::from_secs(300), NOW_MS)
        .expect("issued")
}

#[test]
fn a_minted_token_is_what_its_kind_says() {
    for kind in CredentialKind::ALL {
        let minted = mint(kind).expect("minted");
        assert!(minted.text.starts_with(kind.prefix()));
        assert_eq!(minted.text.len(), kind.prefix().len() + 36);
        assert_eq!(check(kind, &minted.text).expect("its own"), minted.hash);
        for other in CredentialKind::ALL {
            assert_eq!(check(other, &minted.text).is_ok(), other == kind);
        }
        assert_eq!(minted.shown().len(), kind.prefix().len() + 4);
        assert!(!format!("{minted:?}").contains(&minted.text));
        assert_ne!(minted.hash, mint(kind).expect("minted").hash);
    }
}

#[test]
fn letters_are_drawn_evenly() {
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..400 {
        let minted = mint(CredentialKind::Api).expect("minted");
        for letter in minted.text[10..40].chars() {
            *seen.entry(letter).or_insert(0_u32) += 1;
        }
    }
    // 12,000 draws of 62 letters: 194 each, standard deviation 14.
    assert_eq!(seen.len(), 62);
    assert!(
        seen.values().all(|count| (110..=280).contains(count)),
        "{seen:?}"
    );
}

proptest! {
    #[test]
    fn a_mistyped_token_is_refused(at in 0_usize..46, letter in "[ -~]") {
        let minted = mint(CredentialKind::Api).expect("minted");
        let mut text = minted.text.clone();
        text.replace_range(at..=at, &letter);
        prop_assert_eq!(check(CredentialKind::Api, &text).is_ok(), text == minted.text);
    }

    #[test]
    fn no_other_text_is_a_token(text in ".{0,60}") {
        prop_assert!(check(CredentialKind::Api, &text).is_err());
        let prefixed = CredentialKind::Api.prefix().to_owned() + &text;
        prop_assert!(check(CredentialKind::Api, &prefixed).is_err());
    }

    #[test]
    fn no_other_text_is_signed(text in "[A-Za-z0-9_.-]{0,300}") {
        let (_dir, signer) = signer();
        prop_assert!(signer.verify(&text, "link", NOW_MS).is_err());
    }
}

#[test]
fn a_signed_token_says_what_it_said() {
    let (_dir, signer) = signer();
    let claims = signer
        .verify(&token(&signer), "link", NOW_MS)
        .expect("ours");
    assert_eq!(claims.subject, "host 1");
    assert_eq!(claims.scopes, ["runs:write", "logs:read"]);
    assert_eq!(claims.expires_s, NOW_MS / 1_000 + 300);
}

#[test]
fn a_signed_token_has_its_time_and_its_place() {
    let (_dir, signer) = signer();
    let token = token(&signer);
    let verify = |audience, at_ms| signer.verify(&token, audience, at_ms);
    assert!(matches!(
        verify("rest", NOW_MS),
        Err(CredentialError::Audience { .. })
    ));
    assert!(verify("link", NOW_MS - 30_000).is_ok(), "clocks differ");
    assert!(matches!(
        verify("link", NOW_MS - 31_000),
        Err(CredentialError::Time { .. })
    ));
    assert!(verify("link", NOW_MS + 329_999).is_ok());
    assert!(matches!(
        verify("link", NOW_MS + 330_000),
        Err(CredentialError::Time { .. })
    ));
}

#[test]
fn every_changed_byte_is_noticed() {
    let (_dir, signer) = signer();
    let token = token(&signer);
    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).expect("ASCII");
        assert!(
            signer.verify(&changed, "link", NOW_MS).is_err(),
            "byte {at}"
        );
    }
}

/// The known tricks: no algorithm, and the public key as a shared secret.
#[test]
fn a_token_does_not_choose_its_algorithm() {
    let (_dir, signer) = signer();
    let token = token(&signer);
    let body = token.split('.').nth(1).expect("a body");
    let jwks: serde_json::Value = serde_json::from_str(&signer.jwks()).expect("JSON");
    let kid = jwks["keys"][0]["kid"].as_str().expect("a name");
    let x = jwks["keys"][0]["x"].as_str().expect("a key");
    for algorithm in ["none", "HS256"] {
        let header = format!(r#"{{"alg":"{algorithm}","kid":"{kid}","typ":"JWT"}}"#);
        let signed = format!("{}.{body}", URL_SAFE_NO_PAD.encode(header));
        let secret = hmac::Key::new(hmac::HMAC_SHA256, x.as_bytes());
        let tag = hmac::sign(&secret, signed.as_bytes());
        let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
        assert!(signer.verify(&forged, "link", NOW_MS).is_err());
        assert!(
            signer
                .verify(&format!("{signed}."), "link", NOW_MS)
                .is_err()
        );
    }
}

#[test]
fn a_rotation_keeps_what_was_signed_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let keys = dir.path().join("keys");
    let before = Signer::open(&keys).expect("opened");
    let old = token(&before);
    Signer::rotate(&keys).expect("rotated");
    let after = Signer::open(&keys).expect("opened");
    assert!(after.verify(&old, "link", NOW_MS).is_ok());
    let new = token(&after);
    assert!(
        before.verify(&new, "link", NOW_MS).is_err(),
        "it does not know the key"
    );
    let jwks: serde_json::Value = serde_json::from_str(&after.jwks()).expect("JSON");
    assert_eq!(jwks["keys"].as_array().map(Vec::len), Some(2));
    assert!(jwks["keys"][0].get("d").is_none(), "public keys only");
}

#[test]
fn another_scheduler_s_token_is_refused() {
    let ((_a, ours), (_b, theirs)) = (signer(), signer());
    assert!(ours.verify(&token(&theirs), "link", NOW_MS).is_err());
}

#[test]
fn a_token_lives_an_hour_at_most() {
    let (_dir, signer) = signer();
    for seconds in [0, 3_601] {
        let issued = signer.issue("a", "b", &[], Duration::from_secs(seconds), NOW_MS);
        assert!(matches!(issued, Err(CredentialError::Issue { .. })));
    }
    let two = signer.issue(
        "a",
        "b",
        &["x y".to_owned()],
        Duration::from_secs(1),
        NOW_MS,
    );
    assert!(
        matches!(two, Err(CredentialError::Issue { .. })),
        "two scopes in one"
    );
}
