//! One task: what it does, and what it came to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmcp::model::CallToolResult;
use rmcp::service::{Peer, RoleServer};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::asks::AskLog;
use super::super::lock;

/// Who waits for a task asks about it more often, and who reads a form may take a while: many clients vanish
/// without a word.
const SILENT: Duration = Duration::from_mins(10);

/// A call that goes on by itself.
pub(in crate::server) struct Task {
    pub(super) id: String,
    began: Instant,
    pub(super) cancel: CancellationToken,
    pub(super) log: Arc<AskLog>,
    /// What it did last, in words.
    last: Mutex<String>,
    /// What it came to, and how long it took.
    end: watch::Sender<Option<(CallToolResult, Duration)>>,
    audience: watch::Sender<Audience>,
    /// The connection that began it.
    starter: u64,
}

/// Who is asked what the task's agent asks.
#[derive(Clone)]
pub(super) struct Audience {
    /// The connection's number.
    session: u64,
    pub(super) peer: Peer<RoleServer>,
    /// When it last asked about the task.
    heard: Instant,
}

impl Audience {
    pub(super) fn new(session: u64, peer: Peer<RoleServer>) -> Self {
        Self { session, peer, heard: Instant::now() }
    }
}

/// Where a task is. The words are those of MCP's tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Working,
    InputRequired,
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::InputRequired => "input_required",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Task {
    pub(super) fn new(id: String, cancel: CancellationToken, log: Arc<AskLog>, audience: Audience) -> Self {
        Self {
            id,
            began: Instant::now(),
            cancel,
            log,
            last: Mutex::default(),
            end: watch::Sender::new(None),
            starter: audience.session,
            audience: watch::Sender::new(audience),
        }
    }

    /// Takes note of what it does.
    pub(super) fn says(&self, words: String) {
        *lock(&self.last) = words;
    }

    /// Takes note of what it came to.
    pub(super) fn ends(&self, result: CallToolResult) {
        self.end.send_replace(Some((result, self.began.elapsed())));
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// What it came to, once it has.
    pub(super) fn result(&self) -> Option<CallToolResult> {
        self.end.borrow().as_ref().map(|(result, _)| result.clone())
    }

    /// Returns once it has ended.
    pub(super) async fn ended(&self) {
        // The sender lives as long as the task.
        let _ = self.end.subscribe().wait_for(Option::is_some).await;
    }

    pub(super) fn status(&self) -> Status {
        match &*self.end.borrow() {
            Some((result, _)) if result.is_error != Some(true) => Status::Completed,
            Some(_) if self.cancel.is_cancelled() => Status::Cancelled,
            Some(_) => Status::Failed,
            None if self.log.waiting_for().is_some() => Status::InputRequired,
            None => Status::Working,
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.end.borrow().as_ref().map_or_else(|| self.began.elapsed(), |(_, took)| *took)
    }

    /// In words: how long, what it does, which ask is open.
    pub(super) fn describe(&self) -> String {
        let seconds = self.elapsed().as_secs();
        let time = format!("{} min {:02} s", seconds / 60, seconds % 60);
        match (self.status(), self.log.waiting_for()) {
            (Status::InputRequired, Some(ask)) => format!("waiting for an answer: {ask} ({time})"),
            (Status::Working, _) => {
                let last = lock(&self.last).clone();
                if last.is_empty() {
                    format!("at work ({time})")
                } else {
                    format!("at work ({time}); last: {last}")
                }
            }
            (status, _) => format!("{} after {time}", status.as_str()),
        }
    }

    /// Somebody asks about the task. Who can be asked is, from now on, where those who were asked so far have left,
    /// cannot be asked, or ask about the task no more; who began it is in any case.
    pub(super) fn heard_by(&self, one: &Audience) {
        self.audience.send_if_modified(|now| {
            if now.session == one.session {
                now.heard = Instant::now();
                return false;
            }
            let silent =
                now.peer.is_transport_closed() || !can_ask(&now.peer) || now.heard.elapsed() > SILENT;
            let takes_over = can_ask(&one.peer) && (silent || one.session == self.starter);
            if takes_over {
                *now = Audience { heard: Instant::now(), ..one.clone() };
            }
            takes_over
        });
    }

    pub(super) fn audience(&self) -> watch::Receiver<Audience> {
        self.audience.subscribe()
    }
}

pub(super) fn can_ask(peer: &Peer<RoleServer>) -> bool {
    peer.supported_elicitation_modes().contains(&rmcp::service::ElicitationMode::Form)
}
