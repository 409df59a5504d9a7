//! Image references: parsed once into the form everything else uses, and the allow-list on them.

use davit_types::FieldError;
use oci_spec::distribution::Reference;

/// A normalised reference: registry, repository and tag or digest are all written out, as
/// `docker.io/library/busybox:latest`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageName {
    text: String,
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl ImageName {
    /// Parses `text` as people write it.
    ///
    /// # Errors
    /// A [`FieldError`] on `image` that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        let wrong = |problem: String| FieldError::new("image", text, problem);
        let reference: Reference = text.parse().map_err(|error| {
            wrong(format!(
                "{error}; write registry/repository:tag or …@sha256:<64 hex digits>"
            ))
        })?;
        if reference
            .repository()
            .bytes()
            .any(|b| b.is_ascii_uppercase())
        {
            return Err(wrong("a repository is written in lower case".to_owned()));
        }
        let digest = reference.digest().map(str::to_owned);
        if digest.as_deref().is_some_and(|digest| !is_sha256(digest)) {
            return Err(wrong(
                "only sha256 digests are supported, in lower case".to_owned(),
            ));
        }
        Ok(Self {
            text: reference.whole(),
            registry: reference.registry().to_owned(),
            repository: reference.repository().to_owned(),
            tag: reference.tag().map(str::to_owned),
            digest,
        })
    }

    /// The whole normalised reference.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The registry as named, e.g. `docker.io` or `localhost:5000`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The host that serves the registry.
    pub(super) fn registry_host(&self) -> &str {
        match self.registry.as_str() {
            "docker.io" => "registry-1.docker.io",
            host => host,
        }
    }

    /// The repository within the registry.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The digest it is pinned to, if it is.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// What the registry is asked for: the digest, else the tag.
    pub(super) fn identifier(&self) -> &str {
        self.digest
            .as_deref()
            .or(self.tag.as_deref())
            .unwrap_or("latest")
    }
}

impl std::fmt::Display for ImageName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether `text` is `sha256:` and 64 lower-case hexadecimal digits.
pub(super) fn is_sha256(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// One entry of the host's allow-list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum AllowRule {
    /// This repository and all below it, normalised: `registry/repository`.
    Repository(String),
    /// This very image, by the digest of its index or manifest.
    Digest(String),
}

/// The images this host may run; empty means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList(Vec<AllowRule>);

impl AllowList {
    /// Parses entries `registry/repository`, `registry/repository/*` or `sha256:…`.
    ///
    /// # Errors
    /// A [`FieldError`] per wrong entry, on `images.allow[n]`.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, Vec<FieldError>> {
        let mut rules = Vec::with_capacity(entries.len());
        let mut errors = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            match parse_rule(entry.as_ref()) {
                Ok(rule) => rules.push(rule),
                Err(problem) => errors.push(FieldError::new(
                    format!("images.allow[{at}]"),
                    entry.as_ref(),
                    problem,
                )),
            }
        }
        if errors.is_empty() {
            Ok(Self(rules))
        } else {
            Err(errors)
        }
    }

    /// Whether `name` is allowed whatever it resolves to; known before the registry is asked.
    pub(super) fn allows_name(&self, name: &ImageName) -> bool {
        self.0.is_empty()
            || self.0.iter().any(|rule| match rule {
                AllowRule::Repository(repository) => covers(repository, name),
                AllowRule::Digest(digest) => name.digest.as_ref() == Some(digest),
            })
    }

    /// Whether an image with one of these digests (index, manifest) is allowed.
    pub(super) fn allows(&self, name: &ImageName, digests: &[&str]) -> bool {
        self.allows_name(name)
            || self.0.iter().any(
                |rule| matches!(rule, AllowRule::Digest(digest) if digests.contains(&digest.as_str())),
            )
    }

    /// Whether some digest might be allowed: otherwise a name that is not need not be resolved.
    pub(super) fn has_digests(&self) -> bool {
        self.0
            .iter()
            .any(|rule| matches!(rule, AllowRule::Digest(_)))
    }
}

fn parse_rule(entry: &str) -> Result<AllowRule, String> {
    if entry.starts_with("sha256:") {
        return if is_sha256(entry) {
            Ok(AllowRule::Digest(entry.to_owned()))
        } else {
            Err("is no sha256 digest: write sha256: and 64 lower-case hex digits".to_owned())
        };
    }
    let forms = "neither registry/repository, registry/repository/* nor sha256:…";
    parse_repository(entry, forms).map(AllowRule::Repository)
}

