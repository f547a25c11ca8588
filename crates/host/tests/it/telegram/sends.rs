//! What is sent, refused, cut off and sent again: the outgoing half, without a process.

use std::time::Duration;

use connector_contract::Progress;
use connector_telegram::api::Document;
use connector_telegram::frankenstein::ParseMode;
use connector_telegram::frankenstein::methods::{AnswerCallbackQueryParams, SendMessageParams};
use connector_telegram::frankenstein::types::{MessageEntity, MessageEntityType};
use connector_telegram::{ApiError, ChatKey, Config};
use serde_json::json;
use testkit::telegram::{FakeTelegram, Fault, Shown, TOKEN};

use super::stage::{Stage, has_button};
use super::world::{ANNA, CHAT, GROUP};
use crate::database;
use crate::probe::Shared;

const DOWN: Fault = Fault::Refuse(500, "Internal Server Error", None);

#[tokio::test]
async fn a_reply_to_any_message_of_a_result_goes_on_in_its_session_before_all_of_it_is_sent() {
    let desk = Stage::start(Shared::open());
    *desk.probe.output.lock().unwrap() = json!({ "reply": "word ".repeat(1_000), "patch": "-a\n+b\n" });
    desk.telegram.fault("sendDocument", 1, &DOWN);
    desk.approved("/fix it").await;
    let first = desk.see(|shown| shown.text.starts_with("word") && shown.answers.is_some()).await;
    desk.reply(first.id, "one").await;
    let patch = desk.see(|shown| shown.document.is_some()).await;
    desk.reply(patch.id, "two").await;
    let card = desk.card("two").await;
    assert!(card.text.contains("session_id: ses_1"), "{card:?}");
    desk.card("one").await;
}

#[tokio::test]
async fn a_result_that_is_cut_off_goes_on_after_a_restart_where_it_was() {
    let mut desk = Stage::start(Shared::open());
    let words: Vec<String> = (0..900).map(|number| format!("word{number:04}")).collect();
    let words = words.join(" ");
    *desk.probe.output.lock().unwrap() = json!({ "reply": words });
    let word = |shown: &Shown| shown.text.starts_with("word");
    desk.telegram.fault("sendMessage", 2, &Fault::Slow(Duration::ZERO));
    desk.telegram.fault("sendMessage", 1_000, &DOWN);
    desk.approved("/fix it").await;
    desk.see(word).await;
    desk.stop().await;
    assert_eq!(desk.telegram.screen(CHAT).iter().filter(|shown| word(shown)).count(), 1);
    desk.telegram.heal();
    desk.start_again();
    desk.until_told().await;
    let screen = desk.telegram.screen(CHAT);
    let pieces: Vec<&str> = screen.iter().filter(|it| word(it)).map(|it| it.text.as_str()).collect();
    assert_eq!(pieces.join(" "), words);
}

const NO_DOCUMENTS: Fault =
    Fault::Refuse(400, "Bad Request: not enough rights to send documents to the chat", None);

fn long_prompt() -> String {
    format!("/fix {}END", "word ".repeat(800))
}

#[tokio::test]
async fn where_no_documents_are_taken_a_card_is_preceded_by_all_of_its_prompt() {
    let desk = Stage::start(Shared::open());
    desk.telegram.fault("sendDocument", 1, &NO_DOCUMENTS);
    desk.telegram.write(ANNA, CHAT, &long_prompt());
    let card = desk.card("the whole of it is above").await;
    let screen = desk.telegram.screen(CHAT);
    let above: String = screen.iter().take_while(|it| it.id != card.id).map(|it| it.text.as_str()).collect();
    assert!(above.contains("END") && above.matches("word").count() == 800, "{screen:#?}");
}

#[tokio::test]
async fn a_card_whose_prompt_cannot_be_read_there_is_not_shown() {
    let desk = Stage::start(Shared::open());
    desk.telegram.fault("sendDocument", 1, &NO_DOCUMENTS);
    desk.telegram.fault("sendMessage", 1, &Fault::Refuse(400, "Bad Request: not enough rights", None));
    desk.telegram.write(ANNA, CHAT, &long_prompt());
    let refused = |_: &[Shown]| {
        let refused = desk.telegram.calls().iter().filter(|call| call.status == 400).count();
        (refused == 2).then_some(())
    };
    desk.telegram.wait(CHAT, refused).await;
    assert!(desk.telegram.screen(CHAT).is_empty(), "{:#?}", desk.telegram.screen(CHAT));
    // It is tried again, and what was refused for good is not.
    desk.card("the whole of it is above").await;
    let documents = desk.telegram.calls().iter().filter(|call| call.method == "sendDocument").count();
    assert_eq!(documents, 1);
}

