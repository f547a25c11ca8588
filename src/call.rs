//! One call of an action, from its input to its result.
//!
//! In order: the input is checked, the call takes its place in the lines it must
//! wait in, the daemon is recognised, the session is made or opened, the
//! checkpoint is made durable, the event stream is joined, and only then is the
//! prompt sent. Until that moment every error means that nothing has started.
//! From then on the [turn](crate::turn) decides.

mod describe;
mod prepare;
mod report;
mod rules;

use std::sync::Arc;

use connector_contract::{
    ActionResult, Checkpoint, ConnectorError, Context, Progress, Provenance, Reference, SourceNote, StopCause,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::drive::{AbortGuard, Asker, Driver, Ended, abort};
use crate::event_stream::Subscription;
use crate::ids::{MessageId, SessionId};
use crate::input::{DESCRIBE, Task};
use crate::link::Link;
use crate::probe::{DaemonProbe, Peer};
use crate::queue::{Place, Queue};
use crate::random;
use crate::timing::Timing;
use crate::turn::{Plan, Turn};
use crate::wire::Prompt;

/// What all calls of one connector share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) timing: Timing,
    pub(crate) probe: DaemonProbe,
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
    /// Held for as long as the turn lasts, and until its abort is confirmed.
    places: Arc<Vec<Place>>,
}

/// One call.
struct Call<'a> {
    shared: &'a Shared,
    ctx: &'a Context,
    /// Who answers, once that is known; until then, who answered last.
    peer: Arc<Peer>,
    link: Link,
    task: Task,
    began: Instant,
    /// When the host stops waiting, less what a stop takes.
    limit: Instant,
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
    let limit = ctx.deadline - margin;
    let peer = shared.probe.last();
    let link = Link {
        http: ctx.http.clone(),
        dialect: Arc::clone(&peer.dialect),
        timing: shared.timing,
        body_bytes: shared.settings.limits.body_bytes,
    };
    let call = Call { shared, ctx, peer, link, task, began, limit };
    match &ctx.resume {
        _ if action == DESCRIBE => call.describe().await,
        None => call.fresh().await,
        Some(checkpoint) => call.resume(checkpoint).await,
    }
}

