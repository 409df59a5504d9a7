//! The REST API, from outside: a real server on loopback over a real SQLite, real logs and a real keyring. Hosts are
//! played by calls of the store.
//!
//! Every answer is checked against the OpenAPI document by the client itself (`client`): status, content type, and the
//! body by its schema, unknown fields included. So each test is also one of the document.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod access;
mod batch;
mod client;
mod document;
mod extracts;
mod idempotency;
mod inside;
mod malformed;
mod principals;
mod runners;
mod runs;
mod schema;
mod secrets;
mod streams;
mod uploads;
mod usage;
mod waiting;
mod world;
