//! The agent's asks as messages with buttons.
//!
//! An ask is a message that goes through its questions one by one; the last
//! answer sends all of them. What was chosen so far is kept here, in memory:
//! an ask lives no longer than the call that made it.

mod sheet;

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use connector_contract::ask::{PermissionReply, QuestionReply};
use connector_telegram::frankenstein::types::InlineKeyboardMarkup;
use connector_telegram::text::{Style, Styled};
use connector_telegram::update::{Received, Tap};
use connector_telegram::{ApiError, ChatKey};
use tokio_util::sync::CancellationToken;

use super::buttons::{self, Choice, Pressed};
use super::send::Out;
use super::{Telegram, actor, locked, render};
use crate::engine::{Answer, Answered};
use crate::gate::policy::Actor;
use crate::ledger::LedgerError;
use crate::surface::{Asked, OpenAsk};
use crate::text::{one_line, shortened};
use sheet::{Filled, Sheet};

/// The asks on the screens.
pub(super) struct Asks {
    /// New with each start: asks are counted from 1 again.
    word: String,
    pub(super) open: Mutex<HashMap<u64, Shown>>,
}

pub(super) struct Shown {
    chat: ChatKey,
    ask: OpenAsk,
    message: Option<i32>,
    sheet: Sheet,
    closed: CancellationToken,
}

impl Default for Asks {
    fn default() -> Self {
        let word = crate::engine::unique().unwrap_or_default();
        Self { word: word.get(..8).unwrap_or("00000000").to_owned(), open: Mutex::default() }
    }
}

impl Telegram {
    /// Shows an ask until it is closed.
    pub(super) fn open_ask(&self, chat: ChatKey, ask: OpenAsk) {
        let number = ask.number;
        let closed = CancellationToken::new();
        let shown = Shown { chat, sheet: Sheet::of(&ask.asked), ask, message: None, closed: closed.clone() };
        locked(&self.0.asks.open).insert(number, shown);
        let this = self.clone();
        self.0.tasks.spawn(async move {
            tokio::select! {
                () = this.send_ask(number) => {}
                () = closed.cancelled() => {}
            }
        });
    }