#[tokio::test]
async fn a_message_that_cannot_be_changed_holds_up_nothing() {
    for refusal in ["Bad Request: MESSAGE_ID_INVALID", "Bad Request: message to edit not found"] {
        let desk = Stage::start(Shared::closed());
        desk.approved("/fix it").await;
        desk.see(|shown| shown.text.contains("1.1 runs")).await;
        desk.telegram.fault("editMessageText", 1, &Fault::Refuse(400, refusal, None));
        desk.probe.gate.add_permits(1);
        let head = desk.see(|shown| shown.text.contains("1.1 done")).await;
        let reply = desk.see(|shown| shown.text == "did: /fix it").await;
        assert_eq!((head.edits, reply.answers), (0, Some(head.id)), "{refusal}");
    }
}

#[tokio::test]
async fn a_group_that_became_another_is_told_there_and_its_cards_are_denied() {
    const SUPERGROUP: i64 = -1_007;
    let desk = Stage::start(Shared::open());
    let moved = Fault::Moved(SUPERGROUP);
    desk.telegram.write(ANNA, GROUP, "/fix it");
    let card = |screen: &[Shown]| screen.iter().find(|it| has_button(it, "Approve")).map(|it| it.id);
    let first = desk.telegram.wait(GROUP, card).await;
    // Its card is on the screen as well, and waits.
    desk.telegram.write(ANNA, GROUP, "/fix more");
    desk.telegram.wait_for(GROUP, "Approval needed · 2.1").await;
    desk.until("SELECT NOT EXISTS (SELECT 1 FROM outbox WHERE delivered_at IS NULL)").await;
    desk.telegram.fault("editMessageText", 1, &moved);
    desk.telegram.tap(ANNA, GROUP, first, "Deny");
    desk.telegram.wait_for(SUPERGROUP, "1.1 was not run").await;
    desk.telegram.wait_for(SUPERGROUP, "2.1 was not run").await;

    desk.telegram.fault("sendMessage", 2, &moved);
    desk.telegram.write(ANNA, GROUP, "/fix that");
    let told = desk.telegram.wait_for(SUPERGROUP, "3.1 was not run").await;
    assert!(told.text.contains("its chat is `-1007` now; ask again there"), "{told:?}");
}

#[tokio::test]
async fn a_step_that_passes_without_a_card_shows_itself_and_can_be_aborted() {
    let desk = Stage::start(Shared::closed());
    desk.probe.gate.add_permits(2);
    desk.approved("/fix it").await;
    let reply = desk.see(|shown| shown.text == "did: /fix it").await;
    desk.reply(reply.id, "one").await;
    let card = desk.card("one").await;
    desk.telegram.tap(ANNA, CHAT, card.id, "Allow for this session");
    let reply = desk.see(|shown| shown.text == "did: one").await;
    desk.probe.progress.lock().unwrap().push(Progress::Started { session_id: "ses_2".into() });
    desk.reply(reply.id, "two").await;
    let status = desk.see(|shown| shown.text.contains("3.1 runs")).await;
    desk.telegram.tap(ANNA, CHAT, status.id, "Abort");
    let stopped = desk.see(|shown| shown.text.contains("3.1 stopped")).await;
    assert_eq!(stopped.id, status.id, "the status has become the result");
}

#[tokio::test]
async fn the_card_of_a_step_that_is_asked_about_again_says_so_and_has_no_buttons() {
    let desk = Stage::start(Shared::closed());
    desk.approved("/fix one").await;
    desk.see(|shown| shown.text.contains("1.1 runs")).await;
    let second = desk.approved("/fix two").await;
    desk.see(|shown| shown.id == second.id && has_button(shown, "Abort")).await;
    desk.probe.target.lock().unwrap().origin = Some("http://127.0.0.1:2".into());
    desk.probe.gate.add_permits(1);
    let again = desk.see(|shown| shown.text.contains("again: ") && has_button(shown, "Approve")).await;
    let earlier = desk.telegram.screen(CHAT).into_iter().find(|shown| shown.id == second.id).unwrap();
    assert_eq!(earlier.text, "⏸ 2.1 is asked about again, below\nchanged after the approval: origin");
    assert!(earlier.buttons.is_empty() && again.id != second.id, "{earlier:?}");
    desk.telegram.tap(ANNA, CHAT, again.id, "Approve");
    desk.probe.gate.add_permits(1);
    let done = desk.see(|shown| shown.text.contains("2.1 done")).await;
    assert_eq!(done.id, again.id);
}

