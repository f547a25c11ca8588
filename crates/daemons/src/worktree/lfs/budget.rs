//! How much of files of Git LFS one turn may have stored and read, all repositories of its tree together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many times as much may be read as stored: what was only touched is there already, and found out by reading.
const READ: u64 = 4;

/// What is left to one turn.
#[derive(Debug, Clone)]
pub(in crate::worktree) struct Budget {
    most: u64,
    stored: Arc<AtomicU64>,
    read: Arc<AtomicU64>,
}

impl Budget {
    pub(in crate::worktree) fn new(most: u64) -> Self {
        Self { most, stored: Arc::default(), read: Arc::default() }
    }

    /// How many bytes may be stored yet.
    pub(super) fn left(&self) -> u64 {
        self.most.saturating_sub(self.stored.load(Ordering::Relaxed))
    }

    pub(super) fn store(&self, bytes: u64) {
        self.stored.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether a file of this size may be read; counts it then. One that could never be stored is not.
    pub(super) fn read(&self, bytes: u64) -> bool {
        let most = self.most.saturating_mul(READ);
        let fits = |read: u64| read.checked_add(bytes).filter(|read| *read <= most);
        bytes <= self.most && self.read.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_and_read_counts_for_all_repositories_of_a_turn() {
        let budget = Budget::new(10);
        let other = budget.clone();
        assert!(!budget.read(11) && !budget.read(u64::MAX), "it could not be stored");
        assert!((0..4).all(|_| budget.read(10)) && !other.read(1));
        budget.store(7);
        assert_eq!(other.left(), 3);
        other.store(7);
        assert_eq!(budget.left(), 0);
    }
}
