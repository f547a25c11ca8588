//! What reaches chats and what does not, the queue, cancelling, and what is allowed for a session.

use std::sync::Arc;

use connector_engine::CancelOutcome;
use connector_gate::decision::{Decision, Tapped};
use connector_gate::ids::{RunId, StepId};
use connector_gate::policy::Actor;
use connector_gate::state::StepState;
use connector_ledger::runs::{self, RunState};
use connector_ledger::steps::{PassedBy, allow};
use connector_ledger::{events, outbox, steps};

use crate::database;
use crate::probe::Shared;
use crate::world::{ANNA, BEN, Plan, World, event, ledger, reply_to};

const MINUTE: i64 = 60_000;

const GO_ON: &str = r#"
[rule]
name = "go-on"
[trigger]
type = "ConnectorEvent"
connector = "chat"
event = "message_received"
[[conditions]]
type = "FieldContains"
field = "trigger.text"
value = "/on"
[[actions]]
type = "RunConnector"
connector = "oc"
action = "continue_session"
[actions.params]
session_id = "${trigger.reply.session_id}"
prompt = "${trigger.text}"
"#;

/// How often the first parcel of the outbox was tried.
fn attempts(world: &World) -> u32 {
    let sql = "SELECT coalesce((SELECT attempts FROM outbox ORDER BY id LIMIT 1), 0)";
    database::value(world.engine.ledger().path(), sql)
}

async fn until_state(world: &World, step: &str, state: StepState) -> steps::StepRow {
    let id: StepId = step.parse().unwrap();
    for _ in 0..2_000 {
        let row = world.read(move |tx| steps::get(tx, id)).await;
        if let Some(row) = row.filter(|row| row.state == state) {
            return row;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{step} did not become {state}")
}

#[tokio::test]
async fn a_card_that_cannot_be_delivered_is_denied_in_the_end_and_the_chat_told_once_it_can_be() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    *world.screen.broken.lock().unwrap() = true;
    world.say("1", "/fix it").await;
    while attempts(&world) == 0 {
        tokio::task::yield_now().await;
    }
    world.set_time(1_000 + 16 * MINUTE);
    world.say("2", "wake up").await;
    let row = until_state(&world, "1.1", StepState::Denied).await;
    assert!(row.reason.unwrap().contains("the screen is broken"));

    *world.screen.broken.lock().unwrap() = false;
    world.set_time(1_000 + 18 * MINUTE);
    world.say("3", "wake up").await;
    assert_eq!(world.result(1).await.state, StepState::Denied);
    assert!(world.screen.cards().is_empty(), "a card that is decided is not shown");
    world.stop().await;
}

#[tokio::test]
async fn a_card_behind_a_parcel_that_cannot_be_delivered_expires_too() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    *world.screen.broken.lock().unwrap() = true;
    let put = |tx: &connector_ledger::Tx<'_>| {
        let parcel = outbox::Parcel::Text { run: None, body: "stuck".into() };
        let event = event("0", "");
        outbox::put(tx, &event.surface, &event.chat, &parcel)
    };
    world.engine.ledger().write(put).await.unwrap();
    world.say("1", "/fix it").await;
    while attempts(&world) == 0 {
        tokio::task::yield_now().await;
    }
    until_state(&world, "1.1", StepState::Waiting).await;
    world.set_time(1_000 + 16 * MINUTE);
    world.say("2", "wake up").await;
    let row = until_state(&world, "1.1", StepState::Denied).await;
    assert!(row.reason.unwrap().contains("the screen is broken"));
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_takes_minutes_is_waited_for_and_made_once() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    let minutes = std::time::Duration::from_mins(5);
    *world.screen.slow.lock().unwrap() = minutes;
    world.say("1", "/fix it").await;
    tokio::time::sleep(minutes * 2).await;
    assert_eq!((world.screen.cards().len(), attempts(&world)), (1, 0));
    world.stop().await;
}

#[tokio::test]
async fn a_surface_that_is_gone_denies_its_cards_and_holds_up_no_other() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    let lost = events::NewEvent { surface: "gone".into(), ..event("1", "/fix it") };
    world.engine.submit(lost).await.unwrap();
    while attempts(&world) == 0 {
        tokio::task::yield_now().await;
    }
    world.say("2", "/fix that").await;
    world.card().await;
    world.set_time(1_000 + 16 * MINUTE);
    world.say("3", "wake up").await;
    let row = until_state(&world, "1.1", StepState::Denied).await;
    assert!(row.reason.unwrap().contains("no surface `gone`"));
    world.stop().await;
}

