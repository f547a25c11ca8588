//! What people who write rules, and the host that runs them, rely on.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::format_collect,
    reason = "what tests share may fail as tests do, and need not be fast"
)]

mod conditions;
mod diagnostics;
mod documents;

mod lint;
mod matching;
mod plan;
mod round_trip;
mod schedule;
mod seed;
mod springtale;
mod support;
mod templates;
mod test_cases;