impl Call<'_> {
    async fn fresh(mut self) -> Result<ActionResult, ConnectorError> {
        let stop = self.stop();
        let ready = match stop.unless(self.prepare()).await {
            Ok(ready) => ready?,
            Err(cause) => return Err(not_begun(cause)),
        };
        self.turn(ready, false).await
    }

    /// Goes on with the turn that `checkpoint` tells of. Whatever hinders it, the
    /// outcome is then unknown, since that turn may be running; and it is ours from
    /// the first moment: a stop ends it.
    async fn resume(mut self, checkpoint: &Checkpoint) -> Result<ActionResult, ConnectorError> {
        let (peer, session, message) = self.read(checkpoint)?;
        self.turn_to(peer);
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
        let mut guard = AbortGuard::new(&self.link, &session, &message, Arc::default());
        guard.own();
        let stop = self.stop();
        let ready = match stop.unless(self.reopen(session.clone(), message.clone())).await {
            Ok(ready) => ready.map_err(unknown),
            Err(cause) => {
                let stopping = abort(&self.link, &session, &message);
                let confirmed = timeout(self.shared.timing.stop, stopping).await.is_ok();
                let reason = report::stop_words(confirmed, true, None, cause);
                Err(ConnectorError::Stopped { cause, reason, reference })
            }
        };
        guard.release();
        self.turn(ready?, true).await
    }

    fn read(&self, checkpoint: &Checkpoint) -> Result<(Arc<Peer>, SessionId, MessageId), ConnectorError> {
        let unreadable = || ConnectorError::OutcomeUnknown {
            reason: "the checkpoint of the turn cannot be read".to_owned(),
            reference: Reference::default(),
        };
        let note: Note = serde_json::from_value(checkpoint.0.clone()).map_err(|_| unreadable())?;
        let peer = self.shared.probe.named(&note.wire).ok_or_else(unreadable)?;
        let session = SessionId::parse(&note.session_id).map_err(|_| unreadable())?;
        Ok((peer, session, MessageId::parse(&note.message_id).map_err(|_| unreadable())?))
    }

    fn turn_to(&mut self, peer: Arc<Peer>) {
        self.link.dialect = Arc::clone(&peer.dialect);
        self.peer = peer;
    }

    async fn prepare(&mut self) -> Result<Ready, ConnectorError> {
        let mut places = self.line_up().await;
        let peer = self.recognise().await?;
        self.turn_to(peer);
        self.check_configured()?;
        // Beside the requests that come before the prompt, which waits for it.
        let _opening = self.peer.events.open_ahead(&self.ctx.http);
        let (facts, newest) = match &self.task.session {
            Some(session) => self.open(session).await?,
            None => (self.create().await?, prepare::Newest::default()),
        };
        let session = facts.id.clone();
        if self.task.session.is_none() {
            places.push(self.shared.queue.join(session.as_str()));
        }
        let message = newest
            .message
            .and_then(|id| MessageId::after(&id, random::bytes()))
            .unwrap_or_else(|| MessageId::new(facts.created.unwrap_or_default(), 0, random::bytes()));
        let model = self.task.model.clone().or(newest.model);
        let prompt = self.prompt(session, message, model);
        self.apply_session_settings(&facts, &prompt).await?;
        self.record(&prompt.session, &prompt.message).await?;
        Ok(self.joined(prompt, places).await)
    }

    async fn reopen(&self, session: SessionId, message: MessageId) -> Result<Ready, ConnectorError> {
        let place = self.shared.queue.join(session.as_str());
        place.head(|ahead| self.ctx.progress.report(Progress::Queued { ahead })).await;
        let mut places = vec![place];
        if !self.shared.settings.parallel_turns {
            // Without waiting: it may run already, and others wait behind it.
            places.push(self.shared.queue.join(&self.directory_line()));
        }
        let now = self.recognise().await?;
        if now.dialect.name() != self.peer.dialect.name() {
            return Err(ConnectorError::OutcomeUnknown {
                reason: format!(
                    "the turn was begun at a daemon of opencode {}, and one of {} answers now, which does not know it",
                    self.peer.dialect.generation(),
                    now.dialect.generation()
                ),
                reference: report::reference(&session, &message),
            });
        }
        let prompt = self.prompt(session, message, self.task.model.clone());
        Ok(self.joined(prompt, places).await)
    }

    async fn joined(&self, prompt: Prompt, places: Vec<Place>) -> Ready {
        let events = self.peer.events.subscribe(&self.ctx.http, prompt.session.as_str());
        let live = events.opened(self.shared.timing.stream_open).await;
        if !live {
            tracing::debug!(session = %prompt.session, "going on without events");
        }
        Ready { prompt, events, live, places: Arc::new(places) }
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
            places.push(self.shared.queue.join(&self.directory_line()));
        }
        for place in &places {
            place.head(|ahead| self.ctx.progress.report(Progress::Queued { ahead })).await;
        }
        places
    }

    fn directory_line(&self) -> String {
        format!("directory {}", self.shared.settings.directory.as_deref().unwrap_or_default())
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
        let Task { prompt: text, files, agent, .. } = self.task.clone();
        Prompt { session, message, text, files, system, model, agent }
    }

    async fn turn(self, ready: Ready, resume: bool) -> Result<ActionResult, ConnectorError> {
        let Ready { prompt, events, live, places } = ready;
        let settings = &self.shared.settings;
        let plan = Plan {
            session: prompt.session.clone(),
            message: prompt.message.clone(),
            // The wait in line was not the turn's.
            deadline: (Instant::now() + self.task.deadline).min(self.limit),
            no_progress: settings.no_progress,
            asks: settings.asks,
            ask_timeout: settings.ask_timeout,
            timing: self.shared.timing,
            resume,
            live,
            queued: self.link.dialect.answers_at_once(),
        };
        let prompt = Arc::new(prompt);
        let driver = Driver {
            link: self.link.clone(),
            prompt: Arc::clone(&prompt),
            places: Arc::clone(&places),
            events,
            progress: self.ctx.progress.clone(),
            asks: Arc::new(Asker::new(self.link.clone(), Arc::clone(&self.ctx.asks))),
            cancel: self.ctx.cancel.clone(),
        };
        let Ended { outcome, steps } = Box::pin(driver.run(Turn::new(plan, Instant::now()))).await;
        self.report(outcome, &steps, &prompt).await
    }

    fn stop(&self) -> Stop {
        Stop { cancel: self.ctx.cancel.clone(), limit: self.limit }
    }
}

/// What ends a call before its prompt.
struct Stop {
    cancel: CancellationToken,
    limit: Instant,
}

impl Stop {
    /// Runs what comes before the prompt, unless the call is stopped meanwhile.
    async fn unless<T>(&self, work: impl Future<Output = T>) -> Result<T, StopCause> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(StopCause::Cancelled),
            () = sleep_until(self.limit) => Err(StopCause::Deadline),
            done = work => Ok(done),
        }
    }
}

/// A stop before anything was sent. Who cancelled knows why it is over; to others
/// it is a call that may be made again.
fn not_begun(cause: StopCause) -> ConnectorError {
    let reason = "nothing was sent to the agent";
    match cause {
        StopCause::Cancelled => ConnectorError::Cancelled { reason: reason.to_owned() },
        _ => ConnectorError::Unavailable {
            reason: format!("{} before the daemon was ready for the task; {reason}", cause.as_str()),
            source: None,
        },
    }
}
