//! What people who write rules, and the host that runs them, rely on.

mod seed;
mod support;
