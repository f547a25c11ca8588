//! Platforms as the suite plays on them.

use std::sync::Arc;

use async_trait::async_trait;
use connector_contract::ask::PermissionReply;
use connector_engine::Engine;
use connector_gate::decision::Decision;
use connector_gate::policy::Actor;
use connector_surface::Surface;

/// Who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// She asks and approves. Whoever has a console is her.
    Anna,
    /// He approves, too.
    Ben,
    /// She may write, and not approve.
    Carol,
    /// Nobody let them in.
    Stranger,
}

/// What becomes of a platform's messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traits {
    /// Messages outlive the host.
    pub(crate) keeps_cards: bool,
    /// A message that was sent can be changed.
    pub(crate) edits: bool,
    /// The same message sent twice is one, whatever the host remembers.
    pub(crate) sends_once: bool,
}

/// A message of the host's on a screen, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The platform's id of it.
    pub(crate) id: String,
    /// All of its text, as people see it.
    pub(crate) text: String,
    /// What it offers to do, with what the platform sends for it: an old one is still there for whoever looks at an old
    /// screen.
    pub(crate) offers: Vec<(String, String)>,
    /// What is attached to it.
    pub(crate) file: Option<String>,
}

impl Seen {
    /// Whether anything can be done by it.
    pub(crate) fn is_open(&self) -> bool {
        !self.offers.is_empty()
    }

    /// What the platform sends for what is called so.
    pub(crate) fn offer(&self, label: &str) -> &str {
        let found = self.offers.iter().find(|(name, _)| name.contains(label));
        found.map_or_else(|| panic!("no `{label}` on {self:#?}"), |(_, data)| data)
    }
}

/// A platform, and people on it.
#[async_trait]
pub(crate) trait Platform: Sized + Send + Sync + 'static {
    /// What it has.
    const TRAITS: Traits;

    /// Whether it is kept how far it was read: what was said before the first look is not heard.
    const KEEPS_PLACE: bool = false;

    /// A platform that nobody wrote on yet.
    async fn start() -> Self;

    /// A surface on it, as each start of a host makes one.
    fn surface(&self) -> Arc<dyn Surface>;

    /// A host was started with [`surface`](Self::surface).
    fn started(&self, _engine: &Engine) {}

    /// That host has ended.
    fn ended(&self) {}

    /// The account of somebody.
    fn actor(&self, who: Who) -> Actor;

    /// A chat as rules write it, its surface's name before it.
    fn address(&self, _chat: usize) -> String {
        has_not("more than one chat")
    }

    /// Somebody writes in a chat; the chats of Anna alone are counted from 0.
    async fn say(&self, who: Who, chat: usize, text: &str);

    /// Somebody changes what they wrote last.
    async fn edit(&self, _who: Who, _chat: usize, _text: &str) {
        has_not("messages that can be edited");
    }

    /// The last update comes once more.
    async fn redeliver(&self) {
        has_not("a server that sends twice");
    }

    /// Somebody decides by a card.
    async fn decide(&self, who: Who, chat: usize, card: &Seen, decision: Decision);

    /// Somebody answers what an agent may do.
    async fn permit(&self, who: Who, chat: usize, ask: &Seen, reply: PermissionReply);

    /// Somebody answers a message in words.
    async fn answer(&self, who: Who, chat: usize, message: &Seen, text: &str);

    /// Somebody takes a message of the host's away.
    async fn delete(&self, _chat: usize, _message: &Seen) {
        has_not("messages that can be taken away");
    }

    /// What a chat shows of the host's, oldest first.
    async fn screen(&self, chat: usize) -> Vec<Seen>;

    /// The next sends are refused for their rate.
    async fn refuse(&self, _times: usize) {
        has_not("a server that refuses");
    }

    /// It is down, until it is not.
    async fn be_down(&self, _down: bool) {
        has_not("a server");
    }

    /// A chat becomes another one: its messages are the other's from now on. The chat's number is the same.
    async fn move_chat(&self, _chat: usize) {
        has_not("chats that move");
    }
}

fn has_not(what: &str) -> ! {
    panic!("the suite plays on {what}, which this platform has not: its line promises too much");
}
