//! The ledger when things go wrong around it.

use connector_gate::clock::Clock;
use connector_gate::decision::{Decision, Tapped};
use connector_gate::state::StepState;
use connector_ledger::audit::{self, Verdict};
use connector_ledger::{Ledger, LedgerError, keep, runs};
use connector_surface::Inbox;
use connector_surface::inbox::Message;

use crate::database;
use crate::world::{ANNA, Plan, World, ledger};

#[tokio::test]
async fn a_second_host_on_one_directory_is_told_who_has_it() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    let Err(error) = World::try_start(state.path(), 1_000, Plan::default()) else { panic!("two hosts") };
    assert!(
        matches!(&error, LedgerError::Held { holder, .. } if *holder == std::process::id().to_string()),
        "{error}"
    );
    world.stop().await;
}

#[test]
fn what_is_no_ledger_is_left_as_it_is() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("ledger.sqlite");
    for content in
        [b"this is a diary, not a database, and a long enough one at that".as_slice(), &[0xff; 8192]]
    {
        std::fs::write(&path, content).unwrap();
        let error = Ledger::open(state.path(), Clock::System).unwrap_err();
        assert!(matches!(error, LedgerError::Corrupt { .. }), "{error:?}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}

#[test]
fn a_database_of_another_program_is_left_as_it_is() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("ledger.sqlite");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE diary (entry TEXT); INSERT INTO diary VALUES ('dear')").unwrap();
    assert!(matches!(Ledger::open(state.path(), Clock::System).unwrap_err(), LedgerError::Corrupt { .. }));
    let entries: i64 = other.query_row("SELECT count(*) FROM diary", [], |row| row.get(0)).unwrap();
    assert_eq!(entries, 1);
}

#[test]
fn a_ledger_of_a_newer_version_is_refused() {
    let state = tempfile::tempdir().unwrap();
    drop(ledger(state.path()));
    database::edit(&state.path().join("ledger.sqlite"), "PRAGMA user_version = 99");
    let error = Ledger::open(state.path(), Clock::System).unwrap_err();
    assert!(matches!(error, LedgerError::Newer { found: 99, .. }), "{error:?}");
}

#[test]
fn a_state_directory_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Ledger::open(&file.path().join("state"), Clock::System).unwrap_err();
    assert!(error.to_string().contains("state/ledger.sqlite"), "{error}");
}

#[tokio::test]
async fn the_audit_notices_what_was_changed_removed_or_cut_out() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    world.say("1", "/fix it").await;
    world.card().await;
    world.stop().await;
    let tamper = |sql: &str| {
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(state.path().join("ledger.sqlite"), copy.path().join("ledger.sqlite")).unwrap();
        let ledger = ledger(copy.path());
        let drop = "DROP TRIGGER audit_is_never_changed; DROP TRIGGER audit_is_never_cut";
        database::edit(ledger.path(), &format!("{drop}; {sql}"));
        ledger.read_now(audit::verify).unwrap()
    };
    assert!(matches!(tamper(""), Verdict::Intact { rows: 4.., .. }));
    for (sql, broken) in [
        ("UPDATE audit SET actor = 'screen:mallory' WHERE seq = 2", 2),
        ("UPDATE audit SET at = at + 1 WHERE seq = 1", 1),
        ("DELETE FROM audit WHERE seq = 2", 2),
        ("DELETE FROM audit WHERE seq = 1", 1),
        ("UPDATE audit SET hash = 'x' WHERE seq = 3", 3),
    ] {
        assert!(
            matches!(tamper(sql), Verdict::Broken { seq, .. } if seq == broken),
            "{sql}: {:?}",
            tamper(sql)
        );
    }
}

#[test]
fn the_audit_refuses_to_be_rewritten() {
    let state = tempfile::tempdir().unwrap();
    let file = database::open(ledger(state.path()).path());
    file.execute("INSERT INTO audit VALUES (1, 0, 'x', NULL, NULL, 'x', NULL, '{}', 'x')", []).unwrap();
    let refused = file.execute("UPDATE audit SET actor = 'y'", []);
    assert!(refused.is_err());
}

#[cfg(unix)]
#[test]
fn nobody_else_may_read_the_ledger() {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let parent = tempfile::tempdir().unwrap();
    let (new, old) = (parent.path().join("new"), parent.path().join("old"));
    std::fs::create_dir(&old).unwrap();
    std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o755)).unwrap();
    for state in [&new, &old] {
        let open = ledger(state);
        for file in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
            assert_eq!(mode(&state.join(file)), 0o600, "{file}");
        }
        drop(open);
    }
    assert_eq!(mode(&new), 0o700);
}

