//! Facts of `opencode serve` that more than one crate goes by: [which releases are supported](Support), [how a daemon
//! says who it is](Health), and [how it is entered](authorization).
//!
//! Never sends anything, and holds no policy: what a stranger or an unsupported release means is its caller's to say.

mod access;
mod health;
mod release;

pub use access::{PASSWORD_VARIABLES, USER, authorization};
pub use health::{Health, Identity};
pub use release::{Generation, OLDEST, OLDEST_OF_2, Support};
