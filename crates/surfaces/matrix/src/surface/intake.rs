//! What comes in: messages become events, reactions and replies to cards decisions.
//!
//! An answer of the server is done with when all of it is durable, and the place it ends at with it; until then all of it
//! comes again, and taking it again changes nothing: an event is stored under its id, a decision under the card's state.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use connector_contract::chain;
use connector_gate::decision::{Decision, Tapped};
use connector_gate::ids::StepId;
use connector_surface::flood::{self, Admission};
use connector_surface::inbox::Message;
use connector_surface::{Inbox, InboxError, SurfaceError, words};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Matrix;
use super::mark::{self, Mark, Said};
use crate::api::ApiError;
use crate::id::{ChatKey, EventId, RoomId, UserId};
use crate::sync::{Synced, Syncer};
use crate::update::{Event, Incoming, Reacted, Received};

/// How long until the server is called again at the start.
const UNREACHABLE: Duration = Duration::from_secs(3);

/// How long until what could not be taken is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// How often a server that is up is asked what something is about before that is passed over: one event that it
/// cannot give must not keep everything else from being heard.
const TRIES: u32 = 20;

/// Why something was not taken, and comes again.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("the inbox does not take it")]
    Inbox(#[from] InboxError),
    #[error("the homeserver does not say what it is about")]
    Server(#[from] ApiError),
}

impl Matrix {
    /// Takes in what comes until `stop`.
    pub(super) async fn take_in(&self, inbox: &Inbox, stop: &CancellationToken) -> Result<(), SurfaceError> {
        let place = tokio::select! {
            known = self.introduce() => known.and(inbox.place().await.map_err(SurfaceError::from))?,
            () = stop.cancelled() => return Ok(()),
        };
        // Who begins now is told of the rooms with what is new.
        let mut begins = place.is_none();
        let user = &self.0.settings.user;
        if let Some(place) = place.clone() {
            tracing::info!(%user, "matrix is connected");
            let this = self.clone();
            self.0.tasks.spawn(async move {
                tokio::select! {
                    () = this.look_at_rooms(&place) => {}
                    () = this.0.finishing.cancelled() => {}
                }
            });
        }
        let (api, settings, rooms) = (self.0.api.clone(), self.0.settings.clone(), self.0.rooms.clone());
        let mut syncer = Syncer::new(api, settings, rooms, place);
        loop {
            let news = tokio::select! {
                news = syncer.next() => news,
                () = stop.cancelled() => return Ok(()),
            };
            if news.lost {
                tracing::error!(
                    "the homeserver forgot how far it was read: what was said meanwhile is not known"
                );
            }
            let dropped = self.dropped(inbox, &news.items);
            let mut tries = 0;
            while let Err(error) = self.take(inbox, &news, &dropped, tries).await {
                // While nothing of the server answers, nobody's word is passed over.
                if matches!(&error, NotTaken::Server(error) if error.is_passing()) && self.0.api.is_up().await
                {
                    tries += 1;
                }
                if matches!(error, NotTaken::Inbox(InboxError::NotRunning)) {
                    return Ok(());
                }
                tracing::error!(reason = chain(&error), "what came in waits, and is tried again");
                let pause = match error {
                    NotTaken::Server(ApiError::Throttled { after }) => after,
                    _ => AGAIN,
                };
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => return Ok(()),
                }
            }
            syncer.done(news.next);
            if std::mem::take(&mut begins) {
                // What is said from here on is heard.
                tracing::info!(%user, "matrix is connected");
                self.0.rooms_known.cancel();
            }
        }
    }

    /// Finds out whether the token is that of the user who is configured. Waits as long as the server does not say: what
    /// answers in its place, such as the page of a proxy, may be gone in a moment.
    async fn introduce(&self) -> Result<(), SurfaceError> {
        let user = &self.0.settings.user;
        loop {
            let error = match self.0.api.whoami().await {
                Ok(me) if me == *user => return Ok(()),
                Ok(me) => {
                    let reason = format!("`access_token` is {me}'s, and `user` says {user}");
                    return Err(SurfaceError { reason });
                }
                Err(error @ ApiError::LoggedOut) => return Err(SurfaceError { reason: chain(&error) }),
                Err(error) => error,
            };
            if error.is_passing() {
                tracing::warn!(reason = chain(&error), "matrix is not there yet");
            } else {
                tracing::error!(
                    reason = chain(&error),
                    "this does not seem to be a homeserver; it is asked again"
                );
            }
            let pause = if let ApiError::Throttled { after } = error { after } else { UNREACHABLE };
            tokio::time::sleep(pause).await;
        }
    }

    /// The messages that are too many; their sender is told once.
    fn dropped(&self, inbox: &Inbox, items: &[Incoming]) -> HashSet<EventId> {
        let mut dropped = HashSet::new();
        for item in items {
            let (event, chat, user, in_company) = match item {
                Incoming::Message(Received { event, chat, user, payload, .. }) => {
                    (event, chat.clone(), user, payload["chat_type"] != "private")
                }
                Incoming::Reacted(Reacted { event, room, user, is_private, .. }) => {
                    (event, ChatKey { room: room.clone(), thread: None }, user, !is_private)
                }
                _ => continue,
            };
            let (message, room) = (event.clone(), chat.room.clone());
            let from = flood::From { message, chat: room, user: user.clone(), in_company };
            // Reactions are counted by themselves: whoever likes much may still say something.
            let (flood, is_said) = match item {
                Incoming::Message(_) => (&self.0.flood, true),
                _ => (&self.0.reactions, false),
            };
            let admission = flood.admit(from, inbox.is_approver(user.as_str()), Instant::now());
            if admission == Admission::DroppedFirst {
                tracing::warn!(%chat, %user, "too many messages at once; they are dropped for a while");
                if is_said {
                    self.answer(&chat, event, words::TOO_MUCH);
                }
            }
            if admission != Admission::Taken {
                dropped.insert(event.clone());
            }
        }
        dropped
    }

    /// Takes what happened: what was decided first, then the messages, with the place after them.
    async fn take(
        &self,
        inbox: &Inbox,
        news: &Synced,
        dropped: &HashSet<EventId>,
        tries: u32,
    ) -> Result<(), NotTaken> {
        let mut messages = Vec::new();
        for item in &news.items {
            let taken = match item {
                Incoming::Message(received) if dropped.contains(&received.event) => Ok(()),
                Incoming::Message(received) => self.replied(inbox, received).await.map(|is_word| {
                    messages.extend((!is_word).then(|| message(received)));
                }),
                Incoming::Reacted(it) if dropped.contains(&it.event) => Ok(()),
                Incoming::Reacted(it) => self.reacted(inbox, it).await.map(|seen| messages.extend(seen)),
                room => {
                    self.of_room(room, &news.next);
                    Ok(())
                }
            };
            match taken {
                Err(NotTaken::Inbox(InboxError::Unreadable(reason))) => {
                    tracing::error!(reason, "what was said about a step cannot be taken, and is passed over");
                }
                Err(NotTaken::Server(error)) if tries >= TRIES && error.is_passing() => {
                    tracing::error!(reason = chain(&error), "what was said about an event decides nothing");
                    // A yes to what cannot be read is no task.
                    if let Incoming::Message(received) = item
                        && Said::Words(&received.text).decision().is_none()
                    {
                        messages.push(message(received));
                    }
                }
                taken => taken?,
            }
        }
        store(inbox, messages, &news.next).await?;
        Ok(())
    }

    /// Whether a message is an answer to a card or an ask, and not one that rules see; then it is carried out.
    async fn replied(&self, inbox: &Inbox, received: &Received) -> Result<bool, NotTaken> {
        let Some(about) = &received.answers else { return Ok(false) };
        if received.text.starts_with('/') {
            return Ok(false);
        }
        let event = (&received.user, &received.event, &received.chat.room, about);
        self.spoken(inbox, event, Said::Words(&received.text)).await
    }

    /// Carries out what a reaction decides; what rules see of one that is about no card and no ask.
    async fn reacted(&self, inbox: &Inbox, it: &Reacted) -> Result<Option<Message>, NotTaken> {
        let decision = mark::of_reaction(&it.key).filter(|_| inbox.is_approver(it.user.as_str()));
        let target = match self.0.api.event(&it.room, &it.target).await {
            // What decides nothing holds nothing else up.
            Err(error) if decision.is_none() && !matches!(error, ApiError::LoggedOut) => {
                tracing::warn!(reason = chain(&error), room = %it.room, "matrix: a reaction is passed over");
                return Ok(None);
            }
            target => target?,
        };
        let Some(target) = target.as_deref().and_then(Event::read) else { return Ok(None) };
        if let Some(decision) = decision {
            let event = (&it.user, &it.event, &it.room);
            if self.decided(inbox, event, &target, Said::Sign(decision)).await? {
                return Ok(None);
            }
        }
        // One of its own that was taken back, or that changes another, may be a card.
        let is_own = target.sender == self.0.settings.user;
        let asks = is_own && (mark::of(&target).is_some() || target.content.is_empty() || target.replaces());
        Ok((!asks).then(|| reaction(it, target.thread())))
    }

    /// Carries out what an approver said about a card or an ask; whether it was about one. What others say is nothing.
    async fn spoken(
        &self,
        inbox: &Inbox,
        (by, event, room, about): (&UserId, &EventId, &RoomId, &EventId),
        said: Said<'_>,
    ) -> Result<bool, NotTaken> {
        if !inbox.is_approver(by.as_str()) {
            return Ok(false);
        }
        let Some(shown) = self.0.api.event(room, about).await? else { return Ok(false) };
        let Some(shown) = Event::read(&shown) else { return Ok(false) };
        self.decided(inbox, (by, event, room), &shown, said).await
    }

    /// The same about an event that is at hand.
    async fn decided(
        &self,
        inbox: &Inbox,
        (by, event, room): (&UserId, &EventId, &RoomId),
        shown: &Event,
        said: Said<'_>,
    ) -> Result<bool, NotTaken> {
        if shown.sender != self.0.settings.user {
            return Ok(false);
        }
        let Some((mark, thread)) = mark::of(shown) else { return Ok(false) };
        let chat = ChatKey { room: room.clone(), thread };
        match mark {
            Mark::Card(step, digest) => {
                let Some((decision, named)) = said.decision() else { return Ok(false) };
                self.decide(inbox, (by, event, &chat), (step, &digest, named), decision).await?;
            }
            Mark::Ask(key) => self.answered(inbox, (by, event, &chat), &key, said).await?,
        }
        Ok(true)
    }

    async fn decide(
        &self,
        inbox: &Inbox,
        (by, event, chat): (&UserId, &EventId, &ChatKey),
        (step, digest, named): (StepId, &str, Option<&str>),
        decision: Decision,
    ) -> Result<(), InboxError> {
        if named.is_some_and(|named| !digest.starts_with(&named.to_lowercase())) {
            self.answer(chat, event, &format!("{step}: the card that this answers has another digest"));
            return Ok(());
        }
        let tapped = inbox.decide((&chat.to_string(), by.as_str()), (step, digest), decision).await?;
        // The whole room would be told why, where the run may be nobody's business any more.
        if !matches!(tapped, Tapped::NotAllowed { .. }) {
            self.answer(chat, event, &words::decided(step, &tapped));
        }
        Ok(())
    }
}

