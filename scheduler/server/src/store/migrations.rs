//! The schema, version by version, embedded. A database of a later version is refused: an older davit
//! would write rows that a newer one misreads.
//!
//! A version, once released, never changes; a change is a new file in both dialects.

use super::error::Failure;

/// One step of the schema, in both dialects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Migration {
    pub(super) sqlite: &'static str,
    pub(super) postgres: &'static str,
}

/// All of them; the first makes version 1.
pub(super) const ALL: &[Migration] = &[
    Migration {
        sqlite: include_str!("migrations/0001.sqlite.sql"),
        postgres: include_str!("migrations/0001.postgres.sql"),
    },
    Migration {
        sqlite: include_str!("migrations/0002.sqlite.sql"),
        postgres: include_str!("migrations/0002.postgres.sql"),
    },
    Migration {
        sqlite: include_str!("migrations/0003.sqlite.sql"),
        postgres: include_str!("migrations/0003.postgres.sql"),
    },
    Migration {
        sqlite: include_str!("migrations/0004.sqlite.sql"),
        postgres: include_str!("migrations/0004.postgres.sql"),
    },
    Migration {
        sqlite: include_str!("migrations/0005.sqlite.sql"),
        postgres: include_str!("migrations/0005.postgres.sql"),
    },
    Migration {
        sqlite: include_str!("migrations/0006.sqlite.sql"),
        postgres: include_str!("migrations/0006.postgres.sql"),
    },
    Migration {
        sqlite: include_str!("migrations/0007.sqlite.sql"),
        postgres: include_str!("migrations/0007.postgres.sql"),
    },
];

/// The version this program brings.
pub(super) fn known() -> i64 {
    i64::try_from(ALL.len()).expect("migrations are few")
}

/// The steps from version `found`, each with the version it makes.
pub(super) fn pending(found: i64) -> Result<impl Iterator<Item = (i64, Migration)>, Failure> {
    let known = known();
    if found > known {
        return Err(Failure::TooNew { found, known });
    }
    let done = usize::try_from(found).map_err(|_| Failure::Corrupt {
        column: 1,
        wanted: "a schema version",
        found: found.to_string(),
    })?;
    Ok((found + 1..).zip(ALL.iter().copied().skip(done)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_schema_is_refused_with_both_versions() {
        let refused = pending(known() + 1).err().expect("refused").to_string();
        assert!(
            refused.contains(&format!("version {}", known() + 1)),
            "{refused}"
        );
        assert!(refused.contains(&format!("knows {}", known())), "{refused}");
    }

    #[test]
    fn an_empty_database_gets_every_step_once() {
        let steps: Vec<i64> = pending(0).unwrap().map(|(version, _)| version).collect();
        assert_eq!(steps, (1..=known()).collect::<Vec<_>>());
        assert_eq!(pending(known()).unwrap().count(), 0);
    }

    /// Both dialects must name the same tables and columns; only types and order clauses differ.
    #[test]
    fn both_dialects_have_the_same_tables() {
        let tables = |sql: &str| -> Vec<String> {
            sql.lines()
                .filter_map(|line| line.strip_prefix("CREATE TABLE "))
                .map(|rest| rest.trim_end_matches(" (").to_owned())
                .collect()
        };
        for migration in ALL {
            assert_eq!(tables(migration.sqlite), tables(migration.postgres));
        }
    }
}
