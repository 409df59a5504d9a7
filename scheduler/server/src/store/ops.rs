//! What each operation does to the tables, step by step: load, ask the rules, write.
//!
//! Written once over [`Tx`](super::tx::Tx), so SQLite and PostgreSQL cannot differ in the order of steps.
//! PostgreSQL locks rows in one order everywhere, so that batches never wait in a circle:
//! host sessions, runs by id, runners by id, profiles by id, tenants' totals by name.

pub(crate) mod audit;
pub(crate) mod catalog;
pub(crate) mod changes;
pub(crate) mod claim;
pub(crate) mod extracts;
pub(crate) mod hosts;
pub(crate) mod ledger;
mod load;
pub(crate) mod logs;
pub(crate) mod orders;
pub(crate) mod profiles;
pub(crate) mod replicas;
pub(crate) mod report;
pub(crate) mod retention;
mod rows;
pub(crate) mod secrets;
pub(crate) mod submit;
pub(crate) mod tenants;
pub(crate) mod tokens;
pub(crate) mod uploads;
pub(crate) mod views;
