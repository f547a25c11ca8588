//! Attacks on the gate, each refused with a recorded reason.

use connector_gate::decision::{Decision, Tap, Tapped};
use connector_gate::policy::{Actor, GateConfig};
use connector_gate::state::StepState;
use connector_ledger::keep;
use connector_ledger::steps::StepRow;
use connector_rules::{RuleSet, SourceFile};

use crate::database;
use crate::probe::Shared;
use crate::world::{ANNA, BEN, FIX, Plan, World};

fn tap(card: &StepRow, digest: &str, chat: Option<&str>) -> Tap {
    Tap {
        step: card.id,
        digest: digest.to_owned(),
        approver: Actor::from_text(ANNA),
        chat: chat.map(str::to_owned),
        decision: Decision::Approve,
    }
}

/// Two approved steps in one lane: the first runs, the second is in the queue.
async fn one_runs_one_waits(world: &World) -> Vec<StepRow> {
    world.say("1", "/fix one").await;
    world.say("2", "/fix two").await;
    world.until("two cards", |world| (world.screen.cards().len() == 2).then_some(())).await;
    let cards = world.screen.cards();
    for card in &cards {
        assert_eq!(world.tap(card, ANNA, Decision::Approve).await, Tapped::Approved);
    }
    world.until("the first call", |world| (world.probe.calls().len() == 1).then_some(())).await;
    cards
}

fn edit(world: &World, sql: &str) {
    database::edit(world.engine.ledger().path(), sql);
}

#[tokio::test]
async fn a_decision_that_does_not_name_what_its_card_shows_decides_nothing() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    world.say("1", "/fix it").await;
    let card = world.card().await;
    let (whole, short) = (card.digest.as_str(), card.digest.short());
    let other = "0".repeat(64);
    for digest in ["", &whole[..1], &whole[..11], "%", "_", &other, &whole.to_ascii_uppercase()] {
        let answer = world.engine.tap(tap(&card, digest, None)).await.unwrap();
        assert!(
            matches!(answer, Tapped::NotAllowed { .. } | Tapped::Changed { .. }),
            "{digest:?}: {answer:?}"
        );
    }
    let longer = format!("{whole}00");
    assert!(matches!(world.engine.tap(tap(&card, &longer, None)).await.unwrap(), Tapped::Changed { .. }));
    assert_eq!(world.audited("tap_refused").await, 8);
    assert_eq!(world.step(card.id).await.state, StepState::Waiting);
    assert_eq!(world.engine.tap(tap(&card, short, None)).await.unwrap(), Tapped::Approved);
    world.stop().await;
}

#[tokio::test]
async fn a_tap_from_another_chat_decides_nothing() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    world.say("1", "/fix it").await;
    let card = world.card().await;
    let answer = world.engine.tap(tap(&card, card.digest.as_str(), Some("elsewhere"))).await.unwrap();
    assert!(matches!(answer, Tapped::NotAllowed { .. }), "{answer:?}");
    assert_eq!(world.audited("tap_refused").await, 1);
    world.stop().await;
}

