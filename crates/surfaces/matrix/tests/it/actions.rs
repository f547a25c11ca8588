//! The connector's actions, as a host calls them.

use std::sync::Arc;

use connector_contract::{ConnectorError, NoCheckpoints};
use serde_json::{Value, json};
use testkit::Synapse;

use crate::support::{Announced, bot, context, person};

#[tokio::test]
async fn a_long_text_is_its_beginning_and_a_file_with_all_of_it_in_its_thread() {
    let synapse = Synapse::shared().await;
    let (bot, anna) = (bot(synapse).await, person(synapse).await);
    let (room, _) = bot.room_with(&anna).await;
    let connector = bot.connector(&[&anna]).await;
    let opener = anna.say(room.as_str(), "go").await.unwrap();
    let line = "A line of **66,000** characters & more <b>\n";
    let text = line.repeat(66_000 / line.len());
    // As `trigger.chat_id` has it.
    let input = json!({ "chat_id": format!("{room}/{opener}"), "text": text });

    let sent =
        connector.execute("send_message", input, &context(synapse, Arc::new(NoCheckpoints))).await.unwrap();

    let messages = anna.messages(room.as_str()).await.unwrap();
    let [_, beginning, file] = &messages[..] else { panic!("{messages:#?}") };
    assert_eq!(sent.output["message_id"], beginning["event_id"]);
    let body = beginning["content"]["body"].as_str().unwrap();
    assert!(
        body.starts_with("A line of 66,000") && body.ends_with("the whole of it is in the file beside this")
    );
    assert_eq!(anna.file(file["content"]["url"].as_str().unwrap()).await.unwrap(), text);
    assert!(messages[1..].iter().all(|it| it["content"]["m.relates_to"]["event_id"] == opener.as_str()));
}

#[tokio::test]
async fn nothing_is_said_in_a_room_that_nobody_allowed() {
    let synapse = Synapse::shared().await;
    let (bot, anna, eve) = (bot(synapse).await, person(synapse).await, person(synapse).await);
    let (room, _) = bot.room_with(&eve).await;
    let connector = bot.connector(&[&anna]).await;
    for (action, input) in [
        ("send_message", json!({ "text": "hi" })),
        ("send_file", json!({ "filename": "a", "content": "hi" })),
        ("edit_message", json!({ "message_id": "$x", "text": "hi" })),
        ("react", json!({ "message_id": "$x", "reaction": "y" })),
        ("redact", json!({ "message_id": "$x" })),
    ] {
        let mut input = input;
        input["chat_id"] = room.as_str().into();
        let error = connector.execute(action, input, &context(synapse, Arc::new(NoCheckpoints))).await;
        assert!(matches!(error, Err(ConnectorError::Refused { .. })), "{action}: {error:?}");
    }
    assert!(eve.messages(room.as_str()).await.unwrap().is_empty());
}

#[tokio::test]
async fn no_rule_changes_what_somebody_decides_about() {
    let synapse = Synapse::shared().await;
    let (bot, anna) = (bot(synapse).await, person(synapse).await);
    let (room, _) = bot.room_with(&anna).await;
    let connector = bot.connector(&[&anna]).await;
    for mark in [json!({ "step": "1.1", "digest": "93839bb3bab5" }), json!({ "ask": "a" })] {
        let content = json!({ "msgtype": "m.text", "body": "what will run", "connector-host": mark });
        let card = bot.user.send(room.as_str(), "m.room.message", &content).await.unwrap();
        for (action, mut input) in [
            ("edit_message", json!({ "message_id": card, "text": "something harmless" })),
            ("redact", json!({ "message_id": card })),
        ] {
            input["chat_id"] = room.as_str().into();
            let done = connector.execute(action, input, &context(synapse, Arc::new(NoCheckpoints))).await;
            assert!(matches!(done, Err(ConnectorError::Refused { .. })), "{action}: {done:?}");
        }
    }
    let messages = anna.messages(room.as_str()).await.unwrap();
    let bodies: Vec<_> = messages.iter().map(|it| it["content"]["body"].as_str().unwrap()).collect();
    assert_eq!(bodies, ["what will run"; 2]);
}

