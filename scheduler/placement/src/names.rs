//! Names that the engine compares and never looks into: cheap to clone, bounded when made.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use davit_types::ParseIdError;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $max:literal, $wanted:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name's text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let fits = (1..=$max).contains(&text.len())
                    && text.bytes().all(|byte| byte.is_ascii_graphic());
                if fits {
                    Ok(Self(text.into()))
                } else {
                    Err(ParseIdError { text: text.to_owned(), wanted: $wanted })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// An executor's name, unique in the fleet.
    HostName, 253, "a host name: 1–253 visible ASCII characters"
);
name!(
    /// Where a host stands; runs that name one go nowhere else.
    Region, 63, "a region: 1–63 visible ASCII characters"
);
name!(
    /// A saved runner.
    RunnerName, 63, "a runner's id: 1–63 visible ASCII characters"
);
name!(
    /// An image by digest or by name: a host holds it when it told the same text.
    ImageRef, 512, "an image: 1–512 visible ASCII characters"
);