    /// Tries until it is on the screen: the agent waits for it.
    async fn send_ask(&self, number: u64) {
        loop {
            let Some((chat, answers, text, buttons)) = self.drawn(number) else { return };
            let answers = self.message_of(chat, answers).await;
            match self.send(Out { chat, text: &text, buttons: Some(buttons), answers }).await {
                Ok(message) => {
                    if let Some(shown) = locked(&self.0.asks.open).get_mut(&number) {
                        shown.message = Some(message);
                    }
                    return;
                }
                Err(error) => {
                    tracing::warn!(ask = number, reason = %error, "an ask is not on the screen yet");
                    let pause = if let ApiError::Throttled { after } = error {
                        after
                    } else {
                        Duration::from_secs(2)
                    };
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    fn drawn(&self, number: u64) -> Option<(ChatKey, crate::ids::StepId, Styled, InlineKeyboardMarkup)> {
        let open = locked(&self.0.asks.open);
        let shown = open.get(&number)?;
        let step = shown.ask.step.to_string();
        let press = |choice| Pressed::Ask { word: self.0.asks.word.clone(), number, choice };
        let (text, buttons) = match &shown.ask.asked {
            Asked::Permission(ask) => {
                let rows = vec![
                    vec![("✅ Allow once", press(Choice::Once)), ("❌ Reject", press(Choice::Reject))],
                    vec![("✅ Allow for this session", press(Choice::Always))],
                ];
                (render::permission(&step, ask), buttons::rows(rows))
            }
            Asked::Question(ask) => {
                let at = shown.sheet.at();
                let question = ask.questions.get(at)?;
                let place = (at, ask.questions.len());
                let text = render::question(&step, question, place, shown.sheet.chosen());
                let mut rows = Vec::new();
                for (option, choice) in question.options.iter().enumerate() {
                    let mark = if shown.sheet.chosen().contains(&option) { "☑ " } else { "" };
                    let label = format!("{mark}{}", shortened(&one_line(&choice.label), 50));
                    rows.push(vec![(label, press(Choice::Option { question: at, option }))]);
                }
                if question.multiple {
                    rows.push(vec![("✅ Done".to_owned(), press(Choice::Done { question: at }))]);
                }
                rows.push(vec![("❌ Reject".to_owned(), press(Choice::Reject))]);
                (text, buttons::rows(rows))
            }
        };
        Some((shown.chat, shown.ask.step, text, buttons))
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
            let here = open.get_mut(&number).filter(|shown| shown.chat.id == tap.chat.id);
            let Some(shown) = here.filter(|_| word == self.0.asks.word) else {
                return Ok("the agent no longer asks that".to_owned());
            };
            if !shown.ask.approvers.contains(&actor(tap.user)) {
                return Ok("you may not answer that: you are not an approver".to_owned());
            }
            shown.press(choice)
        };
        if let Some(answer) = answer {
            return self.pass_on(number, tap.user, answer).await;
        }
        self.redraw(number);
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
            let Some((number, shown)) = found else { return Ok(false) };
            let allowed = shown.ask.approvers.contains(&actor(received.user));
            (*number, allowed.then(|| shown.words(&received.text)))
        };
        let said = match found {
            (_, None) => "you may not answer that: you are not an approver".to_owned(),
            (number, Some(Some(answer))) => self.pass_on(number, received.user, answer).await?,
            (number, Some(None)) => {
                self.redraw(number);
                String::new()
            }
        };
        if !said.is_empty() {
            self.say(received.chat, Some(received.message_id), said);
        }
        Ok(true)
    }

    async fn pass_on(&self, number: u64, user: u64, answer: Answer) -> Result<String, LedgerError> {
        Ok(match self.engine()?.answer(number, &actor(user), answer).await? {
            Answered::PassedOn => "the agent is told".to_owned(),
            Answered::NotOpen => "the agent no longer asks that".to_owned(),
            Answered::NotAllowed => "you may not answer that: you are not an approver".to_owned(),
            Answered::DoesNotFit(problem) => problem,
        })
    }

    fn redraw(&self, number: u64) {
        let this = self.clone();
        self.0.tasks.spawn(async move {
            let message = locked(&this.0.asks.open).get(&number).and_then(|shown| shown.message);
            let (Some(message), Some((chat, _, text, buttons))) = (message, this.drawn(number)) else {
                return;
            };
            if let Err(error) = this.edit(chat, message, &text, buttons).await {
                tracing::debug!(ask = number, reason = %error, "an ask was not redrawn");
            }
        });
    }

    /// The ask is over: its buttons go.
    pub(super) fn close_ask(&self, number: u64, by: Option<Actor>) {
        let Some(shown) = locked(&self.0.asks.open).remove(&number) else { return };
        shown.closed.cancel();
        let Some(message) = shown.message else { return };
        let what = match &shown.ask.asked {
            Asked::Permission(ask) => format!("🔐 {}: {}", shown.ask.step, one_line(&ask.permission)),
            Asked::Question(_) => format!("❓ {}", shown.ask.step),
        };
        let end = match by {
            Some(by) => format!(" · answered by {by}"),
            None => " · no longer asked".to_owned(),
        };
        let mut text = Styled::new().styled(Style::Bold, &what).plain(&end);
        if let Asked::Permission(ask) = &shown.ask.asked {
            let patterns = shortened(&crate::text::visible(&ask.patterns.join("\n")), 1_000);
            text = text.plain("\n").styled(Style::Pre, &patterns);
        }
        let this = self.clone();
        self.0.tasks.spawn(async move {
            if let Err(error) = this.edit(shown.chat, message, &text, buttons::none()).await {
                tracing::debug!(ask = number, reason = %error, "a closed ask keeps its buttons");
            }
        });
    }
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
            (Asked::Permission(_), Choice::Reject) => {
                Some(refusal("the person in charge refused this; do without it"))
            }
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

fn refusal(message: &str) -> Answer {
    Answer::Permission(PermissionReply::Reject { message: message.to_owned() })
}

fn answers(filled: Filled) -> Option<Answer> {
    match filled {
        Filled::All(answers) => Some(Answer::Question(QuestionReply::Answers { answers })),
        Filled::NotYet => None,
    }
}
