//! How large a run is: a type that is offered, and what it asks for in place of the type's.

use super::{Check, RunRequest};
use crate::spec::limits as max;
use crate::{Bytes, InstanceType};

impl RunRequest {
    /// The type it asks for, or the first that is offered, with its own sizes in place of that one's.
    pub(super) fn choose_instance_type(
        &self,
        check: &mut Check,
        offered: &[InstanceType],
    ) -> Option<InstanceType> {
        let chosen = match &self.instance_type {
            None => offered.first(),
            Some(slug) => offered.iter().find(|offer| offer.slug == *slug),
        };
        let Some(mut chosen) = chosen.cloned() else {
            let known: Vec<&str> = offered.iter().map(|offer| offer.slug.as_str()).collect();
            let asked = self.instance_type.as_deref().unwrap_or("");
            check.fail(
                "instance_type",
                asked,
                format!("is not offered here; choose one of: {}", known.join(", ")),
            );
            return None;
        };
        if self.cpu_millis.is_some() || self.memory_bytes_max.is_some() || self.pids_max.is_some() {
            chosen.slug = "custom".to_owned();
        }
        let resources = &mut chosen.resources;
        if let Some(cpu_millis) = self.cpu_millis {
            check.range("cpu_millis", cpu_millis, 10, 1_024_000);
            resources.cpu_millis = cpu_millis;
        }
        if let Some(memory) = self.memory_bytes_max {
            check.range(
                "memory_bytes_max",
                memory,
                Bytes::mib(4),
                Bytes::gib(16 * 1024),
            );
            resources.memory_bytes_max = memory;
        }
        if let Some(pids_max) = self.pids_max {
            check.range("pids_max", pids_max, 1, 1_000_000);
            resources.pids_max = pids_max;
        }
        self.choose_disk(check, &mut chosen);
        Some(chosen)
    }

    /// Puts the run's own bound in place of its type's.
    fn choose_disk(&self, check: &mut Check, chosen: &mut InstanceType) {
        let Some(disk) = self.disk_bytes_max else {
            return;
        };
        check.range(
            "disk_bytes_max",
            disk,
            max::DISK_BYTES_MIN,
            max::DISK_BYTES_MAX,
        );
        "custom".clone_into(&mut chosen.slug);
        chosen.disk_bytes_max = Some(disk);
    }
}

#[cfg(test)]
mod tests {
    use crate::{Bytes, InstanceType, OciRuntime, Resources, RunId, RunRequest, Tenant, limits};

    fn parse(disk: Option<Bytes>) -> Result<InstanceType, String> {
        let offered = InstanceType {
            slug: "small".into(),
            name: "Small".into(),
            resources: Resources {
                cpu_millis: 500,
                memory_bytes_max: Bytes::mib(64),
                pids_max: 32,
            },
            price_second_micros: 0,
            disk_bytes_max: Some(Bytes::gib(1)),
        };
        let request = RunRequest {
            image: "busybox".into(),
            disk_bytes_max: disk,
            ..RunRequest::default()
        };
        request
            .parse(
                RunId::generate(),
                Tenant::local(),
                &[offered],
                OciRuntime::Crun,
            )
            .map(|spec| spec.instance_type)
            .map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn a_run_has_its_types_disk_or_its_own() {
        let types = parse(None).unwrap();
        assert_eq!(
            (&*types.slug, types.disk_bytes_max),
            ("small", Some(Bytes::gib(1)))
        );
        let own = parse(Some(Bytes::gib(2))).unwrap();
        assert_eq!(
            (&*own.slug, own.disk_bytes_max),
            ("custom", Some(Bytes::gib(2)))
        );
    }

    #[test]
    fn a_disk_too_small_or_too_large_is_refused_by_name() {
        for wrong in [
            Bytes(limits::DISK_BYTES_MIN.0 - 1),
            Bytes(limits::DISK_BYTES_MAX.0 + 1),
        ] {
            let problem = parse(Some(wrong)).unwrap_err();
            assert!(problem.contains("disk_bytes_max"), "{problem}");
            assert!(problem.contains("1MiB"), "{problem}");
        }
        assert!(parse(Some(limits::DISK_BYTES_MIN)).is_ok());
    }
}
