//! Being another user towards file systems, for the length of a call, with all capabilities kept.

use std::io;

use libc::c_int;

/// secure bits (capabilities(7)): changing users changes no capabilities.
const NO_SETUID_FIXUP: libc::c_ulong = 1 << 2;

/// Does `action` with `id` as user and group of file system operations (setfsuid(2)). The calling thread alone is
/// that, and is root again afterwards.
///
/// # Errors
/// When the thread cannot become it. One that cannot be root again ends the process: nothing it did from there on would
/// be what was meant.
pub(crate) fn with_fs_user<T>(id: u32, action: impl FnOnce() -> T) -> io::Result<T> {
    let before = secure_bits()?;
    set_secure_bits(before | NO_SETUID_FIXUP)?;
    let there = become_fs_user(id);
    let done = there.is_ok().then(action);
    if let Err(error) = become_fs_user(0).and_then(|()| set_secure_bits(before)) {
        log::error!("cannot be root again: {error}");
        std::process::abort();
    }
    there.and(done.ok_or_else(|| io::Error::other("nothing was done")))
}

fn become_fs_user(id: u32) -> io::Result<()> {
    // SAFETY: these calls change numbers of the calling thread and touch no memory. They do not tell whether they worked:
    // asked for the impossible (-1) they change nothing and return what is the case.
    let now = unsafe {
        libc::setfsgid(id);
        libc::setfsuid(id);
        (libc::setfsuid(u32::MAX), libc::setfsgid(u32::MAX))
    };
    let id = id.cast_signed();
    if now == (id, id) {
        return Ok(());
    }
    Err(io::Error::from_raw_os_error(libc::EPERM))
}

fn secure_bits() -> io::Result<libc::c_ulong> {
    // SAFETY: asks for a number.
    let bits = unsafe { libc::prctl(libc::PR_GET_SECUREBITS) };
    libc::c_ulong::try_from(bits).map_err(|_| io::Error::last_os_error())
}

fn set_secure_bits(bits: libc::c_ulong) -> io::Result<()> {
    // SAFETY: sets a number of the calling thread.
    let set: c_int = unsafe { libc::prctl(libc::PR_SET_SECUREBITS, bits) };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn files_made_meanwhile_are_the_others_and_no_right_is_lost() {
        if !rustix::process::geteuid().is_root() {
            assert!(with_fs_user(7, || ()).is_err());
            return;
        }
        let status = || fs::read_to_string("/proc/thread-self/status").unwrap();
        let before = status();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        let capabilities = |status: &str| {
            let of = |line: &&str| line.starts_with("Cap");
            status
                .lines()
                .filter(of)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let during = with_fs_user(7, || {
            // The directory is root's, and nobody else's to write to.
            fs::write(&file, "").unwrap();
            status()
        });
        assert_eq!(capabilities(&during.unwrap()), capabilities(&before));
        let meta = fs::metadata(&file).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (7, 7));
        let stable = |text: &str| {
            let switches = |line: &&str| {
                !line.contains("ctxt") && !line.starts_with("Vm") && !line.starts_with("Rss")
            };
            text.lines()
                .filter(switches)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(stable(&status()), stable(&before));
    }
}
