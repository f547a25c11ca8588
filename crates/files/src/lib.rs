//! Absolute paths, and files and directories that are their owner's alone.
//!
//! [`AbsolutePath`] is what a path in a configuration or an argument becomes when it is parsed, so
//! that no later change of the working directory gives it another meaning. [`owned`] makes, checks
//! and mends what nobody else may read or change. [`bounded`] reads what others may have put there. [`Log`] keeps what other programs print: it may hold
//! their secrets, so it goes to a file that only its owner reads, and nowhere else. A [`Redactor`] takes
//! known secrets out first.
//!
//! Never does: follow a link to a private file, show what a log holds in an error.

mod absolute;
pub mod bounded;
mod log;
pub mod owned;
mod redact;

pub use absolute::{AbsolutePath, Base};
pub use log::Log;
pub use redact::Redactor;
