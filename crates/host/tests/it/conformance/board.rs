//! A platform in this process, whose surface reaches the host by its inbox alone, as one in a crate of its own does.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use connector_contract::Progress;
use connector_contract::ask::{PermissionReply, QuestionReply};
use connector_gate::ask::{Answer, Asked};
use connector_gate::decision::Decision;
use connector_gate::ids::StepId;
use connector_gate::policy::Actor;
use connector_surface::inbox::{Message, Sent};
use connector_surface::text::{one_line, visible};
use connector_surface::view::{CardDecision, CardView, Doing, ResultView, Standing};
use connector_surface::{
    DeliveryError, Inbox, InboxError, OpenAsk, Reported, Surface, SurfaceError, View, words,
};
use serde_json::Map;
use tokio_util::sync::CancellationToken;

use super::house::STRANGERS;
use super::platform::{Platform, Seen, Traits, Who};

const NAME: &str = "board";

/// How often the surface looks for what came in.
const LOOK: Duration = Duration::from_millis(5);

/// What somebody did.
#[derive(Debug, Clone)]
struct Update {
    id: String,
    who: Who,
    chat: usize,
    what: Did,
}

#[derive(Debug, Clone)]
enum Did {
    Write(String),
    Edit(String),
    Reply(String, String),
    /// What stood beside an offer of a message.
    Press(String, String),
}

/// Its server: what was posted, and what is to be read.
#[derive(Default)]
struct Server {
    posts: Vec<(usize, Seen)>,
    updates: Vec<Update>,
    read: usize,
    count: usize,
    refuse: usize,
    is_down: bool,
}

type Shared = Arc<Mutex<Server>>;

/// The platform.
pub(crate) struct Board(Shared);

/// The surface.
struct Poster {
    server: Shared,
    inbox: Mutex<Option<Inbox>>,
    doing: Mutex<Vec<(StepId, Doing, String)>>,
    asks: Mutex<Vec<(u64, OpenAsk, String)>>,
}

/// Why nothing was posted.
fn refused(server: &mut Server) -> Result<(), DeliveryError> {
    if server.is_down {
        return Err(DeliveryError::Later("the board is down".into()));
    }
    if server.refuse > 0 {
        server.refuse -= 1;
        return Err(DeliveryError::Later("too many posts".into()));
    }
    Ok(())
}

impl Poster {
    /// Posts or changes a message, under an id of its own.
    fn post(
        &self,
        chat: usize,
        id: &str,
        text: &str,
        offers: &[(&str, String)],
    ) -> Result<(), DeliveryError> {
        let mut server = self.server.lock().unwrap();
        refused(&mut server)?;
        let offers = offers.iter().map(|(name, data)| ((*name).to_owned(), data.clone())).collect();
        let seen = Seen { id: id.to_owned(), text: text.to_owned(), offers, file: None };
        match server.posts.iter_mut().find(|(_, it)| it.id == id) {
            Some((_, known)) => *known = seen,
            None => server.posts.push((chat, seen)),
        }
        Ok(())
    }

    fn inbox(&self) -> Result<Inbox, InboxError> {
        self.inbox.lock().unwrap().clone().ok_or(InboxError::NotRunning)
    }

    async fn record(
        &self,
        chat: &str,
        message: &str,
        about: (Option<StepId>, Option<i64>, &str),
    ) -> Result<(), InboxError> {
        let (step, delivery, part) = about;
        let (chat, message, part) = (chat.to_owned(), message.to_owned(), part.to_owned());
        self.inbox()?.record(Sent { chat, message, step, delivery, part }).await
    }

