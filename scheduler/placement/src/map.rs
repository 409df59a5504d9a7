//! The hash map of this crate. Most keys are names that users choose, so its hash is keyed, anew in every process.
//!
//! Invariant: nothing goes through a map from end to end, for the order of its keys is another in every process; what is
//! decided does not hang on it.

/// From keys to what belongs to them.
pub(crate) type Map<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
