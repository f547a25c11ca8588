//! Matrix, as a real Synapse has it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use connector_contract::ask::PermissionReply;
use connector_gate::decision::Decision;
use connector_gate::policy::Actor;
use connector_matrix::{Config, Matrix};
use connector_surface::Surface;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::Synapse;
use testkit::synapse::{Called, Fault, Proxy, User};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::house::{LIMIT, STRANGERS, TOGETHER};
use super::platform::{Platform, Seen, Traits, Who};

/// One server for all cases; the people and the rooms are each case's own. The chat of Anna alone is a room of two,
/// [`TOGETHER`] is one of all, and the others are threads of that.
pub(crate) struct Rooms {
    proxy: Proxy,
    bot: User,
    people: [User; 4],
    together: String,
    /// The room that replaces the one where all are, once it does.
    successor: String,
    chats: Mutex<HashMap<usize, Chat>>,
    last: Mutex<String>,
    /// The rooms as they were looked at last: a server is not asked for the same again at each look.
    looked: Mutex<HashMap<String, Looked>>,
}

/// The messages of a room up to a place.
#[derive(Default)]
struct Looked {
    messages: Vec<Value>,
    place: Option<String>,
}

impl Looked {
    fn take(&mut self, event: Value) {
        match event["type"].as_str() {
            Some("m.room.message") => self.messages.push(event),
            Some("m.room.redaction") => self.messages.retain(|it| it["event_id"] != event["redacts"]),
            _ => {}
        }
    }
}

#[derive(Debug, Clone)]
struct Chat {
    room: String,
    thread: Option<String>,
}

/// A content in a thread, and as an answer.
fn related(mut content: Value, thread: Option<&str>, answered: Option<&str>) -> Value {
    let mut relation = json!({});
    if let Some(thread) = thread {
        relation =
            json!({ "rel_type": "m.thread", "event_id": thread, "is_falling_back": answered.is_none() });
    }
    if let Some(answered) = answered.or(thread) {
        relation["m.in_reply_to"] = json!({ "event_id": answered });
        content["m.relates_to"] = relation;
    }
    content
}

fn text(words: &str) -> Value {
    json!({ "msgtype": "m.text", "body": words })
}

/// What a message offers, by its own words.
fn offers(text: &str) -> Vec<(String, String)> {
    let offer = |label: &str, sign: &str| (label.to_owned(), sign.to_owned());
    if text.contains("react with ✅") {
        return vec![offer("Approve", "✅"), offer("Deny", "❌")];
    }
    if text.contains("or in your own words") { vec![offer("words", "")] } else { Vec::new() }
}

