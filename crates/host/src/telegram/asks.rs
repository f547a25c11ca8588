//! The agent's asks as messages with buttons.
//!
//! An ask is a message that goes through its questions one by one; the last
//! answer sends all of them. What was chosen so far is kept here, in memory:
//! it goes with the host. The ask itself is a row and its message is on record: asked again
//! after a restart, both are the same, and what is left of one is put right at its step's end.

mod long;
mod offer;
mod sheet;

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use connector_contract::ask::{PermissionReply, QuestionReply};
use connector_engine::{Answer, Answered};
use connector_gate::ask::Asked;
use connector_gate::ids::StepId;
use connector_gate::policy::Actor;
use connector_ledger::{self as ledger, LedgerError, Tx, audit, messages};
use connector_surface::OpenAsk;
use connector_telegram::frankenstein::types::InlineKeyboardMarkup;
use connector_telegram::text::Styled;
use connector_telegram::update::{Received, Tap};
use connector_telegram::{ApiError, ChatKey};
pub(super) use offer::{Offer, TAP};
use sheet::{Filled, Sheet};
use tokio::sync::oneshot;

use super::buttons::{self, Choice, Pressed};
use super::parcel::{Parcel, Unsent};
use super::send::Out;
use super::{NAME, Telegram, actor, locked, render};

/// What an answer is answered with that comes too late.
const NO_LONGER: &str = "the agent no longer asks that";

/// The same where the next question of the ask is open by now.
const ANSWERED: &str = "that question was answered already";

/// How long it is until what did not reach Telegram is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// An ask in one chat: its number, which is the same in each, and the chat.
pub(super) type Key = (u64, ChatKey);

/// The asks on the screens.
pub(super) struct Asks {
    /// New with each start: what was chosen so far went with the host before.
    word: String,
    pub(super) open: Mutex<HashMap<Key, Shown>>,
    /// Those that this host showed, of steps that have not ended.
    own: Mutex<HashSet<(ChatKey, StepId, String)>>,
    /// Words that may be an answer, by their event.
    offers: Mutex<HashMap<i64, offer::Offered>>,
    /// Answers whose other parts may still come.
    growing: Mutex<Vec<long::Growing>>,
}

pub(super) struct Shown {
    chat: ChatKey,
    ask: OpenAsk,
    message: Option<i32>,
    sheet: Sheet,
    /// What its message had to cut stands above it.
    all_of_it: bool,
    /// What was sent of that so far.
    above: Vec<i32>,
    close: oneshot::Sender<Styled>,
}

/// Resolves to what its message says when an ask is over.
type Closed = oneshot::Receiver<Styled>;

/// An ask as its message shows it.
struct Drawn {
    chat: ChatKey,
    step: StepId,
    /// The daemon's own id of it.
    id: String,
    text: Styled,
    buttons: InlineKeyboardMarkup,
    /// The name and content of what is too long for it.
    whole: Option<(String, String)>,
}

impl Default for Asks {
    fn default() -> Self {
        let word = connector_engine::unique().unwrap_or_default();
        Self {
            word: word.get(..8).unwrap_or("00000000").to_owned(),
            open: Mutex::default(),
            own: Mutex::default(),
            offers: Mutex::default(),
            growing: Mutex::default(),
        }
    }
}

impl Telegram {
    /// Shows an ask until it is closed.
    pub(super) fn open_ask(&self, chat: ChatKey, ask: OpenAsk) {
        let key = (ask.number, chat);
        let (close, closed) = oneshot::channel();
        let sheet = Sheet::of(&ask.asked);
        let shown = Shown { chat, sheet, ask, message: None, all_of_it: false, above: Vec::new(), close };
        let (step, times) = (shown.ask.step, shown.ask.times);
        locked(&self.0.asks.own).insert((chat, step, shown.ask.asked.id().to_owned()));
        locked(&self.0.asks.open).insert(key, shown);
        self.0.live.asks(chat, step, true);
        let this = self.clone();
        self.0.tasks.spawn(async move { this.keep_ask(key, times, closed).await });
    }

