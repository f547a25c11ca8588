//! One call of an action, from its input to its result.
//!
//! In order: the input is checked, the call takes its place in the lines it must
//! wait in, the daemon is recognised, the session is made or opened, the
//! checkpoint is made durable, the event stream is joined, and only then is the
//! prompt sent. Until that moment every error means that nothing has started.
//! From then on the [turn](crate::turn) decides.

mod prepare;
mod report;

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use connector_contract::{
    ActionResult, Checkpoint, ConnectorError, Context, Progress, Provenance, Reference, SourceNote, StopCause,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::config::Settings;
use crate::drive::{Driver, Ended};
use crate::hub::{EventHub, Subscription};
use crate::ids::{MessageId, SessionId};
use crate::input::Task;
use crate::link::Link;
use crate::queue::{Place, Queue};
use crate::random;
use crate::timing::Timing;
use crate::turn::{Plan, Turn};
use crate::wire::{Dialect, Prompt};

/// What all calls of one connector share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) timing: Timing,
    pub(crate) dialect: Arc<dyn Dialect>,
    pub(crate) hub: EventHub,
    pub(crate) queue: Queue,
}

/// Our note of a turn: enough to find it again.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    wire: String,
    session_id: String,
    message_id: String,
}

/// A prompt ready to be sent, and the events of its session.
struct Ready {
    prompt: Prompt,
    events: Subscription,
    live: bool,
    /// Held for as long as the turn lasts.
    _places: Vec<Place>,
}

/// One call.
struct Call<'a> {
    shared: &'a Shared,
    ctx: &'a Context,
    link: Link,
    task: Task,
    began: Instant,
    deadline: Instant,
}

/// Runs `action`.
pub(crate) async fn execute(
    shared: &Shared,
    action: &str,
    input: Value,
    ctx: &Context,
) -> Result<ActionResult, ConnectorError> {
    let task = Task::parse(action, input, &shared.settings)?;
    let began = Instant::now();
    // The host stops waiting at its deadline: what runs must have stopped by then.
    let margin = shared.timing.stop.min(ctx.deadline.saturating_duration_since(began) / 4);
    let deadline = (began + task.deadline).min(ctx.deadline - margin);
    let link = Link {
        http: ctx.http.clone(),
        dialect: Arc::clone(&shared.dialect),
        timing: shared.timing,
        body_bytes: shared.settings.limits.body_bytes,
    };
    let call = Call { shared, ctx, link, task, began, deadline };
    match &ctx.resume {
        None => call.fresh().await,
        Some(checkpoint) => call.resume(checkpoint).await,
    }
}

