//! How much a peer says, compared with how much it may.

use tokio::time::Instant;

use super::Limits;

/// What came.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Bytes(usize),
    Progress,
    Request,
    Notification,
    /// What is no message, or answers nothing.
    Rubbish,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Drop,
    /// The connection ends, because the other side does this.
    End(&'static str),
}

/// Measures one connection. Time is an argument.
pub(super) struct Meter {
    bytes: Bucket,
    progress: Bucket,
    requests: Bucket,
    notifications: Bucket,
    rubbish: Bucket,
}

impl Meter {
    pub(super) fn new(limits: &Limits) -> Self {
        let messages = f64::from(limits.requests_per_sec);
        #[expect(clippy::cast_precision_loss, reason = "a limit of bytes needs no 53 bits")]
        let longest = limits.line_bytes as f64;
        Self {
            bytes: Bucket::new(4.0 * longest, f64::from(limits.bytes_per_sec)),
            progress: Bucket::new(
                2.0 * f64::from(limits.progress_per_sec),
                f64::from(limits.progress_per_sec),
            ),
            requests: Bucket::new(8.0 * messages, messages),
            notifications: Bucket::new(8.0 * messages, messages),
            rubbish: Bucket::new(f64::from(limits.rubbish), f64::from(limits.rubbish) / 600.0),
        }
    }

    pub(super) fn weigh(&mut self, kind: Kind, now: Instant) -> Verdict {
        let (bucket, amount, otherwise) = match kind {
            #[expect(clippy::cast_precision_loss, reason = "as above")]
            Kind::Bytes(count) => (&mut self.bytes, count as f64, Verdict::End("sends too many bytes")),
            Kind::Progress => (&mut self.progress, 1.0, Verdict::Drop),
            Kind::Request => (&mut self.requests, 1.0, Verdict::End("sends too many requests")),
            Kind::Notification => {
                (&mut self.notifications, 1.0, Verdict::End("sends too many notifications"))
            }
            Kind::Rubbish => (&mut self.rubbish, 1.0, Verdict::End("sends rubbish")),
        };
        if bucket.take(amount, now) { Verdict::Pass } else { otherwise }
    }
}

/// A token bucket.
struct Bucket {
    level: f64,
    capacity: f64,
    per_sec: f64,
    filled: Option<Instant>,
}

impl Bucket {
    fn new(capacity: f64, per_sec: f64) -> Self {
        Self { level: capacity, capacity, per_sec, filled: None }
    }

    fn take(&mut self, amount: f64, now: Instant) -> bool {
        let passed = self.filled.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.filled = Some(now);
        self.level = (self.level + passed * self.per_sec).min(self.capacity);
        if self.level < amount {
            return false;
        }
        self.level -= amount;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn passes(meter: &mut Meter, kind: Kind, now: Instant, of: usize) -> usize {
        (0..of).filter(|_| meter.weigh(kind, now) == Verdict::Pass).count()
    }

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let limits = Limits { progress_per_sec: 10, requests_per_sec: 2, ..Limits::default() };
        let (mut meter, now) = (Meter::new(&limits), Instant::now());
        assert_eq!(passes(&mut meter, Kind::Progress, now, 1000), 20);
        assert_eq!(passes(&mut meter, Kind::Progress, now + Duration::from_secs(1), 1000), 10);
        assert_eq!(passes(&mut meter, Kind::Request, now, 1000), 16);
        assert_eq!(meter.weigh(Kind::Request, now), Verdict::End("sends too many requests"));
        assert_eq!(meter.weigh(Kind::Progress, now + Duration::from_secs(1)), Verdict::Drop);
    }

    #[test]
    fn a_stray_line_now_and_then_is_forgiven_for_ever() {
        let (mut meter, now) = (Meter::new(&Limits::default()), Instant::now());
        for stray in 0..1000 {
            let at = now + Duration::from_secs(10 * stray);
            assert_eq!(meter.weigh(Kind::Rubbish, at), Verdict::Pass, "{stray}");
        }
        let later = now + Duration::from_hours(4);
        assert_eq!(passes(&mut meter, Kind::Rubbish, later, 1000), 64);
        assert_eq!(meter.weigh(Kind::Rubbish, later), Verdict::End("sends rubbish"));
    }

    #[test]
    fn four_of_the_longest_messages_may_come_at_once() {
        let limits = Limits { line_bytes: 1000, bytes_per_sec: 100, ..Limits::default() };
        let (mut meter, now) = (Meter::new(&limits), Instant::now());
        assert_eq!(passes(&mut meter, Kind::Bytes(1000), now, 9), 4);
        assert_eq!(meter.weigh(Kind::Bytes(1), now), Verdict::End("sends too many bytes"));
        assert_eq!(meter.weigh(Kind::Bytes(100), now + Duration::from_secs(1)), Verdict::Pass);
    }
}
