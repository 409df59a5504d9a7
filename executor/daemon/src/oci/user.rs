//! Whom the job runs as: `user[:group]` looked up in the image's own /etc/passwd and /etc/group, the
//! way Docker does. Both files are hostile input: bounded, and read without leaving the image.

use crate::containerd::Mount;
use crate::images::ImageConfig;
use davit_types::{FieldError, RunSpec};

use super::rootfs::{Layers, RootfsError};

/// Largest passwd or group file read, bytes.
const FILE_BYTES_MAX: usize = 1 << 20;
/// Most supplementary groups (Linux allows 65536).
const GROUPS_MAX: usize = 1_024;
/// Bytes of a home directory.
const HOME_BYTES_MAX: usize = 4_095;
/// Largest id; the ones above are negative to many programs, the last one means "unchanged".
const ID_MAX: u32 = i32::MAX as u32;

/// Numbers for the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups, the primary one among them.
    pub additional_gids: Vec<u32>,
    /// Home directory, where the image's passwd names one.
    pub home: Option<String>,
}

/// Why there is no such user.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The name is not in the image, or no number is in range.
    #[error("{0}")]
    Unknown(FieldError),
    /// The image's files cannot be read.
    #[error("cannot look up user `{user}` in the image")]
    Rootfs {
        /// As asked for.
        user: String,
        /// Why not.
        #[source]
        source: RootfsError,
    },
}

/// The user to look up: the run's, else the image's, else root.
#[must_use]
pub fn user_text<'a>(run: &'a RunSpec, image: &'a ImageConfig) -> &'a str {
    run.user.as_deref().unwrap_or(&image.user)
}

/// Looks `user` up in the root file system that `mounts` describe, as a snapshot's prepare returned
/// them. Blocking: reads two small files.
///
/// # Errors
/// [`UserError::Unknown`] with a field error on `user` when the image has no such name.
pub fn resolve_user(mounts: &[Mount], user: &str) -> Result<ResolvedUser, UserError> {
    let broken = |source| UserError::Rootfs {
        user: user.to_owned(),
        source,
    };
    let layers = Layers::open(mounts).map_err(broken)?;
    let read = |path| -> Result<String, UserError> {
        let bytes = layers.read(path, FILE_BYTES_MAX).map_err(broken)?;
        // Names are ASCII; a stray byte elsewhere must not make every user unknown.
        Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    };
    let passwd = read("etc/passwd")?;
    let group = read("etc/group")?;
    look_up(user, &passwd, &group).map_err(UserError::Unknown)
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn look_up(text: &str, passwd: &str, group: &str) -> Result<ResolvedUser, FieldError> {
    let unknown = |problem: String| FieldError::new("user", text, problem);
    let (user, wanted_group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = id(user);
    // A name of digits only is a number, if one line has it as uid or not.
    let entry = passwd_entries(passwd)
        .find(|entry| number.map_or(entry.name == user, |uid| entry.uid == uid));
    let uid = match (&entry, number) {
        (Some(entry), _) => entry.uid,
        (None, Some(uid)) => uid,
        (None, None) if user.bytes().all(|b| b.is_ascii_digit()) => {
            return Err(unknown(format!("is above the largest id {ID_MAX}")));
        }
        (None, None) => {
            return Err(unknown(
                "is not in the image's /etc/passwd; use a number".to_owned(),
            ));
        }
    };
    let mut gid = entry.as_ref().map_or(0, |entry| entry.gid);
    let mut additional_gids = Vec::new();
    match wanted_group {
        Some(wanted) => {
            gid = group_id(wanted, group).ok_or_else(|| {
                unknown(format!(
                    "group `{wanted}` is not in the image's /etc/group; use a number"
                ))
            })?;
        }
        None => {
            if let Some(entry) = &entry {
                additional_gids.extend(groups_of(entry.name, group));
            }
        }
    }
    // Without it a file mode that excludes the group would not (CVE-2022-2989).
    if !additional_gids.contains(&gid) {
        additional_gids.insert(0, gid);
    }
    let home = entry.map(|entry| entry.home).filter(|home| {
        home.starts_with('/') && home.len() <= HOME_BYTES_MAX && !home.contains('\0')
    });
    Ok(ResolvedUser {
        uid,
        gid,
        additional_gids,
        home: home.map(str::to_owned),
    })
}

fn id(text: &str) -> Option<u32> {
    // "+5" is a number to Rust, a name to everybody else.
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
        .filter(|id| *id <= ID_MAX)
}

fn passwd_entries(passwd: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        Some(PasswdEntry {
            name,
            uid: id(fields.nth(1)?)?,
            gid: id(fields.next()?)?,
            home: fields.nth(1).unwrap_or(""),
        })
    })
}