#[tokio::test]
async fn each_action_does_what_it_says() {
    let synapse = Synapse::shared().await;
    let (bot, anna) = (bot(synapse).await, person(synapse).await);
    let (room, _) = bot.room_with(&anna).await;
    let connector = bot.connector(&[&anna]).await;
    let call = async |action: &str, mut input: Value| {
        input["chat_id"] = room.as_str().into();
        connector.check(action, &input).unwrap();
        let context = context(synapse, Arc::new(NoCheckpoints));
        connector.execute(action, input, &context).await.unwrap().output
    };
    let asked = anna.say(room.as_str(), "question").await.unwrap();

    let sent = call("send_message", json!({ "text": "**yes**", "reply_to_message_id": asked })).await;
    let id = sent["message_id"].as_str().unwrap().to_owned();
    call("edit_message", json!({ "message_id": id, "text": "**no**" })).await;
    call("react", json!({ "message_id": asked, "reaction": "👀" })).await;
    let again = call("react", json!({ "message_id": asked, "reaction": "👀" })).await;
    assert_eq!(again["reaction_id"], Value::Null);
    let file =
        call("send_file", json!({ "filename": "a.patch", "content": "+ä\n", "caption": "changes" })).await;
    let quiet =
        call("send_message", json!({ "text": "**quiet**", "format": "plain", "disable_notification": true }));
    let quiet = quiet.await;

    let messages = anna.messages(room.as_str()).await.unwrap();
    let content = |id: &Value| messages.iter().find(|it| it["event_id"] == *id).unwrap()["content"].clone();
    let yes = content(&sent["message_id"]);
    assert_eq!(
        (&yes["body"], &yes["formatted_body"]),
        (&json!("yes"), &json!("<p><strong>yes</strong></p>"))
    );
    assert_eq!(yes["m.relates_to"]["m.in_reply_to"]["event_id"], asked.as_str());
    let edit = messages.iter().find(|it| it["content"]["m.relates_to"]["rel_type"] == "m.replace").unwrap();
    assert_eq!(edit["content"]["m.new_content"]["body"], "no");
    let file = content(&file["message_id"]);
    assert_eq!(
        (&file["filename"], &file["body"], &file["info"]["size"]),
        (&json!("a.patch"), &json!("changes"), &json!(4))
    );
    assert_eq!(anna.file(file["url"].as_str().unwrap()).await.unwrap(), "+ä\n");
    let quiet = content(&quiet["message_id"]);
    assert_eq!((&quiet["msgtype"], &quiet["formatted_body"]), (&json!("m.notice"), &Value::Null));

    call("redact", json!({ "message_id": id, "reason": "wrong" })).await;
    let messages = anna.messages(room.as_str()).await.unwrap();
    let redacted = messages.iter().find(|it| it["event_id"] == id.as_str()).unwrap();
    assert_eq!(redacted["content"]["body"], Value::Null);
}

#[tokio::test]
async fn a_call_that_goes_on_after_a_crash_of_the_host_sends_nothing_twice() {
    let synapse = Synapse::shared().await;
    let (bot, anna) = (bot(synapse).await, person(synapse).await);
    let (room, _) = bot.room_with(&anna).await;
    let connector = bot.connector(&[&anna]).await;
    assert!(connector.checkpoints());
    let announced = Arc::new(Announced::default());
    let text = "a ".repeat(40_000);
    let input = json!({ "chat_id": room.as_str(), "text": text });

    let first =
        connector.execute("send_message", input.clone(), &context(synapse, announced.clone())).await.unwrap();
    let mut resumed = context(synapse, announced.clone());
    resumed.resume = announced.last();
    let again = connector.execute("send_message", input, &resumed).await.unwrap();

    assert_eq!(first.output, again.output);
    assert_eq!(anna.messages(room.as_str()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_cannot_be_sent_has_not_begun() {
    let synapse = Synapse::shared().await;
    let (bot, anna) = (bot(synapse).await, person(synapse).await);
    let (room, _) = bot.room_with(&anna).await;
    let connector = bot.connector(&[&anna]).await;
    let room = room.as_str();
    for (action, input) in [
        ("send_message", json!({ "chat_id": "#alias:x", "text": "hi" })),
        ("send_message", json!({ "chat_id": room, "text": " \n" })),
        ("send_message", json!({ "chat_id": format!("{room}/5"), "text": "hi" })),
        ("edit_message", json!({ "chat_id": room, "message_id": "$x", "text": "x".repeat(60_000) })),
        ("redact", json!({ "chat_id": room, "message_id": "x" })),
        ("react", json!({ "chat_id": room, "message_id": "x", "reaction": "y" })),
    ] {
        let announced = Arc::new(Announced::default());
        let error = connector.execute(action, input, &context(synapse, announced.clone())).await.unwrap_err();
        assert!(matches!(error, ConnectorError::InvalidInput { .. }), "{action}: {error}");
        assert!(announced.last().is_none());
    }
    let elsewhere = json!({ "chat_id": "!elsewhere", "text": "hi" });
    let error =
        connector.execute("send_message", elsewhere, &context(synapse, Arc::new(NoCheckpoints))).await;
    assert!(matches!(error, Err(ConnectorError::Refused { .. })), "{error:?}");
}