#[tokio::test]
async fn what_a_step_does_is_seen_while_it_does_it() {
    let desk = Stage::start(Shared::closed());
    let title = "cargo test".to_owned();
    let began = Progress::ToolStarted { call_id: "1".into(), tool: "bash".into(), title };
    *desk.probe.progress.lock().unwrap() = vec![began, Progress::Text { so_far: "Let me see.".into() }];
    let card = desk.approved("/fix it").await;
    let status = desk.see(|shown| shown.text.contains("· bash cargo test\nLet me see.")).await;
    assert!(status.id == card.id && has_button(&status, "Abort"), "{status:?}");
    desk.probe.gate.add_permits(1);
    desk.see(|shown| shown.text.contains("1.1 done")).await;
}

#[tokio::test]
async fn what_arrived_without_an_answer_runs_once_however_often_it_shows() {
    let desk = Stage::start(Shared::open());
    desk.telegram.fault("sendMessage", 1, &Fault::CutAfter);
    desk.telegram.write(ANNA, CHAT, "/fix it");
    let cards = |screen: &[Shown]| {
        let cards: Vec<i32> = screen.iter().filter(|it| has_button(it, "Approve")).map(|it| it.id).collect();
        (cards.len() == 2).then_some(cards)
    };
    let cards = desk.telegram.wait(CHAT, cards).await;
    desk.until_told().await;
    desk.telegram.fault("editMessageText", 2, &Fault::CutAfter);
    desk.telegram.tap(ANNA, CHAT, cards[0], "Approve");
    desk.see(|shown| shown.text == "did: /fix it").await;
    desk.until_told().await;
    desk.telegram.tap(ANNA, CHAT, cards[0], "Approve");
    desk.telegram.wait_until_acknowledged().await;
    let replies = desk.telegram.screen(CHAT).iter().filter(|it| it.text == "did: /fix it").count();
    assert_eq!((replies, desk.probe.calls().len()), (1, 1), "{:#?}", desk.telegram.screen(CHAT));
}

#[tokio::test]
async fn what_waits_behind_a_refusal_is_sent_later_and_in_order() {
    let desk = Stage::start(Shared::open());
    let storm = Fault::Refuse(429, "Too Many Requests: retry after 1", Some(1));
    desk.telegram.fault("sendMessage", 2, &storm);
    for number in 1..=3 {
        desk.telegram.write(ANNA, CHAT, &format!("/fix {number}"));
    }
    let cards = |screen: &[Shown]| {
        let cards: Vec<String> = screen.iter().map(|it| it.text.lines().next().unwrap().to_owned()).collect();
        (cards.len() == 3).then_some(cards)
    };
    let cards = desk.telegram.wait(CHAT, cards).await;
    assert_eq!(cards, ["1.1", "2.1", "3.1"].map(|step| format!("⏸ Approval needed · {step}")));
    let refused = desk.telegram.calls().iter().filter(|call| call.status == 429).count();
    assert_eq!(refused, 2, "nothing is sent before the time that Telegram names");
}

#[tokio::test]
async fn a_card_that_telegram_puts_off_for_long_is_postponed_and_denied_in_the_end() {
    let mut desk = Stage::start(Shared::open());
    let half_a_day = Fault::Refuse(429, "Too Many Requests: retry after 43200", Some(43_200));
    desk.telegram.fault("sendMessage", 1, &half_a_day);
    desk.telegram.write(ANNA, CHAT, "/fix it");
    desk.until("SELECT count(*) FROM outbox WHERE attempts > 0").await;
    // As if it had waited long enough.
    let aged = "UPDATE outbox SET since = 0";
    database::edit(desk.engine().ledger().path(), aged);
    desk.until("SELECT count(*) FROM steps WHERE state = 'denied'").await;
    assert_eq!(desk.telegram.calls().iter().filter(|call| call.method == "sendMessage").count(), 1);
    desk.stop().await;
}