/// A ledger with one run that has ended and one that waits.
async fn one_ended_one_waits(state: &std::path::Path) {
    let world = World::start(state, 1_000, Plan::default());
    world.say("1", "/fix it").await;
    let card = world.card().await;
    world.tap(&card, ANNA, Decision::Approve).await;
    world.result(1).await;
    world.until_ended(1).await;
    world.set_time(5_000);
    world.say("2", "/fix that").await;
    let second = world.until("a second card", |world| world.screen.cards().get(1).cloned()).await;
    world.until_delivered(second.id).await;
    world.stop().await;
}

#[tokio::test]
async fn what_is_pruned_is_gone_and_what_is_kept_still_verifies() {
    let state = tempfile::tempdir().unwrap();
    one_ended_one_waits(state.path()).await;
    let ledger = at(state.path(), 9_000);
    let before = ledger.read_now(audit::last).unwrap();
    let noted = ledger.read_now(audit::verify).unwrap();
    let Verdict::Intact { head, .. } = noted else { panic!("{noted:?}") };

    let pruned = ledger.write_now(|tx| keep::prune(tx, 5_000, 10)).unwrap();
    assert_eq!((pruned.runs, pruned.events), (1, 1));
    assert!(pruned.audit_rows > 4, "{pruned:?}");
    let verdict = ledger.read_now(audit::verify).unwrap();
    let kept = before + 1 - i64::try_from(pruned.audit_rows).unwrap();
    assert!(matches!(verdict, Verdict::Intact { rows, .. } if rows == kept), "{verdict:?}");
    assert_eq!(ledger.read_now(|tx| audit::with_head(tx, verdict.clone(), &head)).unwrap(), verdict);
    assert_eq!(ledger.read_now(keep::check).unwrap().problems, Vec::<String>::new());
    // Again lets go of nothing: the run that waits holds the rest.
    assert_eq!(ledger.write_now(|tx| keep::prune(tx, 1_000_000, 10)).unwrap().runs, 0);
    let rows = ledger.read_now(|tx| runs::latest(tx, 10)).unwrap();
    assert_eq!(rows.iter().map(|row| row.id.0).collect::<Vec<_>>(), [2]);
    drop(ledger);

    // The card that was kept can still be approved, and runs.
    let world = World::start(state.path(), 10_000, Plan::default());
    let card = world.card().await;
    assert_eq!(world.tap(&card, ANNA, Decision::Approve).await, Tapped::Approved);
    world.result(1).await;
    assert!(world.audit_is_intact().await);
    world.stop().await;
}

#[tokio::test]
async fn an_anchor_that_was_moved_is_noticed() {
    let state = tempfile::tempdir().unwrap();
    one_ended_one_waits(state.path()).await;
    let ledger = at(state.path(), 9_000);
    ledger.write_now(|tx| keep::prune(tx, 5_000, 10)).unwrap();
    let cut = "UPDATE audit_anchor SET (seq, hash) = (SELECT seq, hash FROM audit ORDER BY seq LIMIT 1);
        DELETE FROM audit WHERE seq <= (SELECT seq FROM audit_anchor)";
    database::edit(ledger.path(), cut);
    let verdict = ledger.read_now(audit::verify).unwrap();
    assert!(matches!(verdict, Verdict::Broken { .. }), "{verdict:?}");
}

