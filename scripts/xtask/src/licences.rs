//! Licences and versions of what davit is built from, after the rules in deny.toml.
//!
//! cargo-deny reads the same file and knows more (advisories, licence texts), but takes minutes to
//! build; what `cargo xtask check` enforces of it is: `[licenses] allow` and `exceptions`, and `[bans]`
//! `multiple-versions` with `skip`. The sources are a rule of `tidy`, over Cargo.lock.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::metadata::{Metadata, Package};
use crate::spdx;

#[derive(Debug, Deserialize)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Debug, Deserialize)]
struct Licenses {
    allow: Vec<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

/// A crate that may have licences that are not allowed in general.
#[derive(Debug, Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    #[serde(default)]
    skip: Vec<Skip>,
}

/// A version that may exist beside another: `name@version`, the version possibly shortened.
#[derive(Debug, Deserialize)]
struct Skip {
    #[serde(rename = "crate")]
    spec: String,
}

/// Checks every package against deny.toml.
pub(crate) fn check(root: &Path, metadata: &Metadata) -> Result<()> {
    let path = root.join("deny.toml");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let rules: Rules = toml::from_str(&text).with_context(|| format!("{}", path.display()))?;
    let mut wrong: Vec<String> = metadata
        .packages
        .iter()
        .filter_map(|package| wrong_licence(&rules.licenses, package))
        .collect();
    wrong.extend(wrong_versions(&rules.bans.skip, &metadata.packages));
    if !wrong.is_empty() {
        bail!("\n   {}", wrong.join("\n   "));
    }
    Ok(())
}

fn wrong_licence(rules: &Licenses, package: &Package) -> Option<String> {
    let allowed = |licence: &str| {
        let exceptions = rules.exceptions.iter().filter(|e| e.name == package.name);
        let mut all = rules.allow.iter().chain(exceptions.flat_map(|e| &e.allow));
        all.any(|allowed| allowed == licence)
    };
    let name = format!("{} {}", package.name, package.version);
    let Some(expression) = &package.license else {
        return Some(format!("{name} names no licence"));
    };
    match spdx::satisfied(expression, &allowed) {
        Some(true) => None,
        Some(false) => Some(format!(
            "{name} is licensed as `{expression}`, which is not allowed"
        )),
        None => Some(format!("{name} has no readable licence: `{expression}`")),
    }
}

/// Crates in more than one version, those skipped not counted; and skips that skip nothing.
fn wrong_versions(skips: &[Skip], packages: &[Package]) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut used = BTreeSet::new();
    for package in packages {
        let skip = skips.iter().find(|skip| matches(&skip.spec, package));
        match skip {
            Some(skip) => _ = used.insert(&*skip.spec),
            None => {
                _ = versions
                    .entry(&package.name)
                    .or_default()
                    .insert(&package.version)
            }
        }
    }
    let double = versions
        .iter()
        .filter(|(_, all)| all.len() > 1)
        .map(|(name, all)| {
            let all: Vec<&str> = all.iter().copied().collect();
            format!("{name} is there in versions {}", all.join(" and "))
        });
    let idle = skips
        .iter()
        .filter(|skip| !used.contains(&*skip.spec))
        .map(|skip| {
            format!(
                "deny.toml skips {}, which is not there: remove it",
                skip.spec
            )
        });
    double.chain(idle).collect()
}

fn matches(spec: &str, package: &Package) -> bool {
    let Some((name, version)) = spec.split_once('@') else {
        return spec == package.name;
    };
    let rest = package.version.strip_prefix(version);
    name == package.name && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, license: Option<&str>) -> Package {
        Package {
            id: String::new(),
            name: name.to_owned(),
            version: version.to_owned(),
            license: license.map(str::to_owned),
            dependencies: Vec::new(),
        }
    }

    fn skip(spec: &str) -> Skip {
        Skip {
            spec: spec.to_owned(),
        }
    }

    #[test]
    fn an_exception_holds_for_its_crate_only() {
        let rules = Licenses {
            allow: vec!["MIT".to_owned()],
            exceptions: vec![Exception {
                name: "roots".to_owned(),
                allow: vec!["CDLA-Permissive-2.0".to_owned()],
            }],
        };
        let with = |name, licence| wrong_licence(&rules, &package(name, "1.0.0", licence));
        assert_eq!(with("a", Some("MIT OR GPL-3.0")), None);
        assert_eq!(with("roots", Some("CDLA-Permissive-2.0")), None);
        assert!(with("a", Some("CDLA-Permissive-2.0")).is_some());
        assert!(with("a", None).is_some());
    }

    #[test]
    fn a_second_version_needs_a_skip_and_a_skip_a_second_version() {
        let packages = [package("a", "1.2.3", None), package("a", "0.26.4", None)];
        assert_eq!(wrong_versions(&[], &packages).len(), 1);
        assert!(wrong_versions(&[skip("a@0.26")], &packages).is_empty());
        assert_eq!(wrong_versions(&[skip("a@0.2")], &packages).len(), 2);
        assert_eq!(
            wrong_versions(&[skip("a@1.2.3"), skip("b@1")], &packages).len(),
            1
        );
    }
}
