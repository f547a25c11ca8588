//! Answers of a real Synapse to `/sync`, as recordings, and that no change of one is too much for the reader.
//!
//! The recordings are snapshots: `INSTA_UPDATE=always` makes them anew from the server that the tests run.

use std::collections::{BTreeMap, BTreeSet};

use connector_matrix::update::{self, Answer, Filled, Incoming, View};
use connector_matrix::{Allow, RoomId, UserId};
use http::Method;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use testkit::Synapse;
use testkit::synapse::User;

use crate::support::{bot, person};

const RECORDED: [&str; 3] = [
    include_str!("snapshots/it__recorded__invited.snap"),
    include_str!("snapshots/it__recorded__joined.snap"),
    include_str!("snapshots/it__recorded__removed.snap"),
];

/// Gives ids in the order in which they come, and times that never change.
#[derive(Default)]
struct Names(BTreeMap<String, String>);

impl Names {
    fn of(&mut self, text: &str) -> String {
        let Some(sigil) = text.chars().next().filter(|it| "@!$".contains(*it)) else {
            return text.to_owned();
        };
        let number = self.0.len() + 1;
        let server = if sigil == '@' { ":synapse.test" } else { "" };
        self.0.entry(text.to_owned()).or_insert_with(|| format!("{sigil}{number}{server}")).clone()
    }

    fn rewrite(&mut self, key: &str, value: &Value) -> Value {
        match value {
            Value::Object(all) => {
                let sorted: BTreeMap<&String, &Value> = all.iter().collect();
                let varies = ["age", "displayname", "unread_notifications"];
                let kept = sorted.into_iter().filter(|(key, _)| !varies.contains(&key.as_str()));
                Value::Object(kept.map(|(key, value)| (self.of(key), self.rewrite(key, value))).collect())
            }
            Value::Array(all) => Value::Array(all.iter().map(|it| self.rewrite(key, it)).collect()),
            Value::String(_) if key.ends_with("_batch") => "s1".into(),
            Value::String(text) if text.starts_with("mxc://") => "mxc://synapse.test/media".into(),
            Value::String(text) => self.of(text).into(),
            Value::Number(_) if key == "origin_server_ts" => 5_000.into(),
            other => other.clone(),
        }
    }
}

/// What of an answer is recorded, with the names that all recordings have.
fn recorded(names: &mut Names, mut answer: Value) -> Value {
    for section in ["invite", "join", "leave"] {
        for (_, room) in answer["rooms"][section].as_object_mut().into_iter().flatten() {
            // The order of states is the server's whim.
            for events in ["state", "invite_state"] {
                if let Some(events) = room.get_mut(events).and_then(|it| it["events"].as_array_mut()) {
                    events.sort_by_key(|it| format!("{} {}", it["type"], it["content"]["membership"]));
                }
            }
        }
    }
    answer["rooms"]
        .as_object_mut()
        .unwrap()
        .retain(|_, rooms| rooms.as_object().is_some_and(|it| !it.is_empty()));
    let kept = json!({ "next_batch": answer["next_batch"], "rooms": answer["rooms"] });
    names.rewrite("", &kept)
}

/// What a server answers, with all that it says.
async fn sync(bot: &User, since: Option<&str>) -> Value {
    let kinds = json!({ "types": ["m.room.message", "m.reaction", "m.room.member", "m.room.encryption"] });
    let filter =
        json!({ "room": { "state": kinds, "timeline": kinds, "ephemeral": { "types": [] } } }).to_string();
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("timeout", "1").append_pair("filter", &filter);
    if let Some(since) = since {
        query.append_pair("since", since);
    }
    bot.call(Method::GET, &format!("/_matrix/client/v3/sync?{}", query.finish()), None).await.unwrap()
}

#[tokio::test]
async fn what_a_server_answers_is_as_it_was_recorded() {
    let synapse = Synapse::shared().await;
    let (bot, anna) = (bot(synapse).await, person(synapse).await);
    let mut names = Names::default();
    names.of(&bot.user.id);
    names.of(&anna.id);
    let since = |answer: &Value| answer["next_batch"].as_str().unwrap().to_owned();
    let room: RoomId = anna.direct(&bot.user.id).await.unwrap().parse().unwrap();
    let invited = sync(&bot.user, None).await;
    let at = since(&invited);
    insta::assert_json_snapshot!("invited", recorded(&mut names, invited));

    bot.api.join(&room).await.unwrap();
    let said = anna.say(room.as_str(), "/fix it").await.unwrap();
    let relates = |kind: &str| json!({ "rel_type": kind, "event_id": said });
    for (kind, content) in [
        (
            "m.room.message",
            json!({ "msgtype": "m.text", "body": "in it", "m.relates_to": relates("m.thread") }),
        ),
        (
            "m.room.message",
            json!({
                "msgtype": "m.text", "body": "* fix that", "m.relates_to": relates("m.replace"),
                "m.new_content": { "msgtype": "m.text", "body": "fix that" },
            }),
        ),
        ("m.room.message", json!({ "msgtype": "m.notice", "body": "beep" })),
        ("m.room.encrypted", json!({ "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AwgA" })),
    ] {
        anna.send(room.as_str(), kind, &content).await.unwrap();
    }
    let file = json!({
        "msgtype": "m.file", "body": "a.txt", "url": "mxc://synapse.test/a", "info": { "size": 5 },
    });
    anna.send(room.as_str(), "m.room.message", &file).await.unwrap();
    let reaction = anna.react(room.as_str(), &said, "✅").await.unwrap();
    anna.redact(room.as_str(), &reaction).await.unwrap();
    anna.react(room.as_str(), &said, "❌").await.unwrap();
    let joined = sync(&bot.user, Some(&at)).await;
    let at = since(&joined);
    insta::assert_json_snapshot!("joined", recorded(&mut names, joined));

    anna.say(room.as_str(), "bye").await.unwrap();
    anna.post(room.as_str(), "kick", &json!({ "user_id": bot.user.id, "reason": "enough" })).await.unwrap();
    let removed = sync(&bot.user, Some(&at)).await;
    insta::assert_json_snapshot!("removed", recorded(&mut names, removed));
}

