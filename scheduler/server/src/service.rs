//! The service: what the scheduler does for its users, over `dyn Store`.
//!
//! ```text
//!  rest ──► service ──► store
//!              └──────► dispatch, through the narrow trait [`Placing`]
//! ```

mod placing;
pub mod planned;

pub use placing::{Candidate, Explained, Placing, QueuePosition, WarmRefused, WarmWish};
