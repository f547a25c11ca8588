//! Rooms: in which of them the configuration lets the bot speak, and who is in those of two.
//!
//! A room of the bot and one other is private while nobody else is in it or invited, nobody comes in uninvited, and
//! nobody reads it from outside. What is known of a room is forgotten once its members or rules change.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::api::{Api, ApiError};
use crate::config::Allow;
use crate::id::{RoomId, UserId};

/// The rooms of one user.
#[derive(Debug)]
pub struct Rooms {
    api: Api,
    me: UserId,
    allow: Allow,
    known: Mutex<Known>,
    replaced: Mutex<BTreeSet<RoomId>>,
}

#[derive(Debug, Default)]
struct Known {
    /// Who else is in a private room; nobody where it is none.
    partners: HashMap<RoomId, Option<UserId>>,
    /// How often a room was forgotten.
    forgotten: HashMap<RoomId, u64>,
    /// How often all were.
    all: u64,
}

impl Known {
    fn times_forgotten(&self, room: &RoomId) -> (u64, u64) {
        (self.all, self.forgotten.get(room).copied().unwrap_or_default())
    }
}

impl Rooms {
    /// The rooms of `me`, of which nothing is known yet.
    pub fn new(api: Api, me: UserId, allow: Allow) -> Self {
        Self { api, me, allow, known: Mutex::default(), replaced: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is alone with the bot in a room; nobody where it is not private.
    pub async fn partner(&self, room: &RoomId) -> Result<Option<UserId>, ApiError> {
        let forgotten = {
            let known = self.known();
            if let Some(partner) = known.partners.get(room) {
                return Ok(partner.clone());
            }
            known.times_forgotten(room)
        };
        let partner = match self.look(room).await {
            // The bot is not there, or is told so: that is not kept, since nothing would say that it is over.
            Err(ApiError::Forbidden { .. } | ApiError::NotFound { .. }) => return Ok(None),
            partner => partner?,
        };
        let mut known = self.known();
        // Somebody may have come in meanwhile: then it is asked again the next time.
        if known.times_forgotten(room) == forgotten {
            known.partners.insert(room.clone(), partner.clone());
        }
        Ok(partner)
    }

    async fn look(&self, room: &RoomId) -> Result<Option<UserId>, ApiError> {
        let members = self.api.members(room).await?;
        let [one, other] = &members[..] else { return Ok(None) };
        let partner = match (one.as_str() == self.me.as_str(), other.as_str() == self.me.as_str()) {
            (true, false) => other,
            (false, true) => one,
            _ => return Ok(None),
        };
        let says = async |kind: &str, key: &str| {
            let state = self.api.state(room, kind).await?;
            Ok::<_, ApiError>(state.and_then(|it| it[key].as_str().map(str::to_owned)))
        };
        let closed = says("m.room.join_rules", "join_rule").await?.as_deref() == Some("invite");
        let open = says("m.room.history_visibility", "history_visibility").await?.as_deref()
            == Some("world_readable");
        Ok(partner.parse().ok().filter(|_| closed && !open))
    }

    /// What was known of a room may be so no longer.
    pub fn forget(&self, room: &RoomId) {
        let mut known = self.known();
        *known.forgotten.entry(room.clone()).or_default() += 1;
        known.partners.remove(room);
    }

    /// Nothing that was known is certain any more.
    pub fn forget_all(&self) {
        let mut known = self.known();
        known.all += 1;
        known.partners.clear();
    }

    /// Whether the configuration lets the bot speak in a room: it is named, or private with somebody who is.
    pub async fn may_speak(&self, room: &RoomId) -> Result<bool, ApiError> {
        if self.allow.rooms.contains(room) {
            return Ok(true);
        }
        Ok(self.partner(room).await?.is_some_and(|it| self.allow.users.contains(&it)))
    }

    /// Refuses what would be said where the bot may not speak.
    pub async fn check(&self, room: &RoomId) -> Result<(), ApiError> {
        let reason = "neither `allow_rooms` nor `allow_users` lets the bot speak in this room";
        if self.may_speak(room).await? {
            Ok(())
        } else {
            Err(ApiError::Forbidden { reason: reason.to_owned() })
        }
    }

    /// Whether the bot goes along to the room that replaces another: it is named, or the other is private.
    pub async fn may_follow(&self, room: &RoomId, to: &RoomId) -> Result<bool, ApiError> {
        Ok(self.allow.rooms.contains(to)
            || (self.may_speak(room).await? && self.partner(room).await?.is_some()))
    }

    /// A room says that another replaces it.
    pub fn replaced(&self, room: &RoomId) {
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner).insert(room.clone());
    }

    /// Whether a room says that another replaces it, as far as is known.
    pub fn is_replaced(&self, room: &RoomId) -> bool {
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner).contains(room)
    }

    /// The room that replaced another: both say so, and it is named, or private with the same person.
    pub async fn successor(&self, room: &RoomId) -> Result<Option<RoomId>, ApiError> {
        let named = |state: Option<Value>, pointer: &str| -> Option<RoomId> {
            state?.pointer(pointer)?.as_str()?.parse().ok()
        };
        let tombstone = self.api.state(room, "m.room.tombstone").await?;
        let Some(to) = named(tombstone, "/replacement_room") else { return Ok(None) };
        let before = named(self.api.state(&to, "m.room.create").await?, "/predecessor/room_id");
        if before.as_ref() != Some(room) || !self.may_speak(&to).await? {
            return Ok(None);
        }
        let same = self.allow.rooms.contains(&to) || self.partner(room).await? == self.partner(&to).await?;
        Ok(Some(to).filter(|_| same))
    }
}
