//! Long answers: a reply to an ask that Telegram's clients may have split.
//!
//! It is held until its last part is there, or nothing more came for a while; then it is the answer,
//! whole. It is held in memory, as the ask is: a host that is killed meanwhile asks again.

use std::time::Duration;

use connector_ledger::LedgerError;
use connector_telegram::update::Received;

use super::{AGAIN, ANSWERED, Shown, Telegram, locked};
use crate::telegram::split;

/// A reply to an ask that may go on.
#[derive(Debug)]
pub(super) struct Growing {
    /// The message that it answers.
    ask: i32,
    /// Which of the questions there was open, counted from 0.
    question: usize,
    /// All of it so far, as one message.
    received: Received,
    parts: usize,
}

impl Telegram {
    /// Holds a reply to an ask whose next part may come; whether it does.
    pub(in crate::telegram) fn holds_answer(&self, received: &Received, ask: i32) -> bool {
        let Some(note) = split::note(received) else { return false };
        let here = |shown: &&Shown| shown.is_at(received.chat, ask);
        let question = locked(&self.0.asks.open).values().find(here).map(|shown| shown.sheet.at());
        let Some(question) = question else { return false };
        let mut received = received.clone();
        received.payload["split"] = note;
        let number = received.update_id;
        locked(&self.0.asks.growing).push(Growing { ask, question, received, parts: 1 });
        let this = self.clone();
        self.0.tasks.spawn(async move {
            if let Some(whole) = this.grown(number).await {
                this.finish_answer(whole).await;
            }
        });
        true
    }

    /// Adds a message to the answer that it is the next part of; whether it is one.
    pub(in crate::telegram) fn continues_answer(&self, next: &Received) -> bool {
        let mut growing = locked(&self.0.asks.growing);
        let found = growing.iter_mut().enumerate().find_map(|(place, held)| {
            let same = held.received.chat == next.chat && held.received.user == next.user;
            let payload = same.then(|| split::joined(&held.received.payload, next)).flatten()?;
            Some((place, held, payload))
        });
        let Some((place, held, payload)) = found else { return false };
        let text = payload.get("text").and_then(serde_json::Value::as_str).unwrap_or_default();
        text.clone_into(&mut held.received.text);
        let is_last = payload.get("split").is_none_or(serde_json::Value::is_null);
        held.received.payload = payload;
        held.parts += 1;
        if is_last {
            let whole = growing.remove(place);
            let this = self.clone();
            self.0.tasks.spawn(async move { this.finish_answer(whole).await });
        }
        true
    }

    /// Waits until no more parts come; nothing if the last one was there.
    async fn grown(&self, number: u32) -> Option<Growing> {
        let place = |all: &[Growing]| all.iter().position(|held| held.received.update_id == number);
        loop {
            let parts = {
                let growing = locked(&self.0.asks.growing);
                growing[place(&growing)?].parts
            };
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(split::PATIENCE.unsigned_abs())) => {}
                () = self.0.finishing.cancelled() => {}
            }
            let mut growing = locked(&self.0.asks.growing);
            let place = place(&growing)?;
            if growing[place].parts == parts || self.0.finishing.is_cancelled() {
                return Some(growing.remove(place));
            }
        }
    }

    /// Whether the question was answered otherwise meanwhile, and another one is open there.
    fn is_late(&self, whole: &Growing) -> bool {
        let open = locked(&self.0.asks.open);
        let shown = open.values().find(|shown| shown.is_at(whole.received.chat, whole.ask));
        shown.is_some_and(|shown| !shown.sheet.takes(whole.question, &whole.received.text))
    }

    async fn finish_answer(&self, whole: Growing) {
        if self.is_late(&whole) {
            let Received { chat, message_id, .. } = whole.received;
            self.say(chat, Some(message_id), ANSWERED.to_owned());
            return;
        }
        loop {
            match self.replied(&whole.received, whole.ask).await {
                Ok(()) => return,
                Err(error @ (LedgerError::Content(_) | LedgerError::CutOff(_))) => {
                    return tracing::error!(reason = %error, "an answer is passed over");
                }
                Err(error) => tracing::error!(reason = %error, "an answer waits for the ledger"),
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = self.0.finishing.cancelled() => return,
            }
        }
    }
}
