//! Who is heard when many speak: by turns, and at once.

use connector_gate::decision::Decision;
use connector_gate::policy::{Actor, GateConfig};
use connector_ledger::events::{self, NewEvent};
use connector_ledger::{LedgerError, Tx};

use crate::database;
use crate::world::{Plan, World, event};

/// A member of a group who may not approve.
const EVE: &str = "screen:eve";

fn of_the_group(number: usize, text: &str) -> NewEvent {
    NewEvent {
        chat: "group".into(),
        requester: Actor::from_text(EVE),
        ..event(&format!("eve-{number}"), &format!("{text} {number}"))
    }
}

/// As if a surface had taken all of them in while the engine was busy: in one transaction, with what the
/// owner says after them.
async fn store(world: &World, count: usize, text: &'static str, owner: Option<NewEvent>) {
    let store = move |tx: &Tx<'_>| -> Result<(), LedgerError> {
        for number in 0..count {
            events::store(tx, &of_the_group(number, text))?;
        }
        owner.iter().try_for_each(|event| events::store(tx, event).map(drop))
    };
    world.engine.ledger().write(store).await.unwrap();
}

#[tokio::test]
async fn three_thousand_messages_of_a_member_keep_no_card_of_the_owner_back() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    store(&world, 3_000, "/fix flood", Some(event("owner", "/fix OWNER REQUEST"))).await;
    world.say("wakes the engine", "hello").await.unwrap();
    let owners = |world: &World| {
        let cards = world.screen.cards();
        cards.into_iter().find(|card| card.input["prompt"] == "/fix OWNER REQUEST")
    };
    let card = world.until("the owner's card", owners).await;
    let run = card.id.run.0;
    assert!(run <= 2, "only one of the group's may go before it: run {run}");
    world.stop().await;
}

#[tokio::test]
async fn what_waits_is_taken_in_without_waiting_for_a_clock() {
    let state = tempfile::tempdir().unwrap();
    let world = World::start(state.path(), 1_000, Plan::default());
    // No rule fires, so that nothing else starts a pass.
    store(&world, 200, "hello", None).await;
    world.say("last", "hello").await.unwrap();
    let began = std::time::Instant::now();
    while world.read(events::any_unhandled).await {
        assert!(began.elapsed().as_secs() < 30, "a batch was taken in, and the rest left for a minute");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    world.stop().await;
}

#[tokio::test]
async fn refusals_that_nobody_has_seen_are_told_in_one_line_and_keep_no_input() {
    let state = tempfile::tempdir().unwrap();
    let gate = GateConfig { max_waiting_per_chat: 2, ..Plan::default().gate };
    let world = World::start(state.path(), 1_000, Plan { gate, ..Plan::default() });
    *world.screen.broken.lock().unwrap() = true;
    store(&world, 99, "/fix flood", None).await;
    world.say("owner", "/fix mine").await.unwrap();
    let ended = "SELECT count(*) FROM runs WHERE state = 'denied'";
    let count = |sql: &str| database::value::<i64>(world.engine.ledger().path(), sql);
    while count(ended) < 97 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let parcels = "SELECT count(*) FROM outbox WHERE chat = 'group'";
    let told = "SELECT coalesce(json_group_array(kind || ' ' || coalesce(body, '')), '') FROM outbox";
    let told: String = database::value(world.engine.ledger().path(), told);
    assert_eq!(count(parcels), 4, "two cards, a refusal, and one line for all others: {told}");
    let line = "SELECT body FROM outbox WHERE chat = 'group' AND kind = 'text'";
    let line: String = database::value(world.engine.ledger().path(), line);
    assert_eq!(line, "96 more requests are refused: too many cards are waiting already");
    let kept = "SELECT count(*) FROM steps WHERE state = 'denied' AND input <> '{}'";
    assert_eq!(count(kept), 0);
    assert!(world.read(connector_ledger::keep::check).await.problems.is_empty());
    world.stop().await;
}

#[tokio::test]
async fn an_ask_that_nobody_can_answer_is_refused_at_once_with_words() {
    // The card is approved where no ask of this chat is shown, by somebody without the command line.
    let state = tempfile::tempdir().unwrap();
    let gate = GateConfig { approvers: vec![Actor::from_text("telegram:1")], ..Plan::default().gate };
    let world = World::start(state.path(), 1_000, Plan { gate, ..Plan::default() });
    world.say("1", "/fix MAY I").await;
    let card = world.card().await;
    world.tap(&card, "telegram:1", Decision::Approve).await;
    let reply = world.result(1).await.output.unwrap()["reply"].as_str().unwrap().to_owned();
    assert!(reply.contains("none of those who may answer is on `screen` or `cli`"), "{reply}");
    assert_eq!(world.audited("ask_refused").await, 1);
    world.stop().await;
}
