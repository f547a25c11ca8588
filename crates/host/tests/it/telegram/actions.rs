//! What rules do in Telegram by themselves: a command opens a menu, a button of it is answered.

use connector_surface::Surface as _;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::desk::Desk;
use super::world::{ANNA, CHAT};
use crate::probe::Shared;

const MENU: &str = r#"
[rule]
name = "menu"
[trigger]
type = "ConnectorEvent"
connector = "connector-telegram"
event = "command_received"
[[conditions]]
type = "FieldEquals"
field = "trigger.command"
value = "menu"
[[actions]]
type = "RunConnector"
connector = "connector-telegram"
action = "send_message"
params = { chat_id = "${trigger.chat_id}", text = "a *menu* for ${trigger.args}", reply_to_message_id = "${trigger.message_id}" }
[[actions]]
type = "RunConnector"
connector = "connector-telegram"
action = "send_inline_keyboard"
[actions.params]
chat_id = "${trigger.chat_id}"
text = "what will it be?"
buttons = [[{ text = "soup", callback_data = "order:soup" }, { text = "more", url = "https://menu.example/" }]]
"#;

const ORDER: &str = r#"
[rule]
name = "order"
[trigger]
type = "ConnectorEvent"
connector = "connector-telegram"
event = "callback_query_received"
[[conditions]]
type = "FieldEquals"
field = "trigger.callback_data"
value = "order:soup"
[[actions]]
type = "RunConnector"
connector = "connector-telegram"
action = "answer_callback_query"
params = { callback_query_id = "${trigger.callback_query_id}", text = "it comes" }
[[actions]]
type = "RunConnector"
connector = "connector-telegram"
action = "edit_message"
params = { chat_id = "${trigger.chat_id}", message_id = "${trigger.message_id}", text = "soup it is" }
[[actions]]
type = "RunConnector"
connector = "connector-telegram"
action = "send_document"
params = { chat_id = "${trigger.chat_id}", filename = "bill.txt", content = "soup 5", caption = "the bill", disable_notification = true }
[[actions]]
type = "RunConnector"
connector = "connector-telegram"
action = "send_photo"
params = { chat_id = "${trigger.chat_id}", photo = "https://menu.example/soup.png", caption = "soup" }
[[actions]]
type = "RunConnector"
connector = "connector-telegram"
action = "delete_message"
params = { chat_id = "${trigger.chat_id}", message_id = "${step4.output.message_id}" }
"#;

const EXEMPT: [(&str, &str); 7] = [
    ("send_message", "menu"),
    ("send_inline_keyboard", "menu"),
    ("answer_callback_query", "order"),
    ("edit_message", "order"),
    ("send_document", "order"),
    ("send_photo", "order"),
    ("delete_message", "order"),
];

#[tokio::test]
async fn commands_and_buttons_fire_rules_that_use_every_action() {
    let desk = Desk::start(&[MENU, ORDER], Shared::open(), &EXEMPT).await;
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (surface, inbox, stop) =
            (desk.surface.clone(), desk.engine.inbox(desk.surface.name()), stop.clone());
        async move { surface.run(inbox, stop).await }
    });
    let telegram = &desk.telegram;
    telegram.write(ANNA, CHAT, "/menu@fake_bot two");
    let menu = telegram.wait_for(CHAT, "what will it be?").await;
    assert_eq!(menu.buttons, [["soup", "more"]]);
    let greeting = telegram.wait_for(CHAT, "a *menu* for two").await;
    assert_eq!(greeting.answers, Some(1), "the message that asked for it");

    telegram.tap(ANNA, CHAT, menu.id, "soup");
    desk.until("SELECT count(*) FROM runs WHERE rule = 'order' AND state = 'succeeded'", 1).await;
    assert_eq!(desk.calls_of("answerCallbackQuery")[0]["text"], "it comes");
    let screen = telegram.screen(CHAT);
    let edited = screen.iter().find(|shown| shown.id == menu.id).unwrap();
    assert_eq!((edited.text.as_str(), edited.edits), ("soup it is", 1));
    assert_eq!(desk.calls_of("sendPhoto")[0]["photo"], "https://menu.example/soup.png");
    assert_eq!(desk.calls_of("deleteMessage").len(), 1);
    assert!(screen.iter().all(|shown| shown.text != "soup"), "the photo is deleted again: {screen:#?}");
    let bill = screen.iter().find_map(|shown| shown.document.clone()).unwrap();
    assert_eq!(bill, ("bill.txt".to_owned(), "soup 5".to_owned()));
    assert_eq!(desk.calls_of("sendDocument")[0]["disable_notification"], json!("true"));
    // The command fired a rule, and is not told that none did as the message that it is too.
    assert!(screen.iter().all(|shown| !shown.text.contains("no rule answers")), "{screen:#?}");

    let commands = &desk.calls_of("setMyCommands")[0]["commands"];
    let names: Vec<&str> =
        commands.as_array().unwrap().iter().filter_map(|it| it["command"].as_str()).collect();
    assert_eq!(names, ["status", "abort", "queue", "sessions", "help"]);
    stop.cancel();
    running.await.unwrap().unwrap();
    desk.stop().await;
}

#[tokio::test]
async fn a_caption_that_does_not_fit_is_refused_and_not_cut() {
    let (head, _) = MENU.split_once("[[actions]]").unwrap();
    let action = "[[actions]]\ntype = \"RunConnector\"\nconnector = \"connector-telegram\"\naction = \"send_document\"\n";
    let params =
        "params = { chat_id = 42, filename = \"bill.txt\", content = \"soup 5\", caption = \"LONG\" }\n";
    for (length, sent) in [(1_025, 0), (1_024, 1)] {
        let rule = format!("{head}{action}{params}").replace("LONG", &"x".repeat(length));
        let desk = Desk::start(&[&rule], Shared::open(), &[("send_document", "menu")]).await;
        desk.write(1, "/menu").await.unwrap();
        desk.until("SELECT count(*) FROM runs WHERE state <> 'active'", 1).await;
        assert_eq!(desk.calls_of("sendDocument").len(), sent, "{length}");
        desk.stop().await;
    }
}
