//! What nobody can lead around.

use connector_gate::decision::{Decision, Tapped};
use connector_gate::ids::StepId;
use connector_gate::policy::{Actor, GateConfig};
use connector_gate::state::{Move, StepState};
use connector_ledger::steps::{Change, Guard, StepRow};
use connector_ledger::{LedgerError, runs, steps};

use crate::database;
use crate::probe::Shared;
use crate::world::{ANNA, BEN, Plan, World};

const MINUTE: i64 = 60_000;

#[tokio::test]
async fn a_second_tap_is_answered_with_the_first_decision() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    world.say("1", "/fix it").await;
    let card = world.card().await;

    assert_eq!(world.tap(&card, BEN, Decision::Deny).await, Tapped::Denied);
    let second = world.tap(&card, ANNA, Decision::Approve).await;

    let by = Some(Actor::from_text(BEN));
    assert_eq!(second, Tapped::Already { state: StepState::Denied, by, at: Some(1_000) });
    assert_eq!(world.probe.calls().len(), 0);
    let told = world.result(1).await;
    assert_eq!((told.state, told.reason.as_deref()), (StepState::Denied, Some("denied by screen:ben")));
    world.stop().await;
}

#[tokio::test]
async fn the_cards_of_an_event_are_found_behind_however_many_of_others() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    let mut events = Vec::new();
    for id in ["1", "2", "3"] {
        // Each asks for something else: the same again would be merged with what waits.
        events.push(world.say(id, &format!("/fix {id}")).await.unwrap());
    }
    world.until("three cards", |world| (world.screen.cards().len() == 3).then_some(())).await;
    for event in events.clone() {
        let found = world.read(move |tx| steps::waiting_of_event(tx, event, 1)).await;
        let runs = world.read(move |tx| runs::of_event(tx, event)).await;
        assert_eq!(found.iter().map(|step| step.id.run).collect::<Vec<_>>(), [runs[0].id]);
    }
    let (last, event) = (world.screen.cards()[2].clone(), events[2]);
    world.tap(&last, ANNA, Decision::Deny).await;
    assert!(world.read(move |tx| steps::waiting_of_event(tx, event, 1)).await.is_empty(), "it was decided");
    world.stop().await;
}

#[tokio::test]
async fn of_many_taps_at_once_one_decides_and_it_runs_once() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    world.say("1", "/fix it").await;
    let card = world.card().await;

    let who = |n: usize| if n.is_multiple_of(2) { ANNA } else { BEN };
    let taps = (0..20).map(|n| world.tap(&card, who(n), Decision::Approve));
    let mut approved = 0;
    for tap in futures_util::future::join_all(taps).await {
        match tap {
            Tapped::Approved => approved += 1,
            Tapped::Already { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    world.result(1).await;
    assert_eq!(approved, 1);
    assert_eq!(world.probe.calls().len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn nobody_approves_whom_the_list_does_not_name() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    world.say("1", "/fix it").await;
    let card = world.card().await;
    for stranger in ["screen:mallory", "cli:anna", "screen", "", "screen:anna "] {
        let answer = world.tap(&card, stranger, Decision::Approve).await;
        assert!(matches!(answer, Tapped::NotAllowed { .. }), "{stranger}: {answer:?}");
    }
    assert_eq!(world.audited("tap_refused").await, 5);
    assert_eq!(world.step(card.id).await.state, StepState::Waiting);
    world.stop().await;
}

#[tokio::test]
async fn an_empty_list_of_approvers_means_nobody() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan { gate: GateConfig::default(), ..Plan::default() });
    world.say("1", "/fix it").await;
    let card = world.card().await;
    assert!(matches!(world.tap(&card, ANNA, Decision::Approve).await, Tapped::NotAllowed { .. }));
    world.stop().await;
}

#[tokio::test]
async fn where_another_must_approve_the_requester_cannot_but_may_refuse() {
    let state = tempfile::tempdir().unwrap();
    let gate = GateConfig { require_other_approver: true, ..Plan::default().gate };
    let world = World::start(state.path(), 1_000, Plan { gate, ..Plan::default() });
    world.say("1", "/fix one").await;
    let card = world.card().await;
    assert!(matches!(world.tap(&card, ANNA, Decision::Approve).await, Tapped::NotAllowed { .. }));
    assert_eq!(world.tap(&card, BEN, Decision::Approve).await, Tapped::Approved);
    world.result(1).await;

    world.say("2", "/fix two").await;
    let second = world.until("a second card", |world| world.screen.cards().get(1).cloned()).await;
    assert_eq!(world.tap(&second, ANNA, Decision::Deny).await, Tapped::Denied);
    world.stop().await;
}

#[tokio::test]
async fn where_two_must_approve_one_person_counts_once() {
    let state = tempfile::tempdir().unwrap();
    let gate = GateConfig { approvals_needed: 2, ..Plan::default().gate };
    let world = World::start(state.path(), 1_000, Plan { gate, ..Plan::default() });
    world.say("1", "/fix it").await;
    let card = world.card().await;
    assert_eq!(world.tap(&card, ANNA, Decision::Approve).await, Tapped::Counted { have: 1, need: 2 });
    assert_eq!(world.tap(&card, ANNA, Decision::Approve).await, Tapped::Counted { have: 1, need: 2 });
    assert_eq!(world.probe.calls().len(), 0);
    assert_eq!(world.tap(&card, BEN, Decision::Approve).await, Tapped::Approved);
    world.result(1).await;
    world.stop().await;
}

#[tokio::test]
async fn a_card_expires_from_its_delivery_and_a_late_tap_changes_nothing() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    world.say("1", "/fix it").await;
    let card = world.card().await;
    let waiting = world.until_delivered(card.id).await;
    assert_eq!(waiting.expires_at, Some(1_000 + 15 * MINUTE));

    world.set_time(1_000 + 15 * MINUTE);
    let late = world.tap(&waiting, ANNA, Decision::Approve).await;
    assert!(matches!(late, Tapped::TooLate | Tapped::Already { state: StepState::Expired, .. }), "{late:?}");
    // A clock set back does not bring it back.
    world.set_time(2_000);
    let back = world.tap(&waiting, ANNA, Decision::Approve).await;
    assert!(matches!(back, Tapped::TooLate | Tapped::Already { state: StepState::Expired, .. }), "{back:?}");
    assert_eq!(world.probe.calls().len(), 0);
    world.stop().await;
}

