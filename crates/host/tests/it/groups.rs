//! Writes that meet: they share a transaction, and each stands or falls by itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use connector_gate::clock::Clock;
use connector_ledger::audit::{self, Verdict};
use connector_ledger::{Ledger, LedgerError, Tx, events, keep};
use tokio::task::JoinHandle;

use crate::database;
use crate::world::{event, ledger};

/// As many as one transaction takes.
const MANY: usize = 64;

/// How long anything may take here that does not hang.
const LIMIT: Duration = Duration::from_mins(1);

type Outcome = Result<i64, LedgerError>;

/// Stores an event of that number.
fn store(tx: &Tx<'_>, number: usize) -> Outcome {
    let text = format!("number {number}");
    events::store(tx, &event(&number.to_string(), &text))?
        .ok_or_else(|| LedgerError::Content(format!("{text} is there already")))
}

/// Lets 64 writes meet in the queue: while the first is held in its transaction, all others come.
async fn met(ledger: &Ledger, write: fn(&Tx<'_>, usize) -> Outcome) -> Vec<Outcome> {
    let (let_go, held) = mpsc::channel::<()>();
    let mut held = Some(held);
    let begun = Arc::new(AtomicUsize::new(0));
    let writers: Vec<JoinHandle<Outcome>> = (0..MANY)
        .map(|number| {
            let (ledger, begun, held) = (ledger.clone(), Arc::clone(&begun), held.take());
            tokio::spawn(async move {
                begun.fetch_add(1, Ordering::SeqCst);
                let work = move |tx: &Tx<'_>| {
                    // Until the sender is dropped.
                    held.map(|held| held.recv());
                    write(tx, number)
                };
                ledger.write(work).await
            })
        })
        .collect();
    // On one thread, whoever has begun has come to where it waits.
    while begun.load(Ordering::SeqCst) < MANY {
        tokio::task::yield_now().await;
    }
    drop(let_go);
    let mut outcomes = Vec::new();
    for writer in writers {
        outcomes.push(tokio::time::timeout(LIMIT, writer).await.unwrap().unwrap());
    }
    outcomes
}

/// How many transactions the write-ahead log holds: frames whose header says how large the file is after them end
/// one (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>).
fn commits(ledger: &Ledger) -> usize {
    let log = std::fs::read(format!("{}-wal", ledger.path().display())).unwrap();
    let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    let frame = 24 + number(8) as usize;
    // What an earlier turn of the log left behind its end has other salts.
    let frames = (32..log.len()).step_by(frame).take_while(|at| log[at + 8..at + 16] == log[16..24]);
    frames.filter(|at| number(at + 4) != 0).count()
}

fn stored(ledger: &Ledger, number: usize) -> bool {
    ledger.read_now(|tx| events::is_stored(tx, "screen", &number.to_string())).unwrap()
}

fn is_whole(ledger: &Ledger) {
    let (verdict, findings) = ledger.read_now(|tx| Ok((audit::verify(tx)?, keep::check(tx)?))).unwrap();
    assert!(matches!(verdict, Verdict::Intact { .. }), "{verdict:?}");
    assert_eq!(findings.problems, Vec::<String>::new());
}

#[tokio::test]
async fn writes_that_meet_are_one_transaction_and_each_is_there_once() {
    let state = tempfile::tempdir().unwrap();
    let ledger = ledger(state.path());
    let before = commits(&ledger);
    let mut ids: Vec<i64> = met(&ledger, store).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(commits(&ledger) - before, 1);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), MANY);
    let events: i64 = database::value(ledger.path(), "SELECT count(*) FROM events");
    assert_eq!(events, 64);
    is_whole(&ledger);
    drop(ledger);
    is_whole(&crate::world::ledger(state.path()));
}

#[tokio::test]
async fn a_write_that_fails_or_panics_takes_back_itself_alone() {
    let state = tempfile::tempdir().unwrap();
    let ledger = ledger(state.path());
    let outcomes = met(&ledger, |tx, number| {
        let id = store(tx, number)?;
        match number % 3 {
            0 => Ok(id),
            1 => Err(LedgerError::Content(format!("{number} thinks better of it"))),
            _ => panic!("{number} breaks down"),
        }
    })
    .await;
    for (number, outcome) in outcomes.iter().enumerate() {
        let told = match outcome {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        let like = match number % 3 {
            0 => String::new(),
            1 => format!("the ledger holds what it should not: {number} thinks better of it"),
            _ => format!("a ledger call was cut off: it panicked: {number} breaks down"),
        };
        assert_eq!(told, like);
        assert_eq!(stored(&ledger, number), outcome.is_ok(), "{number}");
    }
    is_whole(&ledger);
    assert_eq!(ledger.write(|tx| store(tx, 100)).await.unwrap(), 23, "it goes on");
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn of_writes_that_meet_on_a_full_disk_those_are_there_that_heard_so() {
    let state = tempfile::tempdir().unwrap();
    let ledger = ledger(state.path());
    ledger.limit_pages(1).unwrap();
    let large = |tx: &Tx<'_>, number: usize| {
        let text = "x".repeat(if number.is_multiple_of(2) { 10 } else { 40_000 });
        events::store(tx, &event(&number.to_string(), &text))?;
        Ok(0)
    };
    let outcomes = met(&ledger, large).await;
    assert!(outcomes.iter().any(|outcome| matches!(outcome, Err(LedgerError::Full(_)))), "{outcomes:?}");
    for (number, outcome) in outcomes.iter().enumerate() {
        assert_eq!(stored(&ledger, number), outcome.is_ok(), "{number}: {outcome:?}");
    }
    ledger.limit_pages(1_000_000).unwrap();
    ledger.write(|tx| store(tx, 100)).await.unwrap();
    is_whole(&ledger);
}

#[tokio::test]
async fn a_write_that_takes_the_whole_transaction_back_is_told_to_those_it_took_with_it() {
    let state = tempfile::tempdir().unwrap();
    let ledger = ledger(state.path());
    let trigger = "CREATE TRIGGER taken_back BEFORE INSERT ON events WHEN new.platform_id = '20'
        BEGIN SELECT RAISE(ROLLBACK, 'everything'); END";
    database::edit(ledger.path(), trigger);
    let outcomes = met(&ledger, store).await;
    for (number, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome.is_ok(), number > 20, "{number}: {outcome:?}");
        assert_eq!(stored(&ledger, number), outcome.is_ok(), "{number}: {outcome:?}");
    }
    is_whole(&ledger);
}

