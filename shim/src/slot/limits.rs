//! The limits of an assignment: what the runtime would have set, had it known them.

use davit_cgroup::Limits;
use davit_rundir::Granted;
use davit_types::Resources;

/// The limits of `resources`, as far as there are controllers for them.
pub(crate) fn granted_limits(resources: &Resources, granted: Granted) -> Limits {
    let all = Limits::from(resources);
    Limits {
        cpu_max: all.cpu_max.filter(|_| granted.cpu),
        cpu_weight: all.cpu_weight.filter(|_| granted.cpu),
        memory_bytes_max: all.memory_bytes_max.filter(|_| granted.memory),
        swap_bytes_max: all.swap_bytes_max.filter(|_| granted.memory),
        oom_group: all.oom_group.filter(|_| granted.memory),
        pids_max: all.pids_max.filter(|_| granted.pids),
        io_max: all.io_max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use davit_types::Bytes;

    #[test]
    fn only_what_has_a_controller_is_limited() {
        let resources = Resources {
            cpu_millis: 1500,
            memory_bytes_max: Bytes::mib(64),
            pids_max: 32,
        };
        let of = |cpu, memory, pids| granted_limits(&resources, Granted { cpu, memory, pids });
        assert_eq!(of(true, true, true), Limits::from(&resources));
        assert_eq!(of(false, false, false), Limits::default());
        assert_eq!(
            of(false, false, true),
            Limits {
                pids_max: Some(32),
                ..Limits::default()
            }
        );
        assert_eq!(
            of(false, true, false),
            Limits {
                memory_bytes_max: Some(64 << 20),
                swap_bytes_max: Some(0),
                oom_group: Some(true),
                ..Limits::default()
            }
        );
    }
}
