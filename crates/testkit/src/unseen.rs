//! What a test cannot look at on this machine.

use std::io::Write as _;

/// With it a test that cannot look at what it is for fails.
const MUST_RUN: &str = "CGROUP_TESTS_MUST_RUN";

/// Says on the error output what a test does not look at, and why.
///
/// # Panics
///
/// Where `CGROUP_TESTS_MUST_RUN` is `1`, as it is in the virtual machine that holds limits.
pub fn unseen(what: &str) {
    // Not by the macro, whose words are shown of tests that fail alone.
    let told = writeln!(std::io::stderr(), "not seen here: {what}");
    #[expect(clippy::disallowed_methods, reason = "who runs the tests says so by the environment")]
    let must_run = std::env::var(MUST_RUN).is_ok_and(|value| value == "1");
    assert!(!must_run, "{MUST_RUN} is set, and a test did not look at what it is for: {what}");
    drop(told);
}
