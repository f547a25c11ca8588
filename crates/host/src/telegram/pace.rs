//! Telegram's limits, kept before it has to say so: one message a second in a
//! chat, twenty a minute in a group, thirty a second in all. Edits count like
//! messages. What it says nevertheless is obeyed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::locked;

/// How many messages a second go out in all.
const ALL: f64 = 25.0;

/// How many of them may go out at once: with what follows in the same second, below thirty.
const ALL_AT_ONCE: f64 = 4.0;

/// When to ask again for a turn that others wait for.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The longest that anything waits here; who must wait longer is told so.
const LONG: Duration = Duration::from_mins(1);

/// A bucket of permissions that fills with time, and those who wait for one in the order they came.
#[derive(Debug, Clone)]
struct Bucket {
    left: f64,
    most: f64,
    a_second: f64,
    at: Instant,
    /// Telegram asked to wait until then.
    not_before: Instant,
    line: Arc<Line>,
}

/// Held by whoever is the next to take a permission.
type Line = tokio::sync::Mutex<()>;

impl Bucket {
    fn new(most: f64, a_second: f64) -> Self {
        let now = Instant::now();
        Self { left: most, most, a_second, at: now, not_before: now, line: Arc::default() }
    }

    fn of_chat(chat: i64, haste: f64) -> Self {
        if chat > 0 { Self::new(1.0, haste / 1.1) } else { Self::new(4.0, haste * 15.0 / 60.0) }
    }

    /// Takes one.
    fn take(&mut self, now: Instant) {
        self.left = self.left_at(now) - 1.0;
        self.at = now;
    }

    /// How long until there is one.
    fn wait(&self, now: Instant) -> Duration {
        let short = (1.0 - self.left_at(now)).max(0.0) / self.a_second;
        Duration::from_secs_f64(short).max(self.not_before.saturating_duration_since(now))
    }

    fn left_at(&self, now: Instant) -> f64 {
        let gone = now.saturating_duration_since(self.at).as_secs_f64();
        (self.left + gone * self.a_second).min(self.most)
    }
}

/// When what may be sent where.
#[derive(Debug)]
pub(super) struct Pace {
    chats: Mutex<HashMap<i64, Bucket>>,
    all: Mutex<Bucket>,
    /// How many times faster than Telegram allows.
    haste: f64,
}

impl Default for Pace {
    fn default() -> Self {
        Self::in_haste(1.0)
    }
}

impl Pace {
    pub(super) fn in_haste(haste: f64) -> Self {
        Self { chats: Mutex::default(), all: Mutex::new(Bucket::new(ALL_AT_ONCE, ALL * haste)), haste }
    }

    /// Waits until a message to `chat` is due. A permission is taken when it is used, not
    /// promised ahead: a host that was held up sends nothing in a rush afterwards. A wait that
    /// is cut off costs nothing. Where Telegram has asked for a long wait, says how long it is.
    pub(super) async fn turn(&self, chat: i64) -> Result<(), Duration> {
        // First its own chat's line, so that a slow chat takes no place among all while it waits.
        let here = self.with_chat(chat, |bucket| Arc::clone(&bucket.line));
        let _first_here = here.lock().await;
        loop {
            self.until_due(|now| self.with_chat(chat, |bucket| bucket.wait(now))).await?;
            let all = Arc::clone(&self.all().line);
            let _first_of_all = all.lock().await;
            self.until_due(|now| self.all().wait(now)).await?;
            let now = Instant::now();
            let is_due = self.with_chat(chat, |bucket| {
                let is_due = bucket.wait(now).is_zero();
                if is_due {
                    bucket.take(now);
                }
                is_due
            });
            // The chat may have been held meanwhile.
            if is_due {
                self.all().take(now);
                return Ok(());
            }
        }
    }

