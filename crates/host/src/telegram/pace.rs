//! Telegram's limits, kept before it has to say so: about one message a second
//! in a chat, twenty a minute in a group, thirty a second in all. What it says
//! nevertheless is obeyed.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::locked;

/// How many messages a second go out in all.
const ALL: f64 = 25.0;

/// A bucket of permissions that fills with time.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    most: f64,
    a_second: f64,
    at: Instant,
    /// Telegram asked to wait until then.
    not_before: Instant,
}

impl Bucket {
    fn new(most: f64, a_second: f64) -> Self {
        let now = Instant::now();
        Self { left: most, most, a_second, at: now, not_before: now }
    }

    fn of_chat(chat: i64) -> Self {
        if chat > 0 { Self::new(2.0, 1.0) } else { Self::new(5.0, 15.0 / 60.0) }
    }

    /// Takes one; how long until it counts.
    fn take(&mut self, now: Instant) -> Duration {
        let gone = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + gone * self.a_second).min(self.most) - 1.0;
        self.at = now;
        let short = if self.left < 0.0 { -self.left / self.a_second } else { 0.0 };
        Duration::from_secs_f64(short).max(self.not_before.saturating_duration_since(now))
    }

    fn wait(&self, now: Instant) -> Duration {
        let gone = now.saturating_duration_since(self.at).as_secs_f64();
        let left = self.left + gone * self.a_second - 1.0;
        let short = if left < 0.0 { -left / self.a_second } else { 0.0 };
        Duration::from_secs_f64(short).max(self.not_before.saturating_duration_since(now))
    }
}

/// When what may be sent where.
#[derive(Debug, Default)]
pub(super) struct Pace {
    chats: Mutex<HashMap<i64, Bucket>>,
    all: Mutex<Option<Bucket>>,
}

impl Pace {
    /// Waits until a message to `chat` is due. The place in the queue is kept
    /// even when the wait is cut off.
    pub(super) async fn turn(&self, chat: i64) {
        let now = Instant::now();
        let here = locked(&self.chats).entry(chat).or_insert_with(|| Bucket::of_chat(chat)).take(now);
        let all = locked(&self.all).get_or_insert_with(|| Bucket::new(ALL, ALL)).take(now);
        tokio::time::sleep(here.max(all)).await;
    }

    /// How long until something that can be left out, such as an edit, is due.
    pub(super) fn until_spare(&self, chat: i64) -> Duration {
        let now = Instant::now();
        let here = locked(&self.chats).get(&chat).map_or(Duration::ZERO, |bucket| bucket.wait(now));
        let all = locked(&self.all).map_or(Duration::ZERO, |bucket| bucket.wait(now));
        here.max(all)
    }

    /// Telegram asked to wait.
    pub(super) fn hold(&self, chat: i64, after: Duration) {
        let until = Instant::now() + after;
        let mut chats = locked(&self.chats);
        let bucket = chats.entry(chat).or_insert_with(|| Bucket::of_chat(chat));
        bucket.not_before = bucket.not_before.max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn time_for(count: usize, chat: impl Fn(usize) -> i64) -> Duration {
        let (pace, began) = (Pace::default(), Instant::now());
        for number in 0..count {
            pace.turn(chat(number)).await;
        }
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_chat_gets_one_message_a_second_after_a_small_burst() {
        let took = time_for(12, |_| 5).await;
        assert!((9..=11).contains(&took.as_secs()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_gets_fewer_than_twenty_a_minute() {
        let took = time_for(20, |_| -5).await;
        assert!(took.as_secs() >= 59, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn all_chats_together_stay_below_thirty_a_second() {
        let took = time_for(300, |number| i64::try_from(number).unwrap() + 1).await;
        assert!(took.as_secs() >= 10, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_telegram_asks_for_is_obeyed() {
        let (pace, began) = (Pace::default(), Instant::now());
        pace.hold(5, Duration::from_secs(31));
        assert_eq!(pace.until_spare(5).as_secs(), 31);
        pace.turn(6).await;
        assert_eq!(began.elapsed().as_secs(), 0, "another chat is not held");
        pace.turn(5).await;
        assert_eq!(began.elapsed().as_secs(), 31);
    }
}
