//! How much one person and one chat may send, before anything of it is stored.
//!
//! A few messages at once are a person's; thousands are somebody's who would keep
//! others from being heard, or fill the ledger. What is too much is dropped, and
//! that is said once, until its sender was quiet for long enough. A private chat has its person's limit alone. Those who may
//! approve have no limit: what they sent while the host was down is theirs to send.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What one person may send into one chat at once, and after that each while.
const PERSON: Limit = Limit { at_once: 30, each: Duration::from_secs(2) };
/// What all the others of a group may.
const CHAT: Limit = Limit { at_once: 120, each: Duration::from_millis(500) };
/// How many are kept in mind; those who may send all they may need not be.
const KNOWN: usize = 4_096;

#[derive(Debug, Clone, Copy)]
struct Limit {
    at_once: u32,
    /// How long until one more may come.
    each: Duration,
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is taken in.
    Taken,
    /// It is dropped, and its sender is told.
    DroppedFirst,
    /// It is dropped; that was said.
    Dropped,
}

/// A message's number, its chat, and its sender, as a surface knows them.
#[derive(Debug, Clone, Copy)]
pub struct From<M, C, U> {
    /// The message.
    pub message: M,
    /// The chat.
    pub chat: C,
    /// Who sent it.
    pub user: U,
    /// Whether the chat has other people.
    pub in_company: bool,
}

#[derive(Debug)]
struct Spent<M> {
    limit: Limit,
    count: u32,
    since: Instant,
    /// The message that was taken last.
    last: Option<M>,
    told: bool,
}

/// Who and where; in company, without a person, all of them.
type Senders<M, C, U> = HashMap<(C, Option<U>), Spent<M>>;

/// What was sent lately.
#[derive(Debug)]
pub struct Flood<M, C, U>(Mutex<Senders<M, C, U>>);

impl<M, C, U> Default for Flood<M, C, U> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<M: PartialEq, C: Eq + Hash + Clone, U: Eq + Hash> Flood<M, C, U> {
    /// Takes note of a message; who is `trusted` is always heard.
    /// A message that is dealt with once more counts once.
    pub fn admit(&self, from: From<M, C, U>, trusted: bool, now: Instant) -> Admission
    where
        M: Clone,
    {
        let From { message, chat, user, in_company } = from;
        if trusted {
            return Admission::Taken;
        }
        let mut senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if senders.len() >= KNOWN {
            senders.retain(|_, spent| !spent.is_over(now));
        }
        let person = spend(&mut senders, (chat.clone(), Some(user)), PERSON, message.clone(), now);
        if person != Admission::Taken || !in_company {
            return person;
        }
        spend(&mut senders, (chat, None), CHAT, message, now)
    }
}

fn spend<M: PartialEq, C: Eq + Hash, U: Eq + Hash>(
    senders: &mut Senders<M, C, U>,
    who: (C, Option<U>),
    limit: Limit,
    message: M,
    now: Instant,
) -> Admission {
    let spent = senders.entry(who).or_insert(Spent { limit, count: 0, since: now, last: None, told: false });
    if spent.last.as_ref() == Some(&message) {
        return Admission::Taken;
    }
    spent.recover(now);
    if spent.count < limit.at_once {
        spent.count += 1;
        spent.last = Some(message);
        return Admission::Taken;
    }
    if std::mem::replace(&mut spent.told, true) { Admission::Dropped } else { Admission::DroppedFirst }
}

impl<M> Spent<M> {
    fn recover(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since).as_millis() / self.limit.each.as_millis();
        let back = u32::try_from(passed).unwrap_or(u32::MAX).min(self.count);
        self.count -= back;
        // Whoever goes on at the limit was told already.
        self.told &= self.count > 0;
        self.since = if self.count == 0 { now } else { self.since + self.limit.each * back };
    }

    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= self.limit.each * self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: i64 = -100;

    fn of(message: u32, chat: i64, user: u64) -> From<u32, i64, u64> {
        From { message, chat, user, in_company: chat == GROUP }
    }

    /// A host's limits, and the number of the last update.
    #[derive(Default)]
    struct Desk(Flood<u32, i64, u64>, u32);

    impl Desk {
        fn admit(&mut self, chat: i64, user: u64, trusted: bool, now: Instant) -> Admission {
            self.1 += 1;
            self.0.admit(of(self.1, chat, user), trusted, now)
        }
    }

    #[test]
    fn who_sends_too_much_is_told_once_and_heard_again_later() {
        let (mut flood, start) = (Desk::default(), Instant::now());
        let sent: Vec<Admission> = (0..3_000).map(|_| flood.admit(GROUP, 666, false, start)).collect();
        let count = |what| sent.iter().filter(|it| **it == what).count();
        assert_eq!((count(Admission::Taken), count(Admission::DroppedFirst)), (30, 1));
        // Nobody else is held back: another member, whoever approves, a private chat.
        assert_eq!(flood.admit(GROUP, 7, false, start), Admission::Taken);
        assert_eq!(flood.admit(GROUP, 42, true, start), Admission::Taken);
        assert_eq!(flood.admit(42, 42, true, start), Admission::Taken);
        assert_eq!(flood.admit(GROUP, 666, false, start + Duration::from_secs(1)), Admission::Dropped);
        let later = start + Duration::from_secs(2);
        assert_eq!(flood.admit(GROUP, 666, false, later), Admission::Taken);
        assert_eq!(flood.admit(GROUP, 666, false, later), Admission::Dropped);
    }

    #[test]
    fn who_goes_on_at_the_limit_is_told_once_and_again_after_a_pause() {
        let (mut flood, start) = (Desk::default(), Instant::now());
        let each_second = |flood: &mut Desk, from: u64| {
            let sent = (from..from + 600)
                .map(|second| flood.admit(GROUP, 666, false, start + Duration::from_secs(second)));
            sent.filter(|it| *it == Admission::DroppedFirst).count()
        };
        assert_eq!(each_second(&mut flood, 0), 1);
        assert_eq!(each_second(&mut flood, 600 + 60), 1);
    }

    #[test]
    fn an_update_that_is_tried_again_counts_once() {
        let (flood, start) = (Flood::default(), Instant::now());
        let from = of(7, GROUP, 666);
        assert!((0..1_000).all(|_| flood.admit(from, false, start) == Admission::Taken));
    }

    #[test]
    fn many_members_of_a_group_keep_no_approver_of_it_from_being_heard() {
        let (mut flood, start) = (Desk::default(), Instant::now());
        let taken =
            (0..1_000).filter(|user| flood.admit(GROUP, 1_000 + user, false, start) == Admission::Taken);
        assert_eq!(taken.count(), 120);
        assert!((0..1_000).all(|_| flood.admit(GROUP, 42, true, start) == Admission::Taken));
    }

    #[test]
    fn what_is_kept_in_mind_is_bounded() {
        let (mut flood, start) = (Desk::default(), Instant::now());
        for user in 0..20_000 {
            flood.admit(5_000_000, user, false, start + Duration::from_secs(user));
        }
        assert!(flood.0.0.lock().unwrap().len() <= KNOWN);
    }
}
