//! Live status: what runs, on its card, edited at most once a second. A step that
//! passed without a card gets a message of its own, with the button that stops it.
//!
//! Progress is noted at once and shown when its turn comes; what was overtaken
//! is never shown. Once a step has [ended](Live::end), no edit of its status is
//! under way or will be, so that the headline stays.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use connector_contract::Progress;
use connector_gate::clock::Millis;
use connector_gate::ids::StepId;
use connector_gate::state::StepState;
use connector_ledger::LedgerError;
use connector_ledger::messages::CARD;
use connector_ledger::steps::{self, StepRow};
use connector_surface::view::{Doing, Retry};
use connector_telegram::frankenstein::types::InlineKeyboardMarkup;
use connector_telegram::text::Styled;
use connector_telegram::{ApiError, ChatKey};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::parcel::Parcel;
use super::send::Out;
use super::{Telegram, buttons, locked, render};

/// The shortest time between two edits of one message.
const EDIT: Duration = Duration::from_secs(1);

/// The same in a group, where Telegram allows twenty messages a minute.
const EDIT_IN_GROUP: Duration = Duration::from_secs(4);

/// How often a status is shown anew while nothing happens, so that its time goes on.
const TICK: Duration = Duration::from_secs(10);

/// The same in a group.
const TICK_IN_GROUP: Duration = Duration::from_secs(30);

/// What runs.
#[derive(Default)]
pub(super) struct Live {
    known: Mutex<Known>,
    news: Notify,
    /// Held by the one who shows.
    showing: tokio::sync::Mutex<()>,
}

/// A step in one chat.
type Key = (ChatKey, StepId);

#[derive(Default)]
struct Known {
    running: HashMap<Key, Step>,
    /// What is held while a message of a step is edited, as long as somebody holds it or waits for it.
    editing: HashMap<Key, Weak<tokio::sync::Mutex<()>>>,
    /// Steps that ended: late progress must not revive them.
    ended: HashSet<Key>,
    /// The same, in that order.
    order: VecDeque<Key>,
}

struct Step {
    chat: ChatKey,
    doing: Doing,
    /// Who approved it, where that was elsewhere.
    approved_by: Option<String>,
    /// Whether its status is on the screen.
    is_shown: bool,
    began: Instant,
    news: bool,
    due: Instant,
    /// When it is shown again even if nothing happened.
    tick: Option<Instant>,
}

impl Live {
    /// Notes progress of a step. Never blocks.
    pub(super) fn note(&self, chat: ChatKey, step: StepId, progress: &Progress) {
        self.tell(chat, step, |doing| doing.note(progress));
    }

    /// Whether the step's agent waits for somebody's answer now.
    pub(super) fn asks(&self, chat: ChatKey, step: StepId, asks: bool) {
        self.tell(chat, step, |doing| std::mem::replace(&mut doing.asks, asks) != asks);
    }

    /// The step was approved, by somebody elsewhere or by a tap there: its card becomes the status.
    pub(super) fn begin(&self, chat: ChatKey, step: StepId, elsewhere: Option<String>) {
        self.change(chat, step, |entry| {
            entry.approved_by = elsewhere;
            true
        });
    }

    fn tell(&self, chat: ChatKey, step: StepId, is_news: impl FnOnce(&mut Doing) -> bool) {
        self.change(chat, step, |entry| is_news(&mut entry.doing));
    }

    fn change(&self, chat: ChatKey, step: StepId, is_news: impl FnOnce(&mut Step) -> bool) {
        let mut known = locked(&self.known);
        if known.ended.contains(&(chat, step)) {
            return;
        }
        let entry = known.running.entry((chat, step)).or_insert_with(|| Step::new(chat));
        entry.news |= is_news(entry);
        if entry.news {
            self.news.notify_one();
        }
    }

    /// When the model's provider is asked again, for whoever waits for that.
    pub(super) fn next_try(&self, chat: ChatKey, step: StepId, now: Millis) -> String {
        let known = locked(&self.known);
        match known.running.get(&(chat, step)).and_then(|step| step.doing.retry.as_ref()) {
            Some(retry) => match seconds_until(retry, now) {
                Some(seconds) if seconds > 0 => {
                    format!("it waits; the next try comes in {}", connector_surface::text::duration(seconds))
                }
                _ => "it waits; the next try comes soon".to_owned(),
            },
            None => "it goes on already".to_owned(),
        }
    }

    /// No more edits of this step's status, and none under way.
    pub(super) async fn end(&self, chat: ChatKey, step: StepId) {
        {
            let mut known = locked(&self.known);
            if known.ended.insert((chat, step)) {
                known.order.push_back((chat, step));
            }
            if known.order.len() > 10_000
                && let Some(oldest) = known.order.pop_front()
            {
                known.ended.remove(&oldest);
            }
        }
        self.forget(chat, step).await;
    }

    /// Whether the step [ended](Self::end).
    pub(super) fn has_ended(&self, chat: ChatKey, step: StepId) -> bool {
        locked(&self.known).ended.contains(&(chat, step))
    }

