//! Live status: the card of each running step, or a message of its own, which is edited as the step goes on.
//!
//! Servers count edits as messages, and few are allowed: what is newest is shown of each step in its turn, and the rest
//! dropped. Nothing that has to be sent waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Mutex;
use std::time::Duration;

use connector_contract::{Progress, chain};
use connector_gate::ids::StepId;
use connector_surface::inbox::Sent;
use connector_surface::view::Doing;
use data_encoding::HEXLOWER;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::deliver::STATUS;
use super::{Matrix, locked, render};
use crate::api::ApiError;
use crate::id::ChatKey;
use crate::text::{related, replacing};

/// How long until a status is changed again: Synapse's own limit is a message in five seconds.
const EVERY: Duration = Duration::from_secs(10);

/// How many steps that ended are remembered: what comes late of one is not shown.
const ENDED: usize = 1_000;

/// What is known of the steps that run.
#[derive(Default)]
pub(super) struct Live {
    steps: Mutex<Steps>,
    news: Notify,
}

#[derive(Default)]
struct Steps {
    running: BTreeMap<Place, Shown>,
    ended: BTreeSet<Place>,
    /// Whose turn it was last.
    last: Option<Place>,
}

/// A step, and a chat that is told of it.
type Place = (StepId, ChatKey);

struct Shown {
    doing: Doing,
    is_new: bool,
}

impl Live {
    /// Notes progress. Never blocks.
    pub(super) fn note(&self, chat: ChatKey, step: StepId, progress: &Progress) {
        let (mut steps, place) = (locked(&self.steps), (step, chat));
        if steps.ended.contains(&place) {
            return;
        }
        let new = || Shown { doing: Doing::default(), is_new: false };
        let shown = steps.running.entry(place).or_insert_with(new);
        if shown.doing.note(progress) {
            shown.is_new = true;
            self.news.notify_one();
        }
    }

    /// The step has ended: its status is not changed any more.
    pub(super) fn end(&self, chat: ChatKey, step: StepId) {
        let (mut steps, place) = (locked(&self.steps), (step, chat));
        steps.running.remove(&place);
        steps.ended.insert(place);
        if steps.ended.len() > ENDED {
            steps.ended.pop_first();
        }
    }

    /// It was not shown, and has its turn again.
    fn again(&self, place: &Place) {
        if let Some(shown) = locked(&self.steps).running.get_mut(place) {
            shown.is_new = true;
        }
    }

    /// Whether it still runs.
    fn runs(&self, place: &Place) -> bool {
        locked(&self.steps).running.contains_key(place)
    }

    /// What is to be shown next: each in its turn.
    fn next(&self) -> Option<(Place, Value)> {
        let mut steps = locked(&self.steps);
        let Steps { running, last, .. } = &mut *steps;
        let after = last.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let new = |(place, shown): (&Place, &Shown)| shown.is_new.then(|| place.clone());
        let in_turn = running.range((after, Bound::Unbounded)).find_map(new);
        let place = in_turn.or_else(|| running.iter().find_map(new))?;
        let shown = running.get_mut(&place)?;
        shown.is_new = false;
        *last = Some(place.clone());
        let status = render::status(&place.0.to_string(), &shown.doing);
        Some((place, status))
    }
}

impl Matrix {
    /// Shows what is new until the surface is to finish.
    pub(super) async fn show_live(&self) {
        loop {
            tokio::select! {
                () = self.0.live.news.notified() => {}
                () = self.0.finishing.cancelled() => return,
            }
            while let Some((place, content)) = self.0.live.next() {
                let pause = match self.show_status(&place, &content).await {
                    Ok(()) => EVERY,
                    Err(ApiError::Throttled { after }) => {
                        self.0.live.again(&place);
                        after + EVERY
                    }
                    Err(error) => {
                        tracing::debug!(reason = chain(&error), "a status is not shown");
                        EVERY
                    }
                };
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.0.finishing.cancelled() => return,
                }
            }
        }
    }

    async fn show_status(&self, place: &Place, content: &Value) -> Result<(), ApiError> {
        let (step, chat) = (place.0, &place.1);
        let Ok(inbox) = self.inbox() else { return Ok(()) };
        let shown = match self.shown(&inbox, chat, step).await {
            Ok(shown) => shown,
            Err(error) => {
                tracing::debug!(reason = chain(&error), "a status is not shown");
                return Ok(());
            }
        };
        self.0.rooms.check(&chat.room).await?;
        // What has to be sent goes first, and the end of a step is not followed by its status.
        let is_due = || locked(&self.0.pace).due(Instant::now()) <= Instant::now();
        let Some(_turn) = self.0.turn.try_lock().ok().filter(|_| is_due()) else {
            self.0.live.again(place);
            return Ok(());
        };
        if !self.0.live.runs(place) {
            return Ok(());
        }
        let content = match &shown {
            Some(event) => replacing(event, content),
            None => related(content.clone(), chat.thread.as_ref(), None),
        };
        let mut random = [0_u8; 12];
        // One that is not random is only not shown.
        let _ = getrandom::fill(&mut random);
        let transaction = format!("live.{}", HEXLOWER.encode(&random));
        let event = self.put(&chat.room, &transaction, &content).await?;
        if shown.is_none() {
            let (chat, message, part) = (chat.to_string(), event.to_string(), STATUS.to_owned());
            let sent = Sent { chat, message, step: Some(step), delivery: None, part };
            if let Err(error) = inbox.record(sent).await {
                tracing::warn!(reason = chain(&error), "a status is not on record");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(step: &str) -> Place {
        (step.parse().unwrap(), "!r".parse().unwrap())
    }

    fn noted(live: &Live, step: &str) {
        let (step, chat) = place(step);
        live.note(chat, step, &Progress::Started { session_id: "ses_1".into() });
    }

    #[test]
    fn each_step_has_its_turn_however_much_happens_in_another() {
        let live = Live::default();
        let mut turns = Vec::new();
        for _ in 0..4 {
            for step in ["1.1", "2.1", "3.1"] {
                noted(&live, step);
            }
            turns.push(live.next().unwrap().0.0.to_string());
        }
        assert_eq!(turns, ["1.1", "2.1", "3.1", "1.1"]);
    }

    #[test]
    fn what_comes_late_of_a_step_that_ended_is_not_shown() {
        let live = Live::default();
        noted(&live, "1.1");
        let (step, chat) = place("1.1");
        live.end(chat, step);
        noted(&live, "1.1");
        assert!(live.next().is_none() && !live.runs(&place("1.1")));
        for number in 0..2 * ENDED {
            let (step, chat) = place(&format!("{}.1", number + 2));
            live.end(chat, step);
        }
        assert!(locked(&live.steps).ended.len() <= ENDED);
    }
}
