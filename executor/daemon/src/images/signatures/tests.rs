//! Keys, signatures and payloads made with openssl 3.0: `vectors/`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::simple::{SIGNATURES_MAX, announced, is_about, tag_of};
use super::*;

const P256: &[u8] = include_bytes!("vectors/p256.pub");
const ED25519: &[u8] = include_bytes!("vectors/ed25519.pub");
const PAYLOAD: &[u8] = include_bytes!("vectors/payload.json");
const DIGEST: &str = "sha256:6b06fd5a2904b47d04563e7df7bf3630726b03f117a9a7da4c66c727bcbc07d1";

fn vectors() -> [(PublicKey, Vec<u8>); 2] {
    [
        (P256, include_str!("vectors/p256.sig")),
        (ED25519, include_str!("vectors/ed25519.sig")),
    ]
    .map(|(pem, signature)| {
        (
            PublicKey::parse(pem).unwrap(),
            STANDARD.decode(signature).unwrap(),
        )
    })
}

#[test]
fn what_openssl_signed_is_verified_and_nothing_else() {
    let [(p256, p256_signature), (ed25519, ed25519_signature)] = vectors();
    assert!(p256.has_signed(PAYLOAD, &p256_signature));
    assert!(ed25519.has_signed(PAYLOAD, &ed25519_signature));
    // Of another key.
    assert!(!p256.has_signed(PAYLOAD, &ed25519_signature));
    assert!(!ed25519.has_signed(PAYLOAD, &p256_signature));
    for (key, signature) in vectors() {
        for at in 0..PAYLOAD.len() {
            let mut payload = PAYLOAD.to_vec();
            payload[at] ^= 1;
            assert!(!key.has_signed(&payload, &signature), "payload, byte {at}");
        }
        for at in 0..signature.len() {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert!(!key.has_signed(PAYLOAD, &changed), "signature, byte {at}");
            assert!(!key.has_signed(PAYLOAD, &signature[..at]), "cut at {at}");
        }
        assert!(!key.has_signed(&[PAYLOAD, b"\n"].concat(), &signature));
    }
}

#[test]
fn a_key_is_told_by_its_content_and_others_are_refused() {
    let [(p256, _), (ed25519, _)] = vectors();
    assert_ne!(p256.fingerprint(), ed25519.fingerprint());
    let folded = [b"a comment\n", P256, b"\n\n"].concat();
    assert_eq!(PublicKey::parse(&folded).unwrap(), p256);
    for (pem, part) in [
        (&include_bytes!("vectors/rsa.pub")[..], "of another kind"),
        (include_bytes!("vectors/p384.pub"), "of another kind"),
        (
            include_bytes!("vectors/p256-compressed.pub"),
            "of another kind",
        ),
        (b"", "no PEM block"),
        (b"-----BEGIN PUBLIC KEY-----\nMFkw", "no PEM block"),
        (PAYLOAD, "no PEM block"),
    ] {
        let problem = PublicKey::parse(pem).unwrap_err();
        assert!(problem.contains(part), "{problem}");
    }
}

#[test]
fn a_payload_is_about_the_digest_it_names() {
    assert!(is_about(PAYLOAD, DIGEST));
    assert!(!is_about(PAYLOAD, &DIGEST.replace('6', "7")));
    let kind = "cosign container image signature";
    for wrong in [
        json!({"critical": {"image": {"docker-manifest-digest": DIGEST}, "type": "atomic container signature"}}),
        json!({"critical": {"image": {"docker-manifest-digest": DIGEST}}}),
        json!({"critical": {"image": {}, "type": kind}}),
        json!({"critical": {"image": {"docker-manifest-digest": [DIGEST]}, "type": kind}}),
        json!([]),
    ] {
        assert!(!is_about(wrong.to_string().as_bytes(), DIGEST), "{wrong}");
    }
    // Which of two another parser would take is not asked.
    let twice = format!(
        r#"{{"critical":{{"image":{{"docker-manifest-digest":"a","docker-manifest-digest":"{DIGEST}"}},"type":"{kind}"}}}}"#
    );
    assert!(!is_about(twice.as_bytes(), DIGEST));
}