    async fn take(&self, update: Update) -> Result<(), InboxError> {
        let inbox = self.inbox()?;
        let (chat, user) = (update.chat.to_string(), format!("{:?}", update.who));
        if update.who == Who::Stranger {
            return Ok(());
        }
        match update.what {
            Did::Write(text) => {
                self.message(&inbox, (&update.id, "message_received"), (&chat, &user), (text, None)).await
            }
            Did::Edit(text) => {
                self.message(&inbox, (&update.id, "message_edited"), (&chat, &user), (text, None)).await
            }
            Did::Reply(message, text) => {
                let asked = self.asks.lock().unwrap().iter().find(|(_, _, it)| *it == message).cloned();
                if let Some((number, _, _)) = asked {
                    let answer = Answer::Question(QuestionReply::Answers { answers: vec![vec![text]] });
                    return inbox.answer(&user, number, answer).await.map(|_| ());
                }
                self.message(&inbox, (&update.id, "message_received"), (&chat, &user), (text, Some(message)))
                    .await
            }
            Did::Press(message, data) => self.pressed(&inbox, (&chat, &user), &message, &data).await,
        }
    }

    async fn message(
        &self,
        inbox: &Inbox,
        (id, trigger): (&str, &'static str),
        (chat, user): (&str, &str),
        (text, answers): (String, Option<String>),
    ) -> Result<(), InboxError> {
        let (id, chat, user) = (id.to_owned(), chat.to_owned(), user.to_owned());
        let message = Message { id, chat, user, trigger, text, answers, payload: Map::new() };
        inbox.take(vec![message]).await.map(|_| ())
    }

    async fn pressed(
        &self,
        inbox: &Inbox,
        (chat, user): (&str, &str),
        message: &str,
        data: &str,
    ) -> Result<(), InboxError> {
        if let Some(number) = data.strip_prefix("ask ") {
            let (number, choice) = number.split_once(' ').unwrap();
            let reply = match choice {
                "once" => PermissionReply::Once,
                "always" => PermissionReply::Always,
                _ => PermissionReply::Reject { message: words::REFUSED.to_owned() },
            };
            return inbox.answer(user, number.parse().unwrap(), Answer::Permission(reply)).await.map(|_| ());
        }
        let Some(about) = inbox.about(chat, message).await? else { return Ok(()) };
        let Some(digest) = about.part.strip_prefix("card ") else { return Ok(()) };
        let decision = if data == "yes" { Decision::Approve } else { Decision::Deny };
        inbox.decide((chat, user), (about.step, digest), decision).await.map(|_| ())
    }

    async fn show(&self, chat: &str, number: i64, view: View) -> Result<(), DeliveryError> {
        let later = |error: InboxError| DeliveryError::Later(connector_contract::chain(&error));
        let (at, id) = (chat.parse().unwrap(), format!("d{number}"));
        match view {
            View::Card(card) => {
                let offers = [("yes", "yes".to_owned()), ("no", "no".to_owned())];
                self.post(at, &id, &card_text(&card), &offers)?;
                let part = format!("card {}", card.digest.as_str());
                self.record(chat, &id, (Some(card.id), Some(number), &part)).await.map_err(later)
            }
            View::Result(result) => {
                self.post(at, &id, &result_text(&result), &[])?;
                let of_card = format!("approval needed · {}\n", result.id);
                for (place, card) in &mut self.server.lock().unwrap().posts {
                    if *place == at && card.text.starts_with(&of_card) {
                        card.offers.clear();
                    }
                }
                let digest =
                    self.doing.lock().unwrap().iter().find(|it| it.0 == result.id).map(|it| it.2.clone());
                self.doing.lock().unwrap().retain(|it| it.0 != result.id);
                if let Some(message) = digest {
                    self.server.lock().unwrap().posts.retain(|(_, it)| it.id != message);
                }
                self.record(chat, &id, (Some(result.id), Some(number), "result")).await.map_err(later)
            }
            View::Text(text) => self.post(at, &id, &visible(&text), &[]),
        }
    }
}

fn card_text(card: &CardView) -> String {
    use connector_surface::view::Field;
    let mut text = format!("approval needed · {}\n", card.id);
    for field in &card.fields {
        let (name, value) = match field {
            Field::Again(why) => ("again", why),
            Field::AskedBy { by, .. } => ("asked by", by),
            Field::Named { name, value } => (name.as_str(), value),
        };
        text.push_str(&format!("{name}: {value}\n"));
    }
    text + card.prompt.as_deref().unwrap_or_default()
}

fn result_text(result: &ResultView) -> String {
    let mut text = format!("{}{}\n", result.title, result.figures);
    text.push_str(result.reason.as_deref().unwrap_or_default());
    text.push_str(&result.reply.as_ref().map(|reply| visible(reply.as_str())).unwrap_or_default());
    for file in result.changes.iter().flat_map(|changes| &changes.files) {
        let (added, deleted) = file.lines.unwrap_or_default();
        text.push_str(&format!("\n{} {} +{added} −{deleted}", file.status, file.path));
    }
    text
}

#[async_trait]
impl Surface for Poster {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn run(&self, inbox: Inbox, stop: CancellationToken) -> Result<(), SurfaceError> {
        *self.inbox.lock().unwrap() = Some(inbox);
        while !stop.is_cancelled() {
            let next = {
                let server = self.server.lock().unwrap();
                server.updates.get(server.read).filter(|_| !server.is_down).cloned()
            };
            let Some(update) = next else {
                tokio::time::sleep(LOOK).await;
                continue;
            };
            // It is read once it was taken.
            match self.take(update).await {
                Ok(()) | Err(InboxError::Unreadable(_)) => self.server.lock().unwrap().read += 1,
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
        Ok(())
    }

    async fn deliver(&self, chat: &str, delivery: i64, view: View) -> Result<String, DeliveryError> {
        if self.inbox.lock().unwrap().is_none() {
            return Err(DeliveryError::Later("it is not run yet".into()));
        }
        self.show(chat, delivery, view).await?;
        Ok(format!("d{delivery}"))
    }

    async fn changed(&self, chat: &str, standing: &Standing) -> Result<(), DeliveryError> {
        let of_card = format!("approval needed · {}\n", standing.card.id);
        let waits = matches!(standing.decision, CardDecision::Awaited { .. });
        let mut server = self.server.lock().unwrap();
        refused(&mut server)?;
        let at: usize = chat.parse().unwrap();
        let card = |(place, seen): &&mut (usize, Seen)| *place == at && seen.text.starts_with(&of_card);
        if let Some((_, seen)) = server.posts.iter_mut().rev().find(card) {
            seen.text = format!("{}\n{}", card_text(&standing.card), standing.words());
            if !waits {
                seen.offers.clear();
            }
        }
        Ok(())
    }

    fn admits(&self, chat: &str) -> Result<(), String> {
        chat.parse::<usize>().map(|_| ()).map_err(|_| format!("`{chat}` is no board"))
    }

    fn keeps_cards(&self) -> bool {
        true
    }

    fn takes_answers(&self) -> bool {
        true
    }

    fn unanswered(&self, reported: Reported<'_>) -> Option<String> {
        (reported.trigger == "message_received").then(|| words::NO_RULE.to_owned())
    }

    fn asks_for_words(&self, _reported: Reported<'_>, command: &str) -> Option<String> {
        Some(words::wants_words(command))
    }

    fn progress(&self, chat: &str, step: StepId, progress: &Progress) {
        let mut all = self.doing.lock().unwrap();
        if !all.iter().any(|it| it.0 == step) {
            all.push((step, Doing::default(), format!("s{step}")));
        }
        let Some((_, doing, message)) = all.iter_mut().find(|it| it.0 == step) else { return };
        doing.note(progress);
        let text = format!("{step} runs\n{}", doing.lines.join("\n"));
        let _ = self.post(chat.parse().unwrap(), message, &text, &[]);
    }

    fn ask(&self, chat: &str, ask: &OpenAsk) {
        let id = format!("a{}", ask.number);
        let text = format!("{}: {}", ask.step, visible(&ask.asked.in_a_line()));
        let press = |choice: &str| format!("ask {} {choice}", ask.number);
        let offers = match &ask.asked {
            Asked::Permission(_) => {
                vec![("once", press("once")), ("always", press("always")), ("reject", press("no"))]
            }
            Asked::Question(_) => vec![("reply to it", String::new())],
        };
        let _ = self.post(chat.parse().unwrap(), &id, &text, &offers);
        if let Ok(inbox) = self.inbox() {
            let (chat, part) = (chat.to_owned(), format!("ask {}", ask.number));
            let sent = Sent { chat, message: id.clone(), step: Some(ask.step), delivery: None, part };
            tokio::spawn(async move { inbox.record(sent).await });
        }
        self.asks.lock().unwrap().push((ask.number, ask.clone(), id));
    }

    fn ask_closed(&self, chat: &str, ask: &OpenAsk, by: Option<&Actor>) {
        let by = by.map(|by| one_line(&ask.people.named(by))).unwrap_or_default();
        let text = format!("{}: that is over; {by}", ask.step);
        let _ = self.post(chat.parse().unwrap(), &format!("a{}", ask.number), &text, &[]);
        self.asks.lock().unwrap().retain(|(number, ..)| *number != ask.number);
    }
}

impl Board {
    fn put(&self, who: Who, chat: usize, what: Did) {
        let mut server = self.0.lock().unwrap();
        server.count += 1;
        let id = format!("u{}", server.count);
        server.updates.push(Update { id, who, chat, what });
    }
}

#[async_trait]
impl Platform for Board {
    const TRAITS: Traits = Traits { keeps_cards: true, edits: true, sends_once: true };

