//! What people really write: parts of one message, other things than words, a command alone, and
//! words while the agent waits for an answer.

use connector_contract::Progress;
use connector_contract::ask::PermissionAsk;
use connector_gate::ask::Asked;
use connector_ledger::messages::{self, NewMessage};
use serde_json::{Value, json};

use super::desk::{Desk, RULES};
use super::stage::{Stage, has_button};
use super::webhook::written;
use super::world::{ANNA, CHAT, GROUP};
use crate::probe::Shared;
use crate::terminal::User;

/// Changes a message of Anna's.
fn with(mut update: Value, more: &Value) -> Value {
    let message = update["message"].as_object_mut().unwrap();
    for (name, value) in more.as_object().cloned().unwrap_or_default() {
        if value.is_null() {
            message.remove(&name)
        } else {
            message.insert(name, value)
        };
    }
    update
}

fn in_group(update: Value) -> Value {
    with(update, &json!({ "chat": { "id": GROUP, "type": "supergroup", "title": "Group" } }))
}

#[tokio::test]
async fn a_message_that_telegram_split_is_one_task_also_when_it_comes_twice() {
    let desk = Desk::start(&RULES, Shared::open(), &[]).await;
    let first = format!("/fix {}", "please change the file number and then ".repeat(104));
    let last = "and finally, the most important thing: do NOT delete the database";
    desk.write(1, &first).await.unwrap();
    let mut other = in_group(written(2, "something else"));
    other["message"]["from"]["id"] = json!(43);
    desk.surface.take(&other).await.unwrap();
    desk.write(3, last).await.unwrap();
    desk.write(3, last).await.unwrap();
    desk.write(1, &first).await.unwrap();
    let card = desk.telegram.wait_for(CHAT, "Approval needed").await;
    desk.tap(4, &card, "Approve").await.unwrap();
    desk.telegram.wait_for(CHAT, "do NOT delete the database").await;
    assert_eq!(desk.count("SELECT count(*) FROM runs"), 1);
    let screen = desk.telegram.screen(CHAT);
    assert!(screen.iter().all(|shown| !shown.text.contains("no rule answers")), "{screen:#?}");
    desk.stop().await;
}

#[tokio::test]
async fn what_is_no_new_message_in_words_has_one_sentence_in_private_and_none_in_a_group() {
    let desk = Desk::start(&RULES, Shared::open(), &[]).await;
    let nothing = |number: u32, what: &str, value: Value| {
        with(written(number, ""), &json!({ "text": null, what: value }))
    };
    let sticker = json!({ "file_id": "s", "file_unique_id": "s", "type": "regular", "width": 1, "height": 1,
        "is_animated": false, "is_video": false });
    let mut edited = written(30, "/fix it, please");
    let message = edited["message"].take();
    edited.as_object_mut().unwrap().remove("message");
    edited["edited_message"] = message;
    let photo = |number: u32| {
        let sizes = json!([{ "file_id": "p", "file_unique_id": "p", "width": 1, "height": 1 }]);
        with(written(number, ""), &json!({ "text": null, "photo": sizes, "media_group_id": "album-7" }))
    };
    let poll = json!({ "id": "1", "question": "which?" });
    let all = [
        (
            vec![nothing(10, "sticker", sticker)],
            "a sticker says nothing to the agent; write what is to be done",
        ),
        (vec![nothing(20, "poll", poll)], "a poll says nothing to the agent; write what is to be done"),
        (vec![edited], "what was written first counts"),
        (vec![photo(40), photo(41), photo(42)], "nothing was started"),
    ];
    for (updates, line) in all {
        for update in &updates {
            desk.surface.take(update).await.unwrap();
            if update.get("message").is_some() {
                let mut here = in_group(update.clone());
                here["update_id"] = json!(update["update_id"].as_u64().unwrap() + 1_000);
                desk.surface.take(&here).await.unwrap();
            }
        }
        desk.telegram.wait_for(CHAT, line).await;
        desk.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", 0).await;
        desk.until("SELECT count(*) FROM events WHERE handled_at IS NULL", 0).await;
        let told = desk.telegram.screen(CHAT).iter().filter(|it| it.text.contains(line)).count();
        assert_eq!(told, 1, "{line}");
    }
    assert_eq!(desk.telegram.screen(GROUP), []);
    desk.stop().await;
}

#[tokio::test]
async fn a_command_alone_asks_what_is_to_be_done_and_a_path_is_no_command() {
    let desk = Desk::start(&RULES, Shared::open(), &[]).await;
    for (number, text, line) in [
        (1, "/fix", "what is to be done? write it after the command, such as: /fix the failing test"),
        (2, "have a look at https://example.org/fixes and tests/fixtures/a.json", "no rule answers that"),
        (3, "/nothing", "no rule answers that"),
    ] {
        desk.write(number, text).await.unwrap();
        desk.telegram.wait_for(CHAT, line).await;
    }
    desk.until("SELECT count(*) FROM events WHERE handled_at IS NULL", 0).await;
    assert_eq!(desk.count("SELECT count(*) FROM runs"), 0);
    desk.stop().await;
}

