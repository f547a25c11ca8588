//! After a restart, at whatever point it came.

use connector_contract::Checkpoint;
use connector_gate::clock::Clock;
use connector_gate::decision::{Decision, Tap, Tapped};
use connector_gate::ids::StepId;
use connector_gate::policy::Actor;
use connector_gate::state::{Move, StepState};
use connector_ledger::Ledger;
use connector_ledger::steps::decide::decide;
use connector_ledger::steps::{self, Change};
use serde_json::json;

use crate::probe::Shared;
use crate::world::{ANNA, Plan, World, event};

#[tokio::test]
async fn a_card_that_waits_is_shown_again_and_its_task_runs_once() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    world.say("1", "/fix it").await;
    let card = world.card().await;
    world.until_delivered(card.id).await;
    world.stop().await;

    let again = World::start(state.path(), 2_000, Plan::default());
    let shown = again.card().await;
    assert_eq!((shown.id, shown.digest.as_str()), (card.id, card.digest.as_str()));
    assert_eq!(again.tap(&shown, ANNA, Decision::Approve).await, Tapped::Approved);
    again.result(1).await;
    assert_eq!(again.probe.calls().len(), 1);
    assert_eq!(again.screen.cards().len(), 1);
    again.stop().await;
}

#[tokio::test]
async fn the_approvers_in_force_now_decide_about_an_old_card() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    world.say("1", "/fix it").await;
    let card = world.card().await;
    world.stop().await;

    let mut plan = Plan::default();
    plan.gate.approvers.retain(|approver| approver.as_str() != ANNA);
    let again = World::start(state.path(), 2_000, plan);
    again.card().await;
    assert!(matches!(again.tap(&card, ANNA, Decision::Approve).await, Tapped::NotAllowed { .. }));
    again.stop().await;
}

