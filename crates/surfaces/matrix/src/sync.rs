//! Long poll: what happens, in order, from the place up to which all is durable.
//!
//! [`Syncer::next`] asks until there is something; [`Syncer::done`] says that a batch is durable with
//! the place it ends at, and only then the next is asked for. What is not `done` comes again, whole.
//! What a server leaves out of a long answer is fetched before any of the answer is handed out. Errors
//! are waited out with growing pauses and never end the polling: a revoked token may be put right while
//! the host runs. What fails about one room again and again is given up for that room alone.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::api::{Api, ApiError, TIMELINE};
use crate::config::Settings;
use crate::id::RoomId;
use crate::rooms::Rooms;
use crate::update::{self, Answer, Filled, Incoming, View};

/// How many bytes of one gap are fetched at all: whoever floods a room must not fill the memory.
const MOST: usize = 32 << 20;

/// How often something has to fail in a row before it is believed, or given up.
const TRIES: u32 = 3;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// What [`Syncer::next`] brings.
#[derive(Debug, Clone, PartialEq)]
pub struct Synced {
    /// What happened, in order.
    pub items: Vec<Incoming>,
    /// The place from which it goes on.
    pub next: String,
    /// Whether the server had forgotten the place up to which it was read: what happened since then
    /// and is not among the items is not known.
    pub lost: bool,
}

/// Asks for what is new, one request at a time.
#[derive(Debug)]
pub struct Syncer {
    api: Api,
    settings: Settings,
    rooms: Arc<Rooms>,
    since: Option<String>,
    failures: u32,
    /// How often in a row the server did not know the place.
    losses: u32,
    /// How often in a row something about a room failed while the server was up.
    troubles: Mutex<HashMap<RoomId, u32>>,
    /// How many events of a room are asked for at once.
    timeline: usize,
    /// No request before this.
    due: Instant,
}

impl Syncer {
    /// A syncer that goes on from `since`, as [`Synced::next`] said it, or begins now.
    pub fn new(api: Api, settings: Settings, rooms: Arc<Rooms>, since: Option<String>) -> Self {
        let (troubles, timeline, due) = (Mutex::default(), TIMELINE, Instant::now());
        Self { api, settings, rooms, since, failures: 0, losses: 0, troubles, timeline, due }
    }

    /// What happened next; waits until something did, or the place changed. Until it is
    /// [`done`](Self::done), the same comes again, and more. Cancel safe: a pause that was begun is
    /// kept by the next call.
    pub async fn next(&mut self) -> Synced {
        loop {
            tokio::time::sleep_until(self.due).await;
            match self.ask().await {
                Ok(synced) => {
                    (self.failures, self.losses, self.timeline) = (0, 0, TIMELINE);
                    if self.since.as_ref() != Some(&synced.next) {
                        return synced;
                    }
                }
                Err(error) => self.failed(&error),
            }
        }
    }

    /// What happened up to `place` is durable.
    pub fn done(&mut self, place: String) {
        self.since = Some(place);
    }

    fn failed(&mut self, error: &ApiError) {
        self.failures = self.failures.saturating_add(1);
        self.losses = if matches!(error, ApiError::LostPlace) { self.losses + 1 } else { 0 };
        if matches!(error, ApiError::TooLong) {
            // What is left out is fetched room by room.
            self.timeline = 1;
        }
        let pause = pause(error, self.failures);
        let reason = connector_contract::chain(error);
        if error.is_passing() {
            tracing::warn!(reason, pause_ms = pause.as_millis(), "nothing from matrix");
        } else {
            tracing::error!(reason, pause_ms = pause.as_millis(), "nothing from matrix");
        }
        self.due = Instant::now() + pause;
    }