#[tokio::test]
async fn an_approval_that_is_replayed_approves_no_second_time() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    world.say("1", "/fix it").await;
    let first = world.card().await;
    world.tap(&first, ANNA, Decision::Approve).await;
    world.result(1).await;
    // The very same request again: its card is another, and the old tap is about the old one.
    world.say("2", "/fix it").await;
    let second = world.until("a second card", |world| world.screen.cards().get(1).cloned()).await;
    assert_eq!(second.digest, first.digest, "it is the same request");
    assert!(matches!(world.tap(&first, ANNA, Decision::Approve).await, Tapped::Already { .. }));
    assert_eq!(world.step(second.id).await.state, StepState::Waiting);
    assert_eq!(world.probe.calls().len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn a_rule_edited_after_the_approval_is_asked_about_again() {
    for (edited, words) in
        [(Some(FIX.replace("trigger.text}", "trigger.text} now")), "was edited"), (None, "was removed")]
    {
        let state = tempfile::tempdir().unwrap();
        let world = World::start(state.path(), 1_000, Plan { probe: Shared::closed(), ..Plan::default() });
        let cards = one_runs_one_waits(&world).await;
        let rules = RuleSet::parse(edited.map(|text| SourceFile::new("fix.toml", text))).unwrap();
        world.engine.set_rules(rules);
        world.probe.gate.add_permits(1);
        let again = world.until("a third card", |world| world.screen.cards().get(2).cloned()).await;
        assert!(again.reason.as_deref().unwrap().contains(words), "{:?}", again.reason);
        assert_eq!((again.id, again.asked), (cards[1].id, 2));
        assert_ne!(again.digest, cards[1].digest);
        assert!(matches!(world.tap(&cards[1], ANNA, Decision::Approve).await, Tapped::Changed { .. }));
        assert_eq!(world.probe.calls().len(), 1);
        // What is approved knowing that runs.
        assert_eq!(world.tap(&again, ANNA, Decision::Approve).await, Tapped::Approved);
        world.probe.gate.add_permits(1);
        assert_eq!(world.result(2).await.state, StepState::Succeeded);
        world.stop().await;
    }
}

#[tokio::test]
async fn an_approver_who_was_struck_off_the_list_has_approved_nothing() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan { probe: Shared::closed(), ..Plan::default() });
    let cards = one_runs_one_waits(&world).await;
    let approvers = "\n[rule]\nname = \"fix\"\napprovers = [\"screen:ben\"]";
    let rule = FIX.replacen("\n[rule]\nname = \"fix\"", approvers, 1);
    world.engine.set_rules(RuleSet::parse([SourceFile::new("fix.toml", rule)]).unwrap());
    world.probe.gate.add_permits(1);
    let again = world.until("a third card", |world| world.screen.cards().get(2).cloned()).await;
    assert_eq!(again.id, cards[1].id);
    assert!(matches!(world.tap(&again, ANNA, Decision::Approve).await, Tapped::NotAllowed { .. }));
    assert_eq!(world.tap(&again, BEN, Decision::Approve).await, Tapped::Approved);
    world.stop().await;
}

#[tokio::test]
async fn a_row_that_was_edited_runs_only_after_it_was_shown() {
    for (sql, words) in [
        ("UPDATE steps SET input = '{\"prompt\":\"rm\"}' WHERE run_id = 2", "the row was changed"),
        (
            "UPDATE steps SET connector = 'oc', action = 'continue_session' WHERE run_id = 2",
            "the row was changed",
        ),
        ("UPDATE runs SET requester = 'screen:ben' WHERE id = 2", "the row was changed"),
        (
            "UPDATE steps SET digest = replace(digest, substr(digest, 1, 8), '00000000') WHERE run_id = 2",
            "the row was changed",
        ),
        ("DELETE FROM approvals WHERE run_id = 2", "not enough"),
        ("UPDATE approvals SET approver = 'screen:mallory' WHERE run_id = 2", "not enough"),
        ("UPDATE steps SET passed_by = 'policy' WHERE run_id = 2", "exemption"),
        ("UPDATE steps SET passed_by = 'allowance', allowance = NULL WHERE run_id = 2", "no allowance"),
    ] {
        let state = tempfile::tempdir().unwrap();
        let world = World::start(state.path(), 1_000, Plan { probe: Shared::closed(), ..Plan::default() });
        one_runs_one_waits(&world).await;
        edit(&world, sql);
        world.probe.gate.add_permits(1);
        let again = world.until("a third card", |world| world.screen.cards().get(2).cloned()).await;
        assert!(again.reason.as_deref().unwrap().contains(words), "{sql}: {:?}", again.reason);
        assert_eq!(world.probe.calls().len(), 1, "{sql}");
        world.stop().await;
    }
}