#[tokio::test]
async fn what_expired_while_the_host_was_down_is_denied_at_its_start() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    world.say("1", "/fix it").await;
    let card = world.card().await;
    world.until_delivered(card.id).await;
    world.stop().await;

    let later = World::start(state.path(), 1_000 + 16 * MINUTE, Plan::default());
    assert_eq!(later.result(1).await.state, StepState::Expired);
    assert!(matches!(later.tap(&card, ANNA, Decision::Approve).await, Tapped::Already { .. }));
    assert_eq!(later.probe.calls().len(), 0);
    later.stop().await;
}

#[tokio::test]
async fn a_configuration_changed_after_the_approval_is_asked_about_again() {
    let state = tempfile::tempdir().unwrap();
    let probe = Shared::closed();
    let world = World::start(state.path(), 1_000, Plan { probe, ..Plan::default() });
    world.say("1", "/fix one").await;
    world.say("2", "/fix two").await;
    world.until("two cards", |world| (world.screen.cards().len() == 2).then_some(())).await;
    let cards = world.screen.cards();
    for card in &cards {
        world.tap(card, ANNA, Decision::Approve).await;
    }
    world.until("the first call", |world| (world.probe.calls().len() == 1).then_some(())).await;

    world.probe.target.lock().unwrap().settings.insert("model".into(), "other/model".into());
    world.probe.gate.add_permits(1);
    let again = world.until("a third card", |world| world.screen.cards().get(2).cloned()).await;

    assert_eq!(again.id, cards[1].id);
    assert_ne!(again.digest, cards[1].digest);
    assert_eq!(again.reason.as_deref(), Some("changed after the approval: model"));
    assert!(
        matches!(world.tap(&cards[1], ANNA, Decision::Approve).await, Tapped::Changed { .. }),
        "the old card is no use"
    );
    assert_eq!(world.probe.calls().len(), 1);
    assert_eq!(world.tap(&again, ANNA, Decision::Approve).await, Tapped::Approved);
    world.probe.gate.add_permits(1);
    world.result(2).await;
    world.stop().await;
}