impl Call<'_> {
    async fn fresh(self) -> Result<ActionResult, ConnectorError> {
        let ready = self.unless_stopped(self.prepare()).await?;
        self.turn(ready, false).await
    }

    /// Goes on with the turn that `checkpoint` tells of. Whatever hinders it, the
    /// outcome is then unknown, since that turn may be running.
    async fn resume(self, checkpoint: &Checkpoint) -> Result<ActionResult, ConnectorError> {
        let (session, message) = self.read(checkpoint)?;
        let reference = report::reference(&session, &message);
        let unknown = |error: ConnectorError| match error {
            error @ (ConnectorError::Stopped { .. } | ConnectorError::OutcomeUnknown { .. }) => error,
            other => ConnectorError::OutcomeUnknown {
                reason: format!(
                    "the turn was begun earlier and cannot be looked up now ({})",
                    connector_contract::chain(&other)
                ),
                reference: reference.clone(),
            },
        };
        let ready = self.unless_stopped(self.reopen(session, message)).await.map_err(unknown)?;
        self.turn(ready, true).await
    }

    fn read(&self, checkpoint: &Checkpoint) -> Result<(SessionId, MessageId), ConnectorError> {
        let unreadable = || ConnectorError::OutcomeUnknown {
            reason: "the checkpoint of the turn cannot be read".to_owned(),
            reference: Reference::default(),
        };
        let note: Note = serde_json::from_value(checkpoint.0.clone()).map_err(|_| unreadable())?;
        if note.wire != self.link.dialect.name() {
            return Err(unreadable());
        }
        let session = SessionId::parse(&note.session_id).map_err(|_| unreadable())?;
        Ok((session, MessageId::parse(&note.message_id).map_err(|_| unreadable())?))
    }

    async fn prepare(&self) -> Result<Ready, ConnectorError> {
        let mut places = self.line_up().await;
        self.check_health().await?;
        let (session, newest) = match &self.task.session {
            Some(session) => self.open(session).await?,
            None => (self.create().await?, prepare::Newest::default()),
        };
        if self.task.session.is_none() {
            places.push(self.shared.queue.join(session.as_str()));
        }
        let mut message = MessageId::new(unix_millis(), 0, random::bytes());
        if let Some(id) = &newest.message {
            message = message.after(id);
        }
        let model = self.task.model.clone().or(newest.model);
        self.record(&session, &message).await?;
        let prompt = self.prompt(session, message, model);
        Ok(self.joined(prompt, places).await)
    }

    async fn reopen(&self, session: SessionId, message: MessageId) -> Result<Ready, ConnectorError> {
        let place = self.shared.queue.join(session.as_str());
        place.head(|ahead| self.ctx.progress.report(Progress::Queued { ahead })).await;
        self.check_health().await?;
        let prompt = self.prompt(session, message, self.task.model.clone());
        Ok(self.joined(prompt, vec![place]).await)
    }

    async fn joined(&self, prompt: Prompt, places: Vec<Place>) -> Ready {
        let events = self.shared.hub.subscribe(&self.ctx.http, prompt.session.as_str());
        let live = events.opened(self.shared.timing.stream_open).await;
        if !live {
            tracing::debug!(session = %prompt.session, "going on without events");
        }
        Ready { prompt, events, live, _places: places }
    }

    /// One turn of a session at a time, and one of a directory unless configured
    /// otherwise. Places are taken in one order everywhere: no two calls can wait
    /// for each other.
    async fn line_up(&self) -> Vec<Place> {
        let mut places = Vec::new();
        if let Some(session) = &self.task.session {
            places.push(self.shared.queue.join(session.as_str()));
        }
        if !self.shared.settings.parallel_turns {
            let directory = self.shared.settings.directory.as_deref().unwrap_or_default();
            places.push(self.shared.queue.join(&format!("directory {directory}")));
        }
        for place in &places {
            place.head(|ahead| self.ctx.progress.report(Progress::Queued { ahead })).await;
        }
        places
    }

    async fn record(&self, session: &SessionId, message: &MessageId) -> Result<(), ConnectorError> {
        let note = Note {
            wire: self.link.dialect.name().to_owned(),
            session_id: session.to_string(),
            message_id: message.to_string(),
        };
        let note = serde_json::to_value(note).unwrap_or_default();
        self.ctx.checkpoints.record(Checkpoint(note)).await.map_err(|error| ConnectorError::Unavailable {
            reason: format!("{error}; nothing was sent to the daemon"),
            source: None,
        })
    }

    fn prompt(
        &self,
        session: SessionId,
        message: MessageId,
        model: Option<crate::model::ModelRef>,
    ) -> Prompt {
        let system = match &self.ctx.provenance {
            Provenance::Chat { surface, rule, note } if self.shared.settings.name_source => match note {
                SourceNote::Usual => Some(prepare::source_note(surface, rule)),
                SourceNote::None => None,
                SourceNote::Text(text) => Some(text.clone()),
            },
            Provenance::Chat { .. } | Provenance::Local => None,
        };
        let (text, agent) = (self.task.prompt.clone(), self.task.agent.clone());
        Prompt { session, message, text, system, model, agent }
    }

    async fn turn(self, ready: Ready, resume: bool) -> Result<ActionResult, ConnectorError> {
        let Ready { prompt, events, live, _places } = ready;
        let settings = &self.shared.settings;
        let plan = Plan {
            session: prompt.session.clone(),
            message: prompt.message.clone(),
            deadline: self.deadline,
            no_progress: settings.no_progress,
            asks: settings.asks,
            ask_timeout: settings.ask_timeout,
            timing: self.shared.timing,
            resume,
            live,
        };
        let prompt = Arc::new(prompt);
        let driver = Driver {
            link: self.link.clone(),
            prompt: Arc::clone(&prompt),
            events,
            progress: self.ctx.progress.clone(),
            asks: Arc::clone(&self.ctx.asks),
            cancel: self.ctx.cancel.clone(),
        };
        let Ended { verdict, steps } = Box::pin(driver.run(Turn::new(plan, Instant::now()))).await;
        self.report(verdict, &steps, &prompt).await
    }

    /// Runs what comes before the prompt, unless the call is stopped meanwhile.
    async fn unless_stopped<T>(
        &self,
        work: impl Future<Output = Result<T, ConnectorError>>,
    ) -> Result<T, ConnectorError> {
        let stopped = |cause| {
            Err(ConnectorError::Stopped {
                cause,
                reason: "nothing was sent to the agent".to_owned(),
                reference: Reference::default(),
            })
        };
        tokio::select! {
            biased;
            () = self.ctx.cancel.cancelled() => stopped(StopCause::Cancelled),
            () = sleep_until(self.deadline) => stopped(StopCause::Deadline),
            done = work => done,
        }
    }
}

/// Message ids sort by time at the daemon, so they are made of it.
fn unix_millis() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "an id needs the daemon's notion of time; no decision does"
    )]
    let now = std::time::SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or_default()
}
