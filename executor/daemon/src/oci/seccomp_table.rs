//! The seccomp profile as data: what a job may call. The set is the well-known default of containerd
//! and Docker, narrowed to 64-bit names (only the native architecture is admitted) and without what
//! needs a capability no job has; beside them, the persona without address randomisation. A name the host's libseccomp does not know is skipped by the
//! runtimes, and thus refused.

/// Calls allowed on every architecture, whatever their arguments. Sorted.
#[rustfmt::skip]
pub(super) const ALLOWED: &[&str] = &[
    "accept", "accept4", "adjtimex", "bind", "brk", "cachestat", "capget", "capset", "chdir",
    "clock_adjtime", "clock_getres", "clock_gettime", "clock_nanosleep", "close", "close_range",
    "connect", "copy_file_range", "dup", "dup3", "epoll_create1", "epoll_ctl", "epoll_pwait",
    "epoll_pwait2", "eventfd2", "execve", "execveat", "exit", "exit_group", "faccessat",
    "faccessat2", "fadvise64", "fallocate", "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown",
    "fchownat", "fcntl", "fdatasync", "fgetxattr", "flistxattr", "flock", "fremovexattr",
    "fsetxattr", "fstat", "fstatfs", "fsync", "ftruncate", "futex", "futex_requeue", "futex_wait",
    "futex_waitv", "futex_wake", "get_robust_list", "getcpu", "getcwd", "getdents64", "getegid",
    "geteuid", "getgid", "getgroups", "getitimer", "getpeername", "getpgid", "getpid", "getppid",
    "getpriority", "getrandom", "getresgid", "getresuid", "getrlimit", "getrusage", "getsid",
    "getsockname", "getsockopt", "gettid", "gettimeofday", "getuid", "getxattr", "getxattrat",
    "inotify_add_watch", "inotify_init1", "inotify_rm_watch", "io_cancel", "io_destroy",
    "io_getevents", "io_pgetevents", "io_setup", "io_submit", "ioctl", "ioprio_get", "ioprio_set",
    "kill", "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "lgetxattr",
    "linkat", "listen", "listxattr", "listxattrat", "llistxattr", "lremovexattr", "lseek",
    "lsetxattr", "madvise", "map_shadow_stack", "membarrier", "memfd_create", "memfd_secret",
    "mincore", "mkdirat", "mknodat", "mlock", "mlock2", "mlockall", "mmap", "mprotect",
    "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink",
    "mremap", "mseal", "msgctl", "msgget", "msgrcv", "msgsnd", "msync", "munlock", "munlockall",
    "munmap", "name_to_handle_at", "nanosleep", "newfstatat", "openat", "openat2", "pidfd_open",
    "pidfd_send_signal", "pipe2", "pkey_alloc", "pkey_free", "pkey_mprotect", "ppoll", "prctl",
    "pread64", "preadv", "preadv2", "prlimit64", "process_mrelease", "process_vm_readv",
    "process_vm_writev", "pselect6", "ptrace", "pwrite64", "pwritev", "pwritev2", "read",
    "readahead", "readlinkat", "readv", "recvfrom", "recvmmsg", "recvmsg", "remap_file_pages",
    "removexattr", "removexattrat", "renameat", "renameat2", "restart_syscall", "rseq",
    "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn",
    "rt_sigsuspend", "rt_sigtimedwait", "rt_tgsigqueueinfo", "sched_get_priority_max",
    "sched_get_priority_min", "sched_getaffinity", "sched_getattr", "sched_getparam",
    "sched_getscheduler", "sched_rr_get_interval", "sched_setaffinity", "sched_setattr",
    "sched_setparam", "sched_setscheduler", "sched_yield", "seccomp", "semctl", "semget", "semop",
    "semtimedop", "sendfile", "sendmmsg", "sendmsg", "sendto", "set_robust_list",
    "set_tid_address", "setfsgid", "setfsuid", "setgid", "setgroups", "setitimer", "setpgid",
    "setpriority", "setregid", "setresgid", "setresuid", "setreuid", "setrlimit", "setsid",
    "setsockopt", "setuid", "setxattr", "setxattrat", "shmat", "shmctl", "shmdt", "shmget",
    "shutdown", "sigaltstack", "signalfd4", "splice", "statfs", "statx", "symlinkat", "sync",
    "sync_file_range", "syncfs", "sysinfo", "tee", "tgkill", "timer_create", "timer_delete",
    "timer_getoverrun", "timer_gettime", "timer_settime", "timerfd_create", "timerfd_gettime",
    "timerfd_settime", "times", "tkill", "truncate", "umask", "uname", "unlinkat", "utimensat",
    "vmsplice", "wait4", "waitid", "write", "writev",
];

/// Calls only x86-64 has: the older forms of those above.
#[rustfmt::skip]
pub(super) const ALLOWED_X86_64: &[&str] = &[
    "access", "alarm", "arch_prctl", "chmod", "chown", "creat", "dup2", "epoll_create",
    "epoll_wait", "eventfd", "fork", "futimesat", "getdents", "getpgrp", "inotify_init", "lchown",
    "link", "lstat", "mkdir", "mknod", "open", "pause", "pipe", "poll", "readlink", "rename",
    "rmdir", "select", "signalfd", "stat", "symlink", "time", "unlink", "utime", "utimes", "vfork",
];

/// Calls only 64-bit Arm needs.
pub(super) const ALLOWED_AARCH64: &[&str] = &["sync_file_range2"];

/// Unix sockets.
pub(super) const AF_UNIX: u64 = 1;
/// Families a socket may have: unix, inet, inet6, netlink. All others are refused, AF_ALG (38) and
/// AF_VSOCK (40) among them: each is kernel code jobs have no use for.
pub(super) const SOCKET_FAMILIES: &[u64] = &[AF_UNIX, 2, 10, 16];

/// Frames as they are on the wire: of use with CAP_NET_RAW only.
pub(super) const AF_PACKET: u64 = 17;

/// Execution domains: Linux, its variants for 32-bit and old uname, without address randomisation
/// (for debuggers), and asking which it is.
pub(super) const PERSONALITIES: &[u64] = &[
    0x0,
    0x0008,
    0x0002_0000,
    0x0002_0008,
    0x0004_0000,
    0xFFFF_FFFF,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_has_no_doubles() {
        for table in [ALLOWED, ALLOWED_X86_64, ALLOWED_AARCH64] {
            assert!(table.is_sorted_by(|a, b| a < b));
        }
        assert!(ALLOWED_X86_64.iter().all(|name| !ALLOWED.contains(name)));
    }

    #[test]
    fn what_escapes_are_made_of_is_not_in_it() {
        let forbidden = [
            "add_key",
            "bpf",
            "chroot",
            "clone3",
            "finit_module",
            "fsopen",
            "init_module",
            "io_uring_enter",
            "io_uring_register",
            "io_uring_setup",
            "kcmp",
            "kexec_load",
            "keyctl",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_by_handle_at",
            "open_tree",
            "perf_event_open",
            "pidfd_getfd",
            "pivot_root",
            "quotactl",
            "reboot",
            "request_key",
            "setdomainname",
            "sethostname",
            "setns",
            "socket",
            "swapon",
            "syslog",
            "umount2",
            "unshare",
            "userfaultfd",
        ];
        for name in forbidden {
            assert!(
                !ALLOWED.contains(&name) && !ALLOWED_X86_64.contains(&name),
                "{name}"
            );
        }
    }
}