#[test]
fn of_a_manifest_only_signatures_within_bounds_are_taken() {
    const KIND: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
    const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
    assert_eq!(tag_of("sha256:ab"), "sha256-ab.sig");
    let good = json!({"mediaType": KIND, "digest": DIGEST, "size": 100, "annotations": {SIGNATURE: "AAEC"}});
    let mut layers = vec![good.clone()];
    for (pointer, value) in [
        (
            "/mediaType",
            json!("application/vnd.oci.image.layer.v1.tar"),
        ),
        ("/digest", json!("sha512:00")),
        ("/size", json!(64 * 1024 + 1)),
        ("/annotations", json!({})),
        ("/annotations", json!({SIGNATURE: "not base64"})),
        ("/annotations", json!({SIGNATURE: "A".repeat(4_096)})),
    ] {
        let mut other = good.clone();
        *other.pointer_mut(pointer).unwrap() = value;
        layers.push(other);
    }
    let manifest = |layers: &[serde_json::Value]| {
        json!({"schemaVersion": 2, "config": {}, "layers": layers})
            .to_string()
            .into_bytes()
    };
    let taken = announced(&manifest(&layers)).unwrap();
    assert_eq!(taken.len(), 1, "{taken:?}");
    assert_eq!(
        (taken[0].payload_digest.as_str(), &taken[0].signature[..]),
        (DIGEST, &[0, 1, 2][..])
    );
    assert_eq!(
        announced(&manifest(&vec![good.clone(); SIGNATURES_MAX]))
            .unwrap()
            .len(),
        SIGNATURES_MAX
    );
    let problem = announced(&manifest(&vec![good; SIGNATURES_MAX + 1])).unwrap_err();
    assert!(problem.contains("65 layers, at most 64"), "{problem}");
    announced(b"{\"schemaVersion\":1,\"layers\":[]}").unwrap_err();
    announced(b"[]").unwrap_err();
}

#[test]
fn a_rule_counts_for_its_repositories_and_several_count_together() {
    let dir = tempfile::tempdir().unwrap();
    let [p256, ed25519] = [("a.pub", P256), ("b.pub", ED25519)].map(|(name, pem)| {
        let path = dir.path().join(name);
        fs::write(&path, pem).unwrap();
        path
    });
    let mut rules = SignatureRules::default();
    rules.add(&["*"], &[&p256, &ed25519]).unwrap();
    rules
        .add(&["ghcr.io/acme/*", "localhost:5000/app"], &[&ed25519])
        .unwrap();
    let keys = |name: &str| -> Vec<usize> {
        let name = ImageName::parse(name).unwrap();
        rules.of(&name).map(<[_]>::len).collect()
    };
    assert_eq!(keys("busybox"), [2]);
    assert_eq!(keys("ghcr.io/acme/tool:1"), [2, 1]);
    assert_eq!(keys("localhost:5000/app"), [2, 1]);
    assert_eq!(keys("ghcr.io/acmeevil/tool"), [2]);
    let none = SignatureRules::default();
    assert_eq!(none.of(&ImageName::parse("busybox").unwrap()).count(), 0);
}

#[test]
fn what_is_wrong_with_a_rule_is_told_by_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str, bytes: &[u8], mode| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let good = path("good.pub", P256, 0o644);
    let mut rules = SignatureRules::default();
    rules.add(&["*"], &[&good]).unwrap();
    let errors = rules
        .add(
            &["acme/app", "ghcr.io/a:tag", "**"],
            &[
                dir.path().join("absent.pub"),
                path("open.pub", P256, 0o664),
                path("long.pub", &[b'\n'; 16 * 1024 + 1], 0o644),
                path("rsa.pub", include_bytes!("vectors/rsa.pub"), 0o644),
            ],
        )
        .unwrap_err();
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    for (at, parts) in [
        ["image_signatures[1].repositories[0]", "names no registry"],
        ["image_signatures[1].repositories[1]", "tags"],
        ["image_signatures[1].repositories[2]", "nor *"],
        [
            "image_signatures[1].public_key_files[0]",
            "cannot be read: No such file",
        ],
        ["image_signatures[1].public_key_files[1]", "chmod 0644"],
        [
            "image_signatures[1].public_key_files[2]",
            "more than 16384 bytes",
        ],
        ["image_signatures[1].public_key_files[3]", "ECDSA P-256"],
    ]
    .iter()
    .enumerate()
    {
        assert!(parts.iter().all(|part| told[at].contains(part)), "{told:?}");
    }
    assert_eq!(told.len(), 7, "{told:?}");
    // Nothing half-made, and nothing that asks for nothing.
    assert_eq!(rules.0.len(), 1);
    let nothing = rules.add::<&str, &Path>(&[], &[]).unwrap_err();
    assert_eq!(nothing.len(), 2, "{nothing:?}");
}

/// What cosign 3.1.1 pushed for `COSIGNED`, in both of its formats: `vectors/cosign`.
const COSIGNED: &str = "sha256:048d925027c604cda00d01f75b499c1880c223a6c5e9826a4c1e7e9c023d2768";

