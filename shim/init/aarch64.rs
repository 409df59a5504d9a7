//! Entry point and system calls of 64-bit ARM (AAPCS64; Linux's syscall(2)).

use core::arch::{asm, global_asm};

pub(crate) const FCNTL: usize = 25;
pub(crate) const READ: usize = 63;
pub(crate) const WRITE: usize = 64;
pub(crate) const EXIT_GROUP: usize = 94;
pub(crate) const EXECVE: usize = 221;

// The kernel enters with argc at the stack's top, which is aligned.
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "bl begin",
    "brk #0",
);

/// One system call: its result, or an errno less than zero.
///
/// # Safety
/// That of the call itself: what it is given to write to must be writable.
pub(crate) unsafe fn syscall(name: usize, first: usize, second: usize, third: usize) -> isize {
    let result;
    // SAFETY: the kernel changes x0 and the memory the caller vouches for.
    unsafe {
        asm!(
            "svc #0",
            in("x8") name,
            inlateout("x0") first => result,
            in("x1") second,
            in("x2") third,
            options(nostack),
        );
    }
    result
}
