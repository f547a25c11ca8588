//! What is sent, refused, cut off and sent again: the outgoing half, without a process.

use std::time::Duration;

use connector_contract::Progress;
use serde_json::json;
use testkit::telegram::{Fault, Shown};

use super::desk::{Desk, has_button};
use super::world::{ANNA, CHAT, GROUP};
use crate::probe::Shared;

const DOWN: Fault = Fault::Refuse(500, "Internal Server Error", None);

#[tokio::test]
async fn a_reply_to_any_message_of_a_result_goes_on_in_its_session_before_all_of_it_is_sent() {
    let desk = Desk::start(Shared::open());
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
    let mut desk = Desk::start(Shared::open());
    let words = |count| -> String { (0..count).map(|number| format!("word{number:04} ")).collect() };
    *desk.probe.output.lock().unwrap() = json!({ "reply": words(900) });
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
    assert_eq!(pieces.join(" "), words(900).trim());
}

const NO_DOCUMENTS: Fault =
    Fault::Refuse(400, "Bad Request: not enough rights to send documents to the chat", None);

fn long_prompt() -> String {
    format!("/fix {}END", "word ".repeat(800))
}

#[tokio::test]
async fn where_no_documents_are_taken_a_card_is_preceded_by_all_of_its_prompt() {
    let desk = Desk::start(Shared::open());
    desk.telegram.fault("sendDocument", 1, &NO_DOCUMENTS);
    desk.telegram.write(ANNA, CHAT, &long_prompt());
    let card = desk.card("the whole of it is above").await;
    let screen = desk.telegram.screen(CHAT);
    let above: String = screen.iter().take_while(|it| it.id != card.id).map(|it| it.text.as_str()).collect();
    assert!(above.contains("END") && above.matches("word").count() == 800, "{screen:#?}");
}

#[tokio::test]
async fn a_card_whose_prompt_cannot_be_read_there_is_not_shown() {
    let desk = Desk::start(Shared::open());
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
        let desk = Desk::start(Shared::closed());
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
    let desk = Desk::start(Shared::open());
    let moved = Fault::Moved(SUPERGROUP);
    desk.telegram.write(ANNA, GROUP, "/fix it");
    let card = |screen: &[Shown]| screen.iter().find(|it| has_button(it, "Approve")).map(|it| it.id);
    let first = desk.telegram.wait(GROUP, card).await;
    desk.telegram.fault("editMessageText", 1, &moved);
    desk.telegram.tap(ANNA, GROUP, first, "Deny");
    desk.telegram.wait_for(SUPERGROUP, "1.1 was not run").await;

    desk.telegram.fault("sendMessage", 2, &moved);
    desk.telegram.write(ANNA, GROUP, "/fix that");
    let told = desk.telegram.wait_for(SUPERGROUP, "2.1 was not run").await;
    assert!(told.text.contains("its chat is `-1007` now; ask again there"), "{told:?}");
}

#[tokio::test]
async fn a_step_that_passes_without_a_card_shows_itself_and_can_be_aborted() {
    let desk = Desk::start(Shared::closed());
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
    let desk = Desk::start(Shared::closed());
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
