use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

fn me() -> UserId {
    "@bot:x".parse().unwrap()
}

fn allow(users: &[&str], rooms: &[&str]) -> Allow {
    Allow {
        users: users.iter().map(|it| it.parse().unwrap()).collect(),
        rooms: rooms.iter().map(|it| it.parse().unwrap()).collect(),
        ignored: globset::GlobSet::new([globset::Glob::new("@_*").unwrap()]).unwrap(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "`json!` at the call is read more easily")]
fn event(kind: &str, sender: &str, id: &str, content: Value) -> Value {
    json!({ "type": kind, "sender": sender, "event_id": id, "origin_server_ts": 5_000, "content": content })
}

fn said(sender: &str, id: &str, body: &str) -> Value {
    event("m.room.message", sender, id, json!({ "msgtype": "m.text", "body": body }))
}

fn member(sender: &str, of: &str, id: &str, membership: &str, before: Option<&str>) -> Value {
    let mut event = event("m.room.member", sender, id, json!({ "membership": membership }));
    event["state_key"] = of.into();
    if let Some(before) = before {
        event["unsigned"] = json!({ "prev_content": { "membership": before } });
    }
    event
}

fn joined(events: &[Value]) -> Value {
    json!({ "next_batch": "s2", "rooms": { "join": { "!r": { "timeline": { "events": events } } } } })
}

fn answer(json: &Value) -> Answer {
    serde_json::from_value(json.clone()).unwrap()
}

fn read_with(json: &Value, allow: &Allow, private: &[&str]) -> (Vec<Incoming>, usize) {
    let private: BTreeSet<RoomId> = private.iter().map(|it| it.parse().unwrap()).collect();
    let (me, first) = (me(), false);
    read(&answer(json), &Filled::new(), View { me: &me, allow, private: &private, first })
}

fn texts(items: &[Incoming]) -> Vec<&str> {
    fn text(item: &Incoming) -> Option<&str> {
        if let Incoming::Message(message) = item { Some(&message.text) } else { None }
    }
    items.iter().filter_map(text).collect()
}

#[test]
fn who_counts_is_decided_by_room_in_company_and_by_person_alone() {
    let events =
        [said("@anna:x", "$1", "anna"), said("@eve:x", "$2", "eve"), said("@_irc_b:x", "$3", "ghost")];
    let answer = joined(&events);
    for (users, rooms, private, counts) in [
        (vec![], vec![], vec!["!r"], vec![]),
        (vec!["@anna:x"], vec![], vec!["!r"], vec!["anna"]),
        (vec!["@anna:x"], vec![], vec![], vec![]),
        (vec![], vec!["!r"], vec![], vec!["anna", "eve"]),
        (vec!["@_irc_b:x"], vec!["!r"], vec![], vec!["anna", "eve", "ghost"]),
        (vec![], vec!["!other"], vec!["!r"], vec![]),
    ] {
        let (items, _) = read_with(&answer, &allow(&users, &rooms), &private);
        assert_eq!(texts(&items), counts, "{users:?} {rooms:?} {private:?}");
    }
}

#[test]
fn bots_the_bot_itself_and_what_was_before_it_came_mean_nothing() {
    let notice = event("m.room.message", "@anna:x", "$4", json!({ "msgtype": "m.notice", "body": "beep" }));
    let json = joined(&[
        said("@anna:x", "$1", "before"),
        member("@bot:x", "@bot:x", "$2", "join", Some("invite")),
        said("@bot:x", "$3", "mine"),
        notice,
        member("@bot:x", "@bot:x", "$5", "join", Some("join")),
        said("@anna:x", "$7", "after"),
    ]);
    let (items, _) = read_with(&json, &allow(&[], &["!r"]), &[]);
    assert_eq!((texts(&items), items.len()), (vec!["after"], 1));
}

#[test]
fn the_first_answer_says_how_it_stands_and_nothing_that_was_said() {
    let mut encryption = event("m.room.encryption", "@anna:x", "$1", json!({ "algorithm": "m.megolm" }));
    encryption["state_key"] = "".into();
    let mut json = joined(&[said("@anna:x", "$2", "old")]);
    json["rooms"]["join"]["!r"]["state"] = json!({ "events": [encryption] });
    let (me, allow, private) = (me(), allow(&[], &["!r"]), BTreeSet::new());
    let view = View { me: &me, allow: &allow, private: &private, first: true };
    let (items, _) = read(&answer(&json), &Filled::new(), view);
    assert_eq!(items, [Incoming::Encrypted("!r".parse().unwrap())]);
}

#[test]
fn a_gap_is_where_the_bot_was_all_the_time() {
    let mut json = joined(&[said("@anna:x", "$1", "hi")]);
    json["rooms"]["join"]["!r"]["timeline"]["limited"] = true.into();
    json["rooms"]["join"]["!r"]["timeline"]["prev_batch"] = "p1".into();
    assert_eq!(gaps(&answer(&json), &me()), [("!r".parse().unwrap(), "p1".to_owned())]);
    let came = member("@bot:x", "@bot:x", "$2", "join", Some("invite"));
    json["rooms"]["join"]["!r"]["timeline"]["events"].as_array_mut().unwrap().push(came);
    assert_eq!(gaps(&answer(&json), &me()), []);
}

#[test]
fn what_was_left_out_comes_first_and_nothing_twice() {
    let json = joined(&[said("@anna:x", "$2", "two"), said("@anna:x", "$3", "three")]);
    let raw = |event: Value| serde_json::value::to_raw_value(&event).unwrap();
    let left_out = vec![raw(said("@anna:x", "$1", "one")), raw(said("@anna:x", "$2", "two"))];
    let filled: Filled = [("!r".parse().unwrap(), left_out)].into();
    let (me, allow, private) = (me(), allow(&[], &["!r"]), BTreeSet::new());
    let view = View { me: &me, allow: &allow, private: &private, first: false };
    assert_eq!(texts(&read(&answer(&json), &filled, view).0), ["one", "two", "three"]);
}

/// What no server of a new room lets pass, and an older one does.
#[test]
fn what_no_reader_can_read_hides_nothing_wherever_it_stands() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let (huge, fine) = (format!("1{}", "0".repeat(400)), said("@anna:x", "$5", "fine").to_string());
    for trap in [deep.as_str(), huge.as_str()] {
        let event = |kind: &str| {
            format!(
                r#"{{"type":"{kind}","sender":"@eve:x","state_key":"","event_id":"$1","content":{{"body":{trap}}}}}"#
            )
        };
        let (message, state) = (event("m.room.message"), event("m.room.name"));
        let text = format!(
            r#"{{"next_batch":"s2","rooms":{{
                "invite":{{"!i":{{"invite_state":{{"events":[{state}]}}}}}},
                "join":{{"!r":{{"state":{{"events":[{state}]}},"timeline":{{"events":[{message},{fine}]}}}}}}}}}}"#
        );
        let json: Answer = serde_json::from_str(&text).unwrap();
        let (me, allow, private) = (me(), allow(&[], &["!r"]), BTreeSet::new());
        let view = View { me: &me, allow: &allow, private: &private, first: false };
        let (items, unreadable) = read(&json, &Filled::new(), view);
        assert_eq!((texts(&items), unreadable), (vec!["fine"], 2));
        assert_eq!(
            changed(&json, &Filled::new()),
            ["!r".parse().unwrap()],
            "it may have been about a member"
        );
    }
}

