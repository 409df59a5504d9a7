//! What a program's settings are: a table of fields, each with name, kind, range and meaning.

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name within its section.
    pub key: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Inside a list or map of tables: whether an entry must have it.
    pub required: bool,
    /// One or two sentences for the reference.
    pub doc: &'static str,
}

/// What a setting takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// An absolute path.
    Path,
    /// A text of 1 to so many characters.
    Text {
        /// Longest.
        chars_max: usize,
    },
    /// A name for identifiers: letters, digits, `-_.`, at most 63.
    Name,
    /// true or false.
    Bool,
    /// A whole number.
    Integer {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// Bytes, with an optional unit; also a whole number.
    Bytes {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A count of CPUs, kept in thousandths.
    Cpu,
    /// One of some words.
    Choice(&'static [&'static str]),
    /// A list of values of one kind.
    List {
        /// What each is.
        of: &'static Kind,
        /// How many.
        items_max: usize,
    },
    /// A section.
    Section(&'static [Field]),
    /// `[[key]]`: a list of tables.
    Tables {
        /// Of each entry.
        fields: &'static [Field],
        /// How many.
        items_max: usize,
    },
    /// `[key."name"]`: tables by name.
    Map {
        /// Of each entry.
        fields: &'static [Field],
        /// How many.
        items_max: usize,
    },
}

/// A setting that may be left out.
#[must_use]
pub const fn field(key: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field {
        key,
        kind,
        required: false,
        doc,
    }
}

/// One that an entry of a list or map must have.
#[must_use]
pub const fn required(key: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field {
        key,
        kind,
        required: true,
        doc,
    }
}

/// Smallest and largest CPU count, in thousandths.
pub(crate) const CPU_MILLIS_RANGE: (u64, u64) = (10, 1_024_000);

/// All that is known of a program's settings without reading any.
#[derive(Debug)]
pub struct Table {
    /// `executor`: as in `davit executor reference`.
    pub program: &'static str,
    /// Where settings are looked for when no file is named.
    pub default_file: &'static str,
    /// What every environment variable of a setting begins with.
    pub environment_prefix: &'static str,
    /// Variables with this prefix (or, ending in `_`, beginnings of them) that are no settings and no mistakes.
    pub other_variables: &'static [&'static str],
    /// Every setting that exists, once.
    pub fields: &'static [Field],
}

impl Kind {
    /// What the setting takes, for an error message or the reference.
    pub(crate) fn expected(&self) -> String {
        match self {
            Self::Path => "an absolute path".to_owned(),
            Self::Text { chars_max } => format!("a text of 1 to {chars_max} characters"),
            Self::Name => {
                "a name: 1 to 63 of A-Z a-z 0-9 - _ . beginning with a letter or digit".to_owned()
            }
            Self::Bool => "true or false".to_owned(),
            Self::Integer { min, max } => format!("a whole number, {min} to {max}"),
            Self::Bytes { min, max } => format!(
                "a byte count such as \"512MiB\", {} to {}",
                davit_types::Bytes(*min),
                davit_types::Bytes(*max)
            ),
            Self::Cpu => "a number of CPUs such as 0.5, 0.01 to 1024".to_owned(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::List { of, items_max } => {
                format!("a list of at most {items_max}, each {}", of.expected())
            }
            Self::Section(_) => "a section".to_owned(),
            Self::Tables { items_max, .. } => format!("a list of 1 to {items_max} tables"),
            Self::Map { items_max, .. } => format!("at most {items_max} tables by name"),
        }
    }
}

impl Table {
    /// All settings by full path, sections opened, lists of tables not.
    #[must_use]
    pub fn leaves(&self) -> Vec<(String, &'static Field)> {
        let mut found = Vec::new();
        for top in self.fields {
            match top.kind {
                Kind::Section(fields) => found.extend(
                    fields
                        .iter()
                        .map(|inner| (format!("{}.{}", top.key, inner.key), inner)),
                ),
                _ => found.push((top.key.to_owned(), top)),
            }
        }
        found
    }

    /// The variable of a setting: `images.allow` is `DAVIT_IMAGES__ALLOW`.
    #[must_use]
    pub fn variable(&self, path: &str) -> String {
        let name = path.replace('.', "__").to_uppercase();
        format!("{}{name}", self.environment_prefix)
    }
}
