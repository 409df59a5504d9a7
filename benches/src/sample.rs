//! What is measured: names, units, and what exactly each figure spans.

use std::collections::BTreeMap;

/// A measured quantity. Two are the same when their names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Quantity {
    /// Its name in tables, JSON and ratios.
    pub(crate) name: &'static str,
    /// The unit its values are in.
    pub(crate) unit: &'static str,
    /// Between which instants, or of what: printed above every table.
    pub(crate) spans: &'static str,
}

/// What one turn of a peer gave.
pub(crate) type Sample = BTreeMap<Quantity, f64>;
