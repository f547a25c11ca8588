//! What is sent, refused, cut off and sent again: the outgoing half, without a process.

use serde_json::json;
use testkit::telegram::{Fault, Shown};

use super::desk::Desk;
use super::world::{ANNA, CHAT};
use crate::probe::Shared;

const DOWN: Fault = Fault::Refuse(500, "Internal Server Error", None);

#[tokio::test]
async fn a_reply_to_any_message_of_a_result_goes_on_in_its_session_before_all_of_it_is_sent() {
    let desk = Desk::start(Shared::open());
    *desk.probe.output.lock().unwrap() = json!({ "reply": "word ".repeat(1_000), "patch": "-a\n+b\n" });
    desk.telegram.fault("sendDocument", 1, &DOWN);
    desk.approved("/fix it").await;
    let first = desk.see(|shown| shown.text.starts_with("word") && shown.answers.is_some()).await;
    desk.telegram.reply(ANNA, CHAT, first.id, "one");
    let patch = desk.see(|shown| shown.document.is_some()).await;
    desk.telegram.reply(ANNA, CHAT, patch.id, "two");
    let card = desk.card("two").await;
    assert!(card.text.contains("session_id: ses_1"), "{card:?}");
    desk.card("one").await;
}

#[tokio::test]
async fn a_result_that_is_cut_off_goes_on_after_a_restart_where_it_was() {
    let mut desk = Desk::start(Shared::open());
    let words = |count| -> String { (0..count).map(|number| format!("word{number:04} ")).collect() };
    *desk.probe.output.lock().unwrap() = json!({ "reply": words(900) });
    desk.approved("/fix it").await;
    let word = |shown: &Shown| shown.text.starts_with("word");
    desk.see(word).await;
    desk.telegram.fault("sendMessage", 1_000, &DOWN);
    desk.stop().await;
    assert_eq!(desk.telegram.screen(CHAT).iter().filter(|shown| word(shown)).count(), 1);
    desk.telegram.heal();
    desk.start_again();
    desk.until_told().await;
    let screen = desk.telegram.screen(CHAT);
    let pieces: Vec<&str> = screen.iter().filter(|it| word(it)).map(|it| it.text.as_str()).collect();
    assert_eq!(pieces.join(" "), words(900).trim());
}
