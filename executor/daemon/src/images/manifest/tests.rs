//! What is read, what is refused, and that nothing panics.

use super::*;
use proptest::prelude::*;

fn name() -> ImageName {
    ImageName::parse("localhost:5000/a:1").unwrap()
}

fn digest(letter: char) -> String {
    format!("sha256:{}", letter.to_string().repeat(64))
}

fn manifest(layers: &str) -> String {
    format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"{}","digest":"{}","size":10}},
            "layers":[{layers}]}}"#,
        CONFIG_TYPES[0],
        digest('c')
    )
}

fn layer(media_type: &str) -> String {
    format!(
        r#"{{"mediaType":"{media_type}","digest":"{}","size":5}}"#,
        digest('a')
    )
}

fn parsed(text: &str) -> Result<Document, ImageError> {
    parse(&name(), text.as_bytes(), None)
}

#[test]
fn every_usual_kind_of_layer_is_read_and_no_other() {
    for kind in LAYER_TYPES {
        assert!(parsed(&manifest(&layer(kind))).is_ok(), "{kind}");
    }
    for kind in [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.v1.tar+encrypted",
        "",
    ] {
        let error = parsed(&manifest(&layer(kind))).unwrap_err();
        assert!(
            matches!(error, ImageError::Unsupported { .. }),
            "{kind}: {error}"
        );
    }
}

#[test]
fn bounds_hold_before_anything_is_fetched() {
    let many = vec![layer(LAYER_TYPES[0]); LAYERS_MAX + 1].join(",");
    assert!(matches!(
        parsed(&manifest(&many)),
        Err(ImageError::TooLarge { .. })
    ));
    let fat = manifest(&layer(LAYER_TYPES[0])).replace(r#""size":10"#, r#""size":9999999"#);
    assert!(matches!(parsed(&fat), Err(ImageError::TooLarge { .. })));
    for size in ["-1", "1.5", "99999999999999999999"] {
        let odd =
            manifest(&layer(LAYER_TYPES[0])).replace(r#""size":5"#, &format!(r#""size":{size}"#));
        assert!(
            matches!(parsed(&odd), Err(ImageError::Malformed { .. })),
            "{size}"
        );
    }
    assert!(parsed(&manifest("")).is_err(), "no layers");
    let foreign = manifest(&layer(LAYER_TYPES[0])).replace("sha256:a", "md5:a");
    assert!(matches!(
        parsed(&foreign),
        Err(ImageError::Unsupported { .. })
    ));
}

#[test]
fn one_document_cannot_be_two_kinds() {
    let both =
        manifest(&layer(LAYER_TYPES[0])).replace(r#""layers""#, r#""manifests":[],"layers""#);
    assert!(matches!(parsed(&both), Err(ImageError::Malformed { .. })));
    let schema_one = r#"{"schemaVersion":1,"fsLayers":[]}"#;
    assert!(matches!(
        parsed(schema_one),
        Err(ImageError::Unsupported { .. })
    ));
    let artifact = manifest(&layer(LAYER_TYPES[0]))
        .replace(CONFIG_TYPES[0], "application/vnd.acme.chart.v1+json");
    assert!(matches!(
        parsed(&artifact),
        Err(ImageError::Unsupported { .. })
    ));
}

#[test]
fn an_index_yields_this_hosts_manifest_or_names_what_it_has() {
    let entry = |letter, os: &str, architecture: &str, variant: &str| {
        format!(
            r#"{{"mediaType":"{}","digest":"{}","size":9,
                "platform":{{"os":"{os}","architecture":"{architecture}","variant":"{variant}"}}}}"#,
            MANIFEST_TYPES[0],
            digest(letter)
        )
    };
    let index = |entries: &[String]| {
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            entries.join(",")
        );
        match parsed(&text).unwrap() {
            Document::Index(index) => index,
            Document::Manifest(_) => panic!("an index"),
        }
    };
    let host = Arch::NATIVE.image_name();
    let attestation = r#"{"mediaType":"application/json","digest":"x","size":1}"#.to_owned();
    let others = [
        attestation,
        entry('1', "windows", host, ""),
        entry('2', "linux", "s390x", ""),
    ];
    let fitting = [
        &others[..],
        &[
            entry('3', "linux", host, "v3"),
            entry('4', "linux", host, ""),
        ],
    ];
    let found = index(&fitting.concat());
    assert_eq!(found.choose(&name()).unwrap().digest, digest('4'));
    let error = index(&others).choose(&name()).unwrap_err().to_string();
    assert!(
        error.contains("linux/s390x") && error.contains(host),
        "{error}"
    );
}

proptest! {
    #[test]
    fn parse_never_panics(text in r#"[\[\]{}",:0-9a-zA-Z]{0,200}"#) {
        drop(parsed(&text));
    }
}