impl Rooms {
    /// People and rooms of their own on a server.
    pub(crate) async fn on(synapse: &Synapse) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let (proxy, case) = (Proxy::before(synapse).unwrap(), NEXT.fetch_add(1, Ordering::Relaxed));
        let user = async |name: &str| synapse.register(&format!("{name}-{case}")).await.unwrap();
        let bot = user("bot").await;
        let people = [user("anna").await, user("ben").await, user("carol").await, user("eve").await];
        let [anna, ben, carol, eve] = &people;
        let join = async |user: &User, room: &str| drop(user.post(room, "join", &json!({})).await.unwrap());
        let private = anna.direct(&bot.id).await.unwrap();
        let invited = [&bot.id, &ben.id, &carol.id];
        let all = json!({ "preset": "private_chat", "room_version": "12", "invite": invited });
        let together = anna.create_room(&all).await.unwrap();
        let before = json!({ "predecessor": { "room_id": together, "event_id": "$last" } });
        let next = json!({ "preset": "private_chat", "invite": [bot.id], "creation_content": before });
        let successor = anna.create_room(&next).await.unwrap();
        let theirs = eve.direct(&bot.id).await.unwrap();
        for room in [&private, &together, &successor] {
            join(&bot, room).await;
        }
        for user in [ben, carol] {
            join(user, &together).await;
        }
        let chat = |room: &str| Chat { room: room.to_owned(), thread: None };
        let opening = Some(anna.say(&together, "the first thread").await.unwrap());
        let first = (TOGETHER + 1, Chat { room: together.clone(), thread: opening });
        let chats = [first, (0, chat(&private)), (TOGETHER, chat(&together)), (STRANGERS, chat(&theirs))];
        let chats = Mutex::new(chats.into_iter().collect());
        Self {
            proxy,
            bot,
            people,
            together,
            successor,
            chats,
            last: Mutex::default(),
            looked: Mutex::default(),
        }
    }

    /// Rooms of Anna and the bot alone, as the chats of these numbers; their ids.
    pub(crate) async fn more(&self, chats: Range<usize>) -> Vec<String> {
        let mut made = Vec::new();
        for chat in chats {
            let room = self.anna().direct(&self.bot.id).await.unwrap();
            self.bot.post(&room, "join", &json!({})).await.unwrap();
            self.chats.lock().await.insert(chat, Chat { room: room.clone(), thread: None });
            made.push(room);
        }
        made
    }

    pub(crate) fn anna(&self) -> &User {
        self.user(Who::Anna)
    }

    pub(crate) fn bot(&self) -> &User {
        &self.bot
    }

    /// What must be in no log.
    pub(crate) fn token(&self) -> String {
        self.bot.token.expose_secret().to_owned()
    }

    /// What the surface asked the server for.
    pub(crate) fn calls(&self) -> Vec<Called> {
        self.proxy.calls()
    }

    fn user(&self, who: Who) -> &User {
        &self.people[match who {
            Who::Anna => 0,
            Who::Ben => 1,
            Who::Carol => 2,
            Who::Stranger => 3,
        }]
    }

    /// The chat of this number; a thread is begun when it is first written in.
    async fn chat(&self, chat: usize) -> Chat {
        let mut chats = self.chats.lock().await;
        if let Some(chat) = chats.get(&chat) {
            return chat.clone();
        }
        let room = chats[&TOGETHER].room.clone();
        let opening = self.people[0].say(&room, &format!("chat {chat}")).await.unwrap();
        let made = Chat { room, thread: Some(opening) };
        chats.insert(chat, made.clone());
        made
    }

    async fn react(&self, who: Who, chat: usize, message: &Seen, sign: &str) -> bool {
        // Who is not in the room, and who said so already, is refused by the server itself.
        self.user(who).react(&self.chat(chat).await.room, &message.id, sign).await.is_ok()
    }
}

#[async_trait]
impl Platform for Rooms {
    const TRAITS: Traits = Traits { keeps_cards: true, edits: true, sends_once: true };
    const KEEPS_PLACE: bool = true;

    async fn start() -> Self {
        Self::on(Synapse::shared().await).await
    }

    fn surface(&self) -> Arc<dyn Surface> {
        let [anna, ben, carol, _] = &self.people;
        let config = Config {
            homeserver: self.proxy.base_url(),
            user: self.bot.id.clone(),
            access_token: self.bot.token.clone(),
            sync_timeout: 1,
            allow_users: [anna, ben, carol].map(|it| it.id.clone()).to_vec(),
            allow_rooms: vec![self.together.clone(), self.successor.clone()],
            ..Config::default()
        };
        Arc::new(Matrix::new(config.check().unwrap(), "connector-matrix").unwrap())
    }

    fn actor(&self, who: Who) -> Actor {
        Actor::new("matrix", &self.user(who).id)
    }

    /// The threads that nobody wrote in yet have no name but the first.
    fn address(&self, chat: usize) -> String {
        let Chat { room, thread } = self.chats.try_lock().unwrap()[&chat].clone();
        let thread = thread.map_or(String::new(), |thread| format!("/{thread}"));
        format!("matrix:{room}{thread}")
    }

    async fn say(&self, who: Who, chat: usize, words: &str) {
        let Chat { room, thread } = self.chat(chat).await;
        let content = related(text(words), thread.as_deref(), None);
        *self.last.lock().await = self.user(who).send(&room, "m.room.message", &content).await.unwrap();
    }

    async fn edit(&self, who: Who, chat: usize, words: &str) {
        let mut content = text(&format!("* {words}"));
        content["m.new_content"] = text(words);
        content["m.relates_to"] = json!({ "rel_type": "m.replace", "event_id": *self.last.lock().await });
        let room = self.chat(chat).await.room;
        self.user(who).send(&room, "m.room.message", &content).await.unwrap();
    }

