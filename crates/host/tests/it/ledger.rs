//! The ledger when things go wrong around it.

use connector_host::clock::Clock;
use connector_host::ledger::audit::{self, Verdict};
use connector_host::ledger::{Ledger, LedgerError};

use crate::world::{Plan, World, ledger};

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
    let file = rusqlite::Connection::open(state.path().join("ledger.sqlite")).unwrap();
    file.pragma_update(None, "user_version", 99).unwrap();
    drop(file);
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
        ledger
            .write_now(|tx| {
                Ok(tx.sql.execute_batch(&format!(
                    "DROP TRIGGER audit_is_never_changed; DROP TRIGGER audit_is_never_cut; {sql}"
                ))?)
            })
            .unwrap();
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
    let refused = ledger(state.path()).write_now(|tx| {
        tx.sql.execute("INSERT INTO audit VALUES (1, 0, 'x', NULL, NULL, 'x', NULL, '{}', 'x')", [])?;
        Ok(tx.sql.execute("UPDATE audit SET actor = 'y'", [])?)
    });
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
