//! The user namespace of a spec: asked for by [`super::build`], given its ids when the container is made.

use davit_types::IdRange;
use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespaceType, Process, Spec};

use super::SpecError;
use crate::ids::IDS;

/// Refuses a job that would have to be somebody whom its user namespace does not know.
pub(super) fn check(process: &Process) -> Result<(), SpecError> {
    let user = process.user();
    let groups = user.additional_gids().iter().flatten();
    let mut groups = [user.gid()].into_iter().chain(groups.copied());
    let beyond = |what, id| SpecError::BeyondNamespace { what, id };
    if user.uid() >= IDS {
        return Err(beyond("user", user.uid()));
    }
    match groups.find(|group| *group >= IDS) {
        Some(group) => Err(beyond("group", group)),
        None => Ok(()),
    }
}

/// Whether a container of `spec` has a user namespace of its own.
#[must_use]
pub fn has_user_namespace(spec: &Spec) -> bool {
    let namespaces = spec
        .linux()
        .iter()
        .flat_map(|linux| linux.namespaces().iter().flatten());
    namespaces
        .into_iter()
        .any(|namespace| namespace.typ() == LinuxNamespaceType::User)
}

/// Gives the user namespace of `spec` its ids, users and groups alike.
pub fn give_ids(spec: &mut Spec, ids: IdRange) {
    let mapping = mapping(ids);
    if let Some(linux) = spec.linux_mut() {
        linux.set_uid_mappings(Some(vec![mapping]));
        linux.set_gid_mappings(Some(vec![mapping]));
    }
}

fn mapping(ids: IdRange) -> LinuxIdMapping {
    let built = LinuxIdMappingBuilder::default()
        .container_id(0_u32)
        .host_id(ids.first)
        .size(ids.count)
        .build();
    built.expect("three numbers are a mapping")
}

/// The ids that the user namespace of `spec` was given.
pub(super) fn given(spec: &Spec) -> Option<IdRange> {
    let mappings = spec.linux().as_ref()?.uid_mappings().as_ref()?;
    let mapping = mappings.first()?;
    Some(IdRange {
        first: mapping.host_id(),
        count: mapping.size(),
    })
}