/// Lines of a group file as name, id, members.
fn group_entries(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        Some((name, id(fields.nth(1)?)?, fields.next().unwrap_or("")))
    })
}

fn group_id(wanted: &str, group: &str) -> Option<u32> {
    id(wanted).or_else(|| {
        group_entries(group)
            .find(|(name, _, _)| *name == wanted)
            .map(|(_, gid, _)| gid)
    })
}

fn groups_of<'a>(user: &'a str, group: &'a str) -> impl Iterator<Item = u32> + 'a {
    group_entries(group)
        .filter(move |(_, _, members)| members.split(',').any(|member| member == user))
        .map(|(_, gid, _)| gid)
        .take(GROUPS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:5:5::/:\n\
                          app:x:1000:1001:App:/home/app:/bin/sh\nbig:x:99999999999:1::/:\n";
    const GROUP: &str = "root:x:0:\napp:x:1001:\nwheel:x:10:root,app\nvideo:x:44:app\n";

    fn found(user: &str) -> (u32, u32, Vec<u32>, Option<String>) {
        let user = look_up(user, PASSWD, GROUP).unwrap();
        (user.uid, user.gid, user.additional_gids, user.home)
    }

    #[test]
    fn names_and_numbers_are_looked_up_as_docker_does() {
        let home = Some("/home/app".to_owned());
        assert_eq!(found("app"), (1000, 1001, vec![1001, 10, 44], home.clone()));
        assert_eq!(
            found("1000"),
            (1000, 1001, vec![1001, 10, 44], home.clone())
        );
        assert_eq!(found("app:video"), (1000, 44, vec![44], home.clone()));
        assert_eq!(found("app:77"), (1000, 77, vec![77], home));
        assert_eq!(found("4711"), (4711, 0, vec![0], None));
        assert_eq!(found("4711:4712"), (4711, 4712, vec![4712], None));
        assert_eq!(found(""), (0, 0, vec![0, 10], Some("/root".into())));
    }

    #[test]
    fn unknown_names_and_ids_out_of_range_are_field_errors() {
        for unknown in [
            "nobody",
            "app:nogroup",
            "4294967295",
            "99999999999",
            "-1",
            "+5",
            "big",
        ] {
            assert_eq!(
                look_up(unknown, PASSWD, GROUP).unwrap_err().field,
                "user",
                "{unknown}"
            );
        }
    }

    proptest! {
        #[test]
        fn hostile_files_never_panic_and_never_yield_forbidden_ids(
            user in "[a-z0-9:]{0,12}", passwd in "[a-z0-9:\n,/]{0,200}", group in "[a-z0-9:\n,]{0,200}",
        ) {
            if let Ok(user) = look_up(&user, &passwd, &group) {
                prop_assert!(user.uid <= ID_MAX && user.gid <= ID_MAX);
                prop_assert!(user.additional_gids.iter().all(|gid| *gid <= ID_MAX));
                prop_assert!(user.additional_gids.len() <= GROUPS_MAX + 1);
            }
        }
    }
}
