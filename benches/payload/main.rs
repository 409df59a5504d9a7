//! What the measured containers run: reads the clock first, then prints what it read.
//!
//!   payload                     prints CLOCK_BOOTTIME in nanoseconds and ends
//!   payload hold                prints it and stays until it is killed
//!   payload lines COUNT BYTES   prints it and COUNT numbered lines of BYTES bytes as fast as they are taken
//!   payload paced COUNT US      prints it and COUNT lines of 64 bytes, one each US microseconds, each with
//!                               its number and CLOCK_REALTIME in nanoseconds
//!   payload count MS            prints it and 0, 1, 2, …, one each MS milliseconds, until SIGTERM; then
//!                               `end N`, N being how many numbers it printed
//!
//! Linked statically and without Rust's own start-up, so that the stamp is as near to the first user
//! instruction as a C library allows. No time namespace is used: the clock is the host's.
#![no_main]

use std::ffi::{CStr, c_char, c_int, c_long};
use std::io::{self, StdoutLock, Write};
use std::sync::atomic::{AtomicBool, Ordering};

const CLOCK_REALTIME: c_int = 0;
const CLOCK_BOOTTIME: c_int = 7;
const SIGTERM: c_int = 15;
/// A program with full buffers of its own; half of what a pipe holds.
const WRITE_BYTES: usize = 32 * 1024;
const PACED_LINE_BYTES: usize = 64;

static ASKED_TO_END: AtomicBool = AtomicBool::new(false);

#[repr(C)]
struct Timespec {
    seconds: c_long,
    nanoseconds: c_long,
}

unsafe extern "C" {
    fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
    fn nanosleep(time: *const Timespec, left: *mut Timespec) -> c_int;
    fn signal(number: c_int, handler: extern "C" fn(c_int)) -> usize;
}

// SAFETY: the only `main` of the program; the C start-up code calls it once, as C's main.
#[unsafe(no_mangle)]
extern "C" fn main(argument_count: c_int, arguments: *const *const c_char) -> c_int {
    let stamp_ns = now_ns(CLOCK_BOOTTIME);
    let words: Vec<&str> = (1..usize::try_from(argument_count).unwrap_or(0))
        .map(|at| {
            // SAFETY: C's main is given `argument_count` pointers to strings that live as long as it.
            let word = unsafe { CStr::from_ptr(*arguments.add(at)) };
            word.to_str().unwrap_or_default()
        })
        .collect();
    let mut out = io::stdout().lock();
    let done = writeln!(out, "{stamp_ns}").and_then(|()| perform(&words, &mut out));
    match done {
        Ok(()) => 0,
        Err(_) => 2,
    }
}

fn perform(words: &[&str], out: &mut StdoutLock<'_>) -> io::Result<()> {
    let number = |word: &str| word.parse::<u64>().map_err(|_| io::ErrorKind::InvalidInput);
    match *words {
        [] => Ok(()),
        ["hold"] => loop {
            std::thread::park();
        },
        ["lines", count, bytes] => lines(number(count)?, number(bytes)?, out),
        ["paced", count, interval_us] => paced(number(count)?, number(interval_us)?, out),
        ["count", interval_ms] => count(number(interval_ms)?, out),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// `0000000000000042 xxxxx…`: the reader knows each line by its number.
fn lines(count: u64, bytes: u64, out: &mut StdoutLock<'_>) -> io::Result<()> {
    let filler = usize::try_from(bytes).unwrap_or(0).saturating_sub(18);
    let mut buffer = Vec::with_capacity(2 * WRITE_BYTES);
    for number in 0..count {
        let mut digits = [b'0'; 16];
        let mut rest = number;
        for digit in digits.iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        buffer.extend_from_slice(&digits);
        buffer.push(b' ');
        buffer.resize(buffer.len() + filler, b'x');
        buffer.push(b'\n');
        if buffer.len() >= WRITE_BYTES {
            out.write_all(&buffer)?;
            buffer.clear();
        }
    }
    out.write_all(&buffer)
}

fn paced(count: u64, interval_us: u64, out: &mut StdoutLock<'_>) -> io::Result<()> {
    for number in 0..count {
        sleep_ns(interval_us * 1_000);
        let mut line = format!("{number:016} {} ", now_ns(CLOCK_REALTIME)).into_bytes();
        line.resize(PACED_LINE_BYTES - 1, b'x');
        line.push(b'\n');
        out.write_all(&line)?;
    }
    Ok(())
}

fn count(interval_ms: u64, out: &mut StdoutLock<'_>) -> io::Result<()> {
    extern "C" fn ask_to_end(_: c_int) {
        ASKED_TO_END.store(true, Ordering::Relaxed);
    }
    // SAFETY: the handler only stores to an atomic.
    unsafe { signal(SIGTERM, ask_to_end) };
    let mut number: u64 = 0;
    while !ASKED_TO_END.load(Ordering::Relaxed) {
        writeln!(out, "{number}")?;
        number += 1;
        sleep_ns(interval_ms * 1_000_000);
    }
    writeln!(out, "end {number}")
}

fn now_ns(clock: c_int) -> c_long {
    let mut now = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: `now` is a live timespec of the C library's layout. It fails only for unknown clocks.
    unsafe { clock_gettime(clock, &raw mut now) };
    now.seconds * 1_000_000_000 + now.nanoseconds
}

/// Unlike the standard library's, ended early by a signal.
fn sleep_ns(ns: u64) {
    let part = |value: u64| c_long::try_from(value).unwrap_or(0);
    let time = Timespec { seconds: part(ns / 1_000_000_000), nanoseconds: part(ns % 1_000_000_000) };
    // SAFETY: `time` is a live timespec, and no time left is asked for.
    unsafe { nanosleep(&raw const time, std::ptr::null_mut()) };
}
