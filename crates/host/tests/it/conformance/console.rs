//! The console: what is typed, and the blocks that are printed.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use connector_contract::ask::PermissionReply;
use connector_engine::Engine;
use connector_gate::decision::Decision;
use connector_gate::policy::Actor;
use connector_host::chat::Chat;
use connector_host::console::{self, Console};
use connector_surface::Surface;

use super::platform::{Platform, Seen, Traits, Who};

/// The blocks that were printed since the start, and what is being printed.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<(Vec<String>, Vec<u8>)>>);

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().1.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let (blocks, next) = &mut *self.0.lock().unwrap();
        blocks.push(String::from_utf8(std::mem::take(next)).unwrap());
        Ok(())
    }
}

/// A terminal, and Anna at it.
pub(crate) struct Typed {
    printed: Printed,
    console: Mutex<Arc<Console>>,
    chat: Mutex<Option<Arc<Chat>>>,
}

impl Typed {
    async fn type_line(&self, line: &str) {
        let chat = self.chat.lock().unwrap().clone().unwrap();
        chat.line(line).await.unwrap();
    }
}

/// The word that follows `before` in `text`, as far as it is an id.
fn id_after(text: &str, before: &str) -> Option<String> {
    let rest = &text[text.find(before)? + before.len()..];
    let end = rest.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(rest.len());
    Some(rest[..end].trim_end_matches('.').to_owned())
}

#[async_trait]
impl Platform for Typed {
    const TRAITS: Traits = Traits { keeps_cards: false, edits: false, sends_once: false };

    async fn start() -> Self {
        let printed = Printed::default();
        let console = Mutex::new(Arc::new(Console::new(Box::new(printed.clone()))));
        Self { printed, console, chat: Mutex::default() }
    }

    fn surface(&self) -> Arc<dyn Surface> {
        let console = Arc::new(Console::new(Box::new(self.printed.clone())));
        *self.console.lock().unwrap() = Arc::clone(&console);
        console
    }

    fn started(&self, engine: &Engine) {
        let console = self.console.lock().unwrap().clone();
        let (connector, workspace) = (console::NAME.to_owned(), String::new());
        let chat = Chat { engine: engine.clone(), console, connector, workspace };
        *self.chat.lock().unwrap() = Some(Arc::new(chat));
    }

    fn ended(&self) {
        *self.chat.lock().unwrap() = None;
    }

    fn actor(&self, who: Who) -> Actor {
        match who {
            Who::Anna => Console::user(),
            other => Actor::new("cli", &format!("{other:?}")),
        }
    }

    async fn say(&self, _who: Who, _chat: usize, text: &str) {
        // A terminal has one line at a time.
        for line in text.lines() {
            self.type_line(line).await;
        }
    }

    async fn decide(&self, _who: Who, _chat: usize, card: &Seen, decision: Decision) {
        let word = match decision {
            Decision::Approve => "y",
            Decision::Deny => "n",
            Decision::AllowSession => panic!("nobody types that"),
        };
        self.type_line(&format!("{word} {}", card.offer("decide"))).await;
    }

    async fn permit(&self, _who: Who, _chat: usize, ask: &Seen, reply: PermissionReply) {
        let word = match reply {
            PermissionReply::Once => "once",
            PermissionReply::Always => "session",
            PermissionReply::Reject { .. } => "reject",
        };
        self.type_line(&format!("{word} {}", ask.offer("answer"))).await;
    }

    async fn answer(&self, _who: Who, _chat: usize, message: &Seen, text: &str) {
        let line = match message.offers.iter().find(|(name, _)| name == "answer") {
            Some((_, number)) => format!("answer {number} {text}"),
            None => format!("/continue {text}"),
        };
        self.type_line(&line).await;
    }

    async fn screen(&self, _chat: usize) -> Vec<Seen> {
        let blocks = self.printed.0.lock().unwrap().0.clone();
        let waiting: Vec<String> =
            self.console.lock().unwrap().cards().iter().map(|(id, _)| id.to_string()).collect();
        let seen = |(number, text): (usize, String)| {
            let card = id_after(&text, "┌─ approval needed · ").filter(|id| waiting.contains(id));
            let ask = id_after(&text, "┌─ the agent asks (");
            let offers = [("decide", card), ("answer", ask)];
            let offers = offers.into_iter().filter_map(|(name, id)| Some((name.to_owned(), id?))).collect();
            Seen { id: number.to_string(), text, offers, file: None }
        };
        blocks.into_iter().enumerate().map(seen).collect()
    }
}
