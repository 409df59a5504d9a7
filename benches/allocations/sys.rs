//! The allocator's entry points, and the mapping they count in.
//!
//! Unsafe because these functions are C's. Invariants: every call is handed on as it came; [`COUNTED`] is null or points
//! to a [`Counted`] that is mapped until the process ends.
#![allow(unsafe_code, reason = "see above")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

const DIRECTORY: &CStr = c"COUNT_ALLOCATIONS_IN";
const PATH_BYTES_MAX: usize = 4_096;

#[repr(C)]
struct Counted {
    allocations: AtomicU64,
    bytes: AtomicU64,
}

static COUNTED: AtomicPtr<Counted> = AtomicPtr::new(ptr::null_mut());

unsafe extern "C" {
    fn __libc_malloc(bytes: usize) -> *mut c_void;
    fn __libc_calloc(items: usize, bytes: usize) -> *mut c_void;
    fn __libc_realloc(old: *mut c_void, bytes: usize) -> *mut c_void;
    fn __libc_memalign(alignment: usize, bytes: usize) -> *mut c_void;
}

/// The loader calls it before the program begins.
#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = begin;

extern "C" fn begin() {
    let mut path = [0u8; PATH_BYTES_MAX];
    if file_of_this_program(&mut path).is_none() {
        return;
    }
    // SAFETY: the path ends in NUL; the descriptor is this function's; a failure leaves nothing mapped.
    unsafe {
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_CLOEXEC;
        let file = libc::open(path.as_ptr().cast(), flags, 0o600);
        if file < 0 {
            return;
        }
        let bytes = size_of::<Counted>();
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // As long as it has to be, and never shorter again: another process may have it mapped.
        let mapped = if libc::posix_fallocate(file, 0, bytes as libc::off_t) == 0 {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                protection,
                libc::MAP_SHARED,
                file,
                0,
            )
        } else {
            libc::MAP_FAILED
        };
        libc::close(file);
        if mapped != libc::MAP_FAILED {
            COUNTED.store(mapped.cast(), Ordering::Release);
        }
    }
}

/// Writes `<directory>/<program>` and a NUL into `path`.
fn file_of_this_program(path: &mut [u8; PATH_BYTES_MAX]) -> Option<()> {
    let mut exe = [0u8; PATH_BYTES_MAX];
    // SAFETY: the names end in NUL, the buffer is as long as is said, the variable is not changed meanwhile.
    let (directory, bytes) = unsafe {
        let directory = libc::getenv(DIRECTORY.as_ptr());
        if directory.is_null() {
            return None;
        }
        let link = c"/proc/self/exe".as_ptr();
        let bytes = libc::readlink(link, exe.as_mut_ptr().cast::<c_char>(), exe.len());
        (CStr::from_ptr(directory).to_bytes(), bytes)
    };
    let exe = exe.get(..usize::try_from(bytes).ok()?)?;
    let program = exe.rsplit(|byte| *byte == b'/').next()?;
    let (before, rest) = path.split_at_mut_checked(directory.len())?;
    before.copy_from_slice(directory);
    let (slash, rest) = rest.split_first_mut()?;
    *slash = b'/';
    let (name, rest) = rest.split_at_mut_checked(program.len())?;
    name.copy_from_slice(program);
    rest.first().map(|_| ())
}

fn count(bytes: usize) {
    // SAFETY: see the module.
    if let Some(counted) = unsafe { COUNTED.load(Ordering::Acquire).as_ref() } {
        counted.allocations.fetch_add(1, Ordering::Relaxed);
        counted.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn malloc(bytes: usize) -> *mut c_void {
    count(bytes);
    // SAFETY: as the caller's.
    unsafe { __libc_malloc(bytes) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn calloc(items: usize, bytes: usize) -> *mut c_void {
    count(items.saturating_mul(bytes));
    // SAFETY: as the caller's.
    unsafe { __libc_calloc(items, bytes) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(old: *mut c_void, bytes: usize) -> *mut c_void {
    count(bytes);
    // SAFETY: as the caller's.
    unsafe { __libc_realloc(old, bytes) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memalign(alignment: usize, bytes: usize) -> *mut c_void {
    count(bytes);
    // SAFETY: as the caller's.
    unsafe { __libc_memalign(alignment, bytes) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn aligned_alloc(alignment: usize, bytes: usize) -> *mut c_void {
    count(bytes);
    // SAFETY: as the caller's.
    unsafe { __libc_memalign(alignment, bytes) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(to: *mut *mut c_void, alignment: usize, bytes: usize) -> c_int {
    if !alignment.is_power_of_two() || !alignment.is_multiple_of(size_of::<*mut c_void>()) {
        return libc::EINVAL;
    }
    count(bytes);
    // SAFETY: as the caller's; `to` is where the answer goes.
    unsafe {
        let made = __libc_memalign(alignment, bytes);
        if made.is_null() {
            return libc::ENOMEM;
        }
        *to = made;
    }
    0
}
