//! Updates in: each becomes a row, a decision, an answer to an ask, or nothing.
//!
//! When [`Telegram::take`] returns, what the update meant is durable, and doing
//! it again would change nothing: an event is stored under the update's number,
//! a decision under the card's state.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Instant;

use connector_engine::OF_RESULT;
use connector_engine::commands::{self, Command};
use connector_engine::inbox::{COMPANION, goes_on_with, reply_to, session_of};
use connector_gate::decision::{Decision, Tapped};
use connector_ledger::events::{NewEvent, ReplyTo};
use connector_ledger::steps::{self, StepRow};
use connector_ledger::{LedgerError, Tx, audience};
use connector_surface::flood::{self, Admission};
use connector_surface::words::TOO_MUCH;
use connector_telegram::ChatKey;
use connector_telegram::frankenstein::methods::AnswerCallbackQueryParams;
use connector_telegram::update::{self, Ignored, Incoming, Kind, Received, Tap};
use serde_json::{Value, json};

use super::buttons::{After, Pressed};
use super::{NAME, Telegram, actor, locked, split};

/// The longest answer to a tap, in characters.
const TOAST: usize = 190;

/// How many updates that answered an ask are remembered.
const REMEMBERED: usize = 1_000;

/// What is said to something about a step whose row cannot be read.
const UNREADABLE: &str =
    "that step's row in the ledger cannot be read, so nothing was done; the host's log says why";

impl Telegram {
    /// Deals with one update. An error means that it is to be tried again.
    pub async fn take(&self, raw: &Value) -> Result<(), LedgerError> {
        match update::read(raw, &self.0.settings.allow, &self.me()) {
            Incoming::Message(received) => {
                let (number, chat, message) = (received.update_id, received.chat, received.message_id);
                self.received(*received).await.or_else(|error| {
                    passed_over(number, error)?;
                    self.say(chat, Some(message), UNREADABLE.to_owned());
                    Ok(())
                })
            }
            Incoming::Tap(tap) => {
                let (number, query) = (tap.update_id, tap.query.clone());
                self.tapped(*tap).await.or_else(|error| {
                    passed_over(number, error)?;
                    self.toast(query, UNREADABLE, true);
                    Ok(())
                })
            }
            Incoming::Ignored(why) => {
                let number = update::number(raw);
                if why == Ignored::Unreadable {
                    tracing::warn!(update = number, "an update cannot be read and is skipped");
                } else {
                    tracing::debug!(update = number, ?why, "an update means nothing here");
                }
                Ok(())
            }
        }
    }

    /// Whether the update comes with a file, which takes its time.
    pub(super) fn brings_file(&self, raw: &Value) -> bool {
        let read = update::read(raw, &self.0.settings.allow, &self.me());
        matches!(read, Incoming::Message(received) if received.file.is_some())
    }

    /// Whether a message is one of too many; its sender is told once.
    fn is_too_much(&self, received: &Received) -> Result<bool, LedgerError> {
        let Received { update_id: update, chat, user, message_id: message, .. } = *received;
        let trusted = self.engine()?.is_approver(&actor(user));
        let admission = self.0.flood.admit(sent_by(update, chat.id, user), trusted, Instant::now());
        if admission == Admission::DroppedFirst {
            tracing::warn!(%chat, user, "too many messages at once; they are dropped for a while");
            self.say_too_much(chat, message);
        }
        Ok(admission != Admission::Taken)
    }

    /// One such line is on its way to a chat at most: many members may write too much.
    fn say_too_much(&self, chat: ChatKey, message: i32) {
        if !locked(&self.0.warned).insert(chat.id) {
            return;
        }
        let said = self.say(chat, Some(message), TOO_MUCH.to_owned());
        let this = self.clone();
        self.0.tasks.spawn(async move {
            let _ = said.await;
            locked(&this.0.warned).remove(&chat.id);
        });
    }