    async fn keep_ask(&self, key: Key, times: u32, mut closed: Closed) {
        let step = locked(&self.0.asks.open)
            .get(&key)
            .map(|shown| (shown.ask.step, shown.ask.asked.id().to_owned()));
        let (chat, message) = match self.send_ask(key, &mut closed).await {
            Ok(Some(sent)) => sent,
            Ok(None) => return,
            Err(error) => return self.give_up(key, times, &error).await,
        };
        let end = tokio::select! {
            biased;
            end = closed => end,
            () = self.0.finishing.cancelled() => return,
        };
        let Ok(end) = end else { return };
        let ended = self.show_end(chat, message, &end).await;
        let Some((step, id)) = step else { return };
        match ended {
            Ok(()) => {
                let parcel = Parcel { chat, id: None, step: Some(step) };
                self.record(parcel, &messages::closed_ask(&id), message).await;
            }
            Err(error) => {
                tracing::warn!(ask = key.0, reason = %error, "a closed ask keeps its buttons until its step ends");
                locked(&self.0.asks.own).remove(&(chat, step, id));
                // Which it may have done already.
                if self.0.live.has_ended(chat, step)
                    && let Err(error) = self.clear_asks(chat, step).await
                {
                    tracing::warn!(ask = key.0, reason = %error, "it keeps them");
                }
            }
        }
    }

