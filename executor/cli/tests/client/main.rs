//! The client against a scripted executor on a real unix socket: what it sends, what it prints, what
//! it exits with. That real runs behave so is shown on real containers elsewhere.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod exit_codes;
mod fake;
mod following;
mod shapes;
mod wrong;
