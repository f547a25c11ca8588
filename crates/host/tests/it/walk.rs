//! From a message to its result.

use connector_gate::decision::Decision;
use connector_gate::state::StepState;
use connector_ledger::runs::RunState;
use serde_json::json;

use crate::probe::Shared;
use crate::world::{ANNA, FIX, Plan, World, event, reply_to};

const TWO_STEPS: &str = r#"
[rule]
name = "twice"
[trigger]
type = "ConnectorEvent"
connector = "chat"
event = "message_received"
[[actions]]
type = "RunConnector"
connector = "oc"
action = "run_task"
[actions.params]
prompt = "${trigger.text}"
[[actions]]
type = "RunConnector"
connector = "oc"
action = "continue_session"
[actions.params]
session_id = "${step1.output.session_id}"
prompt = "and now: ${step1.output.reply}"
[[actions]]
type = "Reply"
text = "both done: ${step2.output.reply}"
"#;

const UNKNOWN_CONNECTOR: &str = r#"
[rule]
name = "lost"
[trigger]
type = "ConnectorEvent"
connector = "chat"
event = "message_received"
[[actions]]
type = "RunConnector"
connector = "nowhere"
action = "run_task"
"#;

const CONTINUE: &str = r#"
[rule]
name = "continue"
[trigger]
type = "ConnectorEvent"
connector = "chat"
event = "message_received"
[[actions]]
type = "RunConnector"
connector = "oc"
action = "continue_session"
[actions.params]
session_id = "${trigger.reply.session_id}"
prompt = "${trigger.text}"
"#;

#[tokio::test]
async fn what_was_approved_runs_once_word_for_word() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    world.say("1", "/fix ${trigger.text} $(rm -rf /)").await;
    let card = world.card().await;
    assert_eq!(world.probe.calls().len(), 0, "nothing runs before the tap");

    world.tap(&card, ANNA, Decision::Approve).await;
    let result = world.result(1).await;

    assert_eq!(card.input, json!({ "prompt": "/fix ${trigger.text} $(rm -rf /)" }));
    let calls = world.probe.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].input, card.input);
    assert_eq!(result.state, StepState::Succeeded);
    assert_eq!(result.session_id.as_deref(), Some("ses_1"));
    assert_eq!(world.until_ended(1).await, RunState::Succeeded);
    assert!(world.audit_is_intact().await);
    world.stop().await;
}

#[tokio::test]
async fn a_redelivered_message_is_the_same_run() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    assert_eq!(world.say("update-7", "/fix it").await, Some(1));
    assert_eq!(world.say("update-7", "/fix it").await, None);
    world.card().await;
    world.stop().await;

    let again = World::start(state.path(), 2_000, Plan::default());
    assert_eq!(again.say("update-7", "/fix it").await, None);
    assert_eq!(again.runs().await.len(), 1);
    again.stop().await;
}

#[tokio::test]
async fn a_later_step_gets_what_an_earlier_one_returned_and_asks_for_itself() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan { rules: vec![TWO_STEPS], ..Plan::default() });
    world.say("1", "first").await;
    let first = world.card().await;
    world.tap(&first, ANNA, Decision::Approve).await;
    let second = world.until("the second card", |world| world.screen.cards().get(1).cloned()).await;
    assert_eq!(second.input, json!({ "session_id": "ses_1", "prompt": "and now: did: first" }));
    world.tap(&second, ANNA, Decision::Approve).await;

    let text = world.until("the reply", |world| world.screen.texts().first().cloned()).await;

    assert_eq!(text, "both done: did: and now: did: first");
    assert_eq!(world.probe.calls().len(), 2);
    world.stop().await;
}

#[tokio::test]
async fn a_step_that_fails_ends_its_run_and_the_chat_is_told_why() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan { rules: vec![TWO_STEPS], ..Plan::default() });
    world.say("1", "please FAIL").await;
    world.tap(&world.card().await, ANNA, Decision::Approve).await;

    let result = world.result(1).await;

    assert_eq!(result.state, StepState::Failed);
    assert_eq!(result.reason.as_deref(), Some("failed: as asked"));
    world.until_ended(1).await;
    assert_eq!(world.runs().await[0].state, RunState::Failed);
    assert_eq!(world.probe.calls().len(), 1, "the next step did not run");
    world.stop().await;
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_told_to_the_chat_and_never_runs() {
    let state = tempfile::tempdir().unwrap();
    let rules = vec![FIX, UNKNOWN_CONNECTOR];
    let world = World::start(state.path(), 1_000, Plan { rules, ..Plan::default() });
    world.say("1", "hello").await;
    let result = world.result(1).await;
    assert_eq!(result.state, StepState::Failed);
    assert!(result.reason.unwrap().contains("no connector `nowhere` is configured; there is: oc"));
    assert_eq!(world.probe.calls().len(), 0);
    world.stop().await;
}

#[tokio::test]
async fn a_reference_that_leads_nowhere_fails_the_step_before_anybody_is_asked() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan { rules: vec![CONTINUE], ..Plan::default() });
    world.say("1", "go on").await;
    let result = world.result(1).await;
    assert_eq!(result.state, StepState::Failed);
    assert!(result.reason.as_deref().unwrap().contains("trigger.reply.session_id"), "{:?}", result.reason);
    assert_eq!(world.screen.cards().len(), 0);

    let mut answer = event("2", "go on");
    answer.reply = Some(reply_to("ses_9"));
    world.engine.submit(answer).await.unwrap();
    assert_eq!(world.card().await.input, json!({ "session_id": "ses_9", "prompt": "go on" }));
    world.stop().await;
}

#[tokio::test]
async fn steps_in_one_place_run_one_after_another() {
    let state = tempfile::tempdir().unwrap();
    let probe = Shared::closed();
    let world = World::start(state.path(), 1_000, Plan { probe, ..Plan::default() });
    for (id, text) in [("1", "/fix one"), ("2", "/fix two")] {
        world.say(id, text).await;
    }
    world.until("two cards", |world| (world.screen.cards().len() == 2).then_some(())).await;
    for card in world.screen.cards() {
        world.tap(&card, ANNA, Decision::Approve).await;
    }
    world.until("the first call", |world| (world.probe.calls().len() == 1).then_some(())).await;
    assert_eq!(world.step("2.1".parse().unwrap()).await.state, StepState::Approved);
    world.probe.gate.add_permits(1);
    world.until("the second call", |world| (world.probe.calls().len() == 2).then_some(())).await;
    world.probe.gate.add_permits(1);
    world.result(2).await;
    world.stop().await;
}