#[tokio::test]
async fn a_result_that_may_not_be_shown_is_shown_once_it_may() {
    let desk = Stage::start(Shared::open());
    desk.telegram.write(ANNA, CHAT, "/fix it");
    let card = desk.card("/fix it").await;
    let blocked = Fault::Refuse(403, "Forbidden: bot was blocked by the user", None);
    desk.telegram.fault("editMessageText", 1, &Fault::Slow(Duration::ZERO));
    desk.telegram.fault("editMessageText", 1, &blocked);
    desk.telegram.fault("sendMessage", 1, &blocked);
    desk.telegram.tap(ANNA, CHAT, card.id, "Approve");
    let reply = desk.see(|shown| shown.text == "did: /fix it").await;
    assert_eq!(reply.answers, Some(card.id));
    assert_eq!(desk.telegram.screen(CHAT).len(), 2, "{:#?}", desk.telegram.screen(CHAT));
}

#[tokio::test]
async fn the_status_of_a_deleted_card_is_a_message_of_its_own() {
    let desk = Stage::start(Shared::closed());
    desk.telegram.fault(
        "editMessageText",
        1,
        &Fault::Refuse(400, "Bad Request: message to edit not found", None),
    );
    let card = desk.approved("/fix it").await;
    let status = desk.see(|shown| shown.text.contains("1.1 runs")).await;
    assert!(status.id != card.id, "{status:?}");
    desk.telegram.tap(ANNA, CHAT, status.id, "Abort");
    assert_eq!(desk.see(|shown| shown.text.contains("1.1 stopped")).await.id, status.id);
}

#[tokio::test]
async fn the_fake_refuses_what_telegram_would_and_nothing_less() {
    let telegram = FakeTelegram::start().unwrap();
    let config = json!({ "bot_token": TOKEN, "api_base": telegram.base_url(), "allow_users": [ANNA] });
    let api = serde_json::from_value::<Config>(config).unwrap().check().unwrap().api().unwrap();
    let refusal = |error: Option<ApiError>| match error {
        None => String::new(),
        Some(ApiError::Refused { description, .. }) => description,
        Some(other) => panic!("{other:?}"),
    };
    for (unit, units) in [("a", 1), ("ש", 1), ("𝕏", 2), ("e\u{301}", 2)] {
        for (more, text, caption) in [(0, "", ""), (1, "message is too long", "message caption is too long")]
        {
            let said = unit.repeat(4_096 / units + more);
            let sent = api.call(&SendMessageParams::builder().chat_id(CHAT).text(&said).build()).await;
            assert!(refusal(sent.err()).ends_with(text), "{unit} {more}");
            let document = Document {
                chat: ChatKey { id: CHAT, topic: None },
                reply_to: None,
                name: "a.txt".into(),
                caption: unit.repeat(1_024 / units + more),
                content: "a".into(),
            };
            assert!(refusal(api.upload(&document).await.err()).ends_with(caption), "{unit} {more}");
        }
    }
    let bold = |offset| {
        let kind = MessageEntityType::Bold;
        MessageEntity::builder().type_field(kind).offset(offset).length(1_u16).build()
    };
    let entities: Vec<MessageEntity> = (0..101).map(bold).collect();
    let styled = SendMessageParams::builder().chat_id(CHAT).text("a".repeat(101)).entities(entities).build();
    api.call(&styled).await.unwrap();
    let shown = telegram.screen(CHAT).pop().unwrap();
    assert_eq!(shown.entities.as_array().map(Vec::len), Some(100), "and says nothing");
    let markup = SendMessageParams::builder().chat_id(CHAT).text("<b>").parse_mode(ParseMode::Html).build();
    assert!(refusal(api.call(&markup).await.err()).contains("can't parse entities"));
    for (length, fits) in [(200, true), (201, false)] {
        let text = "a".repeat(length);
        let toast = AnswerCallbackQueryParams::builder().callback_query_id("1").text(text).build();
        // Nobody tapped: that it fits is seen by what is refused then.
        let refused = api.call(&toast).await.unwrap_err();
        assert_eq!(matches!(refused, ApiError::TooOld), fits, "{length}: {refused:?}");
    }
}
