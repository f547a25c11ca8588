//! The actions: each is one event, or two of which each is sent once.

use connector_contract::{ActionResult, Checkpoint, ConnectorError, Context, Reference};
use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::{Api, ApiError, GaveUp, persist};
use crate::config::Settings;
use crate::id::{ChatKey, EventId, RoomId};
use crate::rooms::Rooms;
use crate::surface::mark;
use crate::text;
use crate::update::Event;

/// What there is, in the manifest's order.
#[cfg(test)]
pub(super) const ACTIONS: [&str; 5] = ["send_message", "edit_message", "redact", "send_file", "react"];

/// An input: what an action does not take, the manifest's schema refuses.
#[derive(Debug, Deserialize)]
struct Input {
    chat_id: String,
    reply_to_message_id: Option<String>,
    #[serde(default)]
    disable_notification: bool,
    #[serde(default)]
    format: Format,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Markdown,
    Plain,
}

/// One call on its way: where to, and under which transaction id.
struct Sending<'a> {
    api: &'a Api,
    ctx: &'a Context,
    chat: ChatKey,
    answered: Option<EventId>,
    transaction: String,
}

/// Carries out `action`.
pub(super) async fn execute(
    api: &Api,
    settings: &Settings,
    action: &str,
    input: Value,
    ctx: &Context,
) -> Result<ActionResult, ConnectorError> {
    let words = |key: &str| input[key].as_str().unwrap_or_default().to_owned();
    let common: Input = read(&input)?;
    let kind = if common.disable_notification { "m.notice" } else { "m.text" };
    let content = |text: &str| match common.format {
        Format::Markdown => text::markdown(text, kind),
        Format::Plain => text::as_it_is(text, kind),
    };
    if matches!(action, "send_message" | "edit_message") && words("text").trim().is_empty() {
        return Err(invalid("`text` is blank"));
    }
    let event = || id::<EventId>("message_id", &words("message_id"));
    match action {
        "send_message" => {
            let sending = Sending::begin(api, settings, ctx, &common).await?;
            let (content, is_cut) = content(&words("text"));
            let message = sending.send("m.room.message", 0, content).await.map_err(consequence)?;
            if is_cut {
                let file = sending.file("message.md", "", words("text"), 1).await;
                file.map_err(|error| partly(&error))?;
            }
            Ok(done(json!({ "message_id": message.as_str() }), "sent"))
        }
        "edit_message" => {
            let target = event()?;
            let (content, is_cut) = content(&words("text"));
            let content = text::replacing(&target, &content);
            if is_cut {
                return Err(invalid("`text` is too long for one message that replaces another"));
            }
            let sending = Sending::begin(api, settings, ctx, &common).await?;
            sending.check_target(&target).await?;
            sending.send("m.room.message", 0, content).await.map_err(consequence)?;
            Ok(done(json!({ "message_id": target.as_str() }), "edited"))
        }
        "redact" => {
            let (target, reason) = (event()?, words("reason"));
            let sending = Sending::begin(api, settings, ctx, &common).await?;
            sending.check_target(&target).await?;
            let (room, transaction) = (&sending.chat.room, &sending.transaction);
            let redacted = persist(ctx.deadline, || api.redact(room, &target, transaction, &reason));
            redacted.await.map_err(consequence)?;
            Ok(done(json!({ "redacted": true }), "redacted"))
        }
        "send_file" => {
            let sending = Sending::begin(api, settings, ctx, &common).await?;
            let sent = sending.file(&words("filename"), &words("caption"), words("content"), 0).await;
            Ok(done(json!({ "message_id": sent.map_err(consequence)?.as_str() }), "sent"))
        }
        "react" => {
            let relation = json!({ "rel_type": "m.annotation", "event_id": event()?.as_str(), "key": words("reaction") });
            let sending = Sending::begin(api, settings, ctx, &common).await?;
            match sending.send("m.reaction", 0, json!({ "m.relates_to": relation })).await {
                Ok(sent) => Ok(done(json!({ "reaction_id": sent.as_str() }), "reacted")),
                // It stands there, whoever sent it.
                Err(GaveUp { error: ApiError::Refused { code, .. }, .. })
                    if code == "M_DUPLICATE_ANNOTATION" =>
                {
                    Ok(done(json!({ "reaction_id": null }), "reacted already"))
                }
                Err(given_up) => Err(consequence(given_up)),
            }
        }
        _ => Err(ConnectorError::UnknownAction {
            connector: crate::NAME.to_owned(),
            action: action.to_owned(),
        }),
    }
}

fn read<T: DeserializeOwned>(input: &Value) -> Result<T, ConnectorError> {
    connector_contract::decode(input.clone()).map_err(invalid)
}

fn invalid(reason: impl Into<String>) -> ConnectorError {
    ConnectorError::InvalidInput { reason: reason.into() }
}