fn recordings() -> Vec<Value> {
    let json = |snapshot: &str| snapshot.splitn(3, "---\n").nth(2).unwrap().to_owned();
    RECORDED.iter().map(|it| serde_json::from_str(&json(it)).unwrap()).collect()
}

/// The items of an answer, read with nothing but the bot and one person who is allowed.
fn read(answer: &Value) -> Vec<Incoming> {
    let (me, anna): (UserId, UserId) =
        ("@1:synapse.test".parse().unwrap(), "@2:synapse.test".parse().unwrap());
    let allow = Allow { users: [anna].into(), ..Allow::default() };
    let rooms = answer["rooms"]["join"].as_object().into_iter().flatten();
    let private: BTreeSet<RoomId> = rooms.filter_map(|(id, _)| id.parse().ok()).collect();
    let answer: Answer = serde_json::from_value(answer.clone()).unwrap();
    let filled = Filled::new();
    let _ = (update::gaps(&answer, &me), update::changed(&answer, &filled));
    let _ = update::in_question(&answer, &filled, &allow);
    update::read(&answer, &filled, View { me: &me, allow: &allow, private: &private, first: false }).0
}

#[test]
fn the_recordings_say_what_happened() {
    let kinds = |answer: &Value| {
        let kind = |item: &Incoming| format!("{item:?}").split(['(', ' ', '{']).next().unwrap().to_owned();
        read(answer).iter().map(kind).collect::<Vec<_>>()
    };
    let all: Vec<Vec<String>> = recordings().iter().map(kinds).collect();
    assert_eq!(all[0], ["Invited"]);
    // The reaction that was taken back says nothing any more, and neither do an edit, a notice and a file without words.
    assert_eq!(all[1], ["Message", "Message", "Reacted"]);
    assert_eq!(all[2], ["Gone"]);
}

/// Every event of an answer, in every place.
fn events(answer: &mut Value) -> Vec<&mut Value> {
    let rooms = answer["rooms"]["join"].as_object_mut().unwrap();
    rooms.iter_mut().flat_map(|(_, room)| room["timeline"]["events"].as_array_mut().unwrap()).collect()
}

/// Changes the value that is the `at`th of all, or takes it away.
fn mutate(value: &mut Value, at: &mut usize, with: Option<&Value>) -> bool {
    if *at == 0 {
        *value = with.cloned().unwrap_or(Value::Null);
        return true;
    }
    *at -= 1;
    match value {
        Value::Array(all) => all.iter_mut().any(|it| mutate(it, at, with)),
        Value::Object(all) => {
            if *at == 0 && with.is_none() {
                *all = Map::new();
                return true;
            }
            all.iter_mut().any(|(_, it)| mutate(it, at, with))
        }
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_change_of_one_event_hides_another(
        at in 0_usize..64, changes in proptest::collection::vec((0_usize..60, 0_usize..9), 1..6),
    ) {
        let others = [
            json!(null), json!(-1), json!(u64::MAX), json!(""), json!("$"), json!([]), json!({}), json!("!\u{0}"), json!([[{}]]),
        ];
        let mut answer = recordings().swap_remove(1);
        let whole = read(&answer);
        let mut all = events(&mut answer);
        let at = at % all.len();
        let changed = all[at]["event_id"].clone();
        for (mut within, other) in changes {
            mutate(all[at], &mut within, others.get(other));
        }
        let of = |item: &Incoming| match item {
            Incoming::Message(message) => message.event.to_string(),
            Incoming::Reacted(reacted) => reacted.event.to_string(),
            other => panic!("{other:?}"),
        };
        let read = read(&answer);
        for item in whole.iter().filter(|item| changed != of(item).as_str()) {
            prop_assert!(read.contains(item), "{item:?} is hidden");
        }
        for item in &read {
            let by = match item {
                Incoming::Message(message) => message.user.as_str(),
                Incoming::Reacted(reacted) => reacted.user.as_str(),
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(by, "@2:synapse.test");
        }
    }
}
