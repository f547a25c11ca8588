//! What one answer to `/sync` means: a pure function of the answer, the gaps that were filled, and who
//! is allowed.
//!
//! The events of a room keep their order. Whoever is not allowed is not there at all; who somebody is
//! comes from `sender`, which the homeserver vouches for. What bots say (`m.notice`), edits, what the bot did
//! itself, and what was before it joined mean nothing. Each event is read by itself: one that cannot be read is
//! counted, and hides no other.

mod content;
mod event;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

pub use event::Event;

use crate::config::Allow;
use crate::id::{ChatKey, EventId, RoomId, UserId};

/// An answer to `/sync`, as far as it is looked at.
#[derive(Debug, Deserialize)]
pub struct Answer {
    /// The place from which it goes on.
    pub next_batch: String,
    #[serde(default)]
    rooms: Sections,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Sections {
    invite: BTreeMap<String, Section>,
    join: BTreeMap<String, Section>,
    leave: BTreeMap<String, Section>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Section {
    state: Events,
    timeline: Timeline,
    invite_state: Events,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Events {
    events: Vec<Box<RawValue>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Timeline {
    events: Vec<Box<RawValue>>,
    limited: bool,
    prev_batch: Option<String>,
}

/// What an answer is read with.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The bot itself.
    pub me: &'a UserId,
    /// Whose events come in.
    pub allow: &'a Allow,
    /// The rooms of the bot and one other, as far as it matters.
    pub private: &'a BTreeSet<RoomId>,
    /// Whether it is the first answer, which has nothing that is new but how everything stands.
    pub first: bool,
}

/// Events that a server left out because there were many, by room, the oldest first.
pub type Filled = BTreeMap<RoomId, Vec<Box<RawValue>>>;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    /// Somebody who is allowed wrote something.
    Message(Received),
    /// Somebody who is allowed reacted to an event.
    Reacted(Reacted),
    /// Somebody who is allowed invites the bot.
    Invited {
        /// The room.
        room: RoomId,
        /// Who invites.
        by: UserId,
    },
    /// The bot is no longer in the room, or no longer invited.
    Gone(RoomId),
    /// What is said in the room is encrypted from here on.
    Encrypted(RoomId),
    /// The room is replaced by another.
    Upgraded {
        /// The old room, in which nobody writes any more.
        room: RoomId,
        /// The new one.
        to: RoomId,
    },
}

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// The event's id, which is the same however often it comes.
    pub event: EventId,
    /// Where.
    pub chat: ChatKey,
    /// Who.
    pub user: UserId,
    /// Its text, without what it quotes of the message it answers.
    pub text: String,
    /// The event that it answers.
    pub answers: Option<EventId>,
    /// What else rules see.
    pub payload: Map<String, Value>,
}

/// A reaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reacted {
    /// The reaction's own event.
    pub event: EventId,
    /// The room.
    pub room: RoomId,
    /// Who.
    pub user: UserId,
    /// The event it is about.
    pub target: EventId,
    /// What it says, such as 👍. Anybody can send anything here.
    pub key: String,
    /// Whether the room is one of the bot and one other.
    pub is_private: bool,
    /// When, in seconds since 1970, as the sender's server says.
    pub date: i64,
}

/// Reads one answer; what it says, in order, and how many events could not be read.
pub fn read(answer: &Answer, filled: &Filled, view: View<'_>) -> (Vec<Incoming>, usize) {
    let (mut items, mut unreadable) = (Vec::new(), 0);
    for (room, section) in rooms(&answer.rooms.invite) {
        items.extend(invitation(room, section, view));
    }
    for (room, section) in rooms(&answer.rooms.join) {
        for raw in &section.state.events {
            match Event::read(raw) {
                Some(event) => items.extend(standing(&room, &event)),
                None => unreadable += 1,
            }
        }
        unreadable += timeline(&room, all(section, filled.get(&room)), view, &mut items);
    }
    items.extend(rooms(&answer.rooms.leave).map(|(room, _)| Incoming::Gone(room)));
    (items, unreadable)
}

/// The rooms of which the server left out events that the bot was there for, and until where.
pub fn gaps(answer: &Answer, me: &UserId) -> Vec<(RoomId, String)> {
    let gap = |(room, section): (RoomId, &Section)| {
        let came =
            section.timeline.events.iter().filter_map(|raw| Event::read(raw)).any(|it| it.is_join_of(me));
        let until = section.timeline.prev_batch.clone().filter(|_| section.timeline.limited && !came)?;
        Some((room, until))
    };
    rooms(&answer.rooms.join).filter_map(gap).collect()
}

/// The rooms of which it may no longer be so what was known of who is in them.
pub fn changed(answer: &Answer, filled: &Filled) -> Vec<RoomId> {
    const RULES: [&str; 3] = ["m.room.member", "m.room.join_rules", "m.room.history_visibility"];
    let changes = |raw: &RawValue| Event::read(raw).is_none_or(|it| RULES.contains(&it.kind.as_str()));
    let has_changed = |(room, section): &(RoomId, &Section)| {
        section.state.events.iter().any(|it| changes(it)) || all(section, filled.get(room)).any(changes)
    };
    let left = rooms(&answer.rooms.leave).map(|(room, _)| room);
    rooms(&answer.rooms.join).filter(has_changed).map(|(room, _)| room).chain(left).collect()
}

