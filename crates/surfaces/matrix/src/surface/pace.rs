//! Pace of sending, as a server's refusals tell its limit: nobody asks it, and each refusal costs time on both sides.
//!
//! A limit is so many messages at once, and then one after each interval. A refusal says when the next is due, and so
//! what the interval is; from then on the surface keeps it by itself. It is forgotten once nothing was sent for a while,
//! and now and then, since limits are lifted.

use std::time::Duration;

use tokio::time::Instant;

use super::LIMIT;
use crate::api::ApiError;

/// How many are sent at an interval before it is looked whether it still holds.
const BELIEVED: u32 = 50;

/// After how many intervals in which nothing was sent several can be sent at once again.
const RECOVERED: u32 = 5;

/// The pace of one account.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When that was asked for which was sent last.
    last: Option<Instant>,
    /// How long after it the next is due.
    every: Duration,
    /// How many are still sent at that.
    left: u32,
    /// When the server said that the next is due, where it refused the last.
    named: Option<Instant>,
}

impl Pace {
    /// When the next is due.
    pub(super) fn due(&self, now: Instant) -> Instant {
        let named = self.named.unwrap_or(now);
        let Some(last) = self.last.filter(|last| now < *last + self.every * RECOVERED) else {
            return named.max(now);
        };
        named.max(last + self.every).max(now)
    }

    /// What became of what was asked for at `asked`.
    pub(super) fn note<T>(&mut self, asked: Instant, became: &Result<T, ApiError>) {
        match became {
            Ok(_) => {
                self.left = self.left.saturating_sub(1);
                if self.left == 0 || self.last.is_none_or(|last| asked > last + self.every * RECOVERED) {
                    self.every = Duration::ZERO;
                }
                (self.last, self.named) = (Some(asked), None);
            }
            Err(ApiError::Throttled { after }) => {
                // What the server took last filled what it allows at once.
                let since = self.last.map_or(Duration::ZERO, |last| asked.saturating_duration_since(last));
                // One that is so long is no pace, but a pause.
                let every = if *after <= LIMIT { *after + since.min(*after) } else { Duration::ZERO };
                (self.every, self.left) = (every, BELIEVED);
                // It may have kept the refusal back for a moment.
                self.named = Some(asked + *after);
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that takes one each `interval`, and so many at once.
    struct Server {
        interval: Duration,
        burst: u32,
        level: f64,
        at: Instant,
    }

    impl Server {
        fn ask(&mut self, now: Instant) -> Result<(), ApiError> {
            let gone = now.duration_since(self.at).as_secs_f64() / self.interval.as_secs_f64();
            (self.level, self.at) = ((self.level - gone).max(0.0), now);
            let over = self.level + 1.0 - f64::from(self.burst);
            if over > 1e-6 {
                return Err(ApiError::Throttled { after: self.interval.mul_f64(over) });
            }
            self.level += 1.0;
            Ok(())
        }
    }

    /// How many are refused until so many are sent, and how long that takes.
    fn sent(number: u32, server: &mut Server, pace: &mut Pace, now: &mut Instant) -> (u32, Duration) {
        let (begun, mut refused, mut left) = (*now, 0, number);
        while left > 0 {
            *now = pace.due(*now);
            let became = server.ask(*now);
            pace.note(*now, &became);
            *now += Duration::from_millis(20);
            match became {
                Ok(()) => left -= 1,
                Err(_) => refused += 1,
            }
        }
        (refused, *now - begun)
    }

    #[test]
    fn a_limit_is_kept_once_the_server_has_named_it_and_nothing_of_it_is_given_away() {
        for (millis, burst) in [(5_000, 10), (1_000, 3), (100, 20), (40, 1)] {
            let mut now = Instant::now();
            let interval = Duration::from_millis(millis);
            let mut server = Server { interval, burst, level: 0.0, at: now };
            let (refused, took) = sent(500, &mut server, &mut Pace::default(), &mut now);
            assert!(refused <= 40, "{millis} {burst}: {refused} of 500 refused");
            let least = interval * (500 - burst);
            assert!(took <= least.mul_f64(1.15) + Duration::from_secs(1), "{millis} {burst}: {took:?}");
        }
    }

    #[test]
    fn a_server_without_a_limit_is_not_waited_for_and_a_limit_that_was_lifted_is_forgotten() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        let mut server = Server { interval: Duration::from_secs(5), burst: 2, level: 0.0, at: now };
        sent(4, &mut server, &mut pace, &mut now);
        server.burst = 1_000_000;
        let (refused, _) = sent(BELIEVED, &mut server, &mut pace, &mut now);
        assert_eq!(refused, 0);
        let (refused, took) = sent(50, &mut server, &mut pace, &mut now);
        assert_eq!((refused, took), (0, Duration::from_millis(20) * 50));
    }

    #[test]
    fn after_a_pause_several_go_out_at_once_again() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        let mut server = Server { interval: Duration::from_secs(5), burst: 5, level: 0.0, at: now };
        sent(7, &mut server, &mut pace, &mut now);
        now += Duration::from_mins(1);
        let (refused, took) = sent(5, &mut server, &mut pace, &mut now);
        assert_eq!((refused, took), (0, Duration::from_millis(20) * 5));
    }
}
