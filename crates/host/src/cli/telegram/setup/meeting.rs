//! Who the person at the terminal is in Telegram.
//!
//! Anybody may write to a bot, and may have done so before. Only the private message that is the
//! code counts; everybody else is told nothing.

use std::time::Duration;

use connector_contract::chain;
use connector_telegram::frankenstein::methods::{
    AnswerCallbackQueryParams, EditMessageTextParams, SendMessageParams,
};
use connector_telegram::frankenstein::types::{InlineKeyboardButton, InlineKeyboardMarkup, ReplyMarkup};
use connector_telegram::poll::{Health, Poller, State};
use connector_telegram::{Api, ApiError, update};
use serde_json::Value;

use crate::cli::pairing::{self, Code, Deciding, PATIENCE, TAP};
use crate::exit::Failure;

/// The bot and somebody who is to be found out.
pub(super) struct Meeting {
    api: Api,
    poller: Poller,
    health: Health,
    code: Code,
}

/// Who it is.
pub(super) struct Person {
    pub(super) id: i64,
    pub(super) name: String,
}

/// The first card, on the screen.
pub(super) struct Card {
    chat: i64,
    message: i32,
}

impl Meeting {
    /// Takes the bot's updates.
    pub(super) async fn begin(api: Api) -> Result<Self, Failure> {
        let health = Health::default();
        let mut poller = Poller::new(api.clone(), Duration::from_secs(25), health.clone());
        poller.take_over().await.map_err(|error| failed(&error))?;
        Ok(Self { api, poller, health, code: Code::new()? })
    }

    /// What is to be written to the bot.
    pub(super) fn code(&self) -> &str {
        self.code.as_str()
    }

    /// What the card's button carries.
    fn data(&self) -> String {
        format!("setup:{}", self.code())
    }

    /// The first update that `look` finds something in; all are acknowledged. What takes somebody
    /// to put it right ends the wait, and so does a network that is down at its end.
    async fn first<T>(
        &mut self,
        patience: Duration,
        look: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let poller = &mut self.poller;
        let find = async {
            loop {
                let mut found = None;
                for raw in poller.next().await {
                    if let Some(number) = update::number(&raw) {
                        poller.done(number);
                    }
                    found = found.or_else(|| look(&raw));
                }
                if found.is_some() {
                    poller.settle().await;
                    return found;
                }
            }
        };
        let stuck =
            self.health.wait_for(|state| matches!(state, State::Failing { needs_somebody: true, .. }));
        let found = tokio::select! {
            found = find => found,
            () = stuck => None,
            () = tokio::time::sleep(patience) => None,
        };
        match (found, self.health.get().0) {
            (None, State::Failing { reason, .. }) => Err(Failure::failed(reason)),
            (found, _) => Ok(found),
        }
    }
}

impl pairing::Meeting for Meeting {
    type Person = Person;
    type Card = Card;
    const DECIDING: Deciding =
        Deciding { noun: "tap", order: "tap its button", command: "/fix the failing test" };

    async fn person(&mut self) -> Result<Person, Failure> {
        let code = self.code.clone();
        self.first(PATIENCE, |raw| writer(raw, &code)).await?.ok_or_else(pairing::nobody)
    }

    fn words(person: &Person) -> String {
        format!("{}, user id {}", person.name, person.id)
    }

    async fn card(&mut self, person: &Person) -> Result<Card, Failure> {
        let data = self.data();
        let button = InlineKeyboardButton::builder().text("✅ Approve").callback_data(&data).build();
        let buttons = InlineKeyboardMarkup::builder().inline_keyboard(vec![vec![button]]).build();
        let message = SendMessageParams::builder()
            .chat_id(person.id)
            .text(Self::DECIDING.card())
            .reply_markup(ReplyMarkup::InlineKeyboardMarkup(buttons))
            .build();
        let message = self.api.call(&message).await.map_err(|error| failed(&error))?.message_id;
        Ok(Card { chat: person.id, message })
    }

    async fn tap(&mut self, person: &Person, _card: &Card) -> Result<bool, Failure> {
        let data = self.data();
        let tap = self.first(TAP, |raw| tapped(raw, person.id, &data)).await?;
        if let Some(query) = &tap {
            let answer =
                AnswerCallbackQueryParams::builder().callback_query_id(query).text("it came").build();
            self.api.call(&answer).await.or_else(fine).map_err(|error| failed(&error))?;
        }
        Ok(tap.is_some())
    }

    async fn end(&mut self, card: &Card, text: &str) -> Result<(), Box<dyn std::error::Error>> {
        let edit = EditMessageTextParams::builder().chat_id(card.chat).message_id(card.message).text(text);
        self.api.call(&edit.build()).await?;
        Ok(())
    }
}

fn failed(error: &ApiError) -> Failure {
    Failure::failed(chain(error))
}

fn fine(error: ApiError) -> Result<bool, ApiError> {
    if error.is_fine() { Ok(true) } else { Err(error) }
}

fn writer(raw: &Value, code: &Code) -> Option<Person> {
    let message = raw.get("message")?;
    let (from, chat) = (message.get("from")?, message.get("chat")?);
    let private = chat.get("type")?.as_str()? == "private" && from.get("is_bot")?.as_bool() == Some(false);
    let text = message.get("text")?.as_str()?.trim();
    // Alone, or as the link that was printed sends it.
    let written = text.strip_prefix("/start ").unwrap_or(text);
    if !private || !code.is(written) || message.get("forward_origin").is_some() {
        return None;
    }
    let name = from.get("first_name").and_then(Value::as_str).unwrap_or("you");
    Some(Person { id: from.get("id")?.as_i64()?, name: connector_surface::text::one_line(name) })
}

/// The tap of this person on this card, by the name it is answered by.
fn tapped(raw: &Value, person: i64, data: &str) -> Option<String> {
    let query = raw.get("callback_query")?;
    let theirs = query.get("from")?.get("id")?.as_i64()? == person && query.get("data")?.as_str()? == data;
    theirs.then(|| query.get("id")?.as_str().map(str::to_owned)).flatten()
}