#[tokio::test]
async fn time_goes_on_between_writes_of_one_transaction() {
    let state = tempfile::tempdir().unwrap();
    let (clock, hand) = Clock::manual(1_000);
    let ledger = Ledger::open(state.path(), clock).unwrap();
    let times = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (let_go, held) = mpsc::channel::<()>();
    let mut held = Some(held);
    let mut writes: Vec<_> = (0..3)
        .map(|_| {
            let (hand, times, held) = (Arc::clone(&hand), Arc::clone(&times), held.take());
            Box::pin(ledger.write(move |tx| {
                held.map(|held| held.recv());
                times.lock().unwrap().push(tx.now);
                hand.fetch_add(10, Ordering::SeqCst);
                Ok(())
            }))
        })
        .collect();
    for write in &mut writes {
        assert!(futures_util::FutureExt::now_or_never(write).is_none());
    }
    drop(let_go);
    for write in writes {
        write.await.unwrap();
    }
    assert_eq!(*times.lock().unwrap(), [1_000, 1_010, 1_020]);
}

#[tokio::test]
async fn a_long_look_keeps_no_write_and_no_other_look_waiting() {
    let state = tempfile::tempdir().unwrap();
    let ledger = ledger(state.path());
    let (let_go, held) = mpsc::channel::<()>();
    let (begun, begins) = tokio::sync::oneshot::channel();
    let look = tokio::spawn({
        let ledger = ledger.clone();
        async move {
            let look = move |tx: &Tx<'_>| {
                let before = events::latest(tx, 10)?;
                begun.send(()).unwrap();
                held.recv().unwrap_err();
                Ok((before, events::latest(tx, 10)?))
            };
            ledger.read(look).await.unwrap()
        }
    });
    begins.await.unwrap();
    let written = tokio::time::timeout(LIMIT, ledger.write(|tx| store(tx, 1))).await.unwrap().unwrap();
    let seen = tokio::time::timeout(LIMIT, ledger.read(|tx| events::latest(tx, 10))).await.unwrap().unwrap();
    assert_eq!(seen, [written]);
    drop(let_go);
    assert_eq!(look.await.unwrap(), (vec![], vec![]), "it saw one moment");
}

#[tokio::test]
async fn more_looks_than_connections_all_come_to_their_turn() {
    let state = tempfile::tempdir().unwrap();
    let ledger = ledger(state.path());
    let id = ledger.write(|tx| store(tx, 1)).await.unwrap();
    let looks: Vec<_> = (0..MANY)
        .map(|number| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                let look = move |tx: &Tx<'_>| {
                    assert!(number % 4 != 0, "some break down");
                    events::latest(tx, 10)
                };
                ledger.read(look).await
            })
        })
        .collect();
    for (number, look) in looks.into_iter().enumerate() {
        let seen = tokio::time::timeout(LIMIT, look).await.unwrap().unwrap();
        assert_eq!(seen.ok(), (number % 4 != 0).then(|| vec![id]), "{number}");
    }
}

#[tokio::test]
async fn only_what_another_connection_wrote_changes_the_version() {
    let state = tempfile::tempdir().unwrap();
    let (ledger, other) = (ledger(state.path()), ledger(state.path()));
    let first = ledger.data_version().await.unwrap();
    ledger.write(|tx| store(tx, 1)).await.unwrap();
    ledger.read(|tx| events::latest(tx, 1)).await.unwrap();
    assert_eq!(ledger.data_version().await.unwrap(), first);
    other.write(|tx| store(tx, 2)).await.unwrap();
    assert_ne!(ledger.data_version().await.unwrap(), first);
}

#[test]
fn a_write_whose_runtime_ends_is_carried_out_and_keeps_no_other_waiting() {
    let state = tempfile::tempdir().unwrap();
    let ledger = ledger(state.path());
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.max_blocking_threads(1).enable_all().build().unwrap()
    };
    let (ending, other) = (runtime(), runtime());
    // Its only thread for what blocks is taken, so that nobody leads.
    let (let_go, held) = mpsc::channel::<()>();
    ending.spawn_blocking(move || held.recv().unwrap_err());
    ending.block_on(async {
        let write = Box::pin(ledger.write(|tx| store(tx, 1)));
        assert!(futures_util::FutureExt::now_or_never(write).is_none());
    });
    ending.shutdown_background();
    drop(let_go);
    let written = other.block_on(async {
        tokio::time::timeout(LIMIT, ledger.write(|tx| store(tx, 2))).await.unwrap().unwrap()
    });
    assert_eq!((written, stored(&ledger, 1)), (2, true));
}

#[tokio::test]
async fn whoever_heard_of_the_last_write_finds_the_file_closed() {
    for _ in 0..50 {
        let state = tempfile::tempdir().unwrap();
        let ledger = ledger(state.path());
        ledger.write(|tx| store(tx, 1)).await.unwrap();
        ledger.read(|tx| events::latest(tx, 1)).await.unwrap();
        drop(ledger);
        let names = std::fs::read_dir(state.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["ledger.sqlite"]);
    }
}
