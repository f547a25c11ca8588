//! How long to wait before a process is started again.

use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// Doubles with each failure, and is over once something succeeded.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// When the next start may be made; nothing for at once.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }

    pub(crate) fn failed(&mut self, now: Instant) {
        let wait = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + wait);
    }

    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_are_over_after_a_success() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        assert_eq!(backoff.until(), None);
        let mut waits = Vec::new();
        for _ in 0..12 {
            backoff.failed(now);
            waits.push(backoff.until().unwrap() - now);
        }
        assert_eq!(waits[..3], [100, 200, 400].map(Duration::from_millis));
        assert_eq!(waits[11], LONGEST);
        backoff.succeeded();
        assert_eq!(backoff.until(), None);
    }
}
