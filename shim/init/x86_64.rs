//! Entry point and system calls of x86-64 (System V ABI, x86-64 psABI; Linux's syscall(2)).

use core::arch::{asm, global_asm};

pub(crate) const READ: usize = 0;
pub(crate) const WRITE: usize = 1;
pub(crate) const EXECVE: usize = 59;
pub(crate) const FCNTL: usize = 72;
pub(crate) const EXIT_GROUP: usize = 231;

// The kernel enters with argc at the stack's top; calls want it aligned to 16 bytes.
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call begin",
    "ud2",
);

/// One system call: its result, or an errno less than zero.
///
/// # Safety
/// That of the call itself: what it is given to write to must be writable.
pub(crate) unsafe fn syscall(name: usize, first: usize, second: usize, third: usize) -> isize {
    let result;
    // SAFETY: the kernel changes rax, rcx, r11 and the memory the caller vouches for.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") name => result,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}