/// A ledger as a host leaves it that dies after the approval and `moves`.
async fn left_behind(state: &std::path::Path, moves: &'static [Move], checkpoint: Option<Checkpoint>) {
    let world = World::start(state, 1_000, Plan::default());
    world.say("1", "/fix it").await;
    world.card().await;
    world.stop().await;
    let step: StepId = "1.1".parse().unwrap();
    let (clock, _) = Clock::manual(1_500);
    let ledger = Ledger::open(state, clock).unwrap();
    ledger
        .write(move |tx| {
            let digest = steps::get(tx, step)?.unwrap().digest.as_str().to_owned();
            let (approver, decision) = (Actor::from_text(ANNA), Decision::Approve);
            let tap = Tap { step, digest, approver, chat: None, decision };
            assert_eq!(decide(tx, &tap)?, Tapped::Approved);
            for made in moves {
                assert!(steps::make(tx, step, *made, Change::none())?);
            }
            if let Some(checkpoint) = &checkpoint {
                assert!(steps::checkpoint(tx, step, checkpoint)?);
            }
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn what_becomes_of_a_call_that_was_left_is_for_the_next_start_to_say() {
    let state = tempfile::tempdir().unwrap();
    let probe = Shared::closed();
    let world = World::start(state.path(), 1_000, Plan { probe: probe.clone(), ..Plan::default() });
    world.say("1", "/fix it").await;
    let card = world.card().await;
    assert_eq!(world.tap(&card, ANNA, Decision::Approve).await, Tapped::Approved);
    world.until("the call", |world| world.probe.calls().pop()).await;
    // As the end of a pool breaks off what runs on its daemons.
    world.leave(|| probe.gate.close()).await;

    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let again = loop {
        match World::try_start(state.path(), 2_000, Plan::default()) {
            Ok(world) => break world,
            Err(error) => assert!(std::time::Instant::now() < until, "{error}"),
        }
        tokio::task::yield_now().await;
    };
    let result = again.result(1).await;
    assert_eq!(result.state, StepState::Succeeded, "{result:?}");
    assert_eq!(again.probe.calls()[0].resumed, Some(json!({ "session_id": "ses_1", "message_id": "msg_1" })));
    again.stop().await;
}

#[tokio::test]
async fn what_was_approved_but_not_dispatched_is_dispatched_once() {
    let state = tempfile::tempdir().unwrap();
    left_behind(state.path(), &[], None).await;
    let world = World::start(state.path(), 2_000, Plan::default());
    world.result(1).await;
    assert_eq!(world.probe.calls().len(), 1);
    world.stop().await;

    let third = World::start(state.path(), 3_000, Plan::default());
    third.say("2", "/fix another").await;
    third.card().await;
    assert_eq!(third.probe.calls().len(), 0, "what ended does not run again");
    third.stop().await;
}

#[tokio::test]
async fn what_was_dispatched_and_had_begun_is_looked_after_and_not_begun_again() {
    let state = tempfile::tempdir().unwrap();
    let note = json!({ "session_id": "ses_7", "message_id": "msg_7" });
    left_behind(state.path(), &[Move::Dispatch], Some(Checkpoint(note.clone()))).await;
    let world = World::start(state.path(), 2_000, Plan::default());
    world.result(1).await;
    let calls = world.probe.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].resumed, Some(note));
    world.stop().await;
}

#[tokio::test]
async fn what_was_dispatched_and_had_not_begun_begins_now() {
    let state = tempfile::tempdir().unwrap();
    left_behind(state.path(), &[Move::Dispatch], None).await;
    let world = World::start(state.path(), 2_000, Plan::default());
    assert_eq!(world.result(1).await.state, StepState::Succeeded);
    assert_eq!(world.probe.calls()[0].resumed, None);
    world.stop().await;
}

#[tokio::test]
async fn what_had_not_begun_is_asked_about_again_if_the_configuration_changed() {
    let state = tempfile::tempdir().unwrap();
    left_behind(state.path(), &[Move::Dispatch], None).await;
    let probe = Shared::open();
    probe.target.lock().unwrap().settings.insert("model".into(), "other/model".into());
    let world = World::start(state.path(), 2_000, Plan { probe, ..Plan::default() });
    let card = world.card().await;
    assert_eq!(card.reason.as_deref(), Some("changed after the approval: model"));
    assert_eq!(world.probe.calls().len(), 0);
    world.stop().await;
}

#[tokio::test]
async fn without_checkpoints_nobody_guesses() {
    let state = tempfile::tempdir().unwrap();
    left_behind(state.path(), &[Move::Dispatch], None).await;
    let plan = Plan { checkpoints: false, probe: Shared::open(), ..Plan::default() };
    let world = World::start(state.path(), 2_000, plan);
    let result = world.result(1).await;
    assert_eq!(result.state, StepState::Unknown);
    assert_eq!(world.probe.calls().len(), 0);
    world.stop().await;
}

#[tokio::test]
async fn what_had_not_begun_and_was_cancelled_does_not_begin() {
    let state = tempfile::tempdir().unwrap();
    left_behind(state.path(), &[Move::Dispatch], None).await;
    let ledger = Ledger::open(state.path(), Clock::manual(1_600).0).unwrap();
    let by = Actor::from_text(ANNA);
    ledger.write(move |tx| steps::request_cancel(tx, "1.1".parse().unwrap(), &by)).await.unwrap();
    let world = World::start(state.path(), 2_000, Plan::default());
    assert_eq!(world.result(1).await.state, StepState::Cancelled);
    assert_eq!(world.probe.calls().len(), 0);
    world.stop().await;
}

#[tokio::test]
async fn an_event_that_cannot_be_read_any_more_holds_nobody_up() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    let mut deep = event("1", "/fix nothing");
    for _ in 0..200 {
        deep.payload = json!({ "inner": deep.payload });
    }
    world.engine.submit(deep).await.unwrap();
    world.say("2", "/fix it").await;
    assert_eq!(world.card().await.input["prompt"], "/fix it");
    world.stop().await;
    let again = World::start(state.path(), 2_000, Plan::default());
    again.say("3", "/fix more").await;
    again
        .until("the other card", |world| {
            world.screen.cards().iter().any(|it| it.input["prompt"] == "/fix more").then_some(())
        })
        .await;
    again.stop().await;
}
