//! Statistics in containerd's form: `io.containerd.cgroups.v2.Metrics`, from the files of one cgroup.
//!
//! A missing file or key (no controller, older kernel) is a zero, as containerd's own shim has it. davit's own
//! metering does not come from here but from davit-cgroup.

use std::fs;
use std::path::Path;

use containerd_shim_protos::cgroups_v2::metrics::{
    CPUStat, IOEntry, IOStat, MemoryEvents, MemoryStat, Metrics, PidsStat,
};
use containerd_shim_protos::protobuf::MessageField;

/// Reads all statistics of the cgroup at `path`.
pub(crate) fn read(path: &Path) -> Metrics {
    let file = |name: &str| fs::read_to_string(path.join(name)).unwrap_or_default();
    Metrics {
        pids: MessageField::some(PidsStat {
            current: number(&file("pids.current")),
            limit: limit(&file("pids.max")),
            ..PidsStat::default()
        }),
        cpu: MessageField::some(cpu(&file("cpu.stat"))),
        memory: MessageField::some(memory(&file)),
        memory_events: MessageField::some(memory_events(&file("memory.events"))),
        io: MessageField::some(IOStat {
            usage: io(&file("io.stat")),
            ..IOStat::default()
        }),
        ..Metrics::default()
    }
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

/// A limit: `max` is the largest number, as in containerd; a missing file is 0.
fn limit(text: &str) -> u64 {
    match text.trim() {
        "max" => u64::MAX,
        other => other.parse().unwrap_or(0),
    }
}

/// Looks up keys of a `key value` file.
fn keyed(text: &str) -> impl Fn(&str) -> u64 {
    move |key| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
            .map_or(0, number)
    }
}

fn cpu(text: &str) -> CPUStat {
    let of = keyed(text);
    CPUStat {
        usage_usec: of("usage_usec"),
        user_usec: of("user_usec"),
        system_usec: of("system_usec"),
        nr_periods: of("nr_periods"),
        nr_throttled: of("nr_throttled"),
        throttled_usec: of("throttled_usec"),
        nr_bursts: of("nr_bursts"),
        burst_usec: of("burst_usec"),
        ..CPUStat::default()
    }
}

fn memory(file: &impl Fn(&str) -> String) -> MemoryStat {
    let text = file("memory.stat");
    let of = keyed(&text);
    MemoryStat {
        anon: of("anon"),
        file: of("file"),
        kernel_stack: of("kernel_stack"),
        slab: of("slab"),
        sock: of("sock"),
        shmem: of("shmem"),
        file_mapped: of("file_mapped"),
        file_dirty: of("file_dirty"),
        file_writeback: of("file_writeback"),
        anon_thp: of("anon_thp"),
        inactive_anon: of("inactive_anon"),
        active_anon: of("active_anon"),
        inactive_file: of("inactive_file"),
        active_file: of("active_file"),
        unevictable: of("unevictable"),
        slab_reclaimable: of("slab_reclaimable"),
        slab_unreclaimable: of("slab_unreclaimable"),
        pgfault: of("pgfault"),
        pgmajfault: of("pgmajfault"),
        // Linux 5.9 split these by kind of page; the sum is what there was before.
        workingset_refault: of("workingset_refault")
            + of("workingset_refault_anon")
            + of("workingset_refault_file"),
        workingset_activate: of("workingset_activate")
            + of("workingset_activate_anon")
            + of("workingset_activate_file"),
        workingset_nodereclaim: of("workingset_nodereclaim"),
        pgrefill: of("pgrefill"),
        pgscan: of("pgscan"),
        pgsteal: of("pgsteal"),
        pgactivate: of("pgactivate"),
        pgdeactivate: of("pgdeactivate"),
        pglazyfree: of("pglazyfree"),
        pglazyfreed: of("pglazyfreed"),
        thp_fault_alloc: of("thp_fault_alloc"),
        thp_collapse_alloc: of("thp_collapse_alloc"),
        usage: number(&file("memory.current")),
        usage_limit: limit(&file("memory.max")),
        swap_usage: number(&file("memory.swap.current")),
        swap_limit: limit(&file("memory.swap.max")),
        max_usage: number(&file("memory.peak")),
        swap_max_usage: number(&file("memory.swap.peak")),
        ..MemoryStat::default()
    }
}

fn memory_events(text: &str) -> MemoryEvents {
    let of = keyed(text);
    MemoryEvents {
        low: of("low"),
        high: of("high"),
        max: of("max"),
        oom: of("oom"),
        oom_kill: of("oom_kill"),
        oom_group_kill: of("oom_group_kill"),
        ..MemoryEvents::default()
    }
}

/// Lines of `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`.
fn io(text: &str) -> Vec<IOEntry> {
    text.lines()
        .filter_map(|line| {
            let (device, rest) = line.split_once(' ')?;
            let (major, minor) = device.split_once(':')?;
            let of = |key: &str| {
                rest.split(' ')
                    .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
                    .map_or(0, number)
            };
            Some(IOEntry {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
                rbytes: of("rbytes"),
                wbytes: of("wbytes"),
                rios: of("rios"),
                wios: of("wios"),
                ..IOEntry::default()
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_cgroup_become_metrics() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("cpu.stat", "usage_usec 7\nuser_usec 4\nsystem_usec 3\n"),
            (
                "memory.stat",
                "anon 10\nanon_thp 99\nworkingset_refault_anon 1\nworkingset_refault_file 2\n",
            ),
            ("memory.current", "11\n"),
            ("memory.max", "max\n"),
            ("memory.events", "oom 1\noom_kill 2\n"),
            ("pids.current", "3\n"),
            ("pids.max", "50\n"),
            (
                "io.stat",
                "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n254:16 \n",
            ),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let metrics = read(dir.path());
        assert_eq!(metrics.cpu.usage_usec, 7);
        assert_eq!((metrics.memory.anon, metrics.memory.anon_thp), (10, 99));
        assert_eq!(metrics.memory.workingset_refault, 3);
        assert_eq!(
            (metrics.memory.usage, metrics.memory.usage_limit),
            (11, u64::MAX)
        );
        assert_eq!(metrics.memory_events.oom_kill, 2);
        assert_eq!((metrics.pids.current, metrics.pids.limit), (3, 50));
        assert_eq!(metrics.io.usage.len(), 2);
        assert_eq!(
            (metrics.io.usage[0].major, metrics.io.usage[0].wbytes),
            (8, 2)
        );
    }

    #[test]
    fn nothing_there_is_all_zero() {
        let metrics = read(Path::new("/no/such/cgroup"));
        assert_eq!(metrics.cpu.usage_usec, 0);
        assert_eq!(metrics.memory.usage, 0);
    }
}
