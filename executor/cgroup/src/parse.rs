//! The text formats of cgroupfs and mountinfo, as pure functions.

/// The value of `key` in a flat keyed file (`cpu.stat`, `memory.events`, …).
pub(crate) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        if name == key {
            value.trim().parse().ok()
        } else {
            None
        }
    })
}

/// A single number, e.g. `memory.peak`; `max` is `u64::MAX`.
pub(crate) fn number(text: &str) -> Option<u64> {
    match text.trim() {
        "max" => Some(u64::MAX),
        digits => digits.parse().ok(),
    }
}

/// Process ids of `cgroup.procs`. Processes outside our pid namespace read as 0 and are left out.
pub(crate) fn pids(text: &str) -> Option<Vec<u32>> {
    text.lines()
        .map(|line| line.trim().parse::<u32>().ok())
        .filter(|pid| *pid != Some(0))
        .collect()
}

/// Sum of one key of a nested keyed file over its lines: `io.stat`'s `rbytes` over all devices.
pub(crate) fn nested_sum(text: &str, key: &str) -> u64 {
    text.split_ascii_whitespace()
        .filter_map(|word| word.split_once('='))
        .filter(|(name, _)| *name == key)
        .filter_map(|(_, value)| value.parse::<u64>().ok())
        .fold(0, u64::saturating_add)
}

/// The path of a process in the v2 hierarchy, from `/proc/<pid>/cgroup`. The v1 lines of a hybrid
/// host are skipped.
pub(crate) fn process_cgroup(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

/// The cgroup mounts of a mount namespace.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CgroupMounts {
    /// Where cgroup2 is mounted; the mount that shows the hierarchy from its top wins.
    pub(crate) cgroup2: Option<String>,
    /// Controllers bound to v1 mounts, e.g. `memory`; without the named hierarchies.
    pub(crate) v1_controllers: Vec<String>,
}

/// Reads `/proc/self/mountinfo` (see proc_pid_mountinfo(5)).
pub(crate) fn cgroup_mounts(text: &str) -> CgroupMounts {
    let mut mounts = CgroupMounts::default();
    let mut from_top = false;
    for line in text.lines() {
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let mut fields = before.split(' ').skip(3);
        let (Some(root), Some(point)) = (fields.next(), fields.next()) else {
            continue;
        };
        let mut fields = after.split(' ');
        match fields.next() {
            Some("cgroup2") if mounts.cgroup2.is_none() || (!from_top && root == "/") => {
                from_top = root == "/";
                mounts.cgroup2 = Some(unescape(point));
            }
            Some("cgroup") => {
                let options = fields.nth(1).unwrap_or_default();
                mounts.v1_controllers.extend(
                    options
                        .split(',')
                        .filter(|option| V1_CONTROLLERS.contains(option))
                        .map(str::to_owned),
                );
            }
            _ => {}
        }
    }
    mounts.v1_controllers.sort_unstable();
    mounts.v1_controllers.dedup();
    mounts
}

/// Those v1 controllers whose v2 counterparts davit needs.
const V1_CONTROLLERS: &[&str] = &["blkio", "cpu", "cpuset", "memory", "pids"];

/// Undoes mountinfo's `\040` escapes.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let code = after.get(..3).and_then(|o| u8::from_str_radix(o, 8).ok());
        match code {
            Some(byte) if byte.is_ascii() => {
                plain.push(char::from(byte));
                rest = &after[3..];
            }
            _ => {
                plain.push('\\');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CPU_STAT: &str = "usage_usec 1205\nuser_usec 800\nsystem_usec 405\nnr_periods 3\n\
                            nr_throttled 1\nthrottled_usec 90\n";

    #[test]
    fn keyed_wants_the_whole_key() {
        assert_eq!(keyed(CPU_STAT, "usage_usec"), Some(1205));
        assert_eq!(keyed(CPU_STAT, "throttled_usec"), Some(90));
        assert_eq!(keyed(CPU_STAT, "usec"), None);
        assert_eq!(keyed("oom 1\noom_kill 2\n", "oom_kill"), Some(2));
    }

    #[test]
    fn io_is_summed_over_devices() {
        let text = "8:0 rbytes=10 wbytes=1 rios=1 wios=1 dbytes=0 dios=0\n\
                    253:0 rbytes=5 wbytes=2 rios=1 wios=1 dbytes=0 dios=0\n7:0 \n";
        assert_eq!(nested_sum(text, "rbytes"), 15);
        assert_eq!(nested_sum(text, "wbytes"), 3);
        assert_eq!(nested_sum("", "rbytes"), 0);
    }

    #[test]
    fn processes_of_other_namespaces_are_left_out() {
        assert_eq!(pids("12\n0\n13\n"), Some(vec![12, 13]));
        assert_eq!(pids(""), Some(vec![]));
        assert_eq!(pids("x\n"), None);
    }

    #[test]
    fn the_unified_line_counts() {
        let text = "4:memory:/v1\n1:name=systemd:/s\n0::/davit/run\n";
        assert_eq!(process_cgroup(text), Some("/davit/run"));
        assert_eq!(process_cgroup("4:memory:/v1\n"), None);
    }

    #[test]
    fn mounts_tell_unified_hybrid_and_v1_apart() {
        let unified =
            "31 23 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        let named = "32 23 0:28 / /cg/systemd rw - cgroup cgroup rw,xattr,name=systemd\n";
        let memory = "33 23 0:29 / /cg/memory rw - cgroup cgroup rw,memory\n";
        let both = "34 23 0:30 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n";
        assert_eq!(
            cgroup_mounts(unified),
            CgroupMounts {
                cgroup2: Some("/sys/fs/cgroup".into()),
                v1_controllers: vec![]
            }
        );
        assert!(cgroup_mounts(named).v1_controllers.is_empty());
        let hybrid = cgroup_mounts(&format!("{both}{memory}{unified}"));
        assert_eq!(hybrid.v1_controllers, ["cpu", "memory"]);
        assert!(hybrid.cgroup2.is_some());
    }

    #[test]
    fn the_mount_from_the_top_wins() {
        let text = "1 0 0:27 /docker/x /a rw - cgroup2 c rw\n2 0 0:27 / /b\\040c rw - cgroup2 c rw\n\
                    3 0 0:27 / /d rw - cgroup2 c rw\n";
        assert_eq!(cgroup_mounts(text).cgroup2.as_deref(), Some("/b c"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z0-9=: \\\\/,\\n…-]{0,200}", key in "[a-z]{0,4}") {
            let _ = (keyed(&text, &key), number(&text), pids(&text), nested_sum(&text, &key));
            let _ = (process_cgroup(&text), unescape(&text));
            let _mounts: CgroupMounts = cgroup_mounts(&text);
        }

        #[test]
        fn keyed_files_round_trip(pairs in proptest::collection::btree_map("[a-z_]{1,8}", any::<u64>(), 0..8)) {
            let text: String = pairs.iter().map(|(k, v)| format!("{k} {v}\n")).collect();
            for (key, value) in &pairs {
                prop_assert_eq!(keyed(&text, key), Some(*value));
            }
        }

        #[test]
        fn escapes_are_undone(path in "[a-z \\t\\\\]{0,12}") {
            let escaped: String = path
                .chars()
                .map(|c| match c {
                    ' ' | '\t' | '\\' => format!("\\{:03o}", u32::from(c)),
                    c => c.to_string(),
                })
                .collect();
            prop_assert_eq!(unescape(&escaped), path);
        }
    }
}
