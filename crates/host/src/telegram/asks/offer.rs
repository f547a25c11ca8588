//! Plain words while the agent waits for an answer: offered as that answer, and given on a tap.

use connector_gate::ask::Asked;
use connector_gate::policy::Actor;
use connector_ledger::LedgerError;
use connector_surface::Reported;
use connector_telegram::ChatKey;
use connector_telegram::text::{Style, Styled};
use connector_telegram::update::Tap;
use serde_json::Value;

use super::{ANSWERED, Answered, Key, NO_LONGER, Telegram, locked, said};
use crate::telegram::buttons::{self, Pressed};
use crate::telegram::send::Out;
use crate::telegram::{actor, render};

/// What words are answered with while the agent waits for a yes or no.
pub(in crate::telegram) const TAP: &str =
    "the agent waits for a yes or no to what it asks above; tap one of the buttons there";

/// What became of words that no rule fires on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::telegram) enum Offer {
    /// They are offered as the answer to an open question.
    Made,
    /// Something waits for a tap, not for words.
    Tap,
    /// Nothing waits.
    None,
}

/// Words that may be an answer.
#[derive(Debug, Clone)]
pub(in crate::telegram) struct Offered {
    ask: Key,
    /// Which of the ask's questions they were offered for, counted from 0.
    question: usize,
    words: String,
}

/// What became of an offer that was taken, with what whoever took it is told.
enum Given {
    /// It is the answer.
    Yes(String),
    /// It is none any more.
    Late(String),
    /// Nothing: somebody else may still take it.
    Not(String),
}

impl Offered {
    pub(super) fn is_for(&self, ask: Key) -> bool {
        self.ask == ask
    }
}

impl Telegram {
    /// Offers what somebody wrote in private as the answer to the newest question they may answer.
    pub(in crate::telegram) fn offer(&self, chat: ChatKey, reported: Reported<'_>) -> Offer {
        let words =
            reported.payload.get("text").and_then(Value::as_str).unwrap_or_default().trim().to_owned();
        if words.is_empty() || words.starts_with('/') {
            return Offer::None;
        }
        let Some((ask, question, text)) = self.open_question(chat, reported.by) else {
            return if self.waits_for_tap(chat, reported.by) { Offer::Tap } else { Offer::None };
        };
        let text = text
            .plain("\n")
            .styled(Style::Quote, &render::fitting(&connector_surface::text::visible(&words), 1_000));
        let text =
            text.styled(Style::Italic, "\nis that the answer? tap yes, or reply to the question itself");
        let press = |yes| Pressed::Offer { word: self.0.asks.word.clone(), event: reported.event, yes };
        let buttons =
            buttons::rows(vec![vec![("✅ Yes, answer with it", press(true)), ("❌ No", press(false))]]);
        locked(&self.0.asks.offers).insert(reported.event, Offered { ask, question, words });
        let this = self.clone();
        self.0.tasks.spawn(async move {
            let out = Out { chat, text: &text, buttons: Some(buttons), answers: None };
            if let Err(error) = this.send(out).await {
                tracing::warn!(%chat, reason = %error, "words are not offered as an answer");
            }
        });
        Offer::Made
    }

    /// The newest question that somebody may answer: its ask, its place there, and how it is quoted.
    fn open_question(&self, chat: ChatKey, by: &Actor) -> Option<(Key, usize, Styled)> {
        let open = locked(&self.0.asks.open);
        let (key, shown) = open
            .iter()
            .filter(|(_, shown)| shown.chat.id == chat.id && shown.ask.approvers.contains(by))
            .filter(|(_, shown)| matches!(shown.ask.asked, Asked::Question(_)))
            .max_by_key(|(key, _)| **key)?;
        let Asked::Question(ask) = &shown.ask.asked else { return None };
        let place = shown.sheet.at();
        let question = ask.questions.get(place)?;
        let title = format!("❓ {} asks: ", shown.ask.step);
        let asked = render::fitting(&connector_surface::text::visible(&question.question), 600);
        Some((*key, place, Styled::new().styled(Style::Bold, &title).plain(&asked)))
    }

    fn waits_for_tap(&self, chat: ChatKey, by: &Actor) -> bool {
        locked(&self.0.asks.open)
            .values()
            .any(|shown| shown.chat.id == chat.id && shown.ask.approvers.contains(by))
    }

    /// A button under offered words was tapped; how that is answered.
    pub(in crate::telegram) async fn answer_offer(
        &self,
        tap: &Tap,
        word: &str,
        event: i64,
        yes: bool,
    ) -> Result<String, LedgerError> {
        let offered = locked(&self.0.asks.offers).get(&event).cloned();
        let offered = offered.filter(|_| word == self.0.asks.word);
        let Some(offered) = offered else {
            let told = self.no_longer(word);
            self.replace(tap, Styled::new().plain(&format!("❌ {told}")));
            return Ok(told);
        };
        let (told, sign) = if yes {
            match self.give(tap, &offered).await? {
                Given::Not(told) => return Ok(told),
                Given::Late(told) => (told, "❌ not answered with"),
                Given::Yes(told) => (told, "✅ answered with"),
            }
        } else {
            let told = "it is no answer; to begin something, write /fix and what is to be done";
            (told.to_owned(), "❌ not the answer")
        };
        locked(&self.0.asks.offers).remove(&event);
        let quoted = render::fitting(&connector_surface::text::visible(&offered.words), 1_000);
        self.replace(tap, Styled::new().plain(sign).plain("\n").styled(Style::Quote, &quoted));
        Ok(told)
    }

    /// Gives offered words as the answer to the question that they were offered for.
    async fn give(&self, tap: &Tap, offered: &Offered) -> Result<Given, LedgerError> {
        let answer = {
            let mut open = locked(&self.0.asks.open);
            let Some(shown) = open.get_mut(&offered.ask).filter(|shown| shown.chat.id == tap.chat.id) else {
                return Ok(Given::Late(NO_LONGER.to_owned()));
            };
            if !shown.ask.approvers.contains(&actor(tap.user)) {
                return Ok(Given::Not(said(Answered::NotAllowed)));
            }
            if !shown.sheet.takes(offered.question, &offered.words) {
                return Ok(Given::Late(ANSWERED.to_owned()));
            }
            shown.words(&offered.words)
        };
        let Some(answer) = answer else {
            self.redraw(offered.ask);
            return Ok(Given::Yes(String::new()));
        };
        let answered = self.pass_on(offered.ask.0, tap.user, answer).await?;
        Ok(match answered {
            Answered::PassedOn => Given::Yes(said(answered)),
            Answered::NotOpen | Answered::DoesNotFit(_) => Given::Late(said(answered)),
            Answered::NotAllowed => Given::Not(said(answered)),
        })
    }

    /// The message of a tapped button says this from now on, and has no buttons.
    fn replace(&self, tap: &Tap, text: Styled) {
        let (this, chat, message) = (self.clone(), tap.chat, tap.message_id);
        self.0.tasks.spawn(async move {
            if let Err(error) = this.edit(chat, message, &text, buttons::none()).await {
                tracing::debug!(%chat, reason = %error, "an offer keeps its buttons");
            }
        });
    }

    /// What a button is answered with whose ask is not open.
    pub(super) fn no_longer(&self, word: &str) -> String {
        if word == self.0.asks.word {
            NO_LONGER.to_owned()
        } else {
            "the host was started anew; what the agent still asks is shown here again".to_owned()
        }
    }
}
