//! The ledger's schemas: a ledger of each version before this one is opened, and all of it holds.
//!
//! `schema/` has a ledger of each, written by the version that had it: a step in every state, a vote
//! of one person of the two it takes, an allowance, and an audit; from 4 on asks in every state and what is still to be
//! delivered, too.

use std::collections::BTreeSet;
use std::path::Path;

use connector_gate::clock::Clock;
use connector_gate::decision::{Decision, Tap, Tapped};
use connector_gate::ids::{RunId, StepId};
use connector_gate::policy::Actor;
use connector_gate::state::StepState;
use connector_ledger::audience::{self, Member};
use connector_ledger::steps::decide::{decide, votes};
use connector_ledger::steps::{self, StepRow, allow};
use connector_ledger::{Ledger, asks, keep, messages, outbox, runs};

const SCHEMAS: [(u32, &str); 4] = [
    (1, include_str!("schema/0001.sql")),
    (2, include_str!("schema/0002.sql")),
    (3, include_str!("schema/0003.sql")),
    (4, include_str!("schema/0004.sql")),
];

/// A ledger of this schema, opened by this version.
fn migrated(directory: &Path, schema: u32, content: &str) -> Ledger {
    let file = rusqlite::Connection::open(directory.join("ledger.sqlite")).unwrap();
    file.execute_batch(content).unwrap();
    let version: u32 = file.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, schema);
    drop(file);
    Ledger::open(directory, Clock::manual(2_000_000).0).unwrap()
}

fn all_steps(ledger: &Ledger) -> Vec<StepRow> {
    let mut rows = Vec::new();
    ledger
        .read_now(|tx| {
            steps::for_each(tx, |row| {
                rows.push(row);
                Ok(())
            })
        })
        .unwrap();
    rows
}

#[test]
fn a_ledger_of_every_earlier_schema_is_read_whole_and_agrees_with_its_audit() {
    for (schema, content) in SCHEMAS {
        let directory = tempfile::tempdir().unwrap();
        let ledger = migrated(directory.path(), schema, content);
        let rows = all_steps(&ledger);
        let states: BTreeSet<&str> = rows.iter().map(|row| row.state.as_str()).collect();
        assert_eq!(states, StepState::ALL.iter().map(|state| state.as_str()).collect(), "of schema {schema}");
        let findings = ledger.read_now(keep::check).unwrap();
        assert_eq!(findings.problems, Vec::<String>::new(), "of schema {schema}");
        assert_eq!(ledger.read_now(allow::open).unwrap().len(), 1, "of schema {schema}");
        drop(ledger);
        // Once is enough.
        let again = Ledger::open(directory.path(), Clock::manual(2_000_000).0).unwrap();
        assert_eq!(all_steps(&again), rows);
    }
}

#[test]
fn a_vote_from_before_there_were_persons_is_its_accounts_and_counts() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = migrated(directory.path(), 1, SCHEMAS[0].1);
    let waiting = all_steps(&ledger).into_iter().find(|row| row.state == StepState::Waiting).unwrap();
    assert!(waiting.people.is_empty());
    let given = ledger.read_now(|tx| votes(tx, &waiting)).unwrap();
    assert_eq!(
        given.iter().map(|vote| (vote.account.as_str(), &vote.person)).collect::<Vec<_>>(),
        [("ben", &None)]
    );
    let tap = |who: &str| Tap {
        step: waiting.id,
        digest: waiting.digest.as_str().to_owned(),
        approver: Actor::from_text(who),
        chat: None,
        decision: Decision::Approve,
    };
    let decided = |who| ledger.write_now(|tx| decide(tx, &tap(who))).unwrap();
    assert_eq!(decided("ben"), Tapped::Counted { have: 1, need: 2 });
    assert_eq!(decided("anna"), Tapped::Approved);
}

#[test]
fn an_account_that_is_edited_into_a_person_of_before_decides_nothing() {
    let mut content = SCHEMAS[1].1.to_owned();
    // The card that was voted on knew of no such person: its digest is of none.
    content.push_str(
        "UPDATE steps SET people = '{\"mallory\":[\"ben\",\"cli:mallory\"]}' WHERE state = 'waiting';
         UPDATE approvals SET person = 'mallory' WHERE approver = 'ben';",
    );
    let directory = tempfile::tempdir().unwrap();
    let ledger = migrated(directory.path(), 2, &content);
    let waiting = all_steps(&ledger).into_iter().find(|row| row.state == StepState::Waiting).unwrap();
    let decided = |who: &str| {
        let tap = Tap {
            step: waiting.id,
            digest: waiting.digest.as_str().to_owned(),
            approver: Actor::from_text(who),
            chat: None,
            decision: Decision::Approve,
        };
        ledger.write_now(move |tx| decide(tx, &tap)).unwrap()
    };
    for who in ["ben", "anna"] {
        assert!(matches!(decided(who), Tapped::Changed { .. }), "{who}");
    }
    let after = all_steps(&ledger).into_iter().find(|row| row.id == waiting.id).unwrap();
    assert_eq!(after.state, StepState::Waiting);
}

#[test]
fn a_run_from_before_there_were_audiences_has_the_chat_that_it_was_asked_for_in() {
    for (schema, content) in SCHEMAS {
        let directory = tempfile::tempdir().unwrap();
        let ledger = migrated(directory.path(), schema, content);
        let runs = ledger.read_now(|tx| runs::latest(tx, 100)).unwrap();
        assert!(runs.len() >= 12, "of schema {schema}");
        for run in runs {
            let origin = Member { surface: run.surface, chat: run.chat };
            assert_eq!(ledger.read_now(|tx| audience::of_run(tx, run.id)).unwrap(), [origin], "{}", run.id);
        }
    }
}

#[test]
fn asks_messages_and_what_is_still_to_be_delivered_are_what_they_were_before_audiences() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = migrated(directory.path(), 4, SCHEMAS[3].1);
    let asking = StepId { run: RunId(13), index: 1 };
    let states = |tx: &connector_ledger::Tx<'_>| {
        let rows = asks::of_run(tx, asking.run)?;
        Ok(rows.into_iter().map(|ask| serde_json::to_value(ask.state).unwrap()).collect::<Vec<_>>())
    };
    assert_eq!(ledger.read_now(states).unwrap(), ["open", "answered", "withdrawn", "unshown"]);
    let open = ledger.read_now(|tx| messages::open_asks(tx, "telegram", "-100", asking)).unwrap();
    assert_eq!(open, [("114".to_owned(), "per_open".to_owned())]);
    let next = ledger.read_now(|tx| outbox::due_in(tx, "telegram", "43")).unwrap().unwrap();
    assert_eq!((next.parcel, next.attempts), (outbox::Parcel::Card("15.1".parse().unwrap()), 1));
    assert_eq!(ledger.read_now(steps::next_wake).unwrap(), Some(99_000_000));

    let half = all_steps(&ledger).into_iter().find(|row| row.id.run == RunId(14)).unwrap();
    let tap = |who: &str| Tap {
        step: half.id,
        digest: half.digest.as_str().to_owned(),
        approver: Actor::from_text(who),
        chat: who.starts_with("telegram").then(|| "-100".to_owned()),
        decision: Decision::Approve,
    };
    let decided = |who| ledger.write_now(|tx| decide(tx, &tap(who))).unwrap();
    assert_eq!(decided("telegram:42"), Tapped::Counted { have: 1, need: 2 }, "anna's other account");
    assert_eq!(decided("telegram:43"), Tapped::Approved);
}
