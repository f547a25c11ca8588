//! The console: a chat at the terminal, as a surface.
//!
//! It prints whole lines in the order things happen and reads whole lines, so
//! that it works the same in a terminal, in a pipe and in a test. It vouches for
//! one user: whoever sits at it.

pub mod input;
pub mod prose;
pub mod render;

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use connector_contract::Progress;
use connector_gate::ask::Answer;
use connector_gate::ids::StepId;
use connector_gate::policy::Actor;
use connector_surface::view::{CardDecision, Standing};
use connector_surface::{DeliveryError, MAIN_CHAT, OpenAsk, Surface, View};
use serde_json::{Value, json};

use connector_ledger::events::{NewEvent, ReplyTo};

/// The surface's name, and its only user's.
pub const NAME: &str = "console";

/// Where the console prints.
pub type Output = Box<dyn Write + Send>;

/// A chat at the terminal.
pub struct Console {
    output: Mutex<Output>,
    cards: Mutex<Vec<(StepId, String)>>,
    said: Mutex<Option<(StepId, String)>>,
}

impl Console {
    /// A console that prints to `output`.
    pub fn new(output: Output) -> Self {
        Self { output: Mutex::new(output), cards: Mutex::default(), said: Mutex::default() }
    }

    /// Whoever sits at it.
    pub fn user() -> Actor {
        Actor::new(NAME, "")
    }

    /// Prints one block of lines.
    pub fn print(&self, text: &str) -> io::Result<()> {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(output, "{text}")?;
        output.flush()
    }

    /// The cards on the screen that wait, oldest first, with their digests.
    pub fn cards(&self) -> Vec<(StepId, String)> {
        self.shown().clone()
    }

    /// The card is answered; it no longer waits on this screen.
    pub fn forget(&self, step: StepId) {
        self.shown().retain(|(shown, _)| *shown != step);
    }

    fn shown(&self) -> MutexGuard<'_, Vec<(StepId, String)>> {
        self.cards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same line of progress twice in a row is one line.
    fn is_news(&self, step: StepId, line: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let news = said.as_ref().is_none_or(|(before, text)| *before != step || text != line);
        *said = Some((step, line.to_owned()));
        news
    }
}

#[async_trait]
impl Surface for Console {
    fn name(&self) -> &str {
        NAME
    }

    async fn deliver(&self, _chat: &str, _delivery: i64, view: View) -> Result<String, DeliveryError> {
        let (text, reference) = match &view {
            View::Card(card) => {
                self.forget(card.id);
                self.shown().push((card.id, card.digest.as_str().to_owned()));
                (render::card(card), format!("card-{}", card.id))
            }
            View::Result(result) => {
                self.forget(result.id);
                (render::result(result), format!("result-{}", result.id))
            }
            View::Text(text) => (render::text(text), String::from("text")),
        };
        self.print(&text).map_err(|error| DeliveryError::Later(error.to_string()))?;
        Ok(reference)
    }

    async fn changed(&self, _chat: &str, standing: &Standing) -> Result<(), DeliveryError> {
        if matches!(standing.decision, CardDecision::Approved { .. }) {
            self.forget(standing.card.id);
        }
        self.print(&render::standing(standing)).map_err(|error| DeliveryError::Later(error.to_string()))
    }

    fn admits(&self, chat: &str) -> Result<(), String> {
        if chat == MAIN_CHAT {
            Ok(())
        } else {
            Err(format!("the console has one chat, `{NAME}:{MAIN_CHAT}`"))
        }
    }

    fn takes_answers(&self) -> bool {
        true
    }

    fn progress(&self, _chat: &str, step: StepId, progress: &Progress) {
        if let Some(line) = render::progress(progress)
            && self.is_news(step, &line)
        {
            // A terminal that is gone shows no progress.
            let _ = self.print(&line);
        }
    }

    fn ask(&self, _chat: &str, ask: &OpenAsk) {
        let _ = self.print(&render::ask(ask));
    }

    /// Whoever typed the answer here need not be told.
    fn ask_answered(&self, _chat: &str, ask: &OpenAsk, answer: &Answer, by: &Actor) {
        if *by != Self::user() {
            let _ = self.print(&render::ask_answered(ask, answer, by));
        }
    }

    fn ask_closed(&self, _chat: &str, ask: &OpenAsk, by: Option<&Actor>) {
        if by.is_none() {
            let _ = self.print(&format!("  the agent no longer asks ({})", ask.number));
        }
    }
}

/// The event of a line typed at the console, under the connector name `name`.
///
/// The payload has the fields of a Telegram message, so that a rule for
/// Telegram can be tried here.
pub fn message(name: &str, id: String, text: &str, reply: Option<ReplyTo>) -> NewEvent {
    NewEvent {
        surface: NAME.to_owned(),
        platform_id: id,
        connector: name.to_owned(),
        event: "message_received".to_owned(),
        chat: MAIN_CHAT.to_owned(),
        requester: Console::user(),
        payload: payload(text),
        reply,
    }
}

fn payload(text: &str) -> Value {
    let (command, args) = connector_surface::command(text);
    // As in a group of Telegram, a command may name the bot.
    let named =
        command.split_once('@').map(|(command, bot)| (command, text.replacen(&format!("@{bot}"), "", 1)));
    let (command, text) = named.unwrap_or((command, text.to_owned()));
    json!({
        "text": text,
        "command": command,
        "args": args,
        "chat_id": MAIN_CHAT,
        "user_id": NAME,
        "username": NAME,
        "chat": { "id": MAIN_CHAT, "type": "private" },
        "from": { "id": NAME, "username": NAME },
    })
}
