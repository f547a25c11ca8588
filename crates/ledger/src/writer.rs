//! Group commit: what is to be written at once is written in one transaction, and synchronised once.
//!
//! Writes wait in a queue. One of them at a time leads, on a thread of the runtime for what blocks: it takes
//! what waits into one transaction, each write in a savepoint of its own, commits, and tells each caller; then it
//! leads the next group, or rests if nothing waits. A write that is alone waits for nobody.
//!
//! A write that fails or panics takes back itself alone. Nobody hears of success before the commit, and a commit
//! that fails is every caller's failure. A write that is in the queue is carried out although its caller has gone.

use std::any::Any;
use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use connector_gate::ids::RunId;
use rusqlite::{Connection, TransactionBehavior, ffi};
use tokio::sync::oneshot;

use super::changes::Publisher;
use super::time::Time;
use super::{BUSY_TIMEOUT, LedgerError, Tx};

/// How many writes share a transaction.
const LARGEST: usize = 64;

/// The connection that writes, and what waits for it.
pub(super) struct Writer {
    connection: Mutex<Connection>,
    time: Time,
    queue: Mutex<Queue>,
    pub(super) publisher: Publisher,
}

#[derive(Default)]
struct Queue {
    /// With since when.
    waiting: VecDeque<(Instant, Box<dyn Job>)>,
    /// Whether somebody leads, and will take what waits.
    led: bool,
}

/// A write and who waits for it.
trait Job: Send {
    /// Carries it out; returns whether it is to be kept.
    fn run(&mut self, sql: &Connection, time: &Time) -> bool;

    /// Takes the runs that it changed.
    fn changed(&mut self) -> BTreeSet<RunId>;

    /// What SQLite said, if it failed by that.
    fn fault(&self) -> Option<&rusqlite::Error>;

    /// Tells its caller what came of it, or that its group is lost. What it holds is let go first.
    fn tell(self: Box<Self>, lost: Option<&Lost>);
}

struct Write<T, F> {
    work: Option<F>,
    changed: BTreeSet<RunId>,
    outcome: Option<Result<T, LedgerError>>,
    caller: oneshot::Sender<Result<T, LedgerError>>,
}

