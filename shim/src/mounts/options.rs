//! The words of mount(8), taken apart.

use rustix::mount::{MountFlags, MountPropagationFlags};

/// mount(8) words that are flags of mount(2): (word, flag, whether the word clears it).
const FLAGS: &[(&str, MountFlags, bool)] = &[
    ("ro", MountFlags::RDONLY, false),
    ("rw", MountFlags::RDONLY, true),
    ("nosuid", MountFlags::NOSUID, false),
    ("suid", MountFlags::NOSUID, true),
    ("nodev", MountFlags::NODEV, false),
    ("dev", MountFlags::NODEV, true),
    ("noexec", MountFlags::NOEXEC, false),
    ("exec", MountFlags::NOEXEC, true),
    ("sync", MountFlags::SYNCHRONOUS, false),
    ("async", MountFlags::SYNCHRONOUS, true),
    ("dirsync", MountFlags::DIRSYNC, false),
    ("noatime", MountFlags::NOATIME, false),
    ("atime", MountFlags::NOATIME, true),
    ("nodiratime", MountFlags::NODIRATIME, false),
    ("diratime", MountFlags::NODIRATIME, true),
    ("relatime", MountFlags::RELATIME, false),
    ("norelatime", MountFlags::RELATIME, true),
    ("strictatime", MountFlags::STRICTATIME, false),
];

/// The parts of a list of mount(8) options.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) flags: MountFlags,
    pub(super) bind: bool,
    pub(super) recursive: bool,
    pub(super) propagation: Option<MountPropagationFlags>,
    /// What the file system itself is told.
    pub(super) data: Vec<String>,
}

impl Options {
    pub(super) fn parse(words: &[String]) -> Self {
        let mut options = Self {
            flags: MountFlags::empty(),
            bind: false,
            recursive: false,
            propagation: None,
            data: Vec::new(),
        };
        for word in words {
            let recursive = MountPropagationFlags::REC;
            match word.as_str() {
                "defaults" | "loop" => {}
                "bind" => options.bind = true,
                "rbind" => (options.bind, options.recursive) = (true, true),
                "private" => options.propagation = Some(MountPropagationFlags::PRIVATE),
                "rprivate" => {
                    options.propagation = Some(MountPropagationFlags::PRIVATE | recursive)
                }
                "shared" => options.propagation = Some(MountPropagationFlags::SHARED),
                "rshared" => options.propagation = Some(MountPropagationFlags::SHARED | recursive),
                "slave" => options.propagation = Some(MountPropagationFlags::DOWNSTREAM),
                "rslave" => {
                    options.propagation = Some(MountPropagationFlags::DOWNSTREAM | recursive);
                }
                _ => match FLAGS.iter().find(|(name, ..)| name == word) {
                    Some((_, flag, true)) => options.flags.remove(*flag),
                    Some((_, flag, false)) => options.flags.insert(*flag),
                    None => options.data.push(word.clone()),
                },
            }
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn options_are_flags_propagation_or_data() {
        let options = Options::parse(&words("ro nosuid rbind rprivate index=off lowerdir=/a:/b"));
        assert_eq!(options.flags, MountFlags::RDONLY | MountFlags::NOSUID);
        assert!(options.bind && options.recursive);
        assert_eq!(
            options.propagation,
            Some(MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        );
        assert_eq!(options.data, ["index=off", "lowerdir=/a:/b"]);
        assert_eq!(Options::parse(&words("ro rw")).flags, MountFlags::empty());
    }
}
