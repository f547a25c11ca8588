//! What an update comes to when the ledger does not take it, holds what it should not, or has it already.

use std::time::Duration;

use connector_ledger::LedgerError;
use serde_json::json;
use testkit::telegram::Fault;

use super::desk::{Desk, RULES};
use super::stage::Stage;
use super::webhook::written;
use super::world::{ANNA, BEN, CHAT, GROUP};
use crate::database;
use crate::probe::Shared;

const HANDLED: &str = "SELECT count(*) FROM events WHERE handled_at IS NOT NULL";

#[tokio::test]
async fn an_abort_that_the_ledger_does_not_take_is_carried_out_the_next_time_and_once() {
    let desk = Desk::start(&RULES, Shared::closed(), &[]).await;
    let card = desk.card(1, "/fix it").await;
    desk.tap(2, &card, "Approve").await.unwrap();
    desk.until("SELECT count(*) FROM steps WHERE state = 'dispatched'", 1).await;

    desk.edit(
        "CREATE TRIGGER held BEFORE UPDATE OF cancel_by ON steps BEGIN SELECT RAISE(FAIL, 'held'); END",
    );
    let refused = desk.write(3, "/abort").await.unwrap_err();
    assert!(matches!(refused, LedgerError::Sql(_)), "{refused:?}");
    desk.edit("DROP TRIGGER held");
    desk.write(3, "/abort").await.unwrap();
    desk.telegram.wait_for(CHAT, "1.1 is told to stop").await;
    desk.telegram.wait_for(CHAT, "stopped").await;

    desk.write(4, "/sessions").await.unwrap();
    desk.telegram.wait_for(CHAT, "1.1 · cancelled · ses_1").await;
    desk.write(3, "/abort").await.unwrap();
    desk.write(5, "/abort 1.1").await.unwrap();
    desk.telegram.wait_for(CHAT, "nothing like that runs here").await;
    let told = desk.telegram.screen(CHAT).iter().filter(|it| it.text.contains("nothing like that")).count();
    assert_eq!(told, 1, "a second delivery is not carried out again");
    desk.stop().await;
}

#[tokio::test]
async fn what_is_about_a_row_that_cannot_be_read_is_answered_and_passed_over() {
    let desk = Desk::start(&RULES, Shared::closed(), &[]).await;
    let card = desk.card(1, "/fix it").await;
    desk.until("SELECT count(*) FROM outbox WHERE delivered_at IS NOT NULL", 1).await;
    desk.edit("UPDATE steps SET target = 'no json'");
    desk.tap(2, &card, "Approve").await.unwrap();
    desk.reply(3, card.id, "and the docs").await.unwrap();
    desk.telegram.wait_for(CHAT, "cannot be read, so nothing was done").await;
    let toast = |_: &[_]| desk.calls_of("answerCallbackQuery").pop();
    let toast = desk.telegram.wait(CHAT, toast).await;
    assert!(
        toast["text"].as_str().unwrap().contains("cannot be read") && toast["show_alert"] == true,
        "{toast}"
    );
    // What has nothing to do with it is answered as ever.
    desk.write(4, "/status").await.unwrap();
    desk.telegram.wait_for(CHAT, "nothing runs").await;
    desk.stop().await;
}

#[tokio::test]
async fn a_yes_that_cannot_be_recorded_waits_and_is_given_the_next_time() {
    let desk = Desk::start(&RULES, Shared::open(), &[]).await;
    let card = desk.card(1, "/fix MAY I").await;
    desk.tap(2, &card, "Approve").await.unwrap();
    let ask = desk.telegram.wait_for(CHAT, "may the agent use bash?").await;
    desk.edit(
        "CREATE TRIGGER held BEFORE INSERT ON audit WHEN NEW.kind = 'ask_answered'
         BEGIN SELECT RAISE(FAIL, 'held'); END",
    );
    desk.tap(3, &ask, "Allow once").await.unwrap_err();
    assert_eq!(desk.engine.open_asks().len(), 1, "it still waits");
    desk.edit("DROP TRIGGER held");
    desk.tap(3, &ask, "Allow once").await.unwrap();
    desk.telegram.wait_for(CHAT, "answered: {\"type\":\"once\"}").await;
    assert_eq!(desk.count("SELECT count(*) FROM audit WHERE kind = 'ask_answered'"), 1);
    desk.stop().await;
}