    async fn redeliver(&self) {
        assert!(self.proxy.repeat(&self.last.lock().await), "it came in before");
        let until = Instant::now() + LIMIT;
        while !self.proxy.has_repeated() {
            assert!(Instant::now() < until, "nobody asks what is new");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn decide(&self, who: Who, chat: usize, card: &Seen, decision: Decision) {
        let sign = if decision == Decision::Deny { "Deny" } else { "Approve" };
        self.react(who, chat, card, card.offer(sign)).await;
    }

    async fn permit(&self, who: Who, chat: usize, ask: &Seen, reply: PermissionReply) {
        let (sign, word) = match reply {
            PermissionReply::Once => (Some("Approve"), "y"),
            PermissionReply::Always => (None, "always"),
            PermissionReply::Reject { .. } => (Some("Deny"), "n"),
        };
        let said = match sign {
            Some(sign) => self.react(who, chat, ask, ask.offer(sign)).await,
            None => false,
        };
        if !said && who != Who::Stranger {
            self.answer(who, chat, ask, word).await;
        }
    }

    async fn answer(&self, who: Who, chat: usize, message: &Seen, words: &str) {
        let Chat { room, thread } = self.chat(chat).await;
        let content = related(text(words), thread.as_deref(), Some(&message.id));
        self.user(who).send(&room, "m.room.message", &content).await.unwrap();
    }

    async fn delete(&self, chat: usize, message: &Seen) {
        self.people[0].redact(&self.chat(chat).await.room, &message.id).await.unwrap();
    }

    async fn screen(&self, chat: usize) -> Vec<Seen> {
        // Whoever looks again and again leaves the server some time.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let Chat { room, thread } = self.chat(chat).await;
        let reader = self.user(if chat == STRANGERS { Who::Stranger } else { Who::Anna });
        let mut looked = self.looked.lock().await;
        let looked = looked.entry(room.clone()).or_default();
        let from = looked.place.take();
        looked.place = reader.events(&room, from, |event| looked.take(event)).await.unwrap();
        let mut screen: Vec<Seen> = Vec::new();
        for event in &looked.messages {
            let content = &event["content"];
            let relation = &content["m.relates_to"];
            let (Some(id), Some(body)) = (event["event_id"].as_str(), content["body"].as_str()) else {
                continue;
            };
            if event["sender"] != self.bot.id.as_str() {
                continue;
            }
            if relation["rel_type"] == "m.replace" {
                let new = content["m.new_content"]["body"].as_str().unwrap().to_owned();
                if let Some(seen) = screen.iter_mut().find(|seen| relation["event_id"] == seen.id.as_str()) {
                    (seen.offers, seen.text) = (offers(&new), new);
                }
                continue;
            }
            let root = (relation["rel_type"] == "m.thread").then(|| relation["event_id"].as_str().unwrap());
            if root != thread.as_deref() {
                continue;
            }
            let file = match content["url"].as_str() {
                Some(url) => Some(reader.file(url).await.unwrap()),
                None => None,
            };
            screen.push(Seen { id: id.to_owned(), text: body.to_owned(), offers: offers(body), file });
        }
        screen
    }

    async fn refuse(&self, times: usize) {
        self.proxy.fault("/send/", times, Fault::Throttled(Duration::from_secs(1)));
    }

    async fn be_down(&self, down: bool) {
        self.proxy.be_down(down);
    }

    async fn move_chat(&self, chat: usize) {
        assert_eq!(chat, TOGETHER);
        let anna = &self.people[0];
        // Whoever made a room of this version may do anything there, and is not listed.
        let levels = json!({ "events_default": 50 });
        anna.set_state(&self.together, "m.room.power_levels", &levels).await.unwrap();
        let tombstone = json!({ "body": "moved", "replacement_room": self.successor });
        anna.set_state(&self.together, "m.room.tombstone", &tombstone).await.unwrap();
        self.chats.lock().await.insert(chat, Chat { room: self.successor.clone(), thread: None });
    }
}
