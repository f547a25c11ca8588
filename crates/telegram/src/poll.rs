//! Long polling: updates in order, acknowledged only when they are dealt with.
//!
//! [`Poller::next`] asks until there are updates; [`Poller::done`] says that one
//! is durable, and once all before it are, the next request tells Telegram. What
//! is not `done` Telegram sends again, and the next poller takes it; this one hands
//! out each update once. After a week without updates Telegram's numbers begin anew
//! anywhere, also below the last one, and are followed there. Errors are waited out
//! with growing pauses and never end the polling: a revoked token or a second poller
//! may be put right while the host runs. [`Health`] says how it goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use frankenstein::methods::{DeleteWebhookParams, GetUpdatesParams};
use frankenstein::types::AllowedUpdate;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::{Api, ApiError};
use crate::update;

/// How many updates are taken at once.
const BATCH: u32 = 100;

/// How much longer than its `timeout` a request may take.
const SLACK: Duration = Duration::from_secs(10);

/// How long until the next request after an answer with nothing new: while updates
/// are being dealt with, Telegram answers each at once, with those.
const BUSY: Duration = Duration::from_millis(300);

/// How it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// No answer yet.
    Starting,
    /// The last request was answered.
    Live,
    /// The last requests failed.
    Failing {
        /// The last reason.
        reason: String,
        /// Whether it takes somebody to put it right.
        needs_somebody: bool,
    },
}

/// What is known of the polling, for the watchdog. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Health(Arc<watch::Sender<(State, Instant)>>);

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new((State::Starting, Instant::now()))))
    }
}

impl Health {
    /// The state, and when the last request was answered.
    pub fn get(&self) -> (State, Instant) {
        self.0.borrow().clone()
    }

    /// Waits until the state is one that `wanted` accepts.
    pub async fn wait_for(&self, wanted: impl Fn(&State) -> bool) {
        // An error says that the sender is gone, and `self` holds it.
        let _ = self.0.subscribe().wait_for(|(state, _)| wanted(state)).await;
    }

    fn live(&self) {
        self.0.send_replace((State::Live, Instant::now()));
    }

    fn failing(&self, error: &ApiError) {
        let needs_somebody = !error.is_passing();
        let reason = connector_contract::chain(error);
        self.0.send_modify(|(state, _)| *state = State::Failing { reason, needs_somebody });
    }
}

/// Asks for updates, one request at a time.
#[derive(Debug)]
pub struct Poller {
    api: Api,
    timeout: Duration,
    offset: Option<i64>,
    /// What was handed out and is not acknowledged, and whether it is done.
    out: BTreeMap<u32, bool>,
    failures: u32,
    /// No request before this.
    due: Instant,
    health: Health,
    /// Whether a webhook may be set, which keeps updates from being polled.
    hooked: bool,
}

impl Poller {
    /// A poller whose requests are held for `timeout` when there is nothing new.
    pub fn new(api: Api, timeout: Duration, health: Health) -> Self {
        Self {
            api,
            timeout,
            offset: None,
            out: BTreeMap::new(),
            failures: 0,
            due: Instant::now(),
            health,
            hooked: true,
        }
    }

    /// Removes a webhook that would keep updates from being polled. What waits
    /// there is kept. [`next`](Self::next) does it by itself.
    pub async fn take_over(&mut self) -> Result<(), ApiError> {
        self.api.call(&DeleteWebhookParams::builder().drop_pending_updates(false).build()).await?;
        self.hooked = false;
        Ok(())
    }

    /// The next updates, in order; waits until there are some. Cancel safe: a pause
    /// that was begun is kept by the next call.
    pub async fn next(&mut self) -> Vec<Value> {
        loop {
            tokio::time::sleep_until(self.due).await;
            match self.ask().await {
                Ok(updates) => {
                    self.failures = 0;
                    self.health.live();
                    let fresh = self.fresh(updates);
                    if !fresh.is_empty() {
                        return fresh;
                    }
                    self.due = Instant::now() + BUSY;
                }
                Err(error) => {
                    self.failures += 1;
                    self.hooked |= matches!(error, ApiError::Conflict { .. });
                    self.health.failing(&error);
                    let pause = pause(&error, self.failures);
                    let reason = connector_contract::chain(&error);
                    if error.is_passing() {
                        tracing::warn!(reason, pause_ms = pause.as_millis(), "no updates from telegram");
                    } else {
                        tracing::error!(reason, pause_ms = pause.as_millis(), "no updates from telegram");
                    }
                    self.due = Instant::now() + pause;
                }
            }
        }
    }

    /// The update is durable, and need not be sent again. Telegram is told when
    /// all that were handed out before it are, too.
    pub fn done(&mut self, update: u32) {
        if let Some(done) = self.out.get_mut(&update) {
            *done = true;
        }
        while let Some(first) = self.out.first_entry().filter(|first| *first.get()) {
            let next = i64::from(first.remove_entry().0) + 1;
            self.offset = Some(self.offset.map_or(next, |offset| offset.max(next)));
        }
    }

