//! A library to be preloaded: counts the allocations of a program, and of all processes forked from it.
//!
//! ```text
//!  $COUNT_ALLOCATIONS_IN/<program> ◄── shared mapping ── malloc, calloc, realloc, memalign … ──► the C library's own
//! ```
//!
//! So what is counted is the program as it ships, not one built to be counted. The file holds two native-endian 64-bit
//! numbers: allocations, and the bytes that were asked for. Forked processes add to the same file.
//!
//! Invariants: where the file cannot be made, nothing is counted and the program runs on; counting allocates nothing.
//! Absent on purpose: `free`, call stacks, C libraries other than glibc, which has the allocator under second names.

mod sys;