/// Whether `name` is in `repository` or below it.
pub(super) fn covers(repository: &str, name: &ImageName) -> bool {
    let full = format!("{}/{}", name.registry, name.repository);
    full.strip_prefix(repository)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Parses `registry/repository` or `registry/repository/*`, both meaning it and all below it; `forms` are what an
/// entry is not, if it is not that.
pub(super) fn parse_repository(entry: &str, forms: &str) -> Result<String, String> {
    let repository = entry.strip_suffix("/*").unwrap_or(entry);
    let wrong = || format!("is {forms}; tags are not allowed here");
    // A first part that is no host would be read as Docker Hub: an allow-list does not guess.
    let (host, _) = repository.split_once('/').ok_or_else(wrong)?;
    if !host.contains(['.', ':']) && host != "localhost" {
        return Err(format!("names no registry: write e.g. docker.io/{entry}"));
    }
    let parsed: Reference = repository.parse().map_err(|_| wrong())?;
    let full = format!("{}/{}", parsed.registry(), parsed.repository());
    // Equal only if there was no tag or digest to drop.
    let unadorned = parsed.digest().is_none() && !repository[host.len()..].contains(':');
    if unadorned { Ok(full) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn name(text: &str) -> ImageName {
        ImageName::parse(text).unwrap()
    }

    #[test]
    fn short_names_are_written_out() {
        assert_eq!(name("busybox").as_str(), "docker.io/library/busybox:latest");
        assert_eq!(name("busybox").registry_host(), "registry-1.docker.io");
        assert_eq!(
            name("localhost:5000/a/b:1").as_str(),
            "localhost:5000/a/b:1"
        );
        let pinned = name(&format!("ghcr.io/a/b@{DIGEST}"));
        assert_eq!(pinned.digest(), Some(DIGEST));
        assert_eq!(pinned.identifier(), DIGEST);
    }

    #[test]
    fn what_does_not_parse_is_a_field_error_on_image() {
        for wrong in [
            "",
            "UPPER/case",
            "a b",
            "x@sha256:abc",
            "a/b:tag:tag",
            "../../etc",
        ] {
            assert_eq!(
                ImageName::parse(wrong).unwrap_err().field,
                "image",
                "{wrong:?}"
            );
        }
        let sha512 = format!("x@sha512:{}", "a".repeat(128));
        assert!(
            ImageName::parse(&sha512)
                .unwrap_err()
                .problem
                .contains("sha256")
        );
    }

    #[test]
    fn an_allow_list_matches_whole_path_parts() {
        let list = AllowList::parse(&["ghcr.io/acme/*", "localhost:5000/davit/busybox"]).unwrap();
        for allowed in [
            "ghcr.io/acme/a:1",
            "ghcr.io/acme/a/b",
            "localhost:5000/davit/busybox:9",
        ] {
            assert!(list.allows_name(&name(allowed)), "{allowed}");
        }
        for refused in [
            "ghcr.io/acme-evil/a",
            "ghcr.io/acmeevil",
            "ghcr.io.evil.com/acme/a",
            "evil.com/ghcr.io/acme/a",
            "localhost:5000/davit/busybox2",
            "busybox",
        ] {
            assert!(!list.allows_name(&name(refused)), "{refused}");
        }
    }

    #[test]
    fn a_digest_allows_the_image_under_any_name() {
        let list = AllowList::parse(&[DIGEST]).unwrap();
        assert!(!list.allows_name(&name("busybox:1")));
        assert!(list.allows(&name("busybox:1"), &["sha256:other", DIGEST]));
        assert!(!list.allows(&name("busybox:1"), &["sha256:other"]));
        assert!(list.allows_name(&name(&format!("x.io/busybox@{DIGEST}"))));
        assert!(AllowList::default().allows_name(&name("anything")));
    }

    #[test]
    fn wrong_entries_are_named() {
        let errors = AllowList::parse(&["acme/app", "sha256:12", "ghcr.io/a:tag", "ghcr.io/ok"])
            .unwrap_err();
        let fields: Vec<&str> = errors.iter().map(|e| e.field.as_str()).collect();
        assert_eq!(
            fields,
            ["images.allow[0]", "images.allow[1]", "images.allow[2]"]
        );
    }

    proptest! {
        #[test]
        fn a_normalised_name_parses_to_itself(text in "[a-z0-9./:@-]{1,60}") {
            if let Ok(name) = ImageName::parse(&text) {
                prop_assert_eq!(ImageName::parse(name.as_str()).unwrap(), name);
            }
        }
    }
}