/// Stores messages and the place after them at once. Where one of them is about a row that cannot be read, that one alone
/// is passed over.
async fn store(inbox: &Inbox, messages: Vec<Message>, place: &str) -> Result<(), InboxError> {
    match inbox.take_up_to(messages.clone(), place).await {
        Err(InboxError::Unreadable(reason)) => {
            tracing::error!(reason, "messages are about what cannot be read; each is taken by itself");
        }
        taken => return taken.map(drop),
    }
    for message in messages {
        let id = message.id.clone();
        match inbox.take(vec![message]).await {
            Err(InboxError::Unreadable(reason)) => tracing::error!(reason, id, "a message is passed over"),
            taken => drop(taken?),
        }
    }
    inbox.take_up_to(Vec::new(), place).await.map(drop)
}

fn reaction(it: &Reacted, thread: Option<EventId>) -> Message {
    let payload = json!({
        "key": it.key,
        "message_id": it.target.as_str(),
        "reaction_id": it.event.as_str(),
        "topic_id": thread.as_ref().map(EventId::as_str),
        "user_id": it.user.as_str(),
        "username": it.user.as_str(),
        "chat_type": if it.is_private { "private" } else { "group" },
        "date": it.date,
    });
    Message {
        id: it.event.to_string(),
        chat: ChatKey { room: it.room.clone(), thread }.to_string(),
        user: it.user.to_string(),
        trigger: "reaction_received",
        text: String::new(),
        answers: Some(it.target.to_string()),
        payload: payload.as_object().cloned().unwrap_or_default(),
    }
}

fn message(received: &Received) -> Message {
    Message {
        id: received.event.to_string(),
        chat: received.chat.to_string(),
        user: received.user.to_string(),
        trigger: "message_received",
        text: received.text.clone(),
        answers: received.answers.as_ref().map(EventId::to_string),
        payload: received.payload.clone(),
    }
}
