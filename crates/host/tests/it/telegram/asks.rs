//! The agent's asks on the screen: shown whole, answered once, and never left behind.

use std::time::Duration;

use connector_contract::ask::{PermissionAsk, Question, QuestionAsk, QuestionOption};
use connector_gate::ask::Asked;
use serde_json::{Value, json};
use testkit::telegram::{Fault, Shown};

use super::stage::{Stage, has_button};
use super::world::{ANNA, CHAT};
use crate::database;
use crate::probe::Shared;

fn may(command: &str) -> Asked {
    Asked::Permission(PermissionAsk {
        id: "per_1".into(),
        session_id: "ses_1".into(),
        permission: "bash".into(),
        patterns: vec![command.into()],
        metadata: json!({}),
        call: None,
    })
}

fn which(labels: &[&str]) -> Asked {
    let option =
        |label: &&str| QuestionOption { label: (*label).to_owned(), description: "𝕏".repeat(2_000) };
    let question = Question {
        question: "𝕏".repeat(2_000),
        header: String::new(),
        options: labels.iter().map(option).collect(),
        multiple: false,
    };
    Asked::Question(QuestionAsk { id: "que_1".into(), session_id: "ses_1".into(), questions: vec![question] })
}

/// A host whose agent asks this.
fn asked(asks: Vec<Asked>) -> Stage {
    let desk = Stage::start(Shared::open());
    *desk.probe.asks.lock().unwrap() = asks;
    desk
}

async fn answers(desk: &Stage) -> Vec<Value> {
    desk.see(|shown| shown.text == "did: /fix it").await;
    desk.probe.answers.lock().unwrap().clone()
}

fn is_open(shown: &Shown) -> bool {
    has_button(shown, "Reject")
}

#[tokio::test]
async fn each_button_of_an_ask_is_its_answer() {
    let desk = asked(vec![may("one"), may("two"), may("three"), which(&["four"])]);
    desk.approved("/fix it").await;
    for (command, button, how) in [
        ("one", "Allow once", "✅ 1.1: bash · allowed once"),
        ("two", "Allow for this session", "✅ 1.1: bash · allowed for this session"),
        ("three", "Reject", "❌ 1.1: bash · rejected"),
    ] {
        let ask = desk.see(|shown| shown.text.contains(command) && is_open(shown)).await;
        desk.telegram.tap(ANNA, CHAT, ask.id, button);
        let over = desk.see(|shown| shown.id == ask.id && shown.buttons.is_empty()).await;
        let shown = format!("{how} · answered by telegram:42\n{command}");
        assert!(over.text.starts_with(&shown), "{}", over.text);
    }
    let ask = desk.see(|shown| shown.text.contains("four") && is_open(shown)).await;
    desk.telegram.tap(ANNA, CHAT, ask.id, "Reject");
    let refusal = "the person in charge refused this; do without it";
    let wanted = [
        json!({ "type": "once" }),
        // What holds for the session is kept by the host.
        json!({ "type": "once" }),
        json!({ "type": "reject", "message": refusal }),
        json!({ "type": "reject" }),
    ];
    assert_eq!(answers(&desk).await, wanted);
}

#[tokio::test]
async fn a_command_that_is_too_long_is_shown_whole_above_its_buttons() {
    for documents in [true, false] {
        let desk = asked(vec![may(&format!("echo {}END", "x".repeat(6_000)))]);
        if !documents {
            let refusal = "Bad Request: not enough rights to send documents to the chat";
            desk.telegram.fault("sendDocument", 1, &Fault::Refuse(400, refusal, None));
        }
        desk.approved("/fix it").await;
        let ask = desk.see(is_open).await;
        assert!(ask.text.ends_with("… cut; the whole of it is above"), "{}", ask.text);
        let whole = |shown: &Shown| match &shown.document {
            Some((_, content)) => documents && content.contains("xEND"),
            None => !documents && shown.text.contains("xEND"),
        };
        let screen = desk.telegram.screen(CHAT);
        let at = screen.iter().position(whole).unwrap();
        assert!(screen[at].id < ask.id, "{screen:#?}");
        desk.telegram.tap(ANNA, CHAT, ask.id, "Allow once");
        assert_eq!(answers(&desk).await, [json!({ "type": "once" })]);
    }
}

