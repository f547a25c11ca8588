//! Changes of runs, published as soon as they are durable.
//!
//! It is level-triggered: a change says where to look, and never what is there. Whoever is slow misses some, and hears
//! that; then everything is to be looked at.

use std::collections::BTreeSet;

use connector_gate::ids::RunId;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Receiver, Sender, channel};

/// How many changes whoever listens may be behind.
const BEHIND: usize = 1_024;

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Something of a run, such as a step of it, a vote or an ask.
    Run(RunId),
    /// Nobody knows what: another process wrote, or some changes were missed.
    Unknown,
}

/// Changes from now on, as [`Engine::subscribe`](crate::engine::Engine::subscribe) makes it. Dropping it ends it.
#[derive(Debug)]
pub struct Changes(Receiver<Change>);

impl Changes {
    /// The next change; nothing once its ledger is closed. Cancelling it loses none.
    pub async fn next(&mut self) -> Option<Change> {
        match self.0.recv().await {
            Ok(change) => Some(change),
            Err(RecvError::Lagged(_)) => Some(Change::Unknown),
            Err(RecvError::Closed) => None,
        }
    }

    /// Lets go of those that are there: whoever looks after this sees what they were about.
    pub fn clear(&mut self) {
        self.0 = self.0.resubscribe();
    }
}

/// Publishes changes to those who subscribed.
#[derive(Debug)]
pub(super) struct Publisher(Sender<Change>);

impl Default for Publisher {
    fn default() -> Self {
        Self(channel(BEHIND).0)
    }
}

impl Publisher {
    pub(super) fn subscribe(&self) -> Changes {
        Changes(self.0.subscribe())
    }

    pub(super) fn publish_all(&self, runs: BTreeSet<RunId>) {
        for run in runs {
            self.publish(Change::Run(run));
        }
    }

    pub(super) fn publish(&self, change: Change) {
        // Nobody may have subscribed.
        let _ = self.0.send(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{self, Entry};
    use crate::{Ledger, LedgerError, Tx};
    use connector_gate::clock::Clock;
    use connector_gate::policy::Actor;

    fn change(tx: &Tx<'_>, run: i64) -> Result<(), LedgerError> {
        let (kind, actor, detail) = ("test".to_owned(), Actor::from_text("cli:a"), serde_json::Value::Null);
        audit::append(
            tx,
            Entry { at: 0, kind, run: Some(RunId(run)), index: None, actor, digest: None, detail },
        )
    }

    #[tokio::test]
    async fn what_was_written_is_published_once_it_is_durable_and_what_was_taken_back_is_not() {
        let ledger = Ledger::in_memory(Clock::manual(1).0).unwrap();
        let mut changes = ledger.changes();
        let refused = |tx: &Tx<'_>| change(tx, 1).and(Err::<(), _>(LedgerError::NotRunning));
        ledger.write(refused).await.unwrap_err();
        ledger.write_now(refused).unwrap_err();
        ledger
            .write(|tx| {
                change(tx, 3)?;
                change(tx, 2)?;
                change(tx, 3)
            })
            .await
            .unwrap();
        ledger.write_now(|tx| change(tx, 4)).unwrap();
        for run in [2, 3, 4] {
            assert_eq!(changes.next().await, Some(Change::Run(RunId(run))));
        }
        drop(ledger);
        assert_eq!(changes.next().await, None);
    }

    #[tokio::test]
    async fn whoever_is_slow_hears_that_some_were_missed_and_goes_on() {
        let ledger = Ledger::in_memory(Clock::manual(1).0).unwrap();
        let mut changes = ledger.changes();
        let last = i64::try_from(BEHIND).unwrap() + 5;
        ledger.write(move |tx| (1..=last).try_for_each(|run| change(tx, run))).await.unwrap();
        assert_eq!(changes.next().await, Some(Change::Unknown));
        let mut heard = changes.next().await;
        while heard != Some(Change::Run(RunId(last))) {
            assert!(matches!(heard, Some(Change::Run(_))));
            heard = changes.next().await;
        }
        ledger.changed_elsewhere();
        assert_eq!(changes.next().await, Some(Change::Unknown));
    }
}