    /// What is held while the step's message is edited.
    pub(super) fn editing(&self, chat: ChatKey, step: StepId) -> Arc<tokio::sync::Mutex<()>> {
        let editing = &mut locked(&self.known).editing;
        editing.retain(|_, held| held.strong_count() > 0);
        if let Some(held) = editing.get(&(chat, step)).and_then(Weak::upgrade) {
            return held;
        }
        let new = Arc::default();
        editing.insert((chat, step), Arc::downgrade(&new));
        new
    }

    /// Whether a step's status is on the screen, or no longer to be put there.
    pub(super) fn is_shown(&self, chat: ChatKey, step: StepId) -> bool {
        locked(&self.known).running.get(&(chat, step)).is_none_or(|step| step.is_shown)
    }

    /// What is known of the step is of the past; no edit of its status is under way.
    pub(super) async fn forget(&self, chat: ChatKey, step: StepId) {
        locked(&self.known).running.remove(&(chat, step));
        drop(self.editing(chat, step).lock().await);
    }

    /// Takes the steps whose edit is due, and when the next one will be.
    fn due(&self, now: Instant) -> (Vec<Key>, Option<Instant>) {
        let mut due = Vec::new();
        let mut next: Option<Instant> = None;
        for (key, step) in &mut locked(&self.known).running {
            let ticks = step.tick.filter(|_| step.doing.ahead.is_none());
            let wanted = if step.news { Some(step.due) } else { ticks.map(|tick| tick.max(step.due)) };
            let Some(mut wanted) = wanted else { continue };
            if wanted <= now {
                step.news = false;
                let (edit, tick) =
                    if step.chat.is_private() { (EDIT, TICK) } else { (EDIT_IN_GROUP, TICK_IN_GROUP) };
                (step.due, step.tick) = (now + edit, Some(now + tick));
                due.push(*key);
                wanted = now + tick;
            }
            next = Some(next.map_or(wanted, |next| next.min(wanted)));
        }
        (due, next)
    }

    fn postpone(&self, key: Key, wait: Duration) {
        if let Some(entry) = locked(&self.known).running.get_mut(&key) {
            entry.news = true;
            entry.due = entry.due.max(Instant::now() + wait);
        }
        self.news.notify_one();
    }
}

impl Step {
    fn new(chat: ChatKey) -> Self {
        let now = Instant::now();
        Self {
            chat,
            doing: Doing::default(),
            approved_by: None,
            is_shown: false,
            began: now,
            news: false,
            due: now,
            tick: None,
        }
    }
}

impl Telegram {
    /// Shows live status until the surface is to finish, unless that is done already.
    pub(super) async fn show_live(&self) {
        let Ok(_showing) = self.0.live.showing.try_lock() else { return };
        loop {
            let (due, next) = self.0.live.due(Instant::now());
            for key in due {
                let this = self.clone();
                self.0.tasks.spawn(async move { this.show_step(key).await });
            }
            let next = next.unwrap_or_else(|| Instant::now() + Duration::from_mins(1));
            tokio::select! {
                () = self.0.live.news.notified() => {}
                () = tokio::time::sleep_until(next) => {}
                () = self.0.finishing.cancelled() => return,
            }
        }
    }

    async fn show_step(&self, key: Key) {
        let (chat, id) = key;
        let editing = self.0.live.editing(chat, id);
        let _guard = editing.lock().await;
        if !locked(&self.0.live.known).running.contains_key(&key) {
            return;
        }
        let (row, message) = match self.row_of(chat, id).await {
            Ok(known) => known,
            Err(error) => {
                tracing::debug!(step = %id, reason = %error, "a status waits for the ledger");
                return self.0.live.postpone(key, EDIT);
            }
        };
        let Some(row) = row.filter(|row| matches!(row.state, StepState::Approved | StepState::Dispatched))
        else {
            // It is asked about again, or has ended.
            locked(&self.0.live.known).running.remove(&key);
            return;
        };
        if message.is_none() && row.passed_by.is_none() {
            return; // Its card is on its way.
        }
        if let Err(wait) = self.0.pace.spare(chat.id) {
            return self.0.live.postpone(key, wait);
        }
        let now = self.0.clock.now();
        let status = |step: &Step| {
            let mut doing = step.doing.clone();
            if let Some(retry) = &mut doing.retry {
                retry.next_in = seconds_until(retry, now);
            }
            // It may run for longer than this host does.
            let ran = row.dispatched_at.and_then(|at| u64::try_from(now - at).ok()).map(|ms| ms / 1_000);
            let seconds = ran.unwrap_or_else(|| step.began.elapsed().as_secs());
            let buttons = if doing.retry.is_some() && !doing.asks {
                buttons::of_retrying(&row.token)
            } else {
                buttons::of_running(&row.token)
            };
            (render::status_by(&id.to_string(), &doing, seconds, step.approved_by.as_deref()), buttons)
        };
        let Some((shown, buttons)) = locked(&self.0.live.known).running.get(&key).map(status) else { return };
        let outcome = self.put_status((chat, id), message, &shown, buttons).await;
        match outcome {
            Ok(()) => {
                if let Some(entry) = locked(&self.0.live.known).running.get_mut(&key) {
                    entry.is_shown = true;
                }
            }
            Err(ApiError::Throttled { after }) => self.0.live.postpone(key, after),
            Err(error) => tracing::debug!(step = %id, reason = %error, "a status was not shown"),
        }
    }