#[tokio::test]
async fn a_question_with_any_labels_and_any_number_of_them_is_shown() {
    let many: Vec<String> = (0..120).map(|number| format!("option number {number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (labels, tapped, answer) in [(&["", " \n"][..], "option 2", " \n"), (&many, "number 39", many[39])] {
        let desk = asked(vec![which(labels)]);
        desk.approved("/fix it").await;
        let ask = desk.see(is_open).await;
        desk.telegram.tap(ANNA, CHAT, ask.id, tapped);
        assert_eq!(answers(&desk).await, [json!({ "type": "answers", "answers": [[answer]] })]);
    }
}

#[tokio::test]
async fn an_ask_that_telegram_does_not_take_is_rejected_at_once_and_recorded() {
    for (code, refusal) in
        [(403, "Forbidden: bot was blocked by the user"), (400, "Bad Request: message thread not found")]
    {
        let desk = asked(vec![may("rm -rf /")]);
        desk.telegram.fault("sendMessage", 1, &Fault::Slow(Duration::ZERO));
        desk.telegram.fault("sendMessage", 1, &Fault::Refuse(code, refusal, None));
        desk.approved("/fix it").await;
        let message = "nobody could be asked; do without it";
        assert_eq!(answers(&desk).await, [json!({ "type": "reject", "message": message })]);
        let sql = "SELECT detail ->> '$.reason' FROM audit WHERE kind = 'ask_unshown'";
        let reason: String = database::value(desk.engine().ledger().path(), sql);
        assert!(reason.contains(refusal), "{reason}");
    }
}

#[tokio::test]
async fn an_ask_that_is_over_while_it_is_sent_keeps_no_buttons() {
    let desk = asked(vec![may("ls")]);
    desk.telegram.fault("sendMessage", 1, &Fault::Slow(Duration::ZERO));
    desk.telegram.fault("sendMessage", 1, &Fault::Slow(Duration::from_millis(500)));
    let card = desk.approved("/fix it").await;
    let status = desk.see(|shown| shown.id == card.id && has_button(shown, "Abort")).await;
    let engine = desk.engine().clone();
    desk.telegram.wait(CHAT, |_| (!engine.open_asks().is_empty()).then_some(())).await;
    desk.telegram.tap(ANNA, CHAT, status.id, "Abort");
    let over = desk.see(|shown| shown.text.contains("no longer asked")).await;
    assert!(over.buttons.is_empty() && over.edits == 1, "{over:?}");
    desk.see(|shown| shown.text.contains("1.1 stopped")).await;
    assert!(desk.probe.answers.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_question_that_is_too_long_is_shown_whole_above_its_buttons() {
    let desk = asked(vec![which(&["four"])]);
    desk.approved("/fix it").await;
    let ask = desk.see(is_open).await;
    let screen = desk.telegram.screen(CHAT);
    let whole = screen.iter().find_map(|it| Some((it.id, it.document.as_ref()?.1.matches('𝕏').count())));
    assert!(whole.is_some_and(|(id, signs)| id < ask.id && signs == 4_000), "{screen:#?}");
    desk.telegram.tap(ANNA, CHAT, ask.id, "four");
    assert_eq!(answers(&desk).await.len(), 1);
}

#[tokio::test]
async fn an_answer_that_telegram_split_is_given_whole() {
    for parts in [vec!["word ".repeat(818), "and the end".into()], vec!["word ".repeat(600)]] {
        let desk = asked(vec![which(&["four"])]);
        desk.approved("/fix it").await;
        let ask = desk.see(is_open).await;
        let trimmed: Vec<&str> = parts.iter().map(|part| part.trim_end()).collect();
        desk.telegram.reply(ANNA, CHAT, ask.id, trimmed[0]);
        for part in &trimmed[1..] {
            let update = desk.telegram.write(ANNA, CHAT, part);
            desk.telegram.redeliver(update);
        }
        assert_eq!(answers(&desk).await, [json!({ "type": "answers", "answers": [[trimmed.join(" ")]] })]);
        let screen = desk.telegram.screen(CHAT);
        assert!(screen.iter().all(|it| !it.text.contains("no rule answers")), "{screen:#?}");
    }
}

#[tokio::test]
async fn an_ask_that_is_over_loses_its_buttons_also_when_telegram_is_down_for_a_while() {
    let mut two = may("two");
    if let Asked::Permission(ask) = &mut two {
        ask.id = "per_2".into();
    }
    let desk = asked(vec![may("one"), two]);
    desk.approved("/fix it").await;
    let ask = desk.see(|shown| shown.text.contains("one") && is_open(shown)).await;
    // Of this message alone: the status is edited beside it, and would use them up.
    let down = Fault::Refuse(500, "Internal Server Error", None);
    desk.telegram.fault_at(ask.id, "editMessageText", 3, &down);
    desk.telegram.tap(ANNA, CHAT, ask.id, "Allow once");
    desk.see(|shown| shown.id == ask.id && shown.text.contains("allowed once") && shown.buttons.is_empty())
        .await;
    let second = desk.see(|shown| shown.text.contains("two") && is_open(shown)).await;
    // What Telegram refuses is left to the step's end.
    let refused = Fault::Refuse(400, "Bad Request: MESSAGE_ID_INVALID", None);
    desk.telegram.fault_at(second.id, "editMessageText", 1, &refused);
    desk.telegram.tap(ANNA, CHAT, second.id, "Allow once");
    desk.see(|shown| shown.text == "did: /fix it").await;
    desk.see(|shown| shown.id == second.id && shown.buttons.is_empty()).await;
}
