//! What the shim and the first process of a warm slot say to each other, on the process's descriptor 4. Part of
//! both programs.
//!
//! ```text
//!  init ──► shim   READY                      it is in its container, with its rights given up
//!  shim ──► init   u32 bytes of the message   none longer than MESSAGE_BYTES_MAX
//!                  the message
//!  init ──► shim   (end of stream)            the program runs: the socket was closed by execve(2)
//!             or   u32 errno                  it cannot be executed
//!
//!  message:  u64 words   candidates… 0 arguments… 0 variables… 0      each the offset of a string
//!            bytes       the strings, each with its NUL
//! ```
//!
//! Numbers are in the machine's own byte order. Offset 0 is the table itself, so 0 can mean "no more", and
//! [`OWN_HOME`] lies in the table as well.

/// The byte that says: in place and waiting.
pub(crate) const READY: u8 = b'R';

/// Longest message. Its buffer is memory only as far as it was written.
pub(crate) const MESSAGE_BYTES_MAX: usize = 2 << 20;

/// Instead of the last variable: the HOME the runtime has given the process, if it has.
pub(crate) const OWN_HOME: u64 = 1;
