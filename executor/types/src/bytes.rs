//! A byte count that reads and prints as people write it: `512MiB`, `2GiB`, `1048576`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number of bytes. Parsed from digits with an optional binary (`KiB MiB GiB TiB`, also `K M G T`)
/// or decimal (`KB MB GB TB`) unit; serialised as plain integer.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

const UNITS: &[(&str, u64)] = &[
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("t", 1 << 40),
    ("b", 1),
];

impl Bytes {
    /// `n` mebibytes.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// `n` gibibytes.
    #[must_use]
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.trim().to_ascii_lowercase();
        let (digits, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| lower.strip_suffix(unit).map(|rest| (rest, *factor)))
            .unwrap_or((lower.as_str(), 1));
        let count: u64 = digits.trim().parse().map_err(|_| {
            format!("`{text}` is not a byte count; write digits with an optional unit, e.g. 512MiB")
        })?;
        count
            .checked_mul(factor)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is more than {} bytes", u64::MAX))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, factor) in [
            ("TiB", 1u64 << 40),
            ("GiB", 1 << 30),
            ("MiB", 1 << 20),
            ("KiB", 1 << 10),
        ] {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_binary_unless_decimal_is_written() {
        assert_eq!("512MiB".parse(), Ok(Bytes::mib(512)));
        assert_eq!("512m".parse(), Ok(Bytes::mib(512)));
        assert_eq!("5 GB".parse(), Ok(Bytes(5_000_000_000)));
        assert_eq!("17".parse(), Ok(Bytes(17)));
    }

    #[test]
    fn nonsense_and_overflow_are_told_apart() {
        assert!(
            "12 apples"
                .parse::<Bytes>()
                .is_err_and(|e| e.contains("not a byte count"))
        );
        assert!(
            "99999999999TiB"
                .parse::<Bytes>()
                .is_err_and(|e| e.contains("more than"))
        );
        assert!("-1".parse::<Bytes>().is_err());
    }

    proptest! {
        #[test]
        fn display_parses_back(n: u64) {
            prop_assert_eq!(Bytes(n).to_string().parse::<Bytes>(), Ok(Bytes(n)));
        }
    }
}
