//! How much a run may write to its root file system.

use super::{Check, RunRequest};
use crate::InstanceType;
use crate::spec::limits as max;

impl RunRequest {
    /// Puts the run's own bound in place of its type's.
    pub(super) fn choose_disk(&self, check: &mut Check, chosen: &mut InstanceType) {
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
