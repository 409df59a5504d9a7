//! The kernel's own times of execs and exits, from its performance events (perf_event_open(2)).
//!
//! Unsafe because neither std nor rustix has the call, and the ring it fills is shared memory. The
//! kernel stamps each record when it happens, on the clock asked for: no polling, no tracefs, no
//! wake-up of ours is in the figure. One event a CPU, as inherited events cannot have a ring.

#![allow(unsafe_code, reason = "see the module")]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

/// Pages of one ring: a power of two; what does not fit is told as lost, and fails the test.
const RING_PAGES: usize = 1 << 11;

// From linux/perf_event.h.
const TYPE_SOFTWARE: u32 = 1;
const COUNT_SW_DUMMY: u64 = 9;
const SAMPLE_TID_AND_TIME: u64 = (1 << 1) | (1 << 2);
const FLAG_COMM: u64 = 1 << 9;
const FLAG_TASK: u64 = 1 << 13;
const FLAG_SAMPLE_ID_ALL: u64 = 1 << 18;
const FLAG_COMM_EXEC: u64 = 1 << 24;
const FLAG_USE_CLOCKID: u64 = 1 << 25;
const OPEN_CLOEXEC: libc::c_ulong = 1 << 3;
const RECORD_LOST: u32 = 2;
const RECORD_COMM: u32 = 3;
const RECORD_EXIT: u32 = 4;
const MISC_COMM_EXEC: u16 = 1 << 13;
const DATA_HEAD_AT: usize = 1024;

/// `struct perf_event_attr` as far as PERF_ATTR_SIZE_VER5.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    breakpoint: [u64; 2],
    branch_sample_type: u64,
    sample_regs_user: u64,
    sample_stack_user: u32,
    clock: i32,
    sample_regs_intr: u64,
    aux_watermark: u32,
    sample_max_stack: u16,
    reserved: u16,
}

/// What the kernel saw of one process, nanoseconds of CLOCK_BOOTTIME.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    pub exec_ns: u64,
    pub exit_ns: u64,
}

/// Records execs and exits of all processes while it lives.
pub struct ProcessTimes {
    rings: Vec<Ring>,
}

impl ProcessTimes {
    pub fn record() -> std::io::Result<Self> {
        let cpus = std::fs::read_to_string("/sys/devices/system/cpu/online")?;
        let rings = cpu_numbers(&cpus).map(Ring::open);
        Ok(Self {
            rings: rings.collect::<Result<_, _>>()?,
        })
    }

    /// The last exec of process `pid` and its exit; `pid` as this process's pid namespace has it.
    pub fn of(&self, pid: u32) -> Option<Lifetime> {
        let mut exec = None;
        let mut exit = None;
        for record in self.rings.iter().flat_map(Ring::records) {
            match record.kind {
                RECORD_COMM if record.tid == pid && record.misc & MISC_COMM_EXEC != 0 => {
                    exec = exec.max(Some(record.time_ns));
                }
                RECORD_EXIT if record.tid == pid => exit = exit.max(Some(record.time_ns)),
                RECORD_LOST => panic!("the ring is too small for what this host does"),
                _ => {}
            }
        }
        Some(Lifetime {
            exec_ns: exec?,
            exit_ns: exit?,
        })
    }
}

/// The numbers in a list such as `0-3,5`.
fn cpu_numbers(list: &str) -> impl Iterator<Item = i32> {
    list.trim().split(',').flat_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse::<i32>().unwrap()..=last.parse().unwrap()
    })
}

struct Record {
    kind: u32,
    misc: u16,
    tid: u32,
    time_ns: u64,
}

/// One CPU's event and what it wrote so far.
struct Ring {
    _event: OwnedFd,
    memory: *mut u8,
    bytes: usize,
    page_bytes: usize,
}

impl Ring {
    fn open(cpu: i32) -> std::io::Result<Self> {
        let attributes = Attributes {
            kind: TYPE_SOFTWARE,
            size: u32::try_from(size_of::<Attributes>()).unwrap(),
            config: COUNT_SW_DUMMY,
            sample_type: SAMPLE_TID_AND_TIME,
            flags: FLAG_COMM | FLAG_TASK | FLAG_SAMPLE_ID_ALL | FLAG_COMM_EXEC | FLAG_USE_CLOCKID,
            clock: libc::CLOCK_BOOTTIME,
            ..Attributes::default()
        };
        let (every_process, no_group) = (-1, -1);
        // SAFETY: `attributes` is a whole perf_event_attr of the size it states, read during the call.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attributes,
                every_process,
                cpu,
                no_group,
                OPEN_CLOEXEC,
            )
        };
        let Ok(fd) = i32::try_from(fd).and_then(u32::try_from) else {
            return Err(std::io::Error::last_os_error());
        };
        // SAFETY: the call succeeded, so this is a descriptor that nobody else owns.
        let event = unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()) };
        let page_bytes = rustix::param::page_size();
        let bytes = (1 + RING_PAGES) * page_bytes;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                event.as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        Ok(Self {
            _event: event,
            memory: memory.cast(),
            bytes,
            page_bytes,
        })
    }

    /// All records; the tail is never moved, so none is overwritten and the ring never wraps.
    fn records(&self) -> Vec<Record> {
        // SAFETY: data_head lies in the first page, aligned, and is written by the kernel only.
        let head = unsafe { &*self.memory.add(DATA_HEAD_AT).cast::<AtomicU64>() };
        let written = usize::try_from(head.load(Ordering::Acquire)).unwrap();
        // SAFETY: the data follows the first page; what is below the head is written and stays.
        let data = unsafe { std::slice::from_raw_parts(self.memory.add(self.page_bytes), written) };
        let mut records = Vec::new();
        let mut at = 0;
        while let Some(record) = data.get(at..).filter(|rest| !rest.is_empty()) {
            let size = usize::from(u16::from_ne_bytes(field(record, 6)));
            let record = &record[..size];
            records.push(Record {
                kind: u32::from_ne_bytes(field(record, 0)),
                misc: u16::from_ne_bytes(field(record, 4)),
                // Every record ends with the thread it is of, and the time.
                tid: u32::from_ne_bytes(field(record, size - 12)),
                time_ns: u64::from_ne_bytes(field(record, size - 8)),
            });
            at += size;
        }
        records
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone, of this size, and no reference into it is left.
        unsafe { libc::munmap(self.memory.cast(), self.bytes) };
    }
}

fn field<const N: usize>(record: &[u8], at: usize) -> [u8; N] {
    record[at..at + N].try_into().unwrap()
}