    async fn received(&self, received: Received) -> Result<(), LedgerError> {
        if self.is_too_much(&received)? {
            return Ok(());
        }
        if let Some(other) = received.other {
            return self.received_other(&received, other).await;
        }
        let ours = received.command.as_deref().is_some_and(commands::is_own);
        if received.kind == Kind::Edited && received.file.is_some() {
            return self.store(&received, "message_edited", None).await.map(|_| ());
        }
        if let Some(file) = received.file.as_ref().filter(|_| !ours) {
            return self.received_file(&received, file).await;
        }
        match received.kind {
            Kind::Forwarded => return self.store(&received, "message_forwarded", None).await.map(|_| ()),
            Kind::Edited => return self.store(&received, "message_edited", None).await.map(|_| ()),
            Kind::Fresh if self.0.answers.knows(received.update_id) => return Ok(()),
            Kind::Fresh if self.goes_on_with_answer(&received) => return Ok(()),
            Kind::Fresh if self.continues(&received).await? => return Ok(()),
            Kind::Fresh => {}
        }
        if let Some(command) = &received.command {
            let event = self.event(&received, "command_received", None);
            if commands::is_own(command) {
                // Stored and carried out in one: a second delivery aborts nothing.
                let command = received.clone();
                let asks = self.engine()?.open_asks();
                let carry_out = move |tx: &Tx<'_>, _| {
                    let args = command.payload.get("args").and_then(Value::as_str).unwrap_or_default();
                    let (chat, by) = (command.chat.to_string(), actor(command.user));
                    let name = command.command.as_deref().unwrap_or_default();
                    commands::carry_out(tx, &Command { name, args, at: (NAME, &chat), by: &by }, &asks)
                };
                let answer = self.submit_with(event, carry_out).await?;
                if let Some(answer) = answer {
                    self.say(received.chat, Some(received.message_id), answer);
                }
                return Ok(());
            }
            self.submit(event).await?;
        }
        let Some(answered) = received.reply_to else {
            return self.store(&received, "message_received", None).await.map(|_| ());
        };
        let Some(claim) = self.0.answers.claim(received.update_id) else { return Ok(()) };
        if !self.holds_answer(&received, answered) {
            self.replied(&received, answered).await?;
        }
        claim.keep();
        Ok(())
    }

    /// Whether it is a part of an answer that is held.
    fn goes_on_with_answer(&self, received: &Received) -> bool {
        let Some(claim) = self.0.answers.claim(received.update_id) else { return true };
        let is_part = self.continues_answer(received);
        if is_part {
            claim.keep();
        }
        is_part
    }

    /// Deals with a reply to a message of the bot: the answer to an ask, or what a session goes on with.
    pub(super) async fn replied(&self, received: &Received, answered: i32) -> Result<(), LedgerError> {
        if self.answer_in_words(received, answered).await? {
            return Ok(());
        }
        let (chat, by) = (received.chat.to_string(), actor(received.user));
        let reply = self
            .engine()?
            .ledger()
            .read(move |tx| session_of(tx, (NAME, &chat), &answered.to_string(), &by))
            .await?;
        self.store(received, "message_received", reply).await.map(|_| ())
    }

    /// Deals with what has neither words nor a file.
    async fn received_other(&self, received: &Received, other: &str) -> Result<(), LedgerError> {
        if !received.chat.is_private() || received.kind == Kind::Edited {
            return Ok(());
        }
        let told = format!("a {other} says nothing to the agent; write what is to be done");
        self.engine()?.submit_refused(self.event(received, "message_refused", None), told).await
    }

    /// Stores an event of a message; whether it is new.
    pub(super) async fn store(
        &self,
        received: &Received,
        trigger: &str,
        reply: Option<ReplyTo>,
    ) -> Result<bool, LedgerError> {
        self.submit(self.event(received, trigger, reply)).await
    }

    /// The event of a message, under the update's number.
    pub(super) fn event(&self, received: &Received, trigger: &str, reply: Option<ReplyTo>) -> NewEvent {
        let platform_id = match trigger {
            "message_received" => received.update_id.to_string(),
            "command_received" => format!("{}{COMPANION}", received.update_id),
            other => format!("{} {other}", received.update_id),
        };
        let mut payload = received.payload.clone();
        if received.kind == Kind::Fresh
            && received.file.is_none()
            && let Some(note) = split::note(received)
        {
            payload["split"] = note;
        }
        NewEvent {
            surface: NAME.to_owned(),
            platform_id,
            connector: self.0.connector_name.clone(),
            event: trigger.to_owned(),
            chat: received.chat.to_string(),
            requester: actor(received.user),
            payload,
            reply,
        }
    }

    async fn submit(&self, event: NewEvent) -> Result<bool, LedgerError> {
        Ok(self.submit_with(event, |_, id| Ok(id)).await?.is_some())
    }

    async fn submit_with<T, F>(&self, event: NewEvent, work: F) -> Result<Option<T>, LedgerError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>, i64) -> Result<T, LedgerError> + Send + 'static,
    {
        let (trigger, payload) = (event.event.clone(), event.payload.clone());
        let done = self.engine()?.submit_with(event, work).await?;
        if done.is_some() {
            self.0.connector.emit(&trigger, &payload);
        }
        Ok(done)
    }

    async fn tapped(&self, tap: Tap) -> Result<(), LedgerError> {
        // A decision is never lost to the taps of others.
        let trusted = self.engine()?.is_approver(&actor(tap.user));
        let from = sent_by(tap.update_id, tap.chat.id, tap.user);
        if !trusted && self.0.flood.admit(from, false, Instant::now()) != Admission::Taken {
            return Ok(());
        }
        let (text, alert) = match Pressed::parse(&tap.data) {
            Some(Pressed::Decide { decision, token, digest }) => {
                self.decide(&tap, decision, &token, digest).await?
            }
            Some(Pressed::Abort { token }) => match self.card_here(&tap, &token).await? {
                Some((row, _)) => (self.abort_step(&row, tap.user).await?, false),
                None => gone(),
            },
            Some(Pressed::Wait { token }) => match self.card_here(&tap, &token).await? {
                Some((row, chat)) => (self.0.live.next_try(chat, row.id, self.0.clock.now()), false),
                None => gone(),
            },
            Some(Pressed::After { what, token }) => match self.card_here(&tap, &token).await? {
                Some(here) => self.after(&tap, what, here).await?,
                None => gone(),
            },
            Some(Pressed::Offer { word, event, yes }) => {
                let Some(claim) = self.0.answers.claim(tap.update_id) else { return Ok(()) };
                let text = self.answer_offer(&tap, &word, event, yes).await?;
                claim.keep();
                (text, false)
            }
            Some(Pressed::Ask { word, number, choice }) => {
                let Some(claim) = self.0.answers.claim(tap.update_id) else { return Ok(()) };
                let text = self.answer_by_button(&tap, &word, number, choice).await?;
                claim.keep();
                (text, false)
            }
            // A button that a rule sent; the rule answers it.
            None => {
                let event = "callback_query_received".to_owned();
                self.submit(NewEvent {
                    surface: NAME.to_owned(),
                    platform_id: format!("{} {event}", tap.update_id),
                    connector: self.0.connector_name.clone(),
                    event,
                    chat: tap.chat.to_string(),
                    requester: actor(tap.user),
                    payload: tap.payload,
                    reply: None,
                })
                .await?;
                return Ok(());
            }
        };
        self.toast(tap.query, &text, alert);
        Ok(())
    }

    /// A button under a result is the command that it names, written in answer to that result by who tapped: rules
    /// decide what comes of it, those alone that have git do something.
    async fn after(
        &self,
        tap: &Tap,
        what: After,
        (row, chat): (StepRow, ChatKey),
    ) -> Result<(String, bool), LedgerError> {
        let step = row.id;
        if !goes_on_with(&row, (NAME, &chat.to_string()), &actor(tap.user)) {
            let refused = format!(
                "{step} is followed here: only whoever asked for it, or may approve it, goes on with it"
            );
            return Ok((refused, true));
        }
        let Some(reply) = reply_to(row).filter(|reply| reply.change.is_some()) else {
            return Ok(gone());
        };
        let text = format!("/{}", what.command());
        let at = self.0.clock.now() / 1_000;
        let mut payload = tap.payload.clone();
        if let Some(payload) = payload.as_object_mut() {
            for of_taps in ["callback_query_id", "data", "callback_data"] {
                payload.remove(of_taps);
            }
            let written = json!({
                "text": text, "command": what.command(), "args": "", "date": at, "files": [],
                "is_forwarded": false, "is_edited": false, "reply_to_message_id": tap.message_id,
                "message": { "message_id": tap.message_id, "text": text, "date": at },
            });
            payload.insert(OF_RESULT.to_owned(), json!(what.command()));
            payload.extend(written.as_object().cloned().unwrap_or_default());
        }
        let event = NewEvent {
            surface: NAME.to_owned(),
            platform_id: tap.update_id.to_string(),
            connector: self.0.connector_name.clone(),
            event: "message_received".to_owned(),
            chat: chat.to_string(),
            requester: actor(tap.user),
            payload,
            reply: Some(reply),
        };
        if !self.engine()?.takes_button(&event) {
            let none = format!(
                "No rule of this host takes {text} from you here; rules/{}.toml is one",
                what.command()
            );
            return Ok((none, true));
        }
        self.submit(event).await?;
        Ok((format!("{text} of {step} is taken; it runs, or its card comes"), false))
    }

    async fn decide(
        &self,
        tap: &Tap,
        decision: Decision,
        token: &str,
        digest: String,
    ) -> Result<(String, bool), LedgerError> {
        let Some((row, chat)) = self.card_here(tap, token).await? else { return Ok(gone()) };
        let step = row.id;
        let approver = actor(tap.user);
        let decided =
            connector_gate::decision::Tap { step, digest, approver, chat: Some(chat.to_string()), decision };
        let answer = self.engine()?.tap(decided).await?;
        if answer == Tapped::Approved {
            self.0.live.begin(chat, step, None);
        }
        let alert = !matches!(answer, Tapped::Approved | Tapped::Denied | Tapped::Counted { .. });
        Ok((connector_surface::words::decided(step, &answer), alert))
    }

    /// The card with this token and the chat of its audience that the tap is in, if it is in one: anybody can
    /// send any data from anywhere.
    async fn card_here(&self, tap: &Tap, token: &str) -> Result<Option<(StepRow, ChatKey)>, LedgerError> {
        let (token, at) = (token.to_owned(), tap.chat);
        let look = move |tx: &Tx<'_>| {
            let Some(row) = steps::by_token(tx, &token)? else { return Ok(None) };
            // An old card's topic is no longer told, so that chats are compared without topics.
            let here = audience::of_run(tx, row.id.run)?
                .into_iter()
                .filter(|member| member.surface == NAME)
                .filter_map(|member| member.chat.parse::<ChatKey>().ok())
                .filter(|chat| chat.id == at.id);
            Ok(here.max_by_key(|chat| chat.topic == at.topic).map(|chat| (row, chat)))
        };
        self.engine()?.ledger().read(look).await
    }

    /// Answers a tap, so that the button stops turning. Nothing depends on it.
    fn toast(&self, query: String, text: &str, alert: bool) {
        let this = self.clone();
        let text: String = text.chars().take(TOAST).collect();
        self.0.tasks.spawn(async move {
            let answer = AnswerCallbackQueryParams::builder()
                .callback_query_id(query)
                .text(text)
                .show_alert(alert)
                .build();
            match this.0.api.call(&answer).await {
                Ok(_) => {}
                Err(error) if error.is_fine() => {}
                Err(error) => tracing::warn!(reason = %error, "a tap was not answered"),
            }
        });
    }
}

