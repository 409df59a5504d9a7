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
    /// An id that the run's user namespace has not.
    #[error(
        "{what} {id} is beyond the ids 0 to 65535 that a run has: run it as another `--user`, or have the operator set \
         user_namespaces.mode = \"off\""
    )]
    BeyondNamespace {
        /// `user` or `group`.
        what: &'static str,
        /// The id.
        id: u32,
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