#[tokio::test]
async fn a_tap_or_words_that_come_twice_answer_an_ask_once() {
    let desk = Desk::start(&RULES, Shared::open(), &[]).await;
    let card = desk.card(1, "/fix WHICH").await;
    desk.tap(2, &card, "Approve").await.unwrap();
    let ask = desk.telegram.wait_for(CHAT, "(1 of 3)").await;
    for number in [3, 3, 4, 3] {
        desk.tap(number, &ask, if number == 3 { "Tabs" } else { "Done" }).await.unwrap();
    }
    desk.telegram.wait_for(CHAT, "(2 of 3)").await;
    for number in [5, 5] {
        desk.reply(number, ask.id, "because").await.unwrap();
    }
    // The last answer cannot be recorded the first time.
    desk.edit(
        "CREATE TRIGGER held BEFORE INSERT ON audit WHEN NEW.kind = 'ask_answered'
         BEGIN SELECT RAISE(FAIL, 'held'); END",
    );
    desk.reply(6, ask.id, "so").await.unwrap_err();
    desk.edit("DROP TRIGGER held");
    desk.reply(6, ask.id, "so").await.unwrap();
    let shown = desk.telegram.wait_for(CHAT, "answered: {").await;
    assert!(shown.text.contains(r#"[["Tabs"],["because"],["so"]]"#), "{}", shown.text);
    desk.stop().await;
}

#[tokio::test]
async fn in_private_what_no_rule_fires_on_is_answered_with_one_line_and_in_a_group_it_is_not() {
    let desk = Desk::start(&RULES, Shared::open(), &[]).await;
    let mut in_group = written(1, "fix the test");
    in_group["message"]["chat"] = json!({ "id": GROUP, "type": "supergroup", "title": "Group" });
    let mut stranger = written(2, "fix the test");
    stranger["message"]["chat"]["id"] = json!(BEN);
    stranger["message"]["from"]["id"] = json!(BEN);
    for update in [in_group, stranger] {
        desk.surface.take(&update).await.unwrap();
    }
    let line = "no rule answers that; try /fix and what is to be done, or /help";
    desk.write(3, "/fx the test").await.unwrap();
    desk.telegram.wait_for(CHAT, line).await;
    desk.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", 0).await;
    // Of many, while the line still waits to be sent, not each is told so.
    desk.telegram.fault("sendMessage", 1_000, &Fault::Refuse(500, "Internal Server Error", None));
    for number in 10..40 {
        desk.write(number, "fix the test").await.unwrap();
    }
    desk.until(HANDLED, 33).await;
    desk.telegram.heal();
    desk.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", 0).await;
    let told = desk.telegram.screen(CHAT).iter().filter(|it| it.text == line).count();
    assert_eq!(told, 2);
    assert_eq!(desk.telegram.screen(GROUP), []);
    assert_eq!(desk.telegram.screen(i64::try_from(BEN).unwrap()), []);
    desk.stop().await;
}

#[tokio::test]
async fn a_reply_in_another_topic_goes_on_in_no_session() {
    let desk = Desk::start(&RULES, Shared::open(), &[]).await;
    let in_topic = |number: u32, topic: i32, text: &str| {
        let mut update = written(number, text);
        let message = update["message"].as_object_mut().unwrap();
        message.insert("chat".into(), json!({ "id": GROUP, "type": "supergroup", "title": "Group" }));
        message
            .extend([("message_thread_id".into(), json!(topic)), ("is_topic_message".into(), json!(true))]);
        update
    };
    desk.surface.take(&in_topic(1, 7, "/fix it")).await.unwrap();
    let card = desk.telegram.wait_for(GROUP, "Approval needed").await;
    let mut tap = super::webhook::tapped(2, card.id, &card.data[0][0]);
    tap["callback_query"]["message"]["chat"]["id"] = json!(GROUP);
    tap["callback_query"]["message"]["chat"]["type"] = json!("supergroup");
    desk.surface.take(&tap).await.unwrap();
    desk.until("SELECT count(*) FROM outbox WHERE kind = 'result' AND delivered_at IS NOT NULL", 1).await;
    let result = desk.telegram.wait_for(GROUP, "did: /fix it").await;
    for (number, topic) in [(3, 8), (4, 7)] {
        let mut reply = in_topic(number, topic, "now the docs");
        reply["message"]["reply_to_message"] = json!({
            "message_id": result.id, "date": 1, "chat": { "id": GROUP, "type": "supergroup" },
            "from": { "id": testkit::telegram::BOT, "is_bot": true, "first_name": "bot" },
        });
        desk.surface.take(&reply).await.unwrap();
    }
    let card = desk.telegram.wait_for(GROUP, "continue_session").await;
    assert_eq!(card.topic, Some(7));
    desk.until("SELECT count(*) FROM events WHERE handled_at IS NULL", 0).await;
    let sql = "SELECT count(*) FROM runs WHERE rule = 'reply-goes-on'";
    assert_eq!(desk.count(sql), 1, "the reply in topic 8 fired nothing");
    desk.stop().await;
}

#[tokio::test]
async fn a_member_who_floods_a_group_is_told_once_and_the_owner_is_asked_at_once() {
    let stage = Stage::start(Shared::open());
    for number in 0..3_000 {
        stage.telegram.write(BEN, GROUP, &format!("/fix flood {number}"));
    }
    stage.telegram.write(ANNA, CHAT, "/fix OWNER REQUEST");
    stage.card("OWNER REQUEST").await;
    let stored = "SELECT count(*) FROM events WHERE requester = 'telegram:43' AND event = 'message_received'";
    let stored: u32 = database::value(stage.engine().ledger().path(), stored);
    assert!((1..=60).contains(&stored), "{stored} of 3,000 are kept");
    stage.telegram.wait_for(GROUP, "too much at once").await;
    let told = stage.telegram.screen(GROUP);
    let told = told.iter().filter(|shown| shown.text.contains("too much at once")).count();
    assert!(told <= 2, "said {told} times");
}

#[tokio::test]
async fn many_members_who_flood_a_group_are_told_in_one_line() {
    let stage = Stage::start(Shared::open());
    stage.telegram.fault("sendMessage", 1, &Fault::Slow(Duration::from_secs(3)));
    for number in 0..40 {
        for user in [BEN, BEN + 1, BEN + 2] {
            stage.telegram.write(user, GROUP, &format!("hello {number}"));
        }
    }
    stage.telegram.wait_until_acknowledged().await;
    stage.telegram.wait_for(GROUP, "too much at once").await;
    stage.telegram.write(ANNA, CHAT, "/fix it");
    stage.card("/fix it").await;
    let told = stage.telegram.screen(GROUP);
    assert_eq!(told.iter().filter(|shown| shown.text.contains("too much at once")).count(), 1, "{told:#?}");
}