/// Who sent an update, and where. A private chat has its person's number.
fn sent_by(message: u32, chat: i64, user: u64) -> flood::From<u32, i64, u64> {
    let in_company = chat != i64::try_from(user).unwrap_or_default();
    flood::From { message, chat, user, in_company }
}

/// A row that cannot be read never can: the update is not tried again. Everything else is.
fn passed_over(update: u32, error: LedgerError) -> Result<(), LedgerError> {
    let (LedgerError::Content(reason) | LedgerError::CutOff(reason)) = error else { return Err(error) };
    tracing::error!(update, reason, "an update is about a row that cannot be read, and is passed over");
    Ok(())
}

/// The updates that answered an ask or another message, as far as Telegram may send them again. Asks live in memory,
/// and so does this: after a restart no update answers an ask of before.
#[derive(Default)]
pub(super) struct Answers(Mutex<VecDeque<u32>>);

/// An update that is being dealt with; dropped without being kept, it may be dealt with again.
struct Claim<'a> {
    answers: &'a Answers,
    update: u32,
    kept: bool,
}

impl Answers {
    fn knows(&self, update: u32) -> bool {
        locked(&self.0).contains(&update)
    }

    /// `None` if the update answered an ask already, or does so now.
    fn claim(&self, update: u32) -> Option<Claim<'_>> {
        let mut all = locked(&self.0);
        if all.contains(&update) {
            return None;
        }
        if all.len() == REMEMBERED {
            all.pop_front();
        }
        all.push_back(update);
        Some(Claim { answers: self, update, kept: false })
    }
}

impl Claim<'_> {
    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.kept {
            locked(&self.answers.0).retain(|update| *update != self.update);
        }
    }
}

fn gone() -> (String, bool) {
    ("there is no such card here any more".to_owned(), true)
}
