//! The end of a host: what is still to be said is sent, and what comes in meanwhile waits at Telegram.

use std::time::Duration;

use connector_gate::clock::Clock;
use connector_host::assemble::{self, Parts};
use connector_host::telegram::Telegram;
use connector_ledger::LedgerError;
use connector_surface::Surface as _;
use connector_telegram::NAME;
use testkit::telegram::{FakeTelegram, Fault};

use super::desk::settings;
use super::stage::Stage;
use super::webhook::{tapped, written};
use super::world::{ANNA, CHAT};
use crate::database;
use crate::probe::Shared;

#[tokio::test]
async fn at_a_stop_the_last_result_is_sent_and_what_comes_in_meanwhile_waits_for_the_next_start() {
    let mut desk = Stage::start(Shared::closed());
    desk.approved("/fix the first").await;
    desk.see(|shown| shown.text.contains("1.1 runs")).await;
    // What is approved is said to run; only what was called is stopped by a stop.
    desk.until("SELECT count(*) FROM steps WHERE state = 'dispatched'").await;
    desk.telegram.wait_until_acknowledged().await;
    desk.telegram.fault("editMessageText", 1, &Fault::Slow(Duration::from_millis(300)));
    desk.begin_to_stop();
    desk.until("SELECT count(*) FROM steps WHERE state = 'cancelled'").await;
    desk.telegram.write(ANNA, CHAT, "/fix the second");
    let ledger = desk.engine().ledger().path().to_owned();
    desk.stop().await;

    let screen = desk.telegram.screen(CHAT);
    assert!(screen.iter().any(|shown| shown.text.contains("1.1 stopped")), "{screen:#?}");
    assert_eq!(database::value::<u32>(&ledger, "SELECT count(*) FROM outbox WHERE delivered_at IS NULL"), 0);
    let second = "SELECT count(*) FROM events WHERE payload ->> 'text' LIKE '%second'";
    assert_eq!(database::value::<u32>(&ledger, second), 0);
    assert_eq!(desk.telegram.unacknowledged(), 1);

    desk.start_again();
    desk.card("/fix the second").await;
    desk.stop().await;
}

#[tokio::test]
async fn what_comes_in_while_no_host_runs_is_not_taken_in() {
    let telegram = FakeTelegram::start().unwrap();
    let surface = Telegram::new(settings(&telegram), NAME, Clock::System).unwrap();
    let updates = [written(1, "/fix it"), written(2, "/status"), tapped(3, 1, "a tap")];
    for update in &updates {
        let taken = surface.take(update).await;
        assert!(matches!(taken, Err(LedgerError::NotRunning)), "before: {taken:?}, {update}");
    }
    let state = tempfile::tempdir().unwrap();
    let engine = assemble::engine(state.path(), Clock::System, Parts::default()).unwrap();
    surface.report_to(engine.inbox(surface.name()));
    drop(engine);
    for update in &updates {
        let taken = surface.take(update).await;
        assert!(matches!(taken, Err(LedgerError::NotRunning)), "after: {taken:?}, {update}");
    }
    assemble::engine(state.path(), Clock::System, Parts::default()).expect("the directory is free again");
}
