//! What people do, as it comes in.

use connector_matrix::update::Incoming;
use connector_matrix::{ChatKey, RoomId};
use serde_json::{Value, json};
use testkit::Synapse;
use testkit::synapse::User;

use crate::support::{bot, event, message, one, person, settle, texts, until};

#[tokio::test]
async fn a_message_comes_in_with_its_thread_and_what_it_answers() {
    let synapse = Synapse::shared().await;
    let (bot, anna) = (bot(synapse).await, person(synapse).await);
    let (room, mut syncer) = bot.room_with(&anna).await;

    let opener = anna.say(room.as_str(), "!fix the login").await.unwrap();
    let first = message(&mut syncer).await;
    assert_eq!((first.event.as_str(), first.user.as_str()), (opener.as_str(), anna.id.as_str()));
    assert_eq!(first.text, "/fix the login");
    assert_eq!(
        (&first.payload["chat_type"], &first.payload["username"]),
        (&json!("private"), &json!(anna.id))
    );
    assert!(first.payload["date"].as_i64().unwrap() > 1_700_000_000);

    let in_thread = json!({
        "msgtype": "m.text",
        "body": "> <@bot:x> quoted\n\nin the thread",
        "m.relates_to": {
            "rel_type": "m.thread", "event_id": opener, "is_falling_back": false, "m.in_reply_to": { "event_id": opener },
        },
    });
    anna.send(room.as_str(), "m.room.message", &in_thread).await.unwrap();
    let second = message(&mut syncer).await;
    assert_eq!(second.chat, ChatKey { room, thread: Some(event(&opener)) });
    assert_eq!((second.text.as_str(), second.answers), ("in the thread", Some(event(&opener))));
}

#[tokio::test]
async fn a_reaction_names_its_sender_and_its_event_and_an_edit_is_nothing() {
    let synapse = Synapse::shared().await;
    let (bot, anna) = (bot(synapse).await, person(synapse).await);
    let (room, mut syncer) = bot.room_with(&anna).await;
    let said = anna.say(room.as_str(), "helo").await.unwrap();
    message(&mut syncer).await;

    let edit = json!({
        "msgtype": "m.text",
        "body": "* /fix",
        "m.new_content": { "msgtype": "m.text", "body": "/fix" },
        "m.relates_to": { "rel_type": "m.replace", "event_id": said },
    });
    anna.send(room.as_str(), "m.room.message", &edit).await.unwrap();
    let question = json!({ "msgtype": "m.text", "body": "?" });
    let card = bot.api.send(&room, "m.room.message", "t", &question).await.unwrap();
    let reaction = anna.react(room.as_str(), card.as_str(), "✅").await.unwrap();
    let Incoming::Reacted(reacted) = one(&mut syncer).await else { panic!("no reaction") };
    assert_eq!((reacted.event.as_str(), reacted.user.as_str()), (reaction.as_str(), anna.id.as_str()));
    assert_eq!((&reacted.target, reacted.key.as_str()), (&card, "✅"));
}

#[tokio::test]
async fn a_file_is_what_is_said_about_it() {
    let synapse = Synapse::shared().await;
    let (bot, anna) = (bot(synapse).await, person(synapse).await);
    let (room, mut syncer) = bot.room_with(&anna).await;
    for (body, filename) in
        [("dump.bin", None), ("dump.bin", Some("dump.bin")), ("what broke", Some("dump.bin"))]
    {
        let mut file = json!({ "msgtype": "m.file", "body": body, "url": "mxc://synapse.test/a" });
        if let Some(filename) = filename {
            file["filename"] = filename.into();
        }
        anna.send(room.as_str(), "m.room.message", &file).await.unwrap();
    }
    assert_eq!(message(&mut syncer).await.text, "what broke");
}

#[tokio::test]
async fn a_third_person_makes_a_room_one_of_strangers_until_it_is_named() {
    let synapse = Synapse::shared().await;
    let (bot, anna, eve) = (bot(synapse).await, person(synapse).await, person(synapse).await);
    let (room, mut syncer) = bot.room_with(&anna).await;
    let (other, _) = bot.room_with(&anna).await;
    anna.say(room.as_str(), "alone").await.unwrap();
    let heard = until(&mut syncer, |items| !texts(items).is_empty()).await;
    assert_eq!(texts(&heard), ["alone"]);

    anna.post(room.as_str(), "invite", &json!({ "user_id": eve.id })).await.unwrap();
    anna.say(room.as_str(), "before one who is invited").await.unwrap();
    anna.say(other.as_str(), "elsewhere").await.unwrap();
    let heard = until(&mut syncer, |items| !texts(items).is_empty()).await;
    assert_eq!(texts(&heard), ["elsewhere"]);

    eve.post(room.as_str(), "join", &json!({})).await.unwrap();
    anna.say(room.as_str(), "in company").await.unwrap();
    anna.say(other.as_str(), "elsewhere again").await.unwrap();
    let heard = until(&mut syncer, |items| !texts(items).is_empty()).await;
    assert_eq!(texts(&heard), ["elsewhere again"]);

    let mut named = bot.syncer_from((&[&anna], &[&room]), None);
    settle(&mut named).await;
    eve.say(room.as_str(), "me too").await.unwrap();
    let heard = until(&mut named, |items| !texts(items).is_empty()).await;
    assert_eq!(texts(&heard), ["me too"]);

    eve.post(room.as_str(), "leave", &json!({})).await.unwrap();
    anna.say(room.as_str(), "alone again").await.unwrap();
    let heard = until(&mut syncer, |items| !texts(items).is_empty()).await;
    assert_eq!(texts(&heard), ["alone again"]);
}

