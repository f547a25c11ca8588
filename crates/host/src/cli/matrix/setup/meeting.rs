//! Who the person at the terminal is in Matrix: the bot makes a room, invites them, and waits for the code there.
//!
//! The room is the bot's, since what a client makes for two is encrypted unless it is told otherwise. Who was invited and
//! who says the code are one person's account; everybody else is not in the room.

use std::sync::Arc;
use std::time::Duration;

use connector_contract::chain;
use connector_gate::decision::Decision;
use connector_matrix::api::persist;
use connector_matrix::surface::decision_of_reaction;
use connector_matrix::update::Incoming;
use connector_matrix::{
    ApiError, Config, EventId, Homeserver, RoomId, Rooms, Settings, Syncer, UserId, text,
};
use serde_json::Value;
use tokio::time::Instant;

use super::LIMIT;
use super::account::Account;
use crate::cli::pairing::{self, Code, Deciding, PATIENCE, TAP};
use crate::exit::Failure;

/// What the room is called.
const NAME: &str = "connector-host";

/// What is said in the room first of all.
const WELCOME: &str = "This room is not encrypted, so that the bot can read it. \
    Write here the code that the terminal shows.";

/// The bot, its room, and somebody who is to be found out.
pub(super) struct Meeting {
    account: connector_matrix::Api,
    syncer: Syncer,
    me: UserId,
    room: RoomId,
    code: Code,
}

/// The first card, on the screen.
pub(super) struct Card(EventId);

impl Meeting {
    /// Makes the room and invites `me` to it.
    pub(super) async fn begin(
        account: &Account,
        homeserver: &Homeserver,
        me: &UserId,
    ) -> Result<Self, Failure> {
        let settings = settings(account, homeserver, me)?;
        let api = account.api.clone();
        if me.server() == account.user.server() && !api.knows(me).await.map_err(|error| failed(&error))? {
            return Err(Failure::failed(format!("the homeserver knows no user {me}")));
        }
        let rooms = Rooms::new(api.clone(), settings.user.clone(), settings.allow.clone());
        let mut syncer = Syncer::new(api.clone(), settings, Arc::new(rooms), None);
        // What comes from here on is new.
        let begins = tokio::time::timeout(LIMIT, syncer.next()).await;
        syncer.done(begins.map_err(|_| failed(&ApiError::TimedOut))?.next);
        let code = Code::new()?;
        let room = api.create_direct(me, NAME).await.map_err(|error| {
            Failure::failed(format!("no room could be made with {me} in it: {}", chain(&error)))
        })?;
        Ok(Self { account: api, syncer, me: me.clone(), room, code })
    }

    /// Says in the room what it is for. A server that encrypts every room has encrypted it by now.
    pub(super) async fn open(&self) -> Result<(), Failure> {
        let encryption = self.account.state(&self.room, "m.room.encryption").await;
        if encryption.map_err(|error| failed(&error))?.is_some() {
            return Err(Failure::failed(
                "the homeserver encrypts every room that is made, and the bot can read no encrypted one; \
                 whoever runs it can let rooms be as they are asked for (Synapse: \
                 `encryption_enabled_by_default_for_room_type: off`)",
            ));
        }
        self.say(&notice(WELCOME)).await.map(drop)
    }

    /// What is to be written in the room.
    pub(super) fn code(&self) -> &str {
        self.code.as_str()
    }

    /// Leaves the room, which then has no use.
    pub(super) async fn leave(self) {
        let leaving = persist(Instant::now() + LIMIT, || self.account.leave(&self.room)).await;
        if let Err(given_up) = leaving {
            tracing::error!("the bot is still in {}: {}", self.room, chain(&given_up.error));
        }
    }

    async fn say(&self, content: &Value) -> Result<EventId, Failure> {
        let transaction = connector_engine::unique()?;
        let sending = || self.account.send(&self.room, "m.room.message", &transaction, content);
        persist(Instant::now() + LIMIT, sending).await.map_err(|given_up| failed(&given_up.error))
    }