    async fn until_due(&self, wait: impl Fn(Instant) -> Duration) -> Result<(), Duration> {
        loop {
            let wait = wait(Instant::now());
            if wait.is_zero() {
                return Ok(());
            }
            if wait > LONG {
                return Err(wait);
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes the turn of something that can be left out, such as a status, if one is free now
    /// and nobody waits for it. Otherwise says how long until one may be.
    pub(super) fn spare(&self, chat: i64) -> Result<(), Duration> {
        let now = Instant::now();
        self.with_chat(chat, |here| {
            let mut all = self.all();
            let wait = here.wait(now).max(all.wait(now));
            if !wait.is_zero() {
                return Err(wait);
            }
            if here.line.try_lock().is_err() || all.line.try_lock().is_err() {
                return Err(LOOK_AGAIN);
            }
            here.take(now);
            all.take(now);
            Ok(())
        })
    }

    fn all(&self) -> MutexGuard<'_, Bucket> {
        locked(&self.all)
    }

    fn with_chat<T>(&self, chat: i64, work: impl FnOnce(&mut Bucket) -> T) -> T {
        work(locked(&self.chats).entry(chat).or_insert_with(|| Bucket::of_chat(chat, self.haste)))
    }

    /// Telegram asked to wait.
    pub(super) fn hold(&self, chat: i64, after: Duration) {
        let until = Instant::now() + after;
        self.with_chat(chat, |bucket| bucket.not_before = bucket.not_before.max(until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn time_for(count: usize, chat: impl Fn(usize) -> i64) -> Duration {
        let (pace, began) = (Pace::default(), Instant::now());
        for number in 0..count {
            pace.turn(chat(number)).await.unwrap();
        }
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_chat_gets_less_than_one_message_a_second() {
        let took = time_for(11, |_| 5).await;
        assert_eq!(took.as_secs(), 11);
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
    async fn a_host_that_was_held_up_sends_nothing_in_a_rush() {
        let (pace, began) = (Arc::new(Pace::default()), Instant::now());
        let turns = (1..=200).map(|chat| {
            let pace = Arc::clone(&pace);
            tokio::spawn(async move {
                pace.turn(chat).await.unwrap();
                Instant::now()
            })
        });
        let turns: Vec<_> = turns.collect();
        // Nobody runs for two seconds.
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_secs(2)).await;
        let mut at = Vec::new();
        for turn in turns {
            at.push((turn.await.unwrap() - began).as_secs_f64());
        }
        at.sort_by(f64::total_cmp);
        assert!(at.windows(31).all(|many| many[30] - many[0] >= 1.0), "{at:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_cut_off_costs_nothing() {
        let (pace, began) = (Pace::default(), Instant::now());
        pace.turn(5).await.unwrap();
        for _ in 0..10 {
            assert!(tokio::time::timeout(Duration::from_millis(10), pace.turn(5)).await.is_err());
        }
        pace.turn(5).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_takes_a_turn_only_if_one_is_free() {
        let pace = Pace::default();
        assert_eq!(pace.spare(5), Ok(()));
        let wait = pace.spare(5).unwrap_err();
        assert!(pace.spare(5) == Err(wait), "what was not taken costs nothing");
        tokio::time::advance(wait).await;
        assert_eq!(pace.spare(5), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_telegram_asks_for_is_obeyed() {
        let (pace, began) = (Pace::default(), Instant::now());
        pace.hold(5, Duration::from_secs(31));
        assert_eq!(pace.spare(5).unwrap_err().as_secs(), 31);
        pace.turn(6).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 0, "another chat is not held");
        pace.turn(5).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 31);
    }

    #[tokio::test(start_paused = true)]
    async fn what_telegram_asks_for_is_obeyed_by_what_waits_already() {
        let (pace, began) = (Pace::default(), Instant::now());
        for chat in 1..5 {
            pace.turn(chat).await.unwrap();
        }
        // Its chat is free, and it waits behind the others.
        let hold = async { pace.hold(5, Duration::from_secs(31)) };
        let (turn, ()) = tokio::join!(pace.turn(5), hold);
        assert_eq!((turn, began.elapsed().as_secs()), (Ok(()), 31));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_waits_here_for_long() {
        let (pace, began) = (Pace::default(), Instant::now());
        let day = Duration::from_hours(24);
        pace.turn(5).await.unwrap();
        let hold = async { pace.hold(5, day) };
        let (first, second, ()) = tokio::join!(pace.turn(5), pace.turn(5), hold);
        for turn in [first, second, pace.turn(5).await] {
            assert!(turn.unwrap_err() > Duration::from_hours(23), "{turn:?}");
        }
        assert!(began.elapsed() < Duration::from_secs(2));
        pace.turn(6).await.unwrap();
    }
}
