//! What a slot and a run must have in common.

use std::path::Path;
use std::sync::Arc;

use oci_spec::runtime::Spec;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::images::ResolvedImage;

/// A profile by its content: equal ones make the same container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ProfileId([u8; 32]);

/// A profile, with all that a slot of it is made from. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(super) id: ProfileId,
    pub(super) blueprint: Arc<Blueprint>,
}

/// What a slot is made from.
#[derive(Debug)]
pub(super) struct Blueprint {
    /// The spec without what is given late.
    pub(super) shared: Spec,
    pub(super) image: String,
    pub(super) image_digest: String,
    pub(super) chain_id: String,
    pub(super) runtime_binary: Box<Path>,
}

impl Profile {
    /// The profile of the runs whose spec is `shared` but for what is given late.
    pub(crate) fn new(shared: Spec, image: &ResolvedImage, runtime_binary: &Path) -> Self {
        let blueprint = Blueprint {
            shared,
            image: image.name.clone(),
            image_digest: image.digest.clone(),
            chain_id: image.chain_id.clone(),
            runtime_binary: runtime_binary.into(),
        };
        Self {
            id: blueprint.id(),
            blueprint: Arc::new(blueprint),
        }
    }
}

impl Blueprint {
    fn id(&self) -> ProfileId {
        // Through a Value, whose maps are sorted: those of the spec are not. A spec is always JSON.
        let mut spec = serde_json::to_value(&self.shared).unwrap_or_default();
        // The only sets of a spec come out in any order.
        if let Some(Value::Object(sets)) = spec.pointer_mut("/process/capabilities") {
            for set in sets.values_mut().filter_map(Value::as_array_mut) {
                set.sort_by_key(Value::to_string);
            }
        }
        let binary = self.runtime_binary.as_os_str().as_encoded_bytes();
        let parts = [
            spec.to_string().as_bytes(),
            self.image_digest.as_bytes(),
            self.chain_id.as_bytes(),
            binary,
        ]
        .map(Sha256::digest);
        ProfileId(Sha256::digest(parts.concat()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blueprint(change: impl FnOnce(&mut Blueprint)) -> ProfileId {
        let mut blueprint = Blueprint {
            shared: Spec::default(),
            image: "busybox:1".into(),
            image_digest: "sha256:a".into(),
            chain_id: "sha256:b".into(),
            runtime_binary: Path::new("/usr/bin/crun").into(),
        };
        change(&mut blueprint);
        blueprint.id()
    }

    #[test]
    fn spec_image_and_runtime_make_a_profile_and_the_images_name_does_not() {
        let profile = blueprint(|_| ());
        assert_eq!(profile, blueprint(|b| b.image = "other:1".into()));
        for other in [
            blueprint(|b| {
                b.shared.set_hostname(Some("x".into()));
            }),
            blueprint(|b| b.image_digest = "sha256:c".into()),
            blueprint(|b| b.chain_id = "sha256:c".into()),
            blueprint(|b| b.runtime_binary = Path::new("/opt/crun").into()),
        ] {
            assert_ne!(profile, other);
        }
    }
}
