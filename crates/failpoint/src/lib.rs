//! Named places at which a test can make the process die.
//!
//! With the feature `armed`, the process whose environment names one of them in
//! `CONNECTOR_HOST_FAILPOINT` (as `NAME`, or `NAME:2` for its second time) ends there as by
//! SIGKILL: nothing is unwound, flushed or committed. Without the feature the call is empty, so
//! that a released host neither pays for it nor can be steered by it.

#[cfg(feature = "armed")]
pub use armed::failpoint;
#[cfg(feature = "armed")]
pub use armed::{NAMES, OF_SURFACES, VARIABLE};

/// Nothing: this is not a build for tests of crashes.
#[cfg(not(feature = "armed"))]
#[inline(always)]
pub fn failpoint(_name: &str) {}

#[cfg(feature = "armed")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// The variable that names the place.
    pub const VARIABLE: &str = "CONNECTOR_HOST_FAILPOINT";

    /// Every place, in the order of a run's life.
    pub const NAMES: [&str; 31] = [
        "start.begins",
        "start.cards_put_out",
        "start.recovered",
        "intake.uncommitted",
        "intake.committed",
        "advance.resolved",
        "advance.uncommitted",
        "advance.committed",
        "card.taken_up",
        "card.shown",
        "card.recorded",
        "changed.taken_up",
        "changed.shown",
        "changed.recorded",
        "dispatch.looked_at",
        "dispatch.uncommitted",
        "dispatch.committed",
        "call.begins",
        "call.ready",
        "checkpoint.uncommitted",
        "checkpoint.committed",
        "call.returned",
        "finish.uncommitted",
        "finish.committed",
        "result.taken_up",
        "result.shown",
        "result.recorded",
        "reply.taken_up",
        "reply.shown",
        "run.ending",
        "run.ended",
    ];

    /// Places that only a surface passes.
    pub const OF_SURFACES: [&str; 1] = ["update.taken"];

    static ARMED: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static SEEN: AtomicU32 = AtomicU32::new(0);

    /// Dies here, if that was asked for.
    pub fn failpoint(name: &str) {
        debug_assert!(NAMES.iter().chain(&OF_SURFACES).any(|it| *it == name), "{name} is not listed");
        let Some((armed, time)) = ARMED.get_or_init(read) else { return };
        if armed == name && SEEN.fetch_add(1, Ordering::SeqCst) + 1 == *time {
            let me = rustix::process::getpid();
            let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
            // The signal reaches every thread; this one goes no further meanwhile.
            loop {
                std::thread::park();
            }
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a test steers its own process, in builds made for it alone"
    )]
    fn read() -> Option<(String, u32)> {
        let text = std::env::var(VARIABLE).ok()?;
        let (name, time) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), time.parse().ok()?))
    }
}
