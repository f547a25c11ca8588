//! The proxies over real sockets.
#![expect(clippy::disallowed_methods, reason = "tests speak to what they started themselves")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so")]

mod forward;
mod model;
mod support;
