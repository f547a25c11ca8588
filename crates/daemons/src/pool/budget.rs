//! How often a daemon may be started again: tries are spent, and heal with time.

use std::time::Duration;

use tokio::time::Instant;

/// After how long one spent try is there again.
pub(super) const HEALS_EVERY: Duration = Duration::from_mins(5);
const FIRST_REST: Duration = Duration::from_millis(250);
const LONGEST_REST: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub(super) struct Budget {
    most: u32,
    spent: u32,
    healed_at: Instant,
}

impl Budget {
    pub(super) fn new(most: u32, now: Instant) -> Self {
        Self { most, spent: 0, healed_at: now }
    }

    /// How long to rest before the next try; nothing when none is left.
    pub(super) fn spend(&mut self, now: Instant) -> Option<Duration> {
        self.heal(now);
        if self.spent >= self.most {
            return None;
        }
        let rest = FIRST_REST.saturating_mul(1 << self.spent.min(16)).min(LONGEST_REST);
        if self.spent == 0 {
            self.healed_at = now;
        }
        self.spent += 1;
        Some(rest)
    }

    fn heal(&mut self, now: Instant) {
        while self.spent > 0 && now.duration_since(self.healed_at) >= HEALS_EVERY {
            self.spent -= 1;
            self.healed_at += HEALS_EVERY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_double_until_the_tries_are_spent_and_heal_with_time() {
        let start = Instant::now();
        let mut budget = Budget::new(3, start);
        let rests: Vec<_> = (0..4).map(|_| budget.spend(start)).collect();
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(rests, [ms(250), ms(500), ms(1000), None]);
        assert_eq!(budget.spend(start + HEALS_EVERY), ms(1000));
        assert_eq!(budget.spend(start + HEALS_EVERY), None);
        assert_eq!(budget.spend(start + HEALS_EVERY * 10), ms(250));
    }

    #[test]
    fn a_rest_has_a_longest() {
        let start = Instant::now();
        let mut budget = Budget::new(100, start);
        let longest = (0..100).filter_map(|_| budget.spend(start)).max();
        assert_eq!(longest, Some(LONGEST_REST));
    }
}
