//! Membership: which rooms the bot comes into, goes along to, and leaves.
//!
//! What became of a room is dealt with beside what comes in, and the place goes on meanwhile. A host may end over it, so at
//! each start it is looked once how all rooms stand.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use connector_contract::chain;
use tokio::time::Instant;

use super::{LIMIT, Matrix, hashed, locked, text};
use crate::api::{distinct, persist};
use crate::id::{ChatKey, RoomId};
use crate::update::{self, Answer, Filled, Incoming, View};

/// How long it is tried to come into a room.
const JOINING: Duration = Duration::from_mins(15);

/// How long it is tried to learn how the rooms stand. What is said comes in meanwhile.
const LOOKING: Duration = Duration::from_mins(10);

/// What is said in a room whose messages are encrypted.
const ENCRYPTED: &str = "this room is encrypted, and I can read nothing in it, so I leave; \
    invite me to a room without encryption";

/// What is being dealt with.
#[derive(Default)]
pub(super) struct Dealing(Mutex<Vec<Incoming>>);

impl Dealing {
    fn all(&self) -> MutexGuard<'_, Vec<Incoming>> {
        locked(&self.0)
    }

    /// Whether the bot is on its way from a room to the one that replaces it.
    pub(super) fn is_moving_from(&self, left: &RoomId) -> bool {
        self.all().iter().any(|it| matches!(it, Incoming::Upgraded { room, .. } if room == left))
    }
}

impl Matrix {
    /// Deals with what a host that ended may have left undone, once the server has said how all rooms stand.
    pub(super) async fn look_at_rooms(&self, place: &str) {
        let held = distinct();
        let looking = persist(Instant::now() + LOOKING, || self.0.api.standing(held));
        match looking.await {
            Ok(answer) => self.deal_with_rooms(&answer, place),
            Err(given_up) => {
                let reason = chain(&given_up.error);
                tracing::error!(reason, "how the rooms of matrix stand is not looked at");
            }
        }
        self.0.rooms_known.cancel();
    }

    fn deal_with_rooms(&self, answer: &Answer, place: &str) {
        let (me, allow, private) = (&self.0.settings.user, &self.0.settings.allow, &BTreeSet::new());
        let (items, _) = update::read(answer, &Filled::new(), View { me, allow, private, first: true });
        let joined = update::joined(answer);
        for item in items {
            match &item {
                // It has gone along.
                Incoming::Upgraded { room, to } if joined.contains(to) => self.0.rooms.replaced(room),
                _ => self.of_room(&item, place),
            }
        }
    }

    /// Deals with what became of a room, without holding up anything.
    pub(super) fn of_room(&self, item: &Incoming, place: &str) {
        if let Incoming::Upgraded { room, .. } = item {
            self.0.rooms.replaced(room);
        }
        {
            let mut dealing = self.0.dealing.all();
            if dealing.contains(item) {
                return;
            }
            dealing.push(item.clone());
        }
        let (this, item, place) = (self.clone(), item.clone(), place.to_owned());
        self.0.tasks.spawn(async move {
            tokio::select! {
                () = this.deal_with_room(&item, &place) => {}
                () = this.0.finishing.cancelled() => {}
            }
            this.0.dealing.all().retain(|it| *it != item);
        });
    }

    async fn deal_with_room(&self, item: &Incoming, place: &str) {
        match item {
            Incoming::Invited { room, by } => {
                tracing::info!(%room, %by, "matrix: invited to a room");
                self.join(room).await;
            }
            Incoming::Encrypted(room) => self.leave_encrypted(room, place).await,
            Incoming::Upgraded { room, to } => match self.0.rooms.may_follow(room, to).await {
                Ok(true) => self.join(to).await,
                Ok(false) => {
                    tracing::error!(%room, %to, "matrix: the room was replaced; put the new one into `allow_rooms`");
                }
                Err(error) => {
                    tracing::warn!(reason = chain(&error), %room, %to, "matrix: the room was replaced");
                }
            },
            Incoming::Gone(room) => tracing::warn!(%room, "matrix: no longer in the room"),
            Incoming::Message(_) | Incoming::Reacted(_) => {}
        }
    }

    async fn leave_encrypted(&self, room: &RoomId, place: &str) {
        tracing::error!(%room, "matrix: the room is encrypted, and is left");
        let (content, _) = text::as_it_is(ENCRYPTED, "m.notice");
        let chat = ChatKey { room: room.clone(), thread: None };
        let transaction = format!("encrypted.{}", hashed(&[room.as_str(), place]));
        let said = self.send(&chat, &transaction, &content).await;
        let leaving = persist(Instant::now() + LIMIT, || self.0.api.leave(room)).await;
        for error in [said.err(), leaving.err().map(|it| it.error)].into_iter().flatten() {
            tracing::warn!(reason = chain(&error), %room, "matrix: not left as it should be");
        }
    }

    async fn join(&self, room: &RoomId) {
        let deadline = Instant::now() + JOINING;
        match persist(deadline, || self.0.api.join(room)).await {
            Ok(()) => tracing::info!(%room, "matrix: in the room"),
            Err(given_up) => {
                let reason = chain(&given_up.error);
                tracing::error!(reason, %room, "matrix: not in the room; invite the bot again");
            }
        }
    }
}