impl<T, F> Job for Write<T, F>
where
    T: Send,
    F: FnOnce(&Tx<'_>) -> Result<T, LedgerError> + Send,
{
    fn run(&mut self, sql: &Connection, time: &Time) -> bool {
        let Some(work) = self.work.take() else { return false };
        let carried_out = catch_unwind(AssertUnwindSafe(|| {
            let tx = time.stamped(sql)?;
            let outcome = work(&tx)?;
            Ok((outcome, tx.changed.take()))
        }));
        let outcome = carried_out.unwrap_or_else(|panic| Err(cut_off(&words_of(panic.as_ref()))));
        let outcome = outcome.map(|(outcome, changed)| {
            self.changed = changed;
            outcome
        });
        self.outcome.insert(outcome).is_ok()
    }

    fn changed(&mut self) -> BTreeSet<RunId> {
        std::mem::take(&mut self.changed)
    }

    fn fault(&self) -> Option<&rusqlite::Error> {
        match self.outcome.as_ref()?.as_ref().err()? {
            LedgerError::Busy(error)
            | LedgerError::Full(error)
            | LedgerError::ReadOnly(error)
            | LedgerError::Damaged(error)
            | LedgerError::Lost(error)
            | LedgerError::Sql(error) => Some(error),
            _ => None,
        }
    }

    fn tell(self: Box<Self>, lost: Option<&Lost>) {
        drop(self.work);
        let outcome = match (self.outcome, lost) {
            (Some(Err(own)), _) => Err(own),
            (_, Some(lost)) => Err(lost.error()),
            (Some(done), None) => done,
            (None, None) => Err(cut_off("it was not carried out")),
        };
        // A caller that has gone is told nothing.
        let _ = self.caller.send(outcome);
    }
}

impl Writer {
    pub(super) fn new(connection: Connection, time: Time) -> Arc<Self> {
        Arc::new(Self {
            connection: Mutex::new(connection),
            time,
            queue: Mutex::default(),
            publisher: Publisher::default(),
        })
    }

    /// The connection, once no group has it.
    pub(super) fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a write into the queue, and sees to it that somebody leads. What is returned hears its outcome.
    pub(super) fn queue<T, F>(self: &Arc<Self>, work: F) -> oneshot::Receiver<Result<T, LedgerError>>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, LedgerError> + Send + 'static,
    {
        let (caller, outcome) = oneshot::channel();
        let write = Box::new(Write { work: Some(work), changed: BTreeSet::new(), outcome: None, caller });
        let mut queue = self.waiting();
        queue.waiting.push_back((Instant::now(), write));
        if !std::mem::replace(&mut queue.led, true) {
            let lead = Lead(Some(Arc::clone(self)));
            // A runtime that ends does it here and now.
            drop(queue);
            tokio::task::spawn_blocking(move || drop(lead));
        }
        outcome
    }

    /// Carries out one write, in a transaction of its own.
    pub(super) fn alone<T>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let tx = self.time.stamped(&transaction)?;
        let value = work(&tx)?;
        let changed = tx.changed.take();
        transaction.commit()?;
        self.publisher.publish_all(changed);
        Ok(value)
    }

    fn waiting(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing waits, so that nobody leads any more.
    fn rests(&self) -> bool {
        let mut queue = self.waiting();
        queue.led = !queue.waiting.is_empty();
        !queue.led
    }

    fn next(&self) -> Option<Box<dyn Job>> {
        self.waiting().waiting.pop_front().map(|(_, job)| job)
    }

    /// The next if it has waited as long as a write may, or whatever is `first`.
    fn next_overdue(&self, first: bool) -> Option<Box<dyn Job>> {
        let mut queue = self.waiting();
        let (since, _) = queue.waiting.front()?;
        let overdue = first || since.elapsed() >= BUSY_TIMEOUT;
        overdue.then(|| queue.waiting.pop_front()).flatten().map(|(_, job)| job)
    }

    /// Writes the next group; those that are in it are in `group` afterwards, lost or not.
    fn write_group(&self, group: &mut Vec<Box<dyn Job>>) -> Result<(), Lost> {
        let mut connection = self.connection();
        let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let mut transaction = begun.inspect_err(|_| {
            // Whoever has not waited as long has a turn of its own.
            while let Some(job) = self.next_overdue(group.is_empty()) {
                group.push(job);
            }
        })?;
        // Nothing comes before the first: all that it could take back is the transaction, without a savepoint.
        if let Some(mut first) = self.next() {
            let kept = first.run(&transaction, &self.time);
            let fault = first.fault().map(again);
            group.push(first);
            match (kept, transaction.is_autocommit()) {
                (false, _) => return Ok(()),
                (true, true) => return Err(Lost::ByOne(fault.unwrap_or_else(taken_back))),
                (true, false) => {}
            }
        }
        while group.len() < LARGEST {
            let Some(mut job) = self.next() else { break };
            let saved = transaction.savepoint();
            let kept = saved
                .and_then(|saved| if job.run(&saved, &self.time) { saved.commit() } else { saved.finish() });
            let fault = job.fault().map(again);
            group.push(job);
            // Where there is no room or no memory, SQLite takes the whole transaction back.
            if transaction.is_autocommit() {
                return Err(Lost::ByOne(fault.unwrap_or_else(taken_back)));
            }
            kept?;
        }
        Ok(transaction.commit()?)
    }
}

/// The duty to lead, done when this is dropped: a runtime that ends drops it undone, and what waits has callers
/// elsewhere too.
struct Lead(Option<Arc<Writer>>);

impl Drop for Lead {
    fn drop(&mut self) {
        if let Some(writer) = self.0.take() {
            lead(writer);
        }
    }
}

/// Writes one group after another until nothing waits.
fn lead(writer: Arc<Writer>) {
    loop {
        let mut group = Vec::new();
        let lost = writer.write_group(&mut group).err();
        if lost.is_none() {
            writer.publisher.publish_all(group.iter_mut().flat_map(|job| job.changed()).collect());
        }
        if writer.rests() {
            // Whoever hears of it may close the ledger, and then it is closed.
            drop(writer);
            return tell(group, lost.as_ref());
        }
        // Whoever waits next is not to be left waiting by what a caller's value does when it is let go.
        if catch_unwind(AssertUnwindSafe(|| tell(group, lost.as_ref()))).is_err() {
            tracing::error!("a caller of the ledger panicked as it was told");
        }
    }
}

fn tell(group: Vec<Box<dyn Job>>, lost: Option<&Lost>) {
    for job in group {
        job.tell(lost);
    }
}

/// Why nothing of a group was written.
enum Lost {
    /// It could not be begun or committed.
    Whole(rusqlite::Error),
    /// One of its writes took it back.
    ByOne(rusqlite::Error),
}

impl From<rusqlite::Error> for Lost {
    fn from(error: rusqlite::Error) -> Self {
        Self::Whole(error)
    }
}

impl Lost {
    /// The error of a write that did nothing wrong itself: what is the matter with the file, or else that it may be made
    /// again.
    fn error(&self) -> LedgerError {
        let (error, by_one) = match self {
            Self::Whole(error) => (error, false),
            Self::ByOne(error) => (error, true),
        };
        match again(error).into() {
            LedgerError::Sql(error) if by_one => LedgerError::Lost(error),
            other => other,
        }
    }
}

/// The error of a call whose end nobody will know.
pub(super) fn cut_off(why: &str) -> LedgerError {
    LedgerError::CutOff(why.to_owned())
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
    words.map_or_else(|| "it panicked".to_owned(), |words| format!("it panicked: {words}"))
}

/// The same error for another caller.
fn again(error: &rusqlite::Error) -> rusqlite::Error {
    match error {
        rusqlite::Error::SqliteFailure(code, words) => rusqlite::Error::SqliteFailure(*code, words.clone()),
        other => rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_ERROR), Some(other.to_string())),
    }
}

