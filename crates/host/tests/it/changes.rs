//! Changes of runs as whoever subscribes hears them.

use std::time::Duration;

use connector_engine as engine;
use connector_gate::clock::Clock;
use connector_gate::decision::Decision;
use connector_gate::ids::RunId;
use connector_gate::policy::Actor;
use connector_gate::state::StepState;
use connector_ledger::changes::{Change, Changes};
use connector_ledger::{Ledger, events};

use crate::world::{ANNA, Plan, World, event};

/// Waits for a change that is like this.
async fn heard(changes: &mut Changes, wanted: Change) {
    heard_all(changes, &[wanted]).await;
}

/// Waits for all of these, in any order.
async fn heard_all(changes: &mut Changes, wanted: &[Change]) {
    let mut missing = wanted.to_vec();
    let heard = async {
        while !missing.is_empty() {
            let change = changes.next().await.unwrap();
            missing.retain(|wanted| *wanted != change);
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(10), heard).await.is_ok();
    assert!(in_time, "{missing:?} is not told");
}

#[tokio::test]
async fn whoever_looks_again_after_each_change_sees_every_state_that_lasts() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    let mut changes = world.engine.subscribe();
    world.say("1", "/fix it").await;
    let card = world.card().await;
    let mut until = async |wanted: StepState| {
        while world.step(card.id).await.state != wanted {
            heard(&mut changes, Change::Run(card.id.run)).await;
        }
    };
    until(StepState::Waiting).await;
    world.tap(&card, ANNA, Decision::Approve).await;
    until(StepState::Succeeded).await;
    world.stop().await;
}

#[tokio::test]
async fn what_another_process_writes_is_heard_of_without_its_run() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    world.say("1", "/fix it").await;
    let card = world.card().await;
    world.until_delivered(card.id).await;
    let mut changes = world.engine.subscribe();
    let other = Ledger::open_existing(state.path(), Clock::manual(1_000).0).unwrap();
    let by = Actor::from_text("cli:anna");
    other.write(move |tx| engine::cancel(tx, card.id, &by)).await.unwrap();
    // A pass may find what was written before the look that says so.
    heard_all(&mut changes, &[Change::Unknown, Change::Run(RunId(1))]).await;
    assert_eq!(world.step(card.id).await.state, StepState::Cancelled);
    world.stop().await;
}

#[tokio::test]
async fn what_another_process_writes_is_heard_of_however_busy_this_one_is() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    // From here on it looks for what others write.
    world.say("1", "/fix it").await;
    world.card().await;
    let engine = world.engine.clone();
    let busy = tokio::spawn(async move {
        for number in 0.. {
            engine.submit(event(&format!("busy {number}"), "nothing")).await.unwrap();
        }
    });
    let mut changes = world.engine.subscribe();
    let other = Ledger::open_existing(state.path(), Clock::manual(1_000).0).unwrap();
    other.write(|tx| events::store(tx, &event("other", "nothing"))).await.unwrap();
    heard(&mut changes, Change::Unknown).await;
    assert!(!busy.is_finished());
    busy.abort();
    world.stop().await;
}