#[tokio::test]
async fn a_room_of_two_that_others_can_enter_or_read_is_not_private() {
    let synapse = Synapse::shared().await;
    let (bot, anna) = (bot(synapse).await, person(synapse).await);
    let (private, _) = bot.room_with(&anna).await;
    for (kind, content) in [
        ("m.room.join_rules", json!({ "join_rule": "public" })),
        ("m.room.join_rules", json!({ "join_rule": "knock" })),
        ("m.room.history_visibility", json!({ "history_visibility": "world_readable" })),
    ] {
        let (room, mut syncer) = bot.room_with(&anna).await;
        anna.say(room.as_str(), "private").await.unwrap();
        let heard = until(&mut syncer, |items| !texts(items).is_empty()).await;
        assert_eq!(texts(&heard), ["private"]);
        anna.set_state(room.as_str(), kind, &content).await.unwrap();
        anna.say(room.as_str(), "not private").await.unwrap();
        anna.say(private.as_str(), "elsewhere").await.unwrap();
        let heard = until(&mut syncer, |items| !texts(items).is_empty()).await;
        assert_eq!(texts(&heard), ["elsewhere"], "{kind} {content}");
    }
}

#[tokio::test]
async fn a_bridged_ghost_and_a_notice_are_heard_in_no_room() {
    let synapse = Synapse::shared().await;
    let (bot, anna) = (bot(synapse).await, person(synapse).await);
    let ghost: User = synapse.register(&crate::support::name("telegram_4917")).await.unwrap();
    let room = json!({ "preset": "private_chat", "invite": [bot.user.id, ghost.id] });
    let room: RoomId = anna.create_room(&room).await.unwrap().parse().unwrap();
    bot.api.join(&room).await.unwrap();
    ghost.post(room.as_str(), "join", &json!({})).await.unwrap();
    let mut syncer = bot.syncer_from((&[], &[&room]), None);
    settle(&mut syncer).await;
    ghost.say(room.as_str(), "/fix everything").await.unwrap();
    let notice = json!({ "msgtype": "m.notice", "body": "/fix it" });
    anna.send(room.as_str(), "m.room.message", &notice).await.unwrap();
    anna.say(room.as_str(), "hello").await.unwrap();
    let heard = until(&mut syncer, |items| !texts(items).is_empty()).await;
    assert_eq!(texts(&heard), ["hello"]);
}

#[tokio::test]
async fn what_a_stranger_says_in_a_room_with_the_bot_does_not_come_in() {
    let synapse = Synapse::shared().await;
    let (bot, anna, eve) = (bot(synapse).await, person(synapse).await, person(synapse).await);
    let (room, mut syncer) = bot.room_with(&anna).await;
    let other: RoomId = eve.direct(&bot.user.id).await.unwrap().parse().unwrap();
    bot.api.join(&other).await.unwrap();
    eve.say(other.as_str(), "!fix everything").await.unwrap();
    anna.say(room.as_str(), "hello").await.unwrap();
    let heard = until(&mut syncer, |items| !texts(items).is_empty()).await;
    assert_eq!(texts(&heard), ["hello"]);
    assert!(!heard.iter().any(|it| matches!(it, Incoming::Invited { .. })), "{heard:?}");
}

/// Lists within lists: as many as Synapse takes in an event are more in an answer than a reader of JSON takes.
fn deep(levels: usize) -> Value {
    (0..levels).fold(json!([]), |inner, _| json!([inner]))
}

#[tokio::test]
async fn what_a_stranger_nests_deeply_hides_no_other_event() {
    let synapse = Synapse::shared().await;
    let (bot, anna, eve) = (bot(synapse).await, person(synapse).await, person(synapse).await);
    let (room, mut syncer) = bot.room_with(&anna).await;
    let topic =
        json!({ "type": "m.room.topic", "state_key": "", "content": { "topic": "x", "deep": deep(120) } });
    let trap = json!({ "preset": "private_chat", "invite": [bot.user.id], "initial_state": [topic] });
    eve.create_room(&trap).await.unwrap();
    let message = json!({ "msgtype": "m.text", "body": "/fix", "deep": deep(120) });
    anna.send(room.as_str(), "m.room.message", &message).await.unwrap();
    anna.set_state(
        room.as_str(),
        "m.room.history_visibility",
        &json!({ "history_visibility": "shared", "deep": deep(120) }),
    )
    .await
    .unwrap();
    anna.say(room.as_str(), "hello").await.unwrap();
    let heard = until(&mut syncer, |items| texts(items).iter().any(|it| it == "hello")).await;
    assert_eq!(texts(&heard), ["/fix", "hello"]);
}