#[test]
fn what_cannot_be_read_is_counted_and_hides_nothing() {
    let json = joined(&[
        json!(5),
        json!({ "type": "m.room.message" }),
        event("m.room.message", "nobody", "$1", json!({})),
        event("m.room.message", "@anna:x", "$2", json!("no object")),
        event("m.room.message", "@anna:x", "$3", json!({ "msgtype": 5, "body": [] })),
        event("m.unknown", "@anna:x", "$4", json!({})),
        said("@anna:x", "$5", "fine"),
    ]);
    let (items, unreadable) = read_with(&json, &allow(&[], &["!r"]), &[]);
    assert_eq!((texts(&items), unreadable), (vec!["fine"], 4));
}

#[test]
fn a_rule_for_telegram_finds_the_same_names_and_a_name_that_anybody_can_have_names_nobody() {
    let body = json!({
        "msgtype": "m.text",
        "body": "!fix  the login",
        "m.relates_to": {
            "rel_type": "m.thread", "event_id": "$root", "is_falling_back": true, "m.in_reply_to": { "event_id": "$last" },
        },
    });
    let json = joined(&[event("m.room.message", "@anna:x", "$1", body)]);
    let (items, _) = read_with(&json, &allow(&["@anna:x"], &[]), &["!r"]);
    let [Incoming::Message(message)] = &items[..] else { panic!("{items:?}") };
    assert_eq!((message.chat.to_string().as_str(), message.text.as_str()), ("!r/$root", "/fix  the login"));
    assert_eq!(message.answers, None);
    for (name, value) in [
        ("topic_id", json!("$root")),
        ("message_id", json!("$1")),
        ("user_id", json!("@anna:x")),
        ("username", json!("@anna:x")),
        ("chat_type", json!("private")),
        ("date", json!(5)),
        ("reply_to_message_id", json!(null)),
    ] {
        assert_eq!(message.payload[name], value, "{name}");
    }
}