#[tokio::test]
async fn a_row_edited_in_the_database_does_not_run_as_approved() {
    let state = tempfile::tempdir().unwrap();
    let probe = Shared::closed();
    let world = World::start(state.path(), 1_000, Plan { probe, ..Plan::default() });
    world.say("1", "/fix one").await;
    world.say("2", "/fix two").await;
    world.until("two cards", |world| (world.screen.cards().len() == 2).then_some(())).await;
    for card in world.screen.cards() {
        world.tap(&card, ANNA, Decision::Approve).await;
    }
    world.until("the first call", |world| (world.probe.calls().len() == 1).then_some(())).await;

    let forged = "UPDATE steps SET input = '{\"prompt\":\"delete it all\"}' WHERE run_id = 2";
    database::edit(world.engine.ledger().path(), forged);
    world.probe.gate.add_permits(1);

    let again = world.until("a third card", |world| world.screen.cards().get(2).cloned()).await;
    assert!(again.reason.unwrap().contains("the row was changed after the approval"));
    assert_eq!(world.probe.calls().len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn too_many_waiting_cards_are_refused_and_say_so() {
    let state = tempfile::tempdir().unwrap();
    let gate = GateConfig { max_waiting_per_chat: 2, ..Plan::default().gate };
    let world = World::start(state.path(), 1_000, Plan { gate, ..Plan::default() });
    for id in ["1", "2", "3"] {
        world.say(id, &format!("/fix {id}")).await;
    }
    let result = world.result(1).await;
    assert_eq!((result.id.to_string().as_str(), result.state), ("3.1", StepState::Denied));
    assert!(result.reason.unwrap().contains("too many cards are waiting"));
    world.stop().await;
}

#[tokio::test]
async fn a_cancelled_step_does_not_run_and_a_running_one_is_told_to_stop() {
    let state = tempfile::tempdir().unwrap();
    let probe = Shared::closed();
    let world = World::start(state.path(), 1_000, Plan { probe, ..Plan::default() });
    let anna = Actor::from_text(ANNA);
    world.say("1", "/fix one").await;
    let card = world.card().await;
    world.engine.cancel(card.id, &anna).await.unwrap();
    assert_eq!(world.result(1).await.state, StepState::Cancelled);
    assert!(matches!(world.tap(&card, ANNA, Decision::Approve).await, Tapped::Already { .. }));

    world.say("2", "/fix two").await;
    let second = world.until("a second card", |world| world.screen.cards().get(1).cloned()).await;
    world.tap(&second, ANNA, Decision::Approve).await;
    world.until("a call", |world| (world.probe.calls().len() == 1).then_some(())).await;
    world.engine.cancel(second.id, &anna).await.unwrap();
    let stopped = world.result(2).await;
    assert_eq!(stopped.state, StepState::Cancelled);
    assert!(stopped.reason.unwrap().starts_with("stopped (cancelled)"));
    world.stop().await;
}

/// Whether a step may be cancelled under this guard now; it is not.
fn would_be_made(world: &World, step: StepId, guard: Guard) -> bool {
    let mut made = None;
    let tried = world.engine.ledger().write_now(|tx| {
        made = Some(steps::make(tx, step, Move::Cancel, Change::none().only_if(guard))?);
        Err::<(), _>(LedgerError::Content("only tried".to_owned()))
    });
    tried.unwrap_err();
    made.unwrap()
}

#[tokio::test]
async fn a_move_is_made_only_where_its_guard_holds() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan { probe: Shared::closed(), ..Plan::default() });
    world.say("1", "/fix one").await;
    let running = world.card().await;
    world.tap(&running, ANNA, Decision::Approve).await;
    let kept = |world: &World| {
        let row = world.engine.ledger().read_now(|tx| steps::get(tx, running.id)).unwrap();
        row.filter(|row| row.checkpoint.is_some())
    };
    let runs = world.until("its checkpoint", kept).await;
    world.say("2", "/fix two").await;
    let card = world.until("a second card", |world| world.screen.cards().get(1).cloned()).await;
    let waits = world.until_delivered(card.id).await;
    let expires = waits.expires_at.unwrap();
    let quorum = |row: &StepRow| Guard::quorum(&row.people.person(&row.requester));
    for (row, guard, holds) in [
        (&waits, Guard::Digest(waits.digest.clone()), true),
        (&waits, Guard::Digest(runs.digest.clone()), false),
        (&waits, Guard::NoCheckpoint, true),
        (&runs, Guard::NoCheckpoint, false),
        (&waits, Guard::ExpiredBy(expires), true),
        (&waits, Guard::ExpiredBy(expires - 1), false),
        (&waits, Guard::NotExpired(expires - 1), true),
        (&waits, Guard::NotExpired(expires), false),
        (&waits, Guard::NotIn(StepState::Dispatched), true),
        (&runs, Guard::NotIn(StepState::Dispatched), false),
        (&runs, quorum(&runs), true),
        (&waits, quorum(&waits), false),
    ] {
        assert_eq!(would_be_made(&world, row.id, guard.clone()), holds, "{} {guard:?}", row.id);
    }
    assert_eq!(world.step(waits.id).await, waits, "nothing was made");
    world.probe.gate.add_permits(1);
    world.result(1).await;
    world.stop().await;
}