    async fn ask(&mut self) -> Result<Synced, ApiError> {
        let since = self.since.clone();
        // Nothing that was said before is looked at by whoever begins now.
        let timeline = if since.is_none() { 1 } else { self.timeline };
        let (answer, lost) = match self.api.sync(since.as_deref(), self.settings.sync_timeout, timeline).await
        {
            Err(ApiError::LostPlace) if self.losses + 1 >= TRIES => {
                self.rooms.forget_all();
                (self.api.sync(None, Duration::ZERO, 1).await?, true)
            }
            answer => (answer?, false),
        };
        let since = since.filter(|_| !lost);
        // At once: what is left out of the answer may be long in coming.
        for room in update::changed(&answer, &Filled::new()) {
            self.rooms.forget(&room);
        }
        let filled = match &since {
            Some(since) => self.fill(since, &answer).await?,
            None => Filled::new(),
        };
        for room in update::changed(&answer, &filled) {
            self.rooms.forget(&room);
        }
        let private = self.private(&answer, &filled).await?;
        let (me, allow) = (&self.settings.user, &self.settings.allow);
        let view = View { me, allow, private: &private, first: since.is_none() };
        let (items, unreadable) = update::read(&answer, &filled, view);
        if unreadable > 0 {
            tracing::warn!(events = unreadable, "events of matrix could not be read");
        }
        Ok(Synced { items, next: answer.next_batch, lost })
    }

    async fn fill(&self, since: &str, answer: &Answer) -> Result<Filled, ApiError> {
        let mut filled = Filled::new();
        for (room, until) in update::gaps(answer, &self.settings.user) {
            let between = self.between(&room, since, &until).await;
            if let Some(events) = self.or_given_up(&room, between).await? {
                filled.insert(room, events);
            }
        }
        Ok(filled)
    }

    /// Nothing of a room where it cannot be had: then what was known of the room is not certain either.
    async fn or_given_up<T>(&self, room: &RoomId, had: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
        match had {
            Ok(had) => {
                self.troubles().remove(room);
                Ok(Some(had))
            }
            Err(error @ (ApiError::Throttled { .. } | ApiError::LoggedOut)) => Err(error),
            Err(error) if error.is_passing() && !(self.api.is_up().await && self.is_enough(room)) => {
                Err(error)
            }
            Err(error) => {
                self.troubles().remove(room);
                let reason = connector_contract::chain(&error);
                tracing::error!(reason, %room, "matrix: what was said in a room cannot be read, and is passed over");
                self.rooms.forget(room);
                Ok(None)
            }
        }
    }

    fn troubles(&self) -> MutexGuard<'_, HashMap<RoomId, u32>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something about a room has failed once more, and often enough.
    fn is_enough(&self, room: &RoomId) -> bool {
        let mut troubles = self.troubles();
        let times = troubles.entry(room.clone()).or_default();
        *times += 1;
        *times >= TRIES
    }

    /// The events of a room from one place to another.
    async fn between(&self, room: &RoomId, since: &str, until: &str) -> Result<Vec<Box<RawValue>>, ApiError> {
        let (mut events, mut bytes) = (Vec::new(), 0);
        let mut from = since.to_owned();
        loop {
            let page = self.api.messages(room, &from, until).await?;
            bytes += page.chunk.iter().map(|it| it.get().len()).sum::<usize>();
            events.extend(page.chunk);
            if bytes >= MOST {
                tracing::error!(%room, events = events.len(), "matrix: too much was said to read all of it");
                self.rooms.forget(room);
                return Ok(events);
            }
            match page.end {
                // A page may be empty where what it had is not looked at.
                Some(end) if end != from && end != until => from = end,
                _ => return Ok(events),
            }
        }
    }

    /// The rooms of the bot and one other, of those for which it matters.
    async fn private(&self, answer: &Answer, filled: &Filled) -> Result<BTreeSet<RoomId>, ApiError> {
        let mut private = BTreeSet::new();
        for room in update::in_question(answer, filled, &self.settings.allow) {
            let partner = self.rooms.partner(&room).await;
            if self.or_given_up(&room, partner).await?.flatten().is_some() {
                private.insert(room);
            }
        }
        Ok(private)
    }
}

fn pause(error: &ApiError, failures: u32) -> Duration {
    if let ApiError::Throttled { after } = error {
        return *after;
    }
    let doubled = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10));
    // What takes somebody is not put right within a second.
    if error.is_passing() { doubled.min(LONGEST_PAUSE) } else { LONGEST_PAUSE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_minute_and_a_named_one_is_kept() {
        for (error, failures, millis) in [
            (ApiError::TimedOut, 1, 500),
            (ApiError::TimedOut, 3, 2_000),
            (ApiError::TimedOut, 500, 60_000),
            (ApiError::LoggedOut, 1, 60_000),
            (ApiError::Throttled { after: Duration::from_millis(7) }, 9, 7),
        ] {
            assert_eq!(pause(&error, failures).as_millis(), millis, "{error:?} {failures}");
        }
    }
}
