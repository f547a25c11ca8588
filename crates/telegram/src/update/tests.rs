use super::*;
use serde_json::json;

const ANNA: u64 = 42;
const GROUP: i64 = -100_123;

fn allow() -> Allow {
    Allow { users: BTreeSet::from([ANNA]), chats: BTreeSet::from([GROUP]) }
}

fn me() -> Me {
    Me { id: 7, username: "fixer_bot".into() }
}

fn message(chat: i64, user: u64, text: &str) -> Value {
    let kind = if chat > 0 { "private" } else { "supergroup" };
    json!({
        "message_id": 5, "date": 1_700_000_000, "text": text,
        "chat": { "id": chat, "type": kind, "title": "t" },
        "from": { "id": user, "is_bot": false, "first_name": "Anna", "username": "anna" },
    })
}

fn update(kind: &str, content: impl Into<Value>) -> Value {
    json!({ "update_id": 9, kind: content.into() })
}

fn patched(mut message: Value, more: impl std::borrow::Borrow<Value>) -> Value {
    message.as_object_mut().unwrap().extend(more.borrow().as_object().unwrap().clone());
    message
}

fn received(raw: &Value) -> Received {
    match read(raw, &allow(), &me()) {
        Incoming::Message(received) => *received,
        other => panic!("{other:?}"),
    }
}

fn ignored(raw: &Value) -> Ignored {
    match read(raw, &allow(), &me()) {
        Incoming::Ignored(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_has_the_flat_and_the_nested_fields() {
    let seen = received(&update("message", message(42, ANNA, "/fix  the test")));
    assert_eq!((seen.chat.to_string().as_str(), seen.user, seen.update_id), ("42", ANNA, 9));
    for (path, value) in [
        ("/chat_id", json!(42)),
        ("/user_id", json!(42)),
        ("/username", json!("anna")),
        ("/text", json!("/fix  the test")),
        ("/command", json!("fix")),
        ("/args", json!("the test")),
        ("/chat/id", json!(42)),
        ("/chat/type", json!("private")),
        ("/from/id", json!(42)),
        ("/message/text", json!("/fix  the test")),
    ] {
        assert_eq!(seen.payload.pointer(path), Some(&value), "{path}");
    }
}

#[test]
fn nobody_is_allowed_by_default() {
    for raw in [message(42, ANNA, "hi"), message(GROUP, ANNA, "hi")] {
        let seen = read(&update("message", raw), &Allow::default(), &me());
        assert_eq!(seen, Incoming::Ignored(Ignored::Stranger));
    }
}

#[test]
fn strangers_and_unnamed_senders_are_nobody() {
    let plain = || message(GROUP, ANNA, "/fix it");
    let table = [
        (update("message", message(43, 43, "/fix it")), Ignored::Stranger),
        (update("message", message(-5, ANNA, "/fix it")), Ignored::Stranger),
        (update("channel_post", plain()), Ignored::Anonymous),
        (update("edited_channel_post", plain()), Ignored::Anonymous),
        (
            update(
                "message",
                patched(plain(), json!({ "sender_chat": { "id": GROUP, "type": "supergroup" } })),
            ),
            Ignored::Anonymous,
        ),
        (
            update(
                "message",
                patched(plain(), json!({ "from": { "id": 1, "is_bot": true, "first_name": "G" } })),
            ),
            Ignored::Anonymous,
        ),
        (update("message", message(GROUP, ANNA, "/fix@other_bot it")), Ignored::NotForUs),
        (update("message", message(GROUP, ANNA, "")), Ignored::Empty),
        (update("poll", json!({})), Ignored::Unreadable),
        (json!({ "no": "update" }), Ignored::Unreadable),
    ];
    for (raw, why) in table {
        assert_eq!(ignored(&raw), why, "{raw}");
    }
}

#[test]
fn edited_and_forwarded_messages_are_told_apart() {
    let edited = received(&update("edited_message", message(42, ANNA, "/fix it")));
    assert_eq!(edited.kind, Kind::Edited);
    let origin = json!({ "forward_origin": { "type": "hidden_user", "date": 1, "sender_user_name": "x" } });
    let forwarded = received(&update("message", patched(message(42, ANNA, "/fix it"), origin)));
    assert_eq!(forwarded.kind, Kind::Forwarded);
    let bot = json!({ "via_bot": { "id": 9, "is_bot": true, "first_name": "inline" } });
    let through_a_bot = received(&update("message", patched(message(42, ANNA, "/fix it"), bot)));
    assert_eq!(through_a_bot.kind, Kind::Forwarded, "nobody typed it");
    assert_eq!(received(&update("message", message(42, ANNA, "/fix it"))).kind, Kind::Fresh);
}

#[test]
fn a_command_for_this_bot_loses_its_address() {
    let seen = received(&update("message", message(GROUP, 99, "/fix@Fixer_Bot the\ntest")));
    assert_eq!((seen.text.as_str(), seen.command.as_deref()), ("/fix the\ntest", Some("fix")));
    assert_eq!(seen.user, 99, "in a group the person counts, not the chat");
}

#[test]
fn only_answers_to_the_bots_own_messages_are_replies() {
    let answering = |from: u64, id: i32| {
        let answered = json!({ "reply_to_message": {
            "message_id": id, "date": 1, "chat": { "id": 42, "type": "private" },
            "from": { "id": from, "is_bot": true, "first_name": "b" } } });
        received(&update("message", patched(message(42, ANNA, "go on"), answered))).reply_to
    };
    assert_eq!(answering(7, 3), Some(3));
    assert_eq!(answering(8, 3), None);
}

#[test]
fn a_topic_is_a_chat_of_its_own_and_a_reply_thread_is_not() {
    let topic = json!({ "message_thread_id": 7, "is_topic_message": true });
    let in_topic = received(&update("message", patched(message(GROUP, ANNA, "x"), topic)));
    assert_eq!(in_topic.chat.to_string(), "-100123/7");
    let thread = json!({ "message_thread_id": 7 });
    let in_thread = received(&update("message", patched(message(GROUP, ANNA, "x"), thread)));
    assert_eq!(in_thread.chat.to_string(), "-100123");
}

#[test]
fn content_from_the_future_does_not_hide_a_message() {
    let novel = json!({ "photo": "not a list any more", "sticker": 5 });
    let raw = update("message", patched(message(42, ANNA, "/fix it"), novel));
    assert_eq!(ignored(&raw), Ignored::Unreadable, "what is needed itself has changed");
    let novel = json!({ "dice": "a new kind", "poll": 7 });
    let raw = update("message", patched(message(42, ANNA, "/fix it"), novel));
    assert_eq!(received(&raw).text, "/fix it");
    let bot = json!({ "poll": 7, "via_bot": { "id": 9, "is_bot": true, "first_name": "inline" } });
    let through_a_bot = received(&update("message", patched(message(42, ANNA, "/fix it"), bot)));
    assert_eq!(through_a_bot.kind, Kind::Forwarded, "nor what says that nobody typed it");
}

#[test]
fn a_tap_names_the_person_and_the_chat() {
    let query = json!({
        "id": "q1", "chat_instance": "c", "data": "a:b",
        "from": { "id": 99, "is_bot": false, "first_name": "Ben" },
        "message": message(GROUP, 7, "card"),
    });
    let Incoming::Tap(tap) = read(&update("callback_query", query), &allow(), &me()) else { panic!() };
    assert_eq!((tap.user, tap.chat.id, tap.data.as_str(), tap.message_id), (99, GROUP, "a:b", 5));
    assert_eq!(tap.payload["from"]["id"], 99);
}
