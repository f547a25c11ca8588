//! Telegram, as the fake Bot API has it.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use connector_contract::ask::PermissionReply;
use connector_gate::clock::Clock;
use connector_gate::decision::Decision;
use connector_gate::policy::Actor;
use connector_host::telegram::Telegram;
use connector_surface::Surface;
use connector_telegram::Config;
use serde_json::json;
use testkit::telegram::{FakeTelegram, Fault, Shown, TOKEN};

use super::house::STRANGERS;
use super::platform::{Platform, Seen, Traits, Who};

/// The first of the groups; the chat of Anna alone is a private one.
const GROUPS: i64 = -100_500;

/// How many chats there are.
const CHATS: usize = 40;

pub(crate) struct Bot {
    server: FakeTelegram,
    state: Mutex<State>,
}

struct State {
    chats: Vec<i64>,
    last: u32,
    deleted: Vec<String>,
}

impl Bot {
    fn chat(&self, chat: usize) -> i64 {
        if chat == STRANGERS {
            return i64::try_from(user(Who::Stranger)).unwrap();
        }
        self.state.lock().unwrap().chats[chat]
    }

    fn sent(&self, update: u32) {
        self.state.lock().unwrap().last = update;
    }
}

fn user(who: Who) -> u64 {
    match who {
        Who::Anna => 42,
        Who::Ben => 43,
        Who::Carol => 44,
        Who::Stranger => 45,
    }
}

fn seen(shown: Shown) -> Seen {
    let labels = shown.buttons.into_iter().flatten();
    Seen {
        id: shown.id.to_string(),
        text: shown.text,
        offers: labels.zip(shown.data.into_iter().flatten()).collect(),
        file: shown.document.map(|(_, content)| content),
    }
}

#[async_trait]
impl Platform for Bot {
    const TRAITS: Traits = Traits { keeps_cards: true, edits: true, sends_once: false };

    async fn start() -> Self {
        let groups = (0..).map(|number| GROUPS - number).take(CHATS - 1);
        let chats = [42].into_iter().chain(groups).collect();
        let state = Mutex::new(State { chats, last: 0, deleted: Vec::new() });
        Self { server: FakeTelegram::start().unwrap(), state }
    }

    fn surface(&self) -> Arc<dyn Surface> {
        let chats = self.state.lock().unwrap().chats[1..].to_vec();
        let users = [Who::Anna, Who::Ben, Who::Carol].map(user);
        let config = json!({
            "bot_token": TOKEN, "api_base": self.server.base_url(), "poll_timeout": 1,
            "allow_users": users, "allow_chats": chats,
        });
        let settings = serde_json::from_value::<Config>(config).unwrap().check().unwrap();
        Arc::new(Telegram::in_haste(settings, "connector-telegram", Clock::System).unwrap())
    }

    fn actor(&self, who: Who) -> Actor {
        Actor::new("telegram", &user(who).to_string())
    }

    fn address(&self, chat: usize) -> String {
        format!("telegram:{}", self.chat(chat))
    }

    async fn say(&self, who: Who, chat: usize, text: &str) {
        self.sent(self.server.write(user(who), self.chat(chat), text));
    }

    async fn edit(&self, who: Who, chat: usize, text: &str) {
        let (chat, user) = (self.chat(chat), user(who));
        let kind = if chat > 0 { "private" } else { "supergroup" };
        self.sent(self.server.update(json!({ "edited_message": {
            "message_id": 1, "date": 1, "edit_date": 2, "text": text, "chat": { "id": chat, "type": kind, "title": "g" },
            "from": { "id": user, "is_bot": false, "first_name": "A" },
        } })));
    }

    async fn redeliver(&self) {
        let last = self.state.lock().unwrap().last;
        self.server.wait_until_acknowledged().await;
        self.server.redeliver(last);
    }

    async fn decide(&self, who: Who, chat: usize, card: &Seen, decision: Decision) {
        let label = match decision {
            Decision::Approve => "Approve",
            Decision::AllowSession => "Allow for this session",
            Decision::Deny => "Deny",
        };
        self.press(who, chat, card, label);
    }

    async fn permit(&self, who: Who, chat: usize, ask: &Seen, reply: PermissionReply) {
        let label = match reply {
            PermissionReply::Once => "Allow once",
            PermissionReply::Always => "Allow for this session",
            PermissionReply::Reject { .. } => "Reject",
        };
        self.press(who, chat, ask, label);
    }

    async fn answer(&self, who: Who, chat: usize, message: &Seen, text: &str) {
        let message = message.id.parse().unwrap();
        self.sent(self.server.reply(user(who), self.chat(chat), message, text));
    }

    async fn delete(&self, _chat: usize, message: &Seen) {
        let gone = Fault::Refuse(400, "Bad Request: message to edit not found", None);
        self.server.fault_at(message.id.parse().unwrap(), "editMessageText", 100, &gone);
        self.state.lock().unwrap().deleted.push(message.id.clone());
    }

    async fn screen(&self, chat: usize) -> Vec<Seen> {
        let all = self.server.screen(self.chat(chat)).into_iter().map(seen);
        let deleted = self.state.lock().unwrap().deleted.clone();
        all.filter(|seen| !deleted.contains(&seen.id)).collect()
    }

    async fn refuse(&self, times: usize) {
        self.server.fault("sendMessage", times, &Fault::Refuse(429, "Too Many Requests", Some(1)));
    }

    async fn be_down(&self, down: bool) {
        if down {
            self.server.fault("*", 10_000, &Fault::Gateway);
        } else {
            self.server.heal();
        }
    }

    async fn move_chat(&self, chat: usize) {
        let to = GROUPS - 1_000;
        self.server.fault("sendMessage", 1, &Fault::Moved(to));
        self.state.lock().unwrap().chats[chat] = to;
    }
}

impl Bot {
    fn press(&self, who: Who, chat: usize, message: &Seen, label: &str) {
        let id = message.id.parse().unwrap();
        self.sent(self.server.tap_data(user(who), self.chat(chat), id, message.offer(label)));
    }
}
