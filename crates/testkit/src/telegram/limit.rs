//! Telegram's rate limits, as far as they are known: one message a second in a
//! chat with short bursts, twenty a minute in a group, thirty a second in all.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

const BURST: usize = 3;

#[derive(Debug, Default)]
pub(super) struct Limits {
    pub(super) strict: bool,
    all: VecDeque<Instant>,
    chats: HashMap<i64, VecDeque<Instant>>,
}

impl Limits {
    /// The seconds to wait before a message to `chat`, if it comes too soon.
    pub(super) fn refuse(&mut self, chat: i64) -> Option<u64> {
        if !self.strict {
            return None;
        }
        let now = Instant::now();
        let (window, most) = if chat < 0 { (60, 20) } else { (BURST as u64, BURST) };
        let sent = self.chats.entry(chat).or_default();
        forget(sent, now, Duration::from_secs(window));
        forget(&mut self.all, now, Duration::from_secs(1));
        if sent.len() >= most {
            let oldest = sent.front().map_or(Duration::ZERO, |at| now - *at);
            return Some((Duration::from_secs(window).saturating_sub(oldest)).as_secs() + 1);
        }
        if self.all.len() >= 30 {
            return Some(1);
        }
        sent.push_back(now);
        self.all.push_back(now);
        None
    }
}

fn forget(sent: &mut VecDeque<Instant>, now: Instant, window: Duration) {
    while sent.front().is_some_and(|at| now - *at >= window) {
        sent.pop_front();
    }
}