/// Nobody said why the whole transaction was taken back.
fn taken_back() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        ffi::Error::new(ffi::SQLITE_ABORT),
        Some("the transaction was taken back by another write of its group".to_owned()),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use connector_gate::clock::Clock;

    use super::*;
    use crate::Ledger;

    fn full() -> LedgerError {
        rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), None).into()
    }

    #[tokio::test]
    async fn whoever_is_in_a_transaction_that_is_lost_hears_why() {
        type Work = fn(&Tx<'_>) -> Result<(), LedgerError>;
        let taken_back: Work = |tx| {
            tx.sql.execute_batch("ROLLBACK")?;
            Err(full())
        };
        let refused_at_commit: Work = |tx| {
            let dangling = "PRAGMA defer_foreign_keys = 1;
                INSERT INTO runs (event_id, rule, rule_version, surface, chat, requester, state, created_at)
                VALUES (99, '', '', '', '', '', 'active', 0)";
            Ok(tx.sql.execute_batch(dangling)?)
        };
        for (work, wanted) in
            [(taken_back, ["full", "full", "done"]), (refused_at_commit, ["failed", "failed", "failed"])]
        {
            let state = tempfile::tempdir().unwrap();
            let ledger = Ledger::open(state.path(), Clock::System).unwrap();
            let (let_go, held) = mpsc::channel::<()>();
            let writer = &ledger.0.writer;
            let first = writer.queue(move |_| {
                held.recv().unwrap_err();
                Ok(())
            });
            let (second, third) = (writer.queue(work), writer.queue(|_| Ok(())));
            drop(let_go);
            let heard = [first.await.unwrap(), second.await.unwrap(), third.await.unwrap()];
            let words = heard.each_ref().map(|heard| match heard {
                Ok(()) => "done",
                Err(LedgerError::Full(_)) => "full",
                Err(_) => "failed",
            });
            assert_eq!(words, wanted, "{heard:?}");
        }
    }
}