/// The rooms in which somebody did something who is heard in private alone.
pub fn in_question(answer: &Answer, filled: &Filled, allow: &Allow) -> Vec<RoomId> {
    let heard = |raw: &RawValue| Event::read(raw).is_some_and(|it| allow.users.contains(&it.sender));
    let asked = |(room, section): &(RoomId, &Section)| {
        !allow.rooms.contains(room) && all(section, filled.get(room)).any(heard)
    };
    rooms(&answer.rooms.join).filter(asked).map(|(room, _)| room).collect()
}

/// The rooms that the bot is in, of a first answer.
pub fn joined(answer: &Answer) -> BTreeSet<RoomId> {
    rooms(&answer.rooms.join).map(|(room, _)| room).collect()
}

fn rooms(sections: &BTreeMap<String, Section>) -> impl Iterator<Item = (RoomId, &Section)> {
    sections.iter().filter_map(|(id, section)| Some((id.parse().ok()?, section)))
}

/// The events of a room in order: those that were left out, then those that were sent.
fn all<'a>(
    section: &'a Section,
    filled: Option<&'a Vec<Box<RawValue>>>,
) -> impl Iterator<Item = &'a RawValue> {
    filled.into_iter().flatten().chain(&section.timeline.events).map(|it| &**it)
}

/// What an invitation says, if it is from somebody who counts. It has nothing but type, key, sender and content.
fn invitation(room: RoomId, section: &Section, view: View<'_>) -> Option<Incoming> {
    #[derive(Deserialize)]
    struct Stripped {
        #[serde(rename = "type")]
        kind: String,
        sender: UserId,
        state_key: String,
    }
    let read = |raw: &RawValue| serde_json::from_str::<Stripped>(raw.get()).ok();
    let mut events = section.invite_state.events.iter().filter_map(|raw| read(raw));
    let by = events.rfind(|it| it.kind == "m.room.member" && it.state_key == view.me.as_str())?.sender;
    let counts = view.allow.users.contains(&by) || view.allow.rooms.contains(&room);
    counts.then_some(Incoming::Invited { room, by })
}

/// Reads the events of a room; how many could not be.
fn timeline<'a>(
    room: &RoomId,
    raw: impl Iterator<Item = &'a RawValue>,
    view: View<'_>,
    items: &mut Vec<Incoming>,
) -> usize {
    let (mut seen, mut events, mut unreadable) = (HashSet::new(), Vec::new(), 0);
    for raw in raw {
        match Event::read(raw) {
            Some(event) if seen.insert(event.id.clone()) => events.push(event),
            Some(_) => {}
            None => unreadable += 1,
        }
    }
    // Nobody spoke to the bot before it was there.
    let came = events.iter().rposition(|event| event.is_join_of(view.me)).unwrap_or_default();
    for (at, event) in events.iter().enumerate() {
        items.extend(standing(room, event));
        let is_private = view.private.contains(room);
        let is_heard = event.sender != *view.me && view.allow.admits(room, is_private, &event.sender);
        if at >= came && !view.first && is_heard && event.state_key.is_none() {
            items.extend(by_somebody(room, event, is_private));
        }
    }
    unreadable
}

/// How the room stands from here on.
fn standing(room: &RoomId, event: &Event) -> Option<Incoming> {
    if event.is_state("m.room.encryption") {
        return Some(Incoming::Encrypted(room.clone()));
    }
    let to = event.text("replacement_room").filter(|_| event.is_state("m.room.tombstone"))?;
    Some(Incoming::Upgraded { room: room.clone(), to: to.parse().ok()? })
}

fn by_somebody(room: &RoomId, event: &Event, is_private: bool) -> Option<Incoming> {
    let relation = event.relation();
    match (event.kind.as_str(), &relation) {
        ("m.room.message", Some((kind, _))) if kind == "m.replace" => None,
        ("m.room.message", _) => received(room, event, is_private).map(Incoming::Message),
        ("m.reaction", Some((kind, target))) if kind == "m.annotation" => {
            let key = event.content.get("m.relates_to")?["key"].as_str()?.to_owned();
            Some(Incoming::Reacted(Reacted {
                event: event.id.clone(),
                room: room.clone(),
                user: event.sender.clone(),
                target: target.clone(),
                key,
                is_private,
                date: event.at / 1000,
            }))
        }
        _ => None,
    }
}

fn received(room: &RoomId, event: &Event, is_private: bool) -> Option<Received> {
    let text = content::said(event)?;
    let thread = event.thread();
    let answers = event.answers();
    // The names that Telegram's payloads have. A name that somebody chose, and another may too, is nobody's.
    let payload = json!({
        "message_id": event.id.as_str(),
        "topic_id": thread.as_ref().map(EventId::as_str),
        "user_id": event.sender.as_str(),
        "username": event.sender.as_str(),
        "chat_type": if is_private { "private" } else { "group" },
        "date": event.at / 1000,
        "reply_to_message_id": answers.as_ref().map(EventId::as_str),
    });
    Some(Received {
        event: event.id.clone(),
        chat: ChatKey { room: room.clone(), thread },
        user: event.sender.clone(),
        text,
        answers,
        payload: payload.as_object().cloned().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests;
