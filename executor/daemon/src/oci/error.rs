//! Why no spec can be made of a run and an image.

/// A run whose image does not say enough.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Nothing to execute.
    #[error("image {image} has neither ENTRYPOINT nor CMD: give a command or an argv")]
    NoCommand {
        /// As the run names it.
        image: String,
    },
    /// The builder refused a value; cannot happen with the values given here.
    #[error("cannot build the {part} of the OCI spec: {problem}")]
    Builder {
        /// Which part.
        part: &'static str,
        /// Its words.
        problem: String,
    },
}

impl SpecError {
    pub(super) fn part(part: &'static str) -> impl FnOnce(oci_spec::OciSpecError) -> Self {
        move |error| Self::Builder {
            part,
            problem: error.to_string(),
        }
    }
}