#[test]
fn what_cosign_signed_is_verified_in_either_format() {
    let key = PublicKey::parse(include_bytes!("vectors/cosign/cosign.pub")).unwrap();
    let other = PublicKey::parse(P256).unwrap();

    let announced = announced(include_bytes!("vectors/cosign/simple-manifest.json")).unwrap();
    let payload = include_bytes!("vectors/cosign/simple-payload.json");
    assert_eq!(announced.len(), 1);
    assert!(key.has_signed(payload, &announced[0].signature));
    assert!(!other.has_signed(payload, &announced[0].signature));
    assert!(is_about(payload, COSIGNED));

    let listed = bundle::listed(include_bytes!("vectors/cosign/referrers.json")).unwrap();
    assert_eq!(listed.len(), 1);
    let held = bundle::held(include_bytes!("vectors/cosign/bundle-manifest.json")).unwrap();
    let whole = include_bytes!("vectors/cosign/bundle.json");
    assert_eq!(
        held,
        crate::images::documents::digest_of(&<sha2::Sha256 as sha2::Digest>::digest(whole))
    );
    let (payload, signature) = bundle::opened(whole).unwrap();
    let message = bundle::message_of(&payload);
    assert!(key.has_signed(&message, &signature));
    assert!(!other.has_signed(&message, &signature));
    // The payload by itself, which simple signing would have signed, was not.
    assert!(!key.has_signed(&payload, &signature));
    assert!(bundle::is_about(&payload, COSIGNED));
    assert!(!bundle::is_about(&payload, DIGEST));
    assert!(!bundle::is_about(
        &payload,
        COSIGNED.trim_start_matches("sha256:")
    ));
}

#[test]
fn what_a_key_attests_of_an_image_is_no_signature_on_it() {
    let key = PublicKey::parse(include_bytes!("vectors/cosign/cosign.pub")).unwrap();
    // `cosign attest`: that a scan failed.
    let whole = include_bytes!("vectors/cosign/attestation.json");
    let (payload, signature) = bundle::opened(whole).unwrap();
    assert!(key.has_signed(&bundle::message_of(&payload), &signature));
    assert!(
        payload
            .windows(64)
            .any(|part| COSIGNED.as_bytes().ends_with(part))
    );
    assert!(!bundle::is_about(&payload, COSIGNED));

    let statement = |kind: &str, predicate: &str| {
        let hex = &COSIGNED["sha256:".len()..];
        json!({"_type": kind, "predicateType": predicate, "subject": [{"digest": {"sha256": hex}}], "predicate": {}})
            .to_string()
            .into_bytes()
    };
    let (kind, sign) = (
        "https://in-toto.io/Statement/v1",
        "https://sigstore.dev/cosign/sign/v1",
    );
    assert!(bundle::is_about(&statement(kind, sign), COSIGNED));
    assert!(!bundle::is_about(
        &statement("https://in-toto.io/Statement/v2", sign),
        COSIGNED
    ));
    assert!(!bundle::is_about(
        &statement(kind, "https://example.com/provenance/v1"),
        COSIGNED
    ));
}

#[test]
fn odd_bundles_are_none() {
    let whole: serde_json::Value =
        serde_json::from_slice(include_bytes!("vectors/cosign/bundle.json")).unwrap();
    assert!(bundle::opened(whole.to_string().as_bytes()).is_some());
    for (pointer, value) in [
        ("/dsseEnvelope/payloadType", json!("application/json")),
        ("/dsseEnvelope/payload", json!("***")),
        ("/dsseEnvelope/signatures", json!([])),
        (
            "/dsseEnvelope/signatures",
            json!([{"sig": "AA=="}, {"sig": "AA=="}]),
        ),
        ("/dsseEnvelope/signatures/0/sig", json!("***")),
        ("/dsseEnvelope", json!({})),
    ] {
        let mut other = whole.clone();
        *other.pointer_mut(pointer).unwrap() = value;
        assert_eq!(
            bundle::opened(other.to_string().as_bytes()),
            None,
            "{pointer}"
        );
    }
    let layer = |kind: &str, size: u64| json!({"mediaType": kind, "digest": DIGEST, "size": size});
    let bundle_type = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let held =
        |layers: serde_json::Value| bundle::held(json!({"layers": layers}).to_string().as_bytes());
    assert_eq!(
        held(json!([layer(bundle_type, 1)])).as_deref(),
        Some(DIGEST)
    );
    assert_eq!(held(json!([layer(bundle_type, 64 * 1024 + 1)])), None);
    assert_eq!(held(json!([layer("application/json", 1)])), None);
    assert_eq!(
        held(json!([layer(bundle_type, 1), layer(bundle_type, 1)])),
        None
    );
    let entry = |kind: &str| json!({"digest": DIGEST, "size": 1, "artifactType": kind});
    let listed = |entries: &[serde_json::Value]| {
        bundle::listed(json!({"manifests": entries}).to_string().as_bytes())
    };
    assert_eq!(
        listed(&[entry("application/spdx+json"), entry(bundle_type)]).unwrap(),
        [DIGEST]
    );
    assert!(listed(&vec![entry(bundle_type); 64]).is_ok());
    assert!(
        listed(&vec![entry(bundle_type); 65])
            .unwrap_err()
            .contains("65 entries, at most 64")
    );
}
