//! Nothing is lost and nothing happens twice, whatever the network does.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::model::Script;
use testkit::telegram::Fault;

use super::world::{ANNA, CHAT, World};
use crate::database;

impl World {
    /// Waits until the ledger has it that the card was delivered: a crash before that is one
    /// after which nobody can know, and the card is sent again.
    fn until_recorded(&self) {
        let until = Instant::now() + Duration::from_mins(1);
        loop {
            let waiting = self.user.run(&["--json", "approvals", "list"]).json();
            if waiting[0]["delivered_at"].is_number() {
                return;
            }
            assert!(Instant::now() < until, "{waiting}");
        }
    }

    /// Waits for an answer to a tap that contains `text`.
    pub(super) async fn answered(&self, text: &str) -> Value {
        let is_it = |call: &testkit::telegram::Called| {
            call.method == "answerCallbackQuery"
                && call.params["text"].as_str().is_some_and(|it| it.contains(text))
        };
        let calls = || self.telegram.calls().into_iter().find(is_it).map(|call| call.params);
        self.telegram.wait(CHAT, |_| calls()).await
    }
}

#[tokio::test]
async fn every_failure_of_the_bot_api_is_waited_out() {
    let mut world = World::start(Script::saying("Through all of it.")).await;
    let telegram = &world.telegram;
    telegram.fault("getUpdates", 1, &Fault::Cut);
    telegram.fault("getUpdates", 1, &Fault::Gateway);
    telegram.fault("getUpdates", 1, &Fault::Refuse(429, "Too Many Requests: retry after 1", Some(1)));
    telegram.fault("sendMessage", 1, &Fault::Refuse(429, "Too Many Requests: retry after 1", Some(1)));
    telegram.fault("sendMessage", 1, &Fault::Refuse(500, "Internal Server Error", None));
    telegram.fault("sendMessage", 1, &Fault::Cut);
    telegram.write(ANNA, CHAT, "/fix it");
    let card = world.card(CHAT, "1.1").await;
    telegram.fault("answerCallbackQuery", 1, &Fault::Refuse(400, "Bad Request: query is too old", None));
    telegram.fault("editMessageText", 1, &Fault::Cut);
    telegram.fault("editMessageText", 1, &Fault::Refuse(400, "Bad Request: message is not modified", None));
    telegram.fault("sendMessage", 1, &Fault::Refuse(429, "Too Many Requests: retry after 2", Some(2)));
    telegram.tap(ANNA, CHAT, card.id, "Approve");
    telegram.wait_for(CHAT, "1.1 done").await;
    telegram.wait_for(CHAT, "Through all of it.").await;
    let cards = telegram.screen(CHAT).iter().filter(|shown| shown.text.contains("1.1")).count();
    assert_eq!(cards, 1, "{:#?}", telegram.screen(CHAT));
    world.stop();
    world.assert_no_token();
}

#[tokio::test]
async fn what_needs_somebody_is_said_clearly_and_heals() {
    let mut world = World::start(Script::saying("Back again.")).await;
    let telegram = &world.telegram;
    let conflict = "Conflict: terminated by other getUpdates request";
    telegram.fault("getUpdates", 1, &Fault::Refuse(409, conflict, None));
    let host = world.host.as_mut().unwrap();
    host.expect("another program takes this bot's updates (409)");
    telegram.fault("getUpdates", 1, &Fault::Refuse(401, "Unauthorized", None));
    host.expect("telegram does not know this bot token (401)");
    telegram.fault("sendMessage", 1, &Fault::Refuse(403, "Forbidden: bot was blocked by the user", None));
    telegram.write(ANNA, CHAT, "/fix it");
    host.expect("bot was blocked by the user");
    world.card(CHAT, "1.1").await;
    world.stop();
    world.assert_no_token();
}

#[tokio::test]
async fn an_update_is_acknowledged_after_its_row_and_done_once() {
    let mut world = World::start(Script::saying("Once.")).await;
    let first = world.telegram.write(ANNA, CHAT, "/fix it");
    world.card(CHAT, "1.1").await;
    world.telegram.wait_until_acknowledged().await;
    world.until_recorded();
    world.crash();
    // Telegram sends it again: to it, the acknowledgement may have been lost.
    world.telegram.redeliver(first);
    world.telegram.write(ANNA, CHAT, "/status");
    world.restart();
    world.telegram.wait_for(CHAT, "1.1 · waiting").await;
    world.telegram.wait_until_acknowledged().await;
    let screen = world.telegram.screen(CHAT);
    let cards: Vec<_> = screen.iter().filter(|shown| shown.text.contains("Approval needed")).collect();
    assert_eq!(cards.len(), 1, "{screen:#?}");
    world.telegram.tap(ANNA, CHAT, cards[0].id, "Approve");
    world.telegram.wait_for(CHAT, "Once.").await;
    world.stop();
    world.assert_no_token();
}

#[tokio::test]
async fn forwarded_and_edited_messages_fire_nothing_and_a_thousand_updates_are_taken() {
    let mut world = World::start(Script::saying("x")).await;
    let telegram = &world.telegram;
    let origin = json!({ "forward_origin": { "type": "hidden_user", "date": 1, "sender_user_name": "x" } });
    telegram.message(ANNA, CHAT, "/fix forwarded", &origin);
    let edited = json!({ "edited_message": {
        "message_id": 1, "date": 1, "edit_date": 2, "text": "/fix edited",
        "chat": { "id": CHAT, "type": "private" }, "from": { "id": ANNA, "is_bot": false, "first_name": "A" } } });
    telegram.update(edited);
    for number in 0..1_000 {
        telegram.write(ANNA, CHAT, &format!("hello {number}"));
    }
    tokio::time::timeout(Duration::from_mins(1), telegram.wait_until_acknowledged()).await.unwrap();
    telegram.write(ANNA, CHAT, "/queue");
    telegram.wait_for(CHAT, "nothing waits here").await;
    let runs = world.user.run(&["--json", "runs", "list"]).json();
    assert_eq!(runs.as_array().map(Vec::len), Some(0), "{runs}");
    world.stop();
    world.assert_no_token();
}

#[tokio::test]
async fn a_thousand_updates_are_each_stored_once_across_a_kill() {
    let mut world = World::start(Script::saying("x")).await;
    for number in 0..1_000 {
        world.telegram.write(ANNA, CHAT, &format!("hello {number}"));
    }
    // In the middle of a batch: some are acknowledged, some durable alone, some neither.
    world.telegram.wait(CHAT, |_| (world.telegram.unacknowledged() <= 700).then_some(())).await;
    world.crash();
    assert!(world.telegram.unacknowledged() > 0, "it was killed in time");
    world.restart();
    world.telegram.wait_until_acknowledged().await;
    world.stop();
    let file = database::open(&world.user.state().join("ledger.sqlite"));
    let sql =
        "SELECT count(*), count(DISTINCT payload ->> '$.text') FROM events WHERE event = 'message_received'";
    let counted: (u32, u32) = file.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(counted, (1_000, 1_000));
    world.assert_no_token();
}