    /// Tells Telegram at once what is done, for whoever will not ask again.
    pub async fn settle(&mut self) {
        let request = GetUpdatesParams::builder().maybe_offset(self.offset).limit(1).timeout(0).build();
        if let Err(error) = self.api.call(&request).await {
            tracing::debug!(reason = %error, "what is done was not acknowledged");
        }
    }

    async fn ask(&mut self) -> Result<Vec<Value>, ApiError> {
        if self.hooked {
            self.take_over().await?;
        }
        let seconds = u32::try_from(self.timeout.as_secs()).unwrap_or(50);
        let request = GetUpdatesParams::builder()
            .maybe_offset(self.offset)
            .limit(BATCH)
            .timeout(seconds)
            .allowed_updates(kinds())
            .build();
        self.api.call_for(&request, self.timeout + SLACK).await
    }

    /// In order of their numbers, without what was handed out already.
    fn fresh(&mut self, updates: Vec<Value>) -> Vec<Value> {
        let mut numbered: Vec<(u32, Value)> =
            updates.into_iter().filter_map(|raw| update::number(&raw).map(|number| (number, raw))).collect();
        let offset = self.offset.unwrap_or_default();
        if !numbered.is_empty() && numbered.iter().all(|(number, _)| i64::from(*number) < offset) {
            // Telegram sends nothing below an offset that it knows: its numbers began anew.
            tracing::info!(offset, "telegram counts its updates anew");
            self.offset = None;
            self.out.clear();
        }
        let offset = self.offset.unwrap_or_default();
        numbered.retain(|(number, _)| i64::from(*number) >= offset && !self.out.contains_key(number));
        numbered.sort_by_key(|(number, _)| *number);
        numbered.dedup_by_key(|(number, _)| *number);
        self.out.extend(numbered.iter().map(|(number, _)| (*number, false)));
        numbered.into_iter().map(|(_, raw)| raw).collect()
    }
}

/// The kinds of updates that are asked for.
pub fn kinds() -> Vec<AllowedUpdate> {
    vec![AllowedUpdate::Message, AllowedUpdate::EditedMessage, AllowedUpdate::CallbackQuery]
}

/// How long to wait after a failure; `failures` counts them, from 1.
fn pause(error: &ApiError, failures: u32) -> Duration {
    match error {
        ApiError::Throttled { after } => *after,
        error if error.is_passing() => {
            Duration::from_millis(250 << failures.min(7)).min(Duration::from_secs(30))
        }
        _ => Duration::from_secs(5 << failures.min(4)).min(Duration::from_mins(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_telegrams_own_is_kept() {
        let passing: Vec<u128> = (1..10).map(|n| pause(&ApiError::TimedOut, n).as_millis()).collect();
        assert_eq!(passing[..3], [500, 1_000, 2_000]);
        assert_eq!(passing.last(), Some(&30_000));
        assert_eq!(pause(&ApiError::Unauthorized, 9).as_secs(), 60);
        let throttled = ApiError::Throttled { after: Duration::from_secs(77) };
        assert_eq!(pause(&throttled, 1).as_secs(), 77);
    }

    fn poller() -> Poller {
        let token = crate::token::Token::new("42:SECRETSECRETSECRET".into()).unwrap();
        let http = connector_contract::OutboundHttp::new([]).unwrap();
        let api = Api::new(http, "http://127.0.0.1:1".parse().unwrap(), token);
        Poller::new(api, Duration::from_secs(1), Health::default())
    }

    fn handed_out(poller: &mut Poller, numbers: &[u32]) -> Vec<u32> {
        let raw = numbers.iter().map(|number| serde_json::json!({ "update_id": number })).collect();
        poller.fresh(raw).iter().filter_map(update::number).collect()
    }

    #[test]
    fn an_update_is_handed_out_once_and_acknowledged_after_all_before_it() {
        let mut poller = poller();
        assert_eq!(handed_out(&mut poller, &[3, 1, 2]), [1, 2, 3]);
        assert!(handed_out(&mut poller, &[3, 1, 2]).is_empty());
        for (done, offset) in [(2, None), (1, Some(3)), (3, Some(4))] {
            poller.done(done);
            assert_eq!(poller.offset, offset, "after {done}");
        }
    }

    #[test]
    fn numbers_that_begin_anew_below_the_last_are_followed() {
        let mut poller = poller();
        assert_eq!(handed_out(&mut poller, &[900, 901]), [900, 901]);
        poller.done(900);
        assert!(handed_out(&mut poller, &[900, 901]).is_empty(), "901 is being dealt with");
        assert_eq!(handed_out(&mut poller, &[7, 8]), [7, 8]);
        poller.done(901);
        assert_eq!(poller.offset, None, "what ended late acknowledges nothing that is new");
        poller.done(7);
        assert_eq!(poller.offset, Some(8));
        assert_eq!(handed_out(&mut poller, &[7, 9]), [9]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_was_begun_is_kept_by_the_next_call() {
        // It may reach nothing: each request fails at once.
        let mut poller = poller();
        for _ in 0..20 {
            let _ = tokio::time::timeout(Duration::from_millis(100), poller.next()).await;
        }
        assert_eq!(poller.failures, 3, "at once, after 500 ms, and after 1,000 ms more");
    }
}
