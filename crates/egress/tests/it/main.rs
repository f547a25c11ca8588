//! The proxies over real sockets.
#![expect(clippy::disallowed_methods, reason = "tests speak to what they started themselves")]

mod forward;
mod model;
mod support;