    async fn start() -> Self {
        Self(Shared::default())
    }

    fn surface(&self) -> Arc<dyn Surface> {
        let server = Arc::clone(&self.0);
        Arc::new(Poster { server, inbox: Mutex::default(), doing: Mutex::default(), asks: Mutex::default() })
    }

    fn actor(&self, who: Who) -> Actor {
        Actor::new(NAME, &format!("{who:?}"))
    }

    fn address(&self, chat: usize) -> String {
        format!("{NAME}:{chat}")
    }

    async fn say(&self, who: Who, chat: usize, text: &str) {
        self.put(who, chat, Did::Write(text.to_owned()));
    }

    async fn edit(&self, who: Who, chat: usize, text: &str) {
        self.put(who, chat, Did::Edit(text.to_owned()));
    }

    async fn redeliver(&self) {
        let mut server = self.0.lock().unwrap();
        let last = server.updates.last().cloned();
        server.updates.extend(last);
    }

    async fn decide(&self, who: Who, chat: usize, card: &Seen, decision: Decision) {
        let data = if decision == Decision::Deny { "no" } else { "yes" };
        self.put(who, chat, Did::Press(card.id.clone(), card.offer(data).to_owned()));
    }

    async fn permit(&self, who: Who, chat: usize, ask: &Seen, reply: PermissionReply) {
        let label = match reply {
            PermissionReply::Once => "once",
            PermissionReply::Always => "always",
            PermissionReply::Reject { .. } => "reject",
        };
        self.put(who, chat, Did::Press(ask.id.clone(), ask.offer(label).to_owned()));
    }

    async fn answer(&self, who: Who, chat: usize, message: &Seen, text: &str) {
        self.put(who, chat, Did::Reply(message.id.clone(), text.to_owned()));
    }

    async fn delete(&self, _chat: usize, message: &Seen) {
        self.0.lock().unwrap().posts.retain(|(_, it)| it.id != message.id);
    }

    async fn screen(&self, chat: usize) -> Vec<Seen> {
        assert!(chat == STRANGERS || chat < 100);
        let server = self.0.lock().unwrap();
        server.posts.iter().filter(|(at, _)| *at == chat).map(|(_, seen)| seen.clone()).collect()
    }

    async fn refuse(&self, times: usize) {
        self.0.lock().unwrap().refuse = times;
    }

    async fn be_down(&self, down: bool) {
        self.0.lock().unwrap().is_down = down;
    }
}
