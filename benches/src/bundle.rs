//! A bundle for bare runtimes: a plain directory and the very spec that `ctr run` would use, so that
//! all peers build the same namespaces, mounts and capabilities.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::image;
use crate::limits::Limits;
use crate::peers::ctr;

/// Makes a bundle named `name` in `scratch` and returns its path.
pub(crate) fn create(
    scratch: &Path,
    name: &str,
    limits: Option<Limits>,
) -> anyhow::Result<PathBuf> {
    let bundle = scratch.join(name);
    let root = bundle.join("rootfs");
    fs::create_dir_all(&root).with_context(|| format!("create {}", root.display()))?;
    image::write_plain(&root)?;
    let mut spec = ctr::generated_spec(&format!("spec-of-{name}"))?;
    adapt(&mut spec, &root, name)?;
    if let Some(limits) = limits {
        limits.put_into(&mut spec);
    }
    let file = bundle.join("config.json");
    fs::write(&file, spec.to_string()).with_context(|| format!("write {}", file.display()))?;
    Ok(bundle)
}

/// Only what containerd itself changes at launch, or what names the one container, is replaced.
fn adapt(spec: &mut Value, root: &Path, name: &str) -> anyhow::Result<()> {
    ensure!(
        spec["process"]["args"] == json!([image::PAYLOAD_PATH]),
        "ctr's spec does not run the payload: {}",
        spec["process"]
    );
    spec["root"] = json!({"path": root});
    spec["linux"]["cgroupsPath"] = json!(format!("/{name}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_of_another_program_is_refused() {
        let mut spec = json!({"process": {"args": ["/bin/true"]}});
        assert!(adapt(&mut spec, Path::new("/b/rootfs"), "b").is_err());
    }

    #[test]
    fn the_rest_of_the_spec_stays() {
        let mut spec = json!({
            "process": {"args": ["/payload"], "noNewPrivileges": true},
            "root": {"path": "rootfs"},
            "linux": {"namespaces": [{"type": "pid"}], "cgroupsPath": "/davit-bench/x"},
        });
        adapt(&mut spec, Path::new("/b/rootfs"), "b").unwrap();
        let expected = json!({
            "process": {"args": ["/payload"], "noNewPrivileges": true},
            "root": {"path": "/b/rootfs"},
            "linux": {"namespaces": [{"type": "pid"}], "cgroupsPath": "/b"},
        });
        assert_eq!(spec, expected);
    }
}
