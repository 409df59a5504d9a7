//! The seccomp profile: what is not allowed is refused with EPERM.
//!
//! Only the native architecture is in it: a program of another (32-bit x86, x32) is killed at its
//! first call, because its calls have other numbers and its `socketcall` hides its arguments.
//! Calls that reach into other processes (`ptrace`, `process_vm_*`) stay within the job's own pid
//! namespace and are allowed, as debuggers and leak checkers need them; `pidfd_getfd`, `kcmp`, `bpf`,
//! `perf_event_open`, `userfaultfd`, key rings, mounts, namespaces and io_uring are not.
//! A capability opens what it is of no use without, and nothing else: `chroot`, packet sockets.

use std::collections::BTreeSet;

use davit_types::Capability;
use oci_spec::runtime::{
    Arch as SeccompArch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompBuilder, LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};

use super::seccomp_table::{
    AF_PACKET, ALLOWED, ALLOWED_AARCH64, ALLOWED_X86_64, PERSONALITIES, SOCKET_FAMILIES,
};
use super::{Arch, SpecError};

/// `CLONE_NEW*`: a clone with any of these bits makes a namespace.
const CLONE_NAMESPACE_FLAGS: u64 = 0x7E02_0080;
/// The kernel looks at the lower half of an `int` argument only; comparing all 64 bits would let
/// `family + 2^32` pass.
const INT_MASK: u64 = 0xFFFF_FFFF;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

pub(super) fn profile(
    arch: Arch,
    capabilities: &BTreeSet<Capability>,
) -> Result<LinuxSeccomp, SpecError> {
    let (seccomp_arch, own) = match arch {
        Arch::X86_64 => (SeccompArch::ScmpArchX86_64, ALLOWED_X86_64),
        Arch::Aarch64 => (SeccompArch::ScmpArchAarch64, ALLOWED_AARCH64),
    };
    let mut rules = vec![allow(ALLOWED, Vec::new())?, allow(own, Vec::new())?];
    rules.push(allow(
        &["clone"],
        vec![argument(0, CLONE_NAMESPACE_FLAGS, 0)?],
    )?);
    // Its flags are behind a pointer, out of a filter's sight; libc falls back to clone on ENOSYS.
    rules.push(refuse(&["clone3"], ENOSYS)?);
    let packet = capabilities.contains(&Capability::NetRaw);
    for family in SOCKET_FAMILIES.iter().chain(packet.then_some(&AF_PACKET)) {
        rules.push(allow(&["socket"], vec![argument(0, INT_MASK, *family)?])?);
    }
    if capabilities.contains(&Capability::SysChroot) {
        rules.push(allow(&["chroot"], Vec::new())?);
    }
    rules.push(allow(
        &["socketpair"],
        vec![argument(0, INT_MASK, super::seccomp_table::AF_UNIX)?],
    )?);
    for persona in PERSONALITIES {
        rules.push(allow(
            &["personality"],
            vec![argument(0, INT_MASK, *persona)?],
        )?);
    }
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(EPERM)
        .architectures(vec![seccomp_arch])
        .syscalls(rules)
        .build()
        .map_err(SpecError::part("seccomp profile"))
}

fn allow(names: &[&str], args: Vec<LinuxSeccompArg>) -> Result<LinuxSyscall, SpecError> {
    let mut rule = LinuxSyscallBuilder::default()
        .names(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>())
        .action(LinuxSeccompAction::ScmpActAllow);
    if !args.is_empty() {
        rule = rule.args(args);
    }
    rule.build().map_err(SpecError::part("seccomp rule"))
}

fn refuse(names: &[&str], errno: u32) -> Result<LinuxSyscall, SpecError> {
    LinuxSyscallBuilder::default()
        .names(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>())
        .action(LinuxSeccompAction::ScmpActErrno)
        .errno_ret(errno)
        .build()
        .map_err(SpecError::part("seccomp rule"))
}

/// `argument & mask == wanted` (libseccomp takes the mask as value and the datum as second value).
fn argument(index: usize, mask: u64, wanted: u64) -> Result<LinuxSeccompArg, SpecError> {
    LinuxSeccompArgBuilder::default()
        .index(index)
        .value(mask)
        .value_two(wanted)
        .op(LinuxSeccompOperator::ScmpCmpMaskedEq)
        .build()
        .map_err(SpecError::part("seccomp argument"))
}