#[tokio::test]
async fn a_backup_is_a_ledger_and_overwrites_nothing() {
    let state = tempfile::tempdir().unwrap();
    one_ended_one_waits(state.path()).await;
    let copy = tempfile::tempdir().unwrap();
    let file = copy.path().join("ledger.sqlite");
    let ledger = at(state.path(), 9_000);
    ledger.backup(&file).unwrap();
    assert!(matches!(ledger.backup(&file).unwrap_err(), LedgerError::Open { .. }));
    let copied = at(copy.path(), 9_000);
    assert_eq!(copied.read_now(keep::check).unwrap(), ledger.read_now(keep::check).unwrap());
    assert_eq!(
        copied.read_now(|tx| runs::latest(tx, 10)).unwrap(),
        ledger.read_now(|tx| runs::latest(tx, 10)).unwrap()
    );
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_full_disk_loses_nothing_and_runs_nothing_and_goes_on_when_there_is_room() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    world.say("1", "/fix it").await;
    let card = world.card().await;
    world.until_delivered(card.id).await;
    world.engine.ledger().limit_pages(1).unwrap();
    // Until the free pages are used up some events still fit.
    let mut refused = None;
    for number in 2..2_000 {
        let large = crate::world::event(&number.to_string(), &"x".repeat(20_000));
        if let Err(error) = world.engine.submit(large).await {
            refused = Some(error);
            break;
        }
    }
    let error = refused.unwrap();
    assert!(matches!(error, LedgerError::Full(_)), "{error:?}");
    assert!(error.to_string().contains("the disk is full; nothing was recorded"));
    world.engine.ledger().limit_pages(1_000_000).unwrap();
    assert_eq!(world.tap(&card, ANNA, Decision::Approve).await, Tapped::Approved);
    assert_eq!(world.result(1).await.state, StepState::Succeeded);
    assert!(world.audit_is_intact().await);
    assert_eq!(world.probe.calls().len(), 1);
    world.stop().await;
}

#[test]
fn time_goes_on_from_the_latest_entry_when_the_clock_is_set_back() {
    let state = tempfile::tempdir().unwrap();
    at(state.path(), 50_000).write_now(|_| Ok(())).unwrap();
    let later = at(state.path(), 10_000);
    assert_eq!(later.write_now(|tx| Ok(tx.now)).unwrap(), 50_000);
    assert_eq!(later.read_now(|tx| Ok(tx.now)).unwrap(), 50_000);
}

fn at(state: &std::path::Path, now: i64) -> Ledger {
    Ledger::open(state, Clock::manual(now).0).unwrap()
}

/// What somebody wrote on the screen, under these ids.
fn written(ids: &[&str], text: &str) -> Vec<Message> {
    let message = |id: &&str| Message {
        id: (*id).to_owned(),
        chat: "main".to_owned(),
        user: "anna".to_owned(),
        trigger: "message_received",
        text: text.to_owned(),
        answers: None,
        payload: serde_json::Map::new(),
    };
    ids.iter().map(message).collect()
}

#[tokio::test]
async fn a_place_is_stored_with_the_messages_before_it_or_not_at_all_and_outlives_the_host() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    let file = world.engine.ledger().path().to_owned();
    let inbox = world.engine.inbox("screen");
    assert_eq!(inbox.place().await.unwrap(), None);
    assert_eq!(inbox.take_up_to(written(&["1"], "/fix it"), "s1").await.unwrap(), 1);
    let unchanged = async |inbox: &Inbox| {
        assert_eq!(inbox.place().await.unwrap().as_deref(), Some("s1"));
        let stored: i64 =
            database::value(&file, "SELECT count(*) FROM events WHERE platform_id IN ('2', '3')");
        assert_eq!(stored, 0);
    };
    let batch = || written(&["2", "3"], "hello");
    for between in ["events WHEN new.platform_id = '3'", "cursors"] {
        let cut = format!(
            "CREATE TRIGGER cut BEFORE INSERT ON {between} BEGIN SELECT RAISE(ABORT, 'cut off'); END"
        );
        database::edit(&file, &cut);
        inbox.take_up_to(batch(), "s2").await.unwrap_err();
        unchanged(&inbox).await;
        database::edit(&file, "DROP TRIGGER cut");
    }
    world.stop().await;

    let world = World::start(state.path(), 9_000_000, Plan::default());
    let inbox = world.engine.inbox("screen");
    unchanged(&inbox).await;
    assert_eq!(inbox.take_up_to(batch(), "s2").await.unwrap(), 2);
    assert_eq!(inbox.take_up_to(Vec::new(), "s3").await.unwrap(), 0, "nothing may come for long");
    assert_eq!(inbox.take_up_to(batch(), "s4").await.unwrap(), 0, "read again, none of them is new");
    let other = world.engine.inbox("other");
    assert_eq!(other.place().await.unwrap(), None, "each surface has its own");
    other.take_up_to(Vec::new(), "o1").await.unwrap();
    world.engine.ledger().write_now(|tx| keep::prune(tx, 8_000_000, 100)).unwrap();
    let both = (inbox.place().await.unwrap(), other.place().await.unwrap());
    assert_eq!(both, (Some("s4".to_owned()), Some("o1".to_owned())));
    world.stop().await;
}
