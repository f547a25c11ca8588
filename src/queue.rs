//! Who goes first: turns of one session, and of one directory, run one by one.
//!
//! A line is first come, first served. A place in it is a value; dropping it, in
//! the line or at its head, lets the next one go. Nothing else is held.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

/// All lines of one connector.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    lines: Mutex<HashMap<String, Weak<Line>>>,
}

#[derive(Debug, Default)]
struct Line {
    waiting: Mutex<Waiting>,
    moved: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    order: VecDeque<u64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place in a line. Dropping it leaves the line.
#[derive(Debug)]
pub(crate) struct Place {
    line: Arc<Line>,
    number: u64,
}

impl Queue {
    /// Takes the last place of the line called `name`.
    pub(crate) fn join(&self, name: &str) -> Place {
        let line = {
            let mut lines = lock(&self.lines);
            lines.retain(|_, line| line.strong_count() > 0);
            let line = lines.get(name).and_then(Weak::upgrade).unwrap_or_default();
            lines.insert(name.to_owned(), Arc::downgrade(&line));
            line
        };
        let number = {
            let mut waiting = lock(&line.waiting);
            waiting.next += 1;
            let number = waiting.next;
            waiting.order.push_back(number);
            number
        };
        Place { line, number }
    }
}

impl Place {
    /// How many go first.
    pub(crate) fn ahead(&self) -> usize {
        lock(&self.line.waiting).order.iter().take_while(|it| **it != self.number).count()
    }

    /// Waits for the head of the line; `on_move` hears how many go first,
    /// whenever that changes. Cancel safe.
    pub(crate) async fn head(&self, mut on_move: impl FnMut(usize)) {
        let mut last = 0;
        loop {
            let moved = self.line.moved.notified();
            let mut moved = std::pin::pin!(moved);
            moved.as_mut().enable();
            let ahead = self.ahead();
            if ahead == 0 {
                return;
            }
            if ahead != last {
                on_move(ahead);
                last = ahead;
            }
            moved.await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.line.waiting).order.retain(|it| *it != self.number);
        self.line.moved.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_moves_when_a_place_is_given_up() {
        let queue = Queue::default();
        let (first, second, third) = (queue.join("a"), queue.join("a"), queue.join("a"));
        assert_eq!((first.ahead(), second.ahead(), third.ahead()), (0, 1, 2));
        let mut seen = Vec::new();
        let waiting = third.head(|ahead| seen.push(ahead));
        let leaving = async {
            tokio::task::yield_now().await;
            drop(second);
            tokio::task::yield_now().await;
            drop(first);
        };
        tokio::join!(waiting, leaving);
        assert_eq!(seen, [2, 1]);
    }

    #[tokio::test]
    async fn lines_do_not_know_each_other_and_leave_nothing_behind() {
        let queue = Queue::default();
        let (one, other) = (queue.join("a"), queue.join("b"));
        one.head(|_| panic!("nobody is ahead")).await;
        other.head(|_| panic!("nobody is ahead")).await;
        drop((one, other));
        drop(queue.join("c"));
        assert_eq!(lock(&queue.lines).len(), 1);
    }
}