#[tokio::test]
async fn words_while_a_question_is_open_are_offered_as_its_answer() {
    let desk = Stage::start(Shared::open());
    desk.approved("/fix WHICH").await;
    let ask = desk.see(|shown| shown.text.contains("(1 of 3)")).await;
    desk.telegram.write(ANNA, CHAT, "/status");
    let status = desk
        .see(|shown| {
            shown.text.contains("waits for your answer") && shown.text.contains("❓ Which? · Why? · How?")
        })
        .await;
    assert!(status.text.contains("1.1"), "{}", status.text);
    for (number, words) in ["with tabs", "because", "so"].iter().enumerate() {
        desk.see(|shown| shown.id == ask.id && shown.text.contains(&format!("({} of 3)", number + 1))).await;
        desk.telegram.write(ANNA, CHAT, words);
        let offer = desk.see(|shown| shown.text.contains(words) && has_button(shown, "Yes")).await;
        assert!(offer.text.contains("is that the answer?"), "{}", offer.text);
        if number == 0 {
            desk.telegram.tap(ANNA, CHAT, offer.id, "No");
            desk.see(|shown| shown.id == offer.id && shown.buttons.is_empty()).await;
            desk.telegram.write(ANNA, CHAT, words);
            let again = desk.see(|shown| shown.id > offer.id && has_button(shown, "Yes")).await;
            desk.telegram.tap(ANNA, CHAT, again.id, "Yes");
        } else {
            desk.telegram.tap(ANNA, CHAT, offer.id, "Yes");
        }
    }
    let over = desk.see(|shown| shown.id == ask.id && shown.buttons.is_empty()).await;
    assert_eq!(
        over.text,
        "✅ 1.1 · answered by telegram:42\nWhich?\n→ with tabs\nWhy?\n→ because\nHow?\n→ so"
    );
    desk.see(|shown| shown.text.contains(r#"[["with tabs"],["because"],["so"]]"#)).await;
}

#[tokio::test]
async fn offered_words_answer_the_question_that_they_were_offered_for_and_no_other() {
    let desk = Stage::start(Shared::open());
    desk.approved("/fix WHICH").await;
    let ask = desk.see(|shown| shown.text.contains("(1 of 3)")).await;
    let now = |place: &'static str| desk.see(move |shown| shown.id == ask.id && shown.text.contains(place));
    desk.telegram.write(ANNA, CHAT, "with tabs");
    let offer = desk.see(|shown| shown.text.contains("with tabs") && has_button(shown, "Yes")).await;
    desk.telegram.reply(ANNA, CHAT, ask.id, "spaces");
    now("(2 of 3)").await;
    desk.telegram.tap(ANNA, CHAT, offer.id, "Yes");
    let late = desk.see(|shown| shown.id == offer.id && shown.buttons.is_empty()).await;
    assert_eq!(late.text, "❌ not answered with\nwith tabs");
    // Nor does a long answer that waits for its other parts.
    desk.telegram.reply(ANNA, CHAT, ask.id, &"long ".repeat(500));
    desk.telegram.wait_until_acknowledged().await;
    desk.telegram.reply(ANNA, CHAT, ask.id, "because");
    now("(3 of 3)").await;
    desk.telegram.wait_for(CHAT, "that question was answered already").await;
    desk.telegram.write(ANNA, CHAT, "in vain");
    let offer = desk.see(|shown| shown.text.contains("in vain") && has_button(shown, "Yes")).await;
    desk.telegram.reply(ANNA, CHAT, ask.id, "so");
    desk.see(|shown| shown.text.contains(r#"[["spaces"],["because"],["so"]]"#)).await;
    desk.telegram.tap(ANNA, CHAT, offer.id, "Yes");
    let over = desk.see(|shown| shown.id == offer.id && shown.buttons.is_empty()).await;
    assert_eq!(over.text, "❌ the agent no longer asks that");
}

#[tokio::test]
async fn a_provider_that_is_asked_again_says_why_and_when_with_a_button_to_wait_and_one_to_stop() {
    let probe = Shared::closed();
    #[expect(clippy::disallowed_methods, reason = "a provider says when by the clock of everybody")]
    let next =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() + 90_000;
    *probe.progress.lock().unwrap() = vec![Progress::Retry {
        attempt: 2,
        reason: "Rate limit reached".into(),
        next_at_ms: Some(u64::try_from(next).unwrap()),
    }];
    let desk = Stage::start(probe);
    desk.approved("/fix it").await;
    let shown = desk.see(|shown| shown.text.contains("Rate limit reached")).await;
    assert!(shown.text.contains("try 3 comes in 1 min"), "{}", shown.text);
    desk.telegram.tap(ANNA, CHAT, shown.id, "Wait");
    let toast = desk.telegram.wait(CHAT, |_| {
        let calls = desk.telegram.calls();
        let toasts = calls.iter().filter(|it| it.method == "answerCallbackQuery");
        toasts.map(|it| it.params["text"].to_string()).find(|text| text.contains("the next try comes in"))
    });
    toast.await;
    desk.telegram.tap(ANNA, CHAT, shown.id, "Stop");
    desk.see(|shown| shown.text.contains("1.1 stopped")).await;
}

#[tokio::test]
async fn an_answer_without_words_or_cut_off_says_so_in_a_message_that_rings() {
    for (output, said) in [
        (
            json!({ "reply": "", "remark": "the agent said nothing: it only thought about it" }),
            "it only thought",
        ),
        (json!({ "reply": "" }), "the agent said nothing"),
        (
            json!({ "reply": "half a", "remark": "the answer was cut off" }),
            "half a\n\n⚠ the answer was cut off",
        ),
    ] {
        let probe = Shared::open();
        *probe.output.lock().unwrap() = output;
        let desk = Stage::start(probe);
        let card = desk.approved("/fix it").await;
        let shown = desk.see(|shown| shown.text.contains(said)).await;
        assert!(shown.id > card.id && shown.edits == 0, "{shown:?}");
    }
}

#[tokio::test]
async fn an_ask_of_a_host_that_was_killed_is_asked_in_the_same_message_or_loses_its_buttons() {
    let probe = Shared::open();
    let permission = PermissionAsk {
        id: "per_1".into(),
        session_id: "ses_1".into(),
        permission: "bash".into(),
        patterns: vec!["make".into()],
        metadata: json!({}),
        call: None,
    };
    *probe.asks.lock().unwrap() = vec![Asked::Permission(permission)];
    let desk = Desk::start(&RULES, probe, &[]).await;
    desk.write(1, "/status").await.unwrap();
    let first = desk.telegram.wait_for(CHAT, "nothing runs").await;
    desk.write(2, "/sessions").await.unwrap();
    let second = desk.telegram.wait_for(CHAT, "there is no session").await;
    let card = desk.card(3, "/fix it").await;
    // As if an earlier host had shown two asks in these messages.
    for (message, id) in [(first.id, "per_1"), (second.id, "per_gone")] {
        let new = NewMessage {
            surface: "telegram".into(),
            chat: CHAT.to_string(),
            surface_ref: message.to_string(),
            step: Some("1.1".parse().unwrap()),
            parcel: None,
            part: messages::ask(id),
        };
        desk.engine.ledger().write(move |tx| messages::put(tx, &new)).await.unwrap();
    }
    desk.tap(4, &card, "Approve").await.unwrap();
    let ask = desk.telegram.wait_for(CHAT, "may the agent use bash?").await;
    assert_eq!(ask.id, first.id);
    desk.tap(5, &ask, "Allow once").await.unwrap();
    desk.telegram.wait_for(CHAT, "did: /fix it").await;
    let shows = |id: i32, text: &'static str| {
        desk.telegram.wait(CHAT, move |screen| {
            screen.iter().find(|it| it.id == id && it.text.contains(text) && it.buttons.is_empty()).cloned()
        })
    };
    shows(first.id, "allowed once").await;
    shows(second.id, "no longer asked").await;
    desk.stop().await;
}

#[tokio::test]
async fn a_run_that_goes_on_is_said_to_run_or_to_wait_and_never_to_have_failed() {
    let desk = Stage::start(Shared::closed());
    let user = User::new();
    std::os::unix::fs::symlink(desk.state.path(), user.state()).unwrap();
    let show = |run: &str| user.run(&["runs", "show", run]).text();
    desk.telegram.write(ANNA, CHAT, "/fix MAY I");
    let card = desk.card("MAY I").await;
    assert!(show("1").contains("1.1 waits for approval"), "{}", show("1"));
    desk.telegram.tap(ANNA, CHAT, card.id, "Approve");
    desk.until("SELECT count(*) FROM steps WHERE state = 'dispatched'").await;
    let running = show("1");
    assert!(running.contains("▶ 1.1 is running") && !running.contains("failed"), "{running}");
    desk.probe.gate.add_permits(1);
    let ask = desk.see(|shown| has_button(shown, "Allow once")).await;
    let asking = show("1");
    assert!(asking.contains("1.1 is waiting for an answer") && asking.contains("make"), "{asking}");
    desk.telegram.tap(ANNA, CHAT, ask.id, "Allow once");
    desk.see(|shown| shown.text.contains("answered: ")).await;
    assert!(show("1").contains("✔ 1.1 done"), "{}", show("1"));
    let followed = user.run(&["runs", "follow", "1"]).text();
    assert!(followed.contains("asked by host") && !followed.contains("failed"), "{followed}");
}