    /// The first thing of the room that `look` finds something in.
    async fn first<T>(
        &mut self,
        patience: Duration,
        look: impl Fn(&Incoming) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let (room, syncer) = (&self.room, &mut self.syncer);
        let find = async {
            loop {
                let news = syncer.next().await;
                for item in &news.items {
                    match item {
                        Incoming::Encrypted(at) if at == room => return Err(encrypted()),
                        Incoming::Gone(at) if at == room => return Err(gone()),
                        item => {
                            if let Some(found) = look(item) {
                                return Ok(Some(found));
                            }
                        }
                    }
                }
                syncer.done(news.next);
            }
        };
        tokio::time::timeout(patience, find).await.unwrap_or(Ok(None))
    }
}

impl pairing::Meeting for Meeting {
    type Person = UserId;
    type Card = Card;
    const DECIDING: Deciding =
        Deciding { noun: "reaction", order: "react to it with ✅", command: "!fix the failing test" };

    async fn person(&mut self) -> Result<UserId, Failure> {
        let (code, me, room) = (self.code.clone(), self.me.clone(), self.room.clone());
        let said = move |item: &Incoming| match item {
            Incoming::Message(it) if it.user == me && it.chat.room == room && code.is(&it.text) => {
                Some(me.clone())
            }
            _ => None,
        };
        if let Some(me) = self.first(PATIENCE, said).await? {
            return Ok(me);
        }
        // It may be the homeserver that is gone, or the token.
        self.account.whoami().await.map_err(|error| failed(&error))?;
        Err(pairing::nobody())
    }

    fn words(person: &UserId) -> String {
        person.to_string()
    }

    async fn card(&mut self, _person: &UserId) -> Result<Card, Failure> {
        self.say(&message(&Self::DECIDING.card())).await.map(Card)
    }

    async fn tap(&mut self, person: &UserId, card: &Card) -> Result<bool, Failure> {
        let (person, card) = (person.clone(), card.0.clone());
        let reacted = move |item: &Incoming| match item {
            Incoming::Reacted(it) if it.user == person && it.target == card => decision_of_reaction(&it.key),
            _ => None,
        };
        match self.first(TAP, reacted).await? {
            Some(Decision::Deny) => {
                Err(Failure::failed("that was a no: nobody is let in, and nothing is written"))
            }
            decision => Ok(decision.is_some()),
        }
    }

    async fn end(&mut self, card: &Card, text: &str) -> Result<(), Box<dyn std::error::Error>> {
        let content = text::replacing(&card.0, &message(text));
        let transaction = connector_engine::unique()?;
        let sending = || self.account.send(&self.room, "m.room.message", &transaction, &content);
        persist(Instant::now() + LIMIT, sending).await?;
        Ok(())
    }
}

/// What the bot is told while `me` alone is heard.
fn settings(account: &Account, homeserver: &Homeserver, me: &UserId) -> Result<Settings, Failure> {
    let config = Config {
        homeserver: homeserver.origin().to_string(),
        allow_remote: true,
        user: account.user.to_string(),
        access_token: account.token.secret().clone(),
        allow_users: vec![me.to_string()],
        ..Config::default()
    };
    config.check().map_err(|error| Failure::usage(chain(&error)))
}

fn message(text: &str) -> Value {
    text::as_it_is(text, "m.text").0
}

fn notice(text: &str) -> Value {
    text::as_it_is(text, "m.notice").0
}

fn failed(error: &ApiError) -> Failure {
    Failure::failed(chain(error))
}

fn encrypted() -> Failure {
    Failure::failed(
        "the room was encrypted, and the bot can read nothing in it any more; try again, and leave it without encryption",
    )
}

fn gone() -> Failure {
    Failure::failed("the bot was put out of the room; try again")
}