    /// Takes the buttons of an ask that is over away; tries as long as that may help.
    async fn show_end(&self, chat: ChatKey, message: i32, end: &Styled) -> Result<(), ApiError> {
        loop {
            let error = match self.edit(chat, message, end, buttons::none()).await {
                Err(error) if error.is_passing() => error,
                ended => return ended,
            };
            tracing::debug!(%chat, message, reason = %error, "a closed ask still has its buttons");
            let pause = pause(&error);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.0.finishing.cancelled() => return Err(error),
            }
        }
    }

    /// Tries until it is on the screen, as long as that may help: the agent waits for it. Nothing
    /// if it is closed before.
    async fn send_ask(&self, key: Key, closed: &mut Closed) -> Result<Option<(ChatKey, i32)>, Unsent> {
        loop {
            let error = match self.try_to_send_ask(key, closed).await {
                Err(error) if error.is_passing() => error,
                ended => return ended,
            };
            tracing::warn!(ask = key.0, reason = %error, "an ask is not on the screen yet");
            let pause = match &error {
                Unsent::Api(error) => pause(error),
                _ => AGAIN,
            };
            tokio::select! {
                _ = &mut *closed => return Ok(None),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn try_to_send_ask(&self, key: Key, closed: &mut Closed) -> Result<Option<(ChatKey, i32)>, Unsent> {
        let Some(Drawn { chat, step, id, text, buttons, whole }) = self.drawn(key) else {
            return Ok(None);
        };
        let turn = async {
            if let Some((name, content)) = &whole {
                let caption = format!("what {step} asks for, in full");
                let parcel = Parcel { chat, id: None, step: None };
                let known = locked(&self.0.asks.open).get(&key).map(|shown| shown.above.clone());
                let mut above = known.unwrap_or_default();
                let file = (name.as_str(), caption.as_str(), content.as_str());
                let all = self.show_whole(parcel, "whole", file, &mut above).await;
                if let Some(shown) = locked(&self.0.asks.open).get_mut(&key) {
                    shown.above = above;
                    shown.all_of_it = all.is_ok();
                }
                all?;
            }
            self.turn(chat).await?;
            Ok::<_, Unsent>(self.message_of(chat, step).await?)
        };
        let answers = tokio::select! {
            biased;
            _ = &mut *closed => return Ok(None),
            answers = turn => answers?,
        };
        let part = messages::ask(&id);
        if let Some(message) = self.last_of(chat, step, &part).await?
            && self.change_now(chat, message, &text, buttons.clone()).await?
        {
            // It was asked by the host before this one, there.
            self.is_shown(key, message, &text);
            return Ok(Some((chat, message)));
        }
        // Closed from here on, it is sent nevertheless, so that its buttons can be taken away.
        let message = self.send_now(Out { chat, text: &text, buttons: Some(buttons), answers }).await?;
        self.is_shown(key, message, &text);
        self.record(Parcel { chat, id: None, step: Some(step) }, &part, message).await;
        Ok(Some((chat, message)))
    }

    /// The ask is in `message` from now on, which says `text`. A button may have been tapped before that was
    /// known here: then it says something else by now.
    fn is_shown(&self, key: Key, message: i32, text: &Styled) {
        if let Some(shown) = locked(&self.0.asks.open).get_mut(&key) {
            shown.message = Some(message);
        }
        if self.drawn(key).is_some_and(|drawn| drawn.text != *text) {
            self.redraw(key);
        }
    }

    /// Telegram does not take it: where no other chat shows it to somebody who may, nobody can answer, and the agent need not
    /// wait.
    async fn give_up(&self, (number, chat): Key, times: u32, error: &Unsent) {
        let reason = connector_contract::chain(error);
        tracing::error!(ask = number, %chat, reason, "an ask cannot be shown");
        let rejected = match self.engine() {
            Ok(engine) => engine.reject_unshown((number, times), (NAME, &chat.to_string()), &reason).await,
            Err(error) => Err(error),
        };
        if let Err(error) = rejected {
            tracing::error!(ask = number, reason = connector_contract::chain(&error), "it is not recorded");
        }
    }

    fn drawn(&self, key: Key) -> Option<Drawn> {
        let open = locked(&self.0.asks.open);
        let shown = open.get(&key)?;
        let (chat, step, id) = (shown.chat, shown.ask.step, shown.ask.asked.id().to_owned());
        let press = |choice| Pressed::Ask { word: self.0.asks.word.clone(), number: key.0, choice };
        match &shown.ask.asked {
            Asked::Permission(ask) => {
                let rows = vec![
                    vec![("✅ Allow once", press(Choice::Once)), ("❌ Reject", press(Choice::Reject))],
                    vec![("✅ Allow for this session", press(Choice::Always))],
                ];
                let drawn = render::permission(&step.to_string(), ask);
                let whole = drawn.attachment.filter(|_| !shown.all_of_it);
                Some(Drawn { chat, step, id, text: drawn.text, buttons: buttons::rows(rows), whole })
            }
            Asked::Question(ask) => {
                let at = shown.sheet.at();
                let question = ask.questions.get(at)?;
                let place = (at, ask.questions.len());
                let drawn = render::question(&step.to_string(), question, place, shown.sheet.chosen());
                // All of the questions at once: what comes later is shown in the same message.
                let whole = || render::whole_questions(&step.to_string(), ask);
                let whole = if shown.all_of_it { None } else { whole() };
                let mut rows = Vec::new();
                for (option, choice) in question.options.iter().enumerate().take(render::OPTIONS) {
                    let mark = if shown.sheet.chosen().contains(&option) { "☑ " } else { "" };
                    let label = format!("{mark}{}", render::option_name(option, &choice.label, 50));
                    rows.push(vec![(label, press(Choice::Option { question: at, option }))]);
                }
                if question.multiple {
                    rows.push(vec![("✅ Done".to_owned(), press(Choice::Done { question: at }))]);
                }
                rows.push(vec![("❌ Reject".to_owned(), press(Choice::Reject))]);
                Some(Drawn { chat, step, id, text: drawn.text, buttons: buttons::rows(rows), whole })
            }
        }
    }

    /// A button of an ask was tapped; how that is answered.
    pub(super) async fn answer_by_button(
        &self,
        tap: &Tap,
        word: &str,
        number: u64,
        choice: Choice,
    ) -> Result<String, LedgerError> {
        let answer = {
            let mut open = locked(&self.0.asks.open);
            let here = tapped(&open, number, tap).filter(|_| word == self.0.asks.word);
            let Some((key, shown)) = here.and_then(|key| Some((key, open.get_mut(&key)?))) else {
                return Ok(self.no_longer(word));
            };
            if !shown.ask.approvers.contains(&actor(tap.user)) {
                return Ok(said(Answered::NotAllowed));
            }
            (key, shown.press(choice))
        };
        if let (_, Some(answer)) = answer {
            return Ok(said(self.pass_on(number, tap.user, answer).await?));
        }
        self.redraw(answer.0);
        Ok(String::new())
    }

    /// A reply to an ask's message is an answer in one's own words. Whether it was one.
    pub(super) async fn answer_in_words(
        &self,
        received: &Received,
        message: i32,
    ) -> Result<bool, LedgerError> {
        let found = {
            let mut open = locked(&self.0.asks.open);
            let found = open.iter_mut().find(|(_, shown)| shown.is_at(received.chat, message));
            let Some((key, shown)) = found else { return Ok(false) };
            let allowed = shown.ask.approvers.contains(&actor(received.user));
            (*key, allowed.then(|| shown.words(&received.text)))
        };
        let told = match found {
            (_, None) => said(Answered::NotAllowed),
            (key, Some(Some(answer))) => said(self.pass_on(key.0, received.user, answer).await?),
            (key, Some(None)) => {
                self.redraw(key);
                String::new()
            }
        };
        if !told.is_empty() {
            self.say(received.chat, Some(received.message_id), told);
        }
        Ok(true)
    }

    /// What a host before this one left of a step's asks keeps no buttons.
    pub(super) async fn clear_asks(&self, chat: ChatKey, step: StepId) -> Result<(), Unsent> {
        let at = chat.to_string();
        let left = self.engine()?.ledger().read(move |tx| messages::open_asks(tx, NAME, &at, step)).await?;
        let own = |id: &str| locked(&self.0.asks.own).contains(&(chat, step, id.to_owned()));
        for (message, id) in left.into_iter().filter(|(_, id)| !own(id)) {
            let Ok(number) = message.parse() else { continue };
            let wanted = id.clone();
            let look = move |tx: &Tx<'_>| {
                // A row that cannot be read, which others may have changed, holds nothing up.
                let row = ledger::asks::of_key(tx, step, &wanted).unwrap_or_else(|error| {
                    let error = connector_contract::chain(&error);
                    tracing::warn!(%step, error, "an ask cannot be read");
                    None
                });
                Ok((audit::asked(tx, step, &wanted)?, row))
            };
            let (asked, row) = self.engine()?.ledger().read(look).await?;
            let answered = row.as_ref().and_then(|row| {
                let (answer, by) = row.answer.clone().zip(row.answered_by.as_ref())?;
                Some((answer, row.people.named(by)))
            });
            let answered = answered.as_ref().map(|(answer, by)| (answer, by.as_str()));
            let text = match asked.as_ref().and_then(Asked::from_record) {
                Some(asked) => render::ask_over(&step.to_string(), &asked, answered),
                None => Styled::new().plain(&format!("{step}: no longer asked")),
            };
            self.change(chat, number, &text, buttons::none()).await?;
            self.record(Parcel { chat, id: None, step: Some(step) }, &messages::closed_ask(&id), number)
                .await;
        }
        locked(&self.0.asks.own).retain(|(at, of, _)| (*at, *of) != (chat, step));
        Ok(())
    }

    async fn pass_on(&self, number: u64, user: u64, answer: Answer) -> Result<Answered, LedgerError> {
        self.engine()?.answer(number, &actor(user), answer).await
    }

    fn redraw(&self, key: Key) {
        let this = self.clone();
        self.0.tasks.spawn(async move {
            let here = locked(&this.0.asks.open).get(&key).map(|shown| (shown.chat, shown.message));
            let Some((chat, Some(message))) = here else { return };
            let edited = async {
                this.turn(chat).await?;
                // It may be over by now.
                let Some(drawn) = this.drawn(key) else { return Ok(()) };
                this.edit_now(chat, message, &drawn.text, drawn.buttons).await
            };
            if let Err(error) = edited.await {
                tracing::debug!(ask = key.0, reason = %error, "an ask was not redrawn");
            }
        });
    }

    /// The ask is over: its buttons go.
    pub(super) fn close_ask(&self, key: Key, answered: Option<(&connector_engine::Answer, &Actor)>) {
        let (shown, others) = {
            let mut open = locked(&self.0.asks.open);
            let Some(shown) = open.remove(&key) else { return };
            let others =
                open.values().any(|other| (other.chat, other.ask.step) == (shown.chat, shown.ask.step));
            (shown, others)
        };
        self.0.live.asks(shown.chat, shown.ask.step, others);
        locked(&self.0.asks.offers).retain(|_, offered| !offered.is_for(key));
        let named = answered.map(|(answer, by)| (answer, shown.ask.people.named(by)));
        let answered = named.as_ref().map(|(answer, by)| (*answer, by.as_str()));
        let text = render::ask_over(&shown.ask.step.to_string(), &shown.ask.asked, answered);
        // Nobody hears it if it is not on the screen and will not be.
        let _ = shown.close.send(text);
    }
}

/// The ask with this number whose button was tapped: that of the message, or one of its chat.
fn tapped(open: &HashMap<Key, Shown>, number: u64, tap: &Tap) -> Option<Key> {
    let here = |(key, shown): &(&Key, &Shown)| key.0 == number && shown.chat.id == tap.chat.id;
    let found = open.iter().filter(here).max_by_key(|(_, shown)| shown.message == Some(tap.message_id));
    found.map(|(key, _)| *key)
}

impl Shown {
    /// Whether it is this message.
    pub(super) fn is_at(&self, chat: ChatKey, message: i32) -> bool {
        self.message == Some(message) && self.chat.id == chat.id
    }

    /// What a button means; `None` while more is to be chosen.
    fn press(&mut self, choice: Choice) -> Option<Answer> {
        match (&self.ask.asked, choice) {
            (Asked::Permission(_), Choice::Once) => Some(Answer::Permission(PermissionReply::Once)),
            (Asked::Permission(_), Choice::Always) => Some(Answer::Permission(PermissionReply::Always)),
            (Asked::Permission(_), Choice::Reject) => Some(refusal(connector_surface::words::REFUSED)),
            (Asked::Question(_), Choice::Reject) => Some(Answer::Question(QuestionReply::Reject)),
            (Asked::Question(ask), Choice::Option { question, option }) => {
                answers(self.sheet.choose(ask, question, option))
            }
            (Asked::Question(ask), Choice::Done { question }) => answers(self.sheet.done(ask, question)),
            _ => None,
        }
    }

    fn words(&mut self, text: &str) -> Option<Answer> {
        match &self.ask.asked {
            // Words are not a yes.
            Asked::Permission(_) => Some(refusal(text)),
            Asked::Question(ask) => answers(self.sheet.words(ask, text)),
        }
    }
}

/// What whoever answered is told.
fn said(answered: Answered) -> String {
    match answered {
        Answered::PassedOn => "the agent is told".to_owned(),
        Answered::NotOpen => NO_LONGER.to_owned(),
        Answered::NotAllowed => "you may not answer that: you are not an approver".to_owned(),
        Answered::DoesNotFit(problem) => problem,
    }
}

/// How long it is until something is tried again that failed like this.
fn pause(error: &ApiError) -> Duration {
    if let ApiError::Throttled { after } = error { *after } else { AGAIN }
}

fn refusal(message: &str) -> Answer {
    Answer::Permission(PermissionReply::Reject { message: message.to_owned() })
}

fn answers(filled: Filled) -> Option<Answer> {
    match filled {
        Filled::All(answers) => Some(Answer::Question(QuestionReply::Answers { answers })),
        Filled::NotYet => None,
    }
}