#[tokio::test]
async fn what_is_allowed_for_a_session_passes_there_and_nowhere_else() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan { rules: vec![GO_ON], ..Plan::default() });
    let say = async |id: &str, session: &str, who: &str| {
        let reply = Some(reply_to(session));
        let event =
            events::NewEvent { reply, requester: Actor::from_text(who), ..event(id, &format!("/on {id}")) };
        world.engine.submit(event).await.unwrap();
    };
    say("1", "ses_1", ANNA).await;
    let card = world.card().await;
    assert_eq!(world.tap(&card, BEN, Decision::AllowSession).await, Tapped::Approved);
    world.result(1).await;
    let open = world.read(allow::open).await;
    assert_eq!((open.len(), open[0].session_id.as_deref()), (1, Some("ses_1")));

    say("2", "ses_1", ANNA).await;
    let passed = world.result(2).await;
    assert_eq!((passed.passed_by, passed.allowance), (Some(PassedBy::Allowance), Some(open[0].id)));

    // Another session, another person: each asks.
    say("3", "ses_2", ANNA).await;
    say("4", "ses_1", BEN).await;
    world.until("two more cards", |world| (world.screen.cards().len() == 3).then_some(())).await;

    let (id, by) = (open[0].id, Actor::from_text(ANNA));
    assert!(world.engine.ledger().write(move |tx| allow::revoke(tx, id, &by)).await.unwrap());
    say("5", "ses_1", ANNA).await;
    world.until("a card again", |world| (world.screen.cards().len() == 4).then_some(())).await;
    assert_eq!(world.probe.calls().len(), 2);
    for kind in ["allowance_given", "allowance_revoked"] {
        assert_eq!(world.audited(kind).await, 1, "{kind}");
    }
    world.stop().await;
}

#[tokio::test]
async fn an_allowance_ends_with_its_time() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan { rules: vec![GO_ON], ..Plan::default() });
    let first = events::NewEvent { reply: Some(reply_to("ses_1")), ..event("1", "/on one") };
    world.engine.submit(first).await.unwrap();
    world.tap(&world.card().await, ANNA, Decision::AllowSession).await;
    world.result(1).await;
    world.set_time(1_000 + 9 * 60 * MINUTE);
    let later = events::NewEvent { reply: Some(reply_to("ses_1")), ..event("2", "/on two") };
    world.engine.submit(later).await.unwrap();
    world.until("a card again", |world| world.screen.cards().get(1).cloned()).await;
    world.stop().await;
}

#[tokio::test]
async fn a_run_can_be_cancelled_wherever_it_is() {
    let state = tempfile::tempdir().unwrap();
    let probe = Shared::closed();
    let world = World::start(state.path(), 1_000, Plan { probe: Arc::clone(&probe), ..Plan::default() });
    let anna = Actor::from_text(ANNA);
    for number in 1..=3 {
        world.say(&number.to_string(), &format!("/fix {number}")).await;
    }
    world.until("three cards", |world| (world.screen.cards().len() == 3).then_some(())).await;
    let cards = world.screen.cards();
    for card in &cards[..2] {
        world.tap(card, ANNA, Decision::Approve).await;
    }
    world.until("a call", |world| (world.probe.calls().len() == 1).then_some(())).await;
    let queued = world.read(|tx| steps::queued(tx, 10)).await;
    assert_eq!(queued.iter().map(|place| (place.step, place.ahead)).collect::<Vec<_>>(), [(cards[1].id, 1)]);

    // Waiting, in the queue, running: in an order that would let the second run if it could.
    for (run, outcome) in
        [(3, CancelOutcome::Withdrawn), (2, CancelOutcome::Withdrawn), (1, CancelOutcome::Stopping)]
    {
        assert_eq!(world.engine.cancel_run(RunId(run), &anna).await.unwrap(), outcome, "{run}");
        assert_eq!(world.until_ended(run).await, RunState::Cancelled);
        assert_eq!(world.engine.cancel_run(RunId(run), &anna).await.unwrap(), CancelOutcome::NothingToDo);
    }
    assert_eq!(world.engine.cancel_run(RunId(9), &anna).await.unwrap(), CancelOutcome::NothingToDo);
    assert_eq!(probe.calls().len(), 1);
    world.until("three results", |world| (world.screen.results().len() == 3).then_some(())).await;
    world.stop().await;
}

#[tokio::test]
async fn a_run_cancelled_between_its_steps_begins_no_other_and_says_so() {
    let state = tempfile::tempdir().unwrap();
    let rule = crate::world::FIX;
    ledger(state.path())
        .write_now(|tx| {
            let id = events::store(tx, &event("1", "/fix it"))?.unwrap();
            let stored = events::get(tx, id)?.unwrap();
            let run =
                runs::create(tx, &stored, runs::By { rule: "fix", version: "v", definition: rule }, &[])?
                    .unwrap();
            events::handled(tx, id)?;
            let by = Actor::from_text("cli:anna");
            assert_eq!(connector_engine::cancel_run(tx, run, &by)?, CancelOutcome::Withdrawn);
            Ok(())
        })
        .unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    assert_eq!(world.until_ended(1).await, RunState::Cancelled);
    let text = world.until("a word about it", |world| world.screen.texts().first().cloned()).await;
    assert_eq!(text, "run 1 is cancelled: cancelled by cli:anna");
    assert!(world.screen.cards().is_empty());
    world.stop().await;
}