#[tokio::test]
async fn a_row_that_was_set_to_approved_has_no_approval_in_the_audit() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    world.say("1", "/fix it").await;
    world.card().await;
    edit(
        &world,
        "INSERT INTO approvals SELECT run_id, idx, digest, 'screen:anna', 'approve', 1, 'screen:anna' FROM steps;
         UPDATE steps SET state = 'approved', decided_at = 1, decided_by = 'screen:anna'",
    );
    world.say("2", "wake up").await;
    let again = world.until("a second card", |world| world.screen.cards().get(1).cloned()).await;
    assert!(again.reason.unwrap().contains("the audit tells of no such approval"));
    assert_eq!(world.probe.calls().len(), 0);
    world.stop().await;
}

#[tokio::test]
async fn what_was_edited_is_named_by_the_check() {
    for sql in [
        "UPDATE steps SET input = '{\"prompt\":\"rm\"}'",
        "UPDATE steps SET state = 'approved'",
        "DROP TRIGGER audit_is_never_changed; UPDATE audit SET actor = 'screen:ben' WHERE seq = 2",
        "UPDATE audit_anchor SET seq = 1, hash = (SELECT hash FROM audit WHERE seq = 1); DELETE FROM audit WHERE seq = 1",
    ] {
        let state = tempfile::tempdir().unwrap();
        let world = World::start(state.path(), 1_000, Plan::default());
        world.say("1", "/fix it").await;
        world.card().await;
        world.stop().await;
        let ledger = crate::world::ledger(state.path());
        assert_eq!(ledger.read_now(keep::check).unwrap().problems, Vec::<String>::new());
        database::edit(ledger.path(), sql);
        assert_ne!(ledger.read_now(keep::check).unwrap().problems, Vec::<String>::new(), "{sql}");
    }
}

#[tokio::test]
async fn a_run_whose_row_cannot_be_read_stops_no_other() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan { probe: Shared::closed(), ..Plan::default() });
    one_runs_one_waits(&world).await;
    edit(&world, "UPDATE steps SET target = 'no json' WHERE run_id = 2");
    world.say("3", "/fix three").await;
    let third = world.until("a third card", |world| world.screen.cards().get(2).cloned()).await;
    world.probe.gate.add_permits(2);
    assert_eq!(world.tap(&third, BEN, Decision::Approve).await, Tapped::Approved);
    let results = world.until("two results", |world| {
        let ids: Vec<String> = world.screen.results().iter().map(|row| row.id.to_string()).collect();
        (ids == ["1.1", "3.1"]).then_some(ids)
    });
    results.await;
    assert!(
        world.screen.texts().iter().any(|text| text.contains("2.1 has ended")),
        "{:?}",
        world.screen.texts()
    );
    world.stop().await;
}

#[tokio::test]
async fn the_same_request_twice_is_one_card_and_says_so() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    world.say("1", "/fix it").await;
    let card = world.card().await;
    world.say("2", "/fix it").await;
    let text = world.until("a word about it", |world| world.screen.texts().first().cloned()).await;
    assert_eq!(text, "2.1 is merged with 1.1: the same request waits already as 1.1");
    world.say("3", "/fix it too").await;
    world.until("another card", |world| world.screen.cards().get(1).cloned()).await;
    world.tap(&card, ANNA, Decision::Approve).await;
    world.result(1).await;
    assert_eq!(world.probe.calls().len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn a_policy_that_denies_since_the_approval_denies() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan { probe: Shared::closed(), ..Plan::default() });
    one_runs_one_waits(&world).await;
    world.stop().await;
    let deny = serde_json::from_value(serde_json::json!({
        "approvers": [ANNA], "policy": [{ "connector": "oc", "action": "run_task", "rule": "fix", "policy": "deny" }]
    }));
    let gate: GateConfig = deny.unwrap();
    let next = World::start(state.path(), 2_000, Plan { gate, ..Plan::default() });
    let denied = next.until("a denial", |world| {
        world.screen.results().into_iter().find(|row| row.id.to_string() == "2.1")
    });
    assert_eq!(denied.await.state, StepState::Denied);
    assert_eq!(next.probe.calls().len(), 0);
    next.stop().await;
}