    /// Puts a status on its card, or in a message of its own where there is none, or no longer.
    /// The first call's turn was taken.
    async fn put_status(
        &self,
        (chat, step): (ChatKey, StepId),
        card: Option<i32>,
        text: &Styled,
        buttons: InlineKeyboardMarkup,
    ) -> Result<(), ApiError> {
        let out = Out { chat, text, buttons: Some(buttons.clone()), answers: None };
        let message = match card {
            Some(card) => match self.edit_now(chat, card, text, buttons).await {
                Err(ApiError::Gone) => self.send(out).await?,
                ended => return ended,
            },
            None => self.send_now(out).await?,
        };
        self.record(Parcel { chat, id: None, step: Some(step) }, CARD, message).await;
        Ok(())
    }

    /// The step, and the message that shows it.
    async fn row_of(
        &self,
        chat: ChatKey,
        step: StepId,
    ) -> Result<(Option<StepRow>, Option<i32>), LedgerError> {
        let row = self.engine()?.ledger().read(move |tx| steps::get(tx, step)).await?;
        Ok((row, self.message_of(chat, step).await?))
    }
}

/// How long it is until the provider is asked again.
fn seconds_until(retry: &Retry, now: Millis) -> Option<u64> {
    let at = Millis::try_from(retry.next_at_ms?).ok()?;
    Some(u64::try_from(at - now).unwrap_or(0).div_ceil(1_000))
}

#[cfg(test)]
mod tests {
    use connector_gate::clock::Clock;
    use connector_surface::Surface as _;

    use super::*;

    fn step() -> StepId {
        "1.1".parse().unwrap()
    }

    fn said(words: &str) -> Progress {
        Progress::Text { so_far: words.to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn status_is_shown_by_one_run_alone_until_the_surface_finishes() {
        let config = serde_json::json!({ "bot_token": "1:not-a-token-not-a-token" });
        let settings = serde_json::from_value::<connector_telegram::Config>(config).unwrap().check().unwrap();
        let telegram = Telegram::new(settings, "connector-telegram", Clock::System).unwrap();
        let mut first = std::pin::pin!(telegram.show_live());
        let limit = Duration::from_mins(5);
        tokio::time::timeout(limit, &mut first).await.expect_err("it goes on");
        tokio::time::timeout(limit, telegram.show_live()).await.expect("beside it there is nothing to do");
        telegram.finish().await;
        tokio::time::timeout(limit, first).await.expect("it ends");
    }

    #[test]
    fn a_status_is_due_once_a_second_and_in_a_group_every_four() {
        for (chat, seconds, tick) in [(5, 1, 10), (-5, 4, 30)] {
            let (live, began) = (Live::default(), Instant::now() + Duration::from_mins(1));
            let at = |millis| began + Duration::from_millis(millis);
            let chat = ChatKey { id: chat, topic: None };
            live.note(chat, step(), &said("a"));
            let calm = Some(at(tick * 1_000));
            assert_eq!(live.due(at(0)), (vec![(chat, step())], calm), "the first at once");
            assert_eq!(live.due(at(0)), (vec![], calm), "nothing new");
            let next = Some(at(seconds * 1_000));
            for (millis, words) in [(1, "b"), (500, "c"), (seconds * 1_000 - 1, "d")] {
                live.note(chat, step(), &said(words));
                assert_eq!(live.due(at(millis)), (vec![], next), "{words}");
            }
            let calm = at((seconds + tick) * 1_000);
            assert_eq!(live.due(at(seconds * 1_000)), (vec![(chat, step())], Some(calm)));
            assert_eq!(live.due(calm).0, [(chat, step())], "its time goes on while nothing happens");
            live.note(chat, step(), &Progress::Queued { ahead: 2 });
            assert_eq!(live.due(at(100_000)).0, [(chat, step())]);
            assert_eq!(live.due(at(200_000)), (vec![], None), "a place in a line has no time");
            assert_eq!(
                locked(&live.known).running[&(chat, step())].doing.words,
                "d".into(),
                "what was overtaken is left out"
            );
        }
    }

    #[tokio::test]
    async fn a_step_that_has_ended_is_not_begun_by_what_comes_late() {
        let live = Live::default();
        let chat = ChatKey { id: 5, topic: None };
        live.end(chat, step()).await;
        live.begin(chat, step(), None);
        live.note(chat, step(), &said("late"));
        assert_eq!(live.due(Instant::now()), (vec![], None));
        live.forget(chat, "1.2".parse().unwrap()).await;
        live.begin(chat, "1.2".parse().unwrap(), None);
        assert_eq!(live.due(Instant::now()).0.len(), 1, "one that is only asked about again begins again");
        let other = ChatKey { id: 6, topic: None };
        live.note(other, step(), &said("there"));
        assert_eq!(
            live.due(Instant::now()).0,
            [(other, step())],
            "what ended in one chat is told of in another"
        );
    }
}
