//! Steps of the host's own: `Delay` and `Dedupe`.

use connector_engine::CancelOutcome;
use connector_gate::ids::{RunId, StepId};
use connector_gate::policy::Actor;
use connector_gate::state::StepState;
use connector_ledger::runs::RunState;

use crate::world::{ANNA, Plan, World};

const LATER: &str = r#"
[rule]
name = "later"
[trigger]
type = "ConnectorEvent"
connector = "chat"
event = "message_received"
[[conditions]]
type = "FieldContains"
field = "trigger.text"
value = "/later"
[[actions]]
type = "Delay"
for = "10m"
[[actions]]
type = "Reply"
text = "You asked to be reminded."
"#;

const SOON: &str = r#"
[rule]
name = "soon"
[trigger]
type = "ConnectorEvent"
connector = "chat"
event = "message_received"
[[actions]]
type = "Delay"
for = "1s"
[[actions]]
type = "Reply"
text = "Now."
"#;

const FEED: &str = r#"
[rule]
name = "feed"
[trigger]
type = "ConnectorEvent"
connector = "chat"
event = "message_received"
[[conditions]]
type = "FieldContains"
field = "trigger.text"
value = "/feed"
[[actions]]
type = "Dedupe"
key = "${trigger.text}"
window = "1h"
[[actions]]
type = "Reply"
text = "New: ${trigger.text}"
"#;

const FIRST: StepId = StepId { run: RunId(1), index: 1 };

fn world(state: &std::path::Path, now: i64) -> World {
    World::start(state, now, Plan { rules: vec![LATER, FEED], ..Plan::default() })
}

/// The run waits, until then.
async fn waits(world: &World, until: i64) {
    for _ in 0..2_000 {
        let steps = world.read(|tx| connector_ledger::steps::of_run(tx, RunId(1))).await;
        if steps.first().is_some_and(|step| step.state == StepState::Dispatched) {
            assert_eq!(steps[0].wake_at, Some(until));
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("it does not wait");
}

/// How the run ended, once there is one.
async fn ended(world: &World, run: i64) -> RunState {
    for _ in 0..2_000 {
        if world.runs().await.iter().any(|row| row.id == RunId(run)) {
            return world.until_ended(run).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("there is no run {run}");
}

#[tokio::test]
async fn a_step_that_waits_does_so_over_a_restart_and_no_longer_than_it_says() {
    let state = tempfile::tempdir().unwrap();
    let first = world(state.path(), 1_000);
    first.say("1", "/later tea").await;
    waits(&first, 601_000).await;
    first.stop().await;

    let again = world(state.path(), 600_999);
    again.say("2", "/feed a").await;
    assert_eq!(ended(&again, 2).await, RunState::Succeeded);
    assert_eq!(
        again.step(FIRST).await.state,
        StepState::Dispatched,
        "a start loses it as little as it ends it"
    );
    again.set_time(601_000);
    again.say("3", "/feed b").await;
    assert_eq!(ended(&again, 1).await, RunState::Succeeded);
    let told = "You asked to be reminded.";
    again
        .until("the reminder", |world| world.screen.texts().iter().any(|text| text == told).then_some(()))
        .await;
    assert!(again.audit_is_intact().await);
    again.stop().await;
}

#[tokio::test]
async fn a_step_that_waits_ends_by_itself_at_its_time() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start_in_real_time(state.path(), Plan { rules: vec![SOON], ..Plan::default() });
    let began = std::time::Instant::now();
    world.say("1", "/soon").await;
    // Nobody says anything more, and nothing else is due for a minute.
    world.until("the reminder", |world| (world.screen.texts() == ["Now."]).then_some(())).await;
    assert!(began.elapsed() >= std::time::Duration::from_secs(1), "{:?}", began.elapsed());
    world.stop().await;
}

#[tokio::test]
async fn a_run_that_waits_is_stopped_at_once() {
    let state = tempfile::tempdir().unwrap();
    let world = world(state.path(), 1_000);
    world.say("1", "/later tea").await;
    waits(&world, 601_000).await;
    let stopped = world.engine.cancel_run(RunId(1), &Actor::from_text(ANNA)).await.unwrap();
    assert_eq!(stopped, CancelOutcome::Stopping);
    assert_eq!(ended(&world, 1).await, RunState::Cancelled);
    assert_eq!(world.step(FIRST).await.state, StepState::Cancelled);
    assert!(!world.screen.texts().iter().any(|text| text.contains("reminded")));
    world
        .until("its end, told", |world| {
            world.screen.results().iter().any(|row| row.id == FIRST).then_some(())
        })
        .await;
    world.stop().await;
}

#[tokio::test]
async fn what_an_earlier_ledger_left_under_the_name_of_a_step_is_not_its_transcript() {
    let state = tempfile::tempdir().unwrap();
    let left = state.path().join("transcripts/1.1.ndjson");
    std::fs::create_dir_all(left.parent().unwrap()).unwrap();
    std::fs::write(&left, "{\"at\":1,\"step\":\"1.1\",\"kind\":\"message\",\"text\":\"of another\"}\n")
        .unwrap();
    let world = world(state.path(), 1_000);
    // No connector is called by this step.
    world.say("1", "/later tea").await;
    waits(&world, 601_000).await;
    assert!(!left.exists());
    world.stop().await;
}

#[tokio::test]
async fn a_key_that_was_seen_ends_its_run_without_a_word_until_its_window_is_over() {
    let state = tempfile::tempdir().unwrap();
    let first = world(state.path(), 1_000);
    for (id, text) in [("1", "/feed a"), ("2", "/feed b"), ("3", "/feed a")] {
        first.say(id, text).await;
        assert_eq!(ended(&first, id.parse().unwrap()).await, RunState::Succeeded);
    }
    first.stop().await;
    let again = world(state.path(), 3_600_999);
    again.say("4", "/feed a").await;
    assert_eq!(ended(&again, 4).await, RunState::Succeeded);
    let silent = again.runs().await.into_iter().filter(|run| run.reason.is_some());
    let silent: Vec<i64> = silent.map(|run| run.id.0).collect();
    assert_eq!(silent, [4, 3], "it had been seen");
    again.set_time(3_601_000);
    again.say("5", "/feed a").await;
    assert_eq!(ended(&again, 5).await, RunState::Succeeded);
    again.until("what is new", |world| (!world.screen.texts().is_empty()).then_some(())).await;
    assert_eq!(again.screen.texts(), ["New: /feed a"]);
    again.stop().await;
}
