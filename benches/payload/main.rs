//! What the measured containers run: reads the clock first, then prints what it read.
//!
//!   payload        prints CLOCK_BOOTTIME in nanoseconds and ends
//!   payload hold   prints it and stays until it is killed
//!
//! Linked statically and without Rust's own start-up, so that the stamp is as near to the first user
//! instruction as a C library allows. No time namespace is used: the clock is the host's.
#![no_main]

use std::ffi::{c_char, c_int, c_long};
use std::io::Write as _;

const CLOCK_BOOTTIME: c_int = 7;

#[repr(C)]
struct Timespec {
    seconds: c_long,
    nanoseconds: c_long,
}

unsafe extern "C" {
    fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
}

// SAFETY: the only `main` of the program; the C start-up code calls it once, as C's main.
#[unsafe(no_mangle)]
extern "C" fn main(argument_count: c_int, _arguments: *const *const c_char) -> c_int {
    let mut now = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: `now` is a live timespec of the C library's layout.
    let status = unsafe { clock_gettime(CLOCK_BOOTTIME, &raw mut now) };
    if status != 0 {
        return 1;
    }
    let stamp_ns = now.seconds * 1_000_000_000 + now.nanoseconds;
    if writeln!(std::io::stdout(), "{stamp_ns}").is_err() {
        return 2;
    }
    // Any argument means hold.
    while argument_count > 1 {
        std::thread::park();
    }
    0
}
