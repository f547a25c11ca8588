//! Live status: what runs, on its card, edited at most once a second.
//!
//! Progress is noted at once and shown when its turn comes; what was overtaken
//! is never shown. Once a step has [ended](Live::end), no edit of its status is
//! under way or will be, so that the headline stays.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connector_contract::{Progress, ToolOutcome};
use connector_telegram::{ApiError, ChatKey};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::render::{self, Doing};
use super::{Telegram, buttons, locked};
use crate::ids::StepId;

/// The shortest time between two edits of one message.
const EDIT: Duration = Duration::from_secs(1);

/// The same in a group, where Telegram allows twenty messages a minute.
const EDIT_IN_GROUP: Duration = Duration::from_secs(4);

/// How many things that happened are shown.
const LINES: usize = 6;

/// What runs.
#[derive(Default)]
pub(super) struct Live {
    steps: Mutex<HashMap<StepId, Step>>,
    /// Steps that ended: late progress must not revive them.
    ended: Mutex<Ended>,
    news: Notify,
}

#[derive(Default)]
struct Ended {
    known: HashSet<StepId>,
    order: VecDeque<StepId>,
}

struct Step {
    chat: ChatKey,
    doing: Doing,
    began: Instant,
    news: bool,
    due: Instant,
    /// Held while the message is edited.
    editing: Arc<tokio::sync::Mutex<()>>,
}

impl Live {
    /// Notes progress of a step. Never blocks.
    pub(super) fn note(&self, chat: ChatKey, step: StepId, progress: &Progress) {
        if locked(&self.ended).known.contains(&step) {
            return;
        }
        let mut steps = locked(&self.steps);
        let entry = steps.entry(step).or_insert_with(|| Step::new(chat));
        entry.news |= tell(&mut entry.doing, progress);
        if entry.news {
            self.news.notify_one();
        }
    }

    /// The step was approved: its card becomes the status.
    pub(super) fn begin(&self, chat: ChatKey, step: StepId) {
        let mut steps = locked(&self.steps);
        steps.entry(step).or_insert_with(|| Step::new(chat)).news = true;
        self.news.notify_one();
    }

    /// No more edits of this step's status, and none under way.
    pub(super) async fn end(&self, step: StepId) {
        {
            let mut ended = locked(&self.ended);
            if ended.known.insert(step) {
                ended.order.push_back(step);
            }
            if ended.order.len() > 10_000
                && let Some(oldest) = ended.order.pop_front()
            {
                ended.known.remove(&oldest);
            }
        }
        let entry = locked(&self.steps).remove(&step);
        if let Some(entry) = entry {
            drop(entry.editing.lock().await);
        }
    }

    /// Takes the steps whose edit is due, and when the next one will be.
    fn due(&self, now: Instant) -> (Vec<StepId>, Option<Instant>) {
        let mut due = Vec::new();
        let mut next: Option<Instant> = None;
        for (id, step) in locked(&self.steps).iter_mut().filter(|(_, step)| step.news) {
            if step.due <= now {
                step.news = false;
                step.due = now + if step.chat.is_private() { EDIT } else { EDIT_IN_GROUP };
                due.push(*id);
            } else {
                next = Some(next.map_or(step.due, |next| next.min(step.due)));
            }
        }
        (due, next)
    }

    fn postpone(&self, step: StepId, wait: Duration) {
        if let Some(entry) = locked(&self.steps).get_mut(&step) {
            entry.news = true;
            entry.due = entry.due.max(Instant::now() + wait);
        }
        self.news.notify_one();
    }
}

impl Step {
    fn new(chat: ChatKey) -> Self {
        let now = Instant::now();
        Self { chat, doing: Doing::default(), began: now, news: false, due: now, editing: Arc::default() }
    }
}

impl Telegram {
    /// Shows live status until the surface stops.
    pub(super) async fn show_live(&self) {
        loop {
            let (due, next) = self.0.live.due(Instant::now());
            for step in due {
                let this = self.clone();
                self.0.tasks.spawn(async move { this.show_step(step).await });
            }
            let next = next.unwrap_or_else(|| Instant::now() + Duration::from_mins(1));
            tokio::select! {
                () = self.0.live.news.notified() => {}
                () = tokio::time::sleep_until(next) => {}
                () = self.0.stopping.cancelled() => return,
            }
        }
    }

    async fn show_step(&self, id: StepId) {
        let Some((chat, editing)) =
            locked(&self.0.live.steps).get(&id).map(|step| (step.chat, step.editing.clone()))
        else {
            return;
        };
        let (Some(message), Some(token)) = (self.message_of(id).await, self.token_of(id).await) else {
            return;
        };
        if let Err(wait) = self.0.pace.spare(chat.id) {
            return self.0.live.postpone(id, wait);
        }
        let guard = editing.lock().await;
        let shown = locked(&self.0.live.steps)
            .get(&id)
            .map(|step| render::status(&id.to_string(), &step.doing, step.began.elapsed().as_secs()));
        let Some(shown) = shown else { return };
        let outcome = self.edit_now(chat, message, &shown, buttons::of_running(&token)).await;
        drop(guard);
        match outcome {
            Ok(()) => {}
            Err(ApiError::Throttled { after }) => self.0.live.postpone(id, after),
            Err(error) => tracing::debug!(step = %id, reason = %error, "a status was not shown"),
        }
    }

    async fn token_of(&self, step: StepId) -> Option<String> {
        let engine = self.engine().ok()?;
        let row = engine.ledger().read(move |tx| crate::ledger::steps::get(tx, step)).await.ok()??;
        Some(row.token)
    }
}

impl Doing {
    fn line(&mut self, text: String) {
        self.lines.push(text);
        if self.lines.len() > LINES {
            self.lines.remove(0);
        }
    }
}

/// Adds an update to what is shown; whether there is something new to show.
fn tell(doing: &mut Doing, progress: &Progress) -> bool {
    match progress {
        Progress::Queued { ahead } => {
            let before = doing.ahead.replace(*ahead);
            return before != Some(*ahead);
        }
        Progress::Waiting { reason } => doing.line(format!("… {reason}")),
        Progress::Started { .. } => doing.ahead = None,
        Progress::ToolStarted { tool, title, .. } => doing.line(format!("· {tool} {title}")),
        Progress::ToolFinished { tool, title, outcome, .. } => {
            let ended = match outcome {
                ToolOutcome::Completed => format!("✓ {tool} {title}"),
                ToolOutcome::Failed { reason } => format!("✗ {tool} {title}: {reason}"),
            };
            let begun = [format!("· {tool} {title}"), format!("· {tool} ")];
            match doing.lines.iter().rposition(|line| begun.contains(line)) {
                Some(at) => doing.lines[at] = ended,
                None => doing.line(ended),
            }
        }
        Progress::Todo { items } => {
            let done = items.iter().filter(|item| item.status == "completed").count();
            doing.todo = Some((done, items.len()));
        }
        Progress::Text { so_far } => doing.words.clone_from(so_far),
        Progress::Retry { attempt, reason, .. } => doing.line(format!("↻ try {attempt}: {reason}")),
        Progress::SubAgentStarted { title, .. } => doing.line(format!("▷ sub-agent: {title}")),
        Progress::Connection { live: false } => doing.line("~ progress is late; the work goes on".to_owned()),
        Progress::Connection { live: true } => return false,
    }
    true
}