fn id<T: std::str::FromStr<Err: std::fmt::Display>>(key: &str, text: &str) -> Result<T, ConnectorError> {
    text.parse().map_err(|error| invalid(format!("`{key}`: {error}")))
}

/// It was on its way: nobody knows whether it arrived.
pub(super) fn cut_off(reason: &str) -> ConnectorError {
    ConnectorError::OutcomeUnknown { reason: reason.to_owned(), reference: Reference::default() }
}

fn partly(error: &GaveUp) -> ConnectorError {
    let reason = format!("the beginning was sent, and not the file: {}", connector_contract::chain(error));
    ConnectorError::Failed { reason, reference: Reference::default() }
}

fn done(output: Value, message: &str) -> ActionResult {
    ActionResult { success: true, output, message: message.to_owned() }
}

/// What a caller must assume after a call that was given up.
fn consequence(GaveUp { error, may_have_arrived }: GaveUp) -> ConnectorError {
    let reason = connector_contract::chain(&error);
    match error {
        _ if may_have_arrived => cut_off(&reason),
        ApiError::Network(source) => ConnectorError::Unavailable { reason, source: Some(source) },
        ApiError::LoggedOut => ConnectorError::Unauthorized { reason },
        ApiError::Throttled { .. } => ConnectorError::Unavailable { reason, source: None },
        _ => ConnectorError::Refused { reason },
    }
}

impl<'a> Sending<'a> {
    /// Announces the call, or goes on with the one that was announced; refused where the bot may not speak.
    async fn begin(
        api: &'a Api,
        settings: &Settings,
        ctx: &'a Context,
        input: &Input,
    ) -> Result<Self, ConnectorError> {
        let chat: ChatKey = id("chat_id", &input.chat_id)?;
        let answered = input.reply_to_message_id.as_deref();
        let answered = answered.map(|it| id("reply_to_message_id", it)).transpose()?;
        let rooms = Rooms::new(api.clone(), settings.user.clone(), settings.allow.clone());
        let nothing_done = |error| consequence(GaveUp { error, may_have_arrived: false });
        rooms.check(&chat.room).await.map_err(nothing_done)?;
        let announced = ctx.resume.as_ref().and_then(|it| it.0["transaction"].as_str());
        let transaction = match announced {
            Some(transaction) => transaction.to_owned(),
            None => announce(ctx).await?,
        };
        Ok(Self { api, ctx, chat, answered, transaction })
    }

    /// Refuses to change what somebody decides about: a card shows what will run, whatever a rule would have it say.
    async fn check_target(&self, target: &EventId) -> Result<(), ConnectorError> {
        let found = persist(self.ctx.deadline, || self.api.event(&self.chat.room, target)).await;
        let found = found.map_err(|given_up| consequence(GaveUp { may_have_arrived: false, ..given_up }))?;
        let is_marked = found
            .and_then(|raw| Event::read(&raw))
            .is_some_and(|event| event.content.contains_key(mark::KEY));
        if is_marked {
            let reason = format!("{target} is a card or a question of the host's own, which no rule changes");
            return Err(ConnectorError::Refused { reason });
        }
        Ok(())
    }

    /// Sends the event of this number.
    async fn send(&self, kind: &str, number: usize, content: Value) -> Result<EventId, GaveUp> {
        let transaction = format!("{}.{number}", self.transaction);
        let room: &RoomId = &self.chat.room;
        // What relates to another event already is no message of a thread.
        let content = match &content["m.relates_to"] {
            Value::Null => text::related(content, self.chat.thread.as_ref(), self.answered.as_ref()),
            _ => content,
        };
        persist(self.ctx.deadline, || self.api.send(room, kind, &transaction, &content)).await
    }

    /// Keeps a text and sends the event of this number that shows it. One that is kept twice is shown once.
    async fn file(&self, name: &str, caption: &str, text: String, number: usize) -> Result<EventId, GaveUp> {
        let content = bytes::Bytes::from(text);
        let url = persist(self.ctx.deadline, || self.api.upload(name, content.clone())).await;
        let url = url.map_err(|given_up| GaveUp { may_have_arrived: false, ..given_up })?;
        self.send("m.room.message", number, text::file(name, caption, &url, content.len())).await
    }
}

async fn announce(ctx: &Context) -> Result<String, ConnectorError> {
    let mut random = [0_u8; 16];
    let unavailable = |reason: String| ConnectorError::Unavailable { reason, source: None };
    getrandom::fill(&mut random).map_err(|error| unavailable(format!("no randomness: {error}")))?;
    let transaction = HEXLOWER.encode(&random);
    let checkpoint = Checkpoint(json!({ "transaction": transaction }));
    ctx.checkpoints.record(checkpoint).await.map_err(|error| unavailable(error.to_string()))?;
    Ok(transaction)
}
