//! The first process of a warm slot: waits to be told its program, then becomes it.
//!
//! ```text
//!  runtime create ─► execve(/proc/self/fd/3) ─► 3, 4 close on exec ─► "ready" ─► message ─► execve(program)
//!                                                                        │           │
//!                                                            end of stream: exit 0   errno, exit 127
//! ```
//!
//! A program of its own, without libc and without `core`'s formatting: some pages of memory a slot, and nothing
//! between the message and execve but one pass over a table. It runs inside the container with the job's user,
//! capabilities and seccomp filter, so all it may need are read, write, fcntl, execve and exit_group.
//!
//! The container sees this file as a sealed memfd: nobody can write it, so a job that gets hold of its own
//! `/proc/1/exe` has nothing of the host's in hand (the way of CVE-2019-5736). What it reads comes from the shim,
//! which is trusted: lengths are checked, contents are not.
//!
//! Absent on purpose: signals (as pid 1 it is deaf to all but the host's SIGKILL), a second thread, a heap, any
//! way back: what could not be executed ends here.

#![no_std]
#![no_main]
#![allow(
    unsafe_code,
    reason = "a program without a standard library is system calls and pointers"
)]

mod protocol;

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
mod arch;

use arch::{EXECVE, EXIT_GROUP, FCNTL, READ, WRITE, syscall};
use protocol::{MESSAGE_BYTES_MAX, OWN_HOME, READY};

const F_SETFD: usize = 2;
const FD_CLOEXEC: usize = 1;
const ENOENT: usize = 2;
const EINTR: usize = 4;
const EACCES: usize = 13;
const ENOTDIR: usize = 20;

/// Where the runtime has put this program and its socket.
const EXECUTABLE_FD: i32 = 3;
const SOCKET_FD: i32 = 4;

/// Exit statuses: never told a program; cannot be of use; the program could not be executed, as shells have it.
const NOT_NEEDED: i32 = 0;
const BROKEN: i32 = 1;
const NOT_EXECUTED: i32 = 127;

const WORDS_MAX: usize = MESSAGE_BYTES_MAX / size_of::<u64>();

/// Zero pages until a message is read into it. Words, for the table at its beginning.
static mut MESSAGE: [u64; WORDS_MAX] = [0; WORDS_MAX];

/// Called by the entry point with the stack as the kernel has made it: argc, argv…, 0, envp…, 0.
#[unsafe(no_mangle)]
extern "C" fn begin(stack: *const usize) -> ! {
    for fd in [EXECUTABLE_FD, SOCKET_FD] {
        // SAFETY: fcntl takes numbers.
        if unsafe { syscall(FCNTL, number(fd), F_SETFD, FD_CLOEXEC) } != 0 {
            exit(BROKEN);
        }
    }
    tell(&[READY]);
    let mut len = 0_u32;
    // SAFETY: the buffer is `len` and as long as it.
    unsafe { receive((&raw mut len).cast(), size_of::<u32>()) };
    let len = len as usize;
    if len > MESSAGE_BYTES_MAX {
        exit(BROKEN);
    }
    let message = (&raw mut MESSAGE).cast::<u64>();
    // SAFETY: the message fits, as just checked; nothing else uses it. The kernel's stack is what it was.
    let errno = unsafe {
        receive(message.cast(), len);
        execute(message, own_home(stack))
    };
    tell(&errno.to_ne_bytes());
    exit(NOT_EXECUTED)
}

/// Becomes the first candidate that can be executed; returns why none could.
///
/// # Safety
/// `message` is one as [`protocol`] describes it.
unsafe fn execute(message: *mut u64, home: usize) -> u32 {
    // SAFETY: each table ends with a zero and is followed by the next, as the caller promises.
    unsafe {
        let arguments = relocate(message, message, home);
        let variables = relocate(message, arguments, home);
        relocate(message, variables, home);
        let mut refused = ENOENT;
        let mut candidate = message;
        while *candidate != 0 {
            let result = syscall(
                EXECVE,
                *candidate as usize,
                arguments as usize,
                variables as usize,
            );
            match result.unsigned_abs() {
                // As execvp(3): it may be in the next directory.
                ENOENT | ENOTDIR => {}
                EACCES => refused = EACCES,
                errno => return errno as u32,
            }
            candidate = candidate.add(1);
        }
        refused as u32
    }
}

/// Turns the offsets of one table into addresses; returns the table behind it.
///
/// # Safety
/// As for [`execute`]; `table` is one of the message's.
unsafe fn relocate(message: *mut u64, table: *mut u64, home: usize) -> *mut u64 {
    let mut entry = table;
    loop {
        // SAFETY: the table ends with a zero, and the walk ends there.
        unsafe {
            let word = *entry;
            *entry = match word {
                0 => return entry.add(1),
                // The last of its table: without one the table ends here.
                OWN_HOME => home as u64,
                offset => message as u64 + offset,
            };
            entry = entry.add(1);
        }
    }
}

/// The address of `HOME=…` among this process's own variables, or 0.
///
/// # Safety
/// `stack` is as the kernel has made it.
unsafe fn own_home(stack: *const usize) -> usize {
    // SAFETY: argc counts the arguments; they and the variables end with a zero each; strings end with NUL.
    unsafe {
        let mut variable = stack.add(1 + *stack + 1);
        while *variable != 0 {
            let text = *variable as *const u8;
            if b"HOME="
                .iter()
                .zip(0..)
                .all(|(byte, at)| *text.add(at) == *byte)
            {
                return *variable;
            }
            variable = variable.add(1);
        }
    }
    0
}

/// Fills `len` bytes at `buffer` from the socket. At its end there is nothing to be executed, and so no reason
/// to be: the shim has died or does not need this slot.
///
/// # Safety
/// `len` bytes at `buffer` can be written.
unsafe fn receive(mut buffer: *mut u8, mut len: usize) {
    while len > 0 {
        // SAFETY: the kernel writes at most `len` bytes.
        let read = unsafe { syscall(READ, number(SOCKET_FD), buffer as usize, len) };
        if read == 0 {
            exit(NOT_NEEDED);
        }
        match usize::try_from(read) {
            Ok(read) => {
                // SAFETY: the kernel reads no more than it was asked for.
                buffer = unsafe { buffer.add(read) };
                len -= read;
            }
            Err(_) if read.unsigned_abs() == EINTR => {}
            Err(_) => exit(BROKEN),
        }
    }
}

/// Sends a few bytes. The socket has room for them, or nobody to read them: then the next read says so.
fn tell(bytes: &[u8]) {
    // SAFETY: the kernel reads `bytes` and no more.
    unsafe {
        syscall(
            WRITE,
            number(SOCKET_FD),
            bytes.as_ptr() as usize,
            bytes.len(),
        )
    };
}

fn exit(status: i32) -> ! {
    loop {
        // SAFETY: ends the process.
        unsafe { syscall(EXIT_GROUP, number(status), 0, 0) };
    }
}

/// A small number as system calls take it.
const fn number(value: i32) -> usize {
    value as usize
}

#[panic_handler]
fn panicked(_why: &core::panic::PanicInfo<'_>) -> ! {
    exit(BROKEN)
}
