//! What a call reports while it runs.
//!
//! Progress is for display: ordered, bounded, and lossy. A sink never blocks and
//! never fails; a consumer that is slow loses the oldest updates it has not
//! seen, never the newest. Nothing may depend on progress for correctness.

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

/// One small update.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Progress {
    /// Waiting for an earlier turn; `ahead` turns go first.
    Queued {
        /// How many go first; at least 1.
        ahead: usize,
    },
    /// Waiting for something else than a turn.
    Waiting {
        /// For what, in words for people.
        reason: String,
    },
    /// The prompt is about to be sent.
    Started {
        /// The session it runs in.
        session_id: String,
    },
    /// The agent began to use a tool.
    ToolStarted {
        /// Pairs this with its [`Progress::ToolFinished`].
        call_id: String,
        /// `bash`, `edit`, …
        tool: String,
        /// What it is about: the command, the path.
        title: String,
    },
    /// The tool is done.
    ToolFinished {
        /// As in [`Progress::ToolStarted`].
        call_id: String,
        /// `bash`, `edit`, …
        tool: String,
        /// What it was about.
        title: String,
        /// How it ended.
        outcome: ToolOutcome,
    },
    /// The agent's list of what it means to do, whole.
    Todo {
        /// In the agent's order.
        items: Vec<TodoItem>,
    },
    /// The text of the reply so far, whole.
    Text {
        /// Possibly cut at its head; for display only.
        so_far: String,
    },
    /// The model's provider failed and the daemon tries again.
    Retry {
        /// How often it has failed so far: 1 for the first time.
        attempt: u64,
        /// The provider's reason.
        reason: String,
        /// When it tries next, in milliseconds since the Unix epoch.
        next_at_ms: Option<u64>,
    },
    /// The agent handed part of the work to a sub-agent.
    SubAgentStarted {
        /// The child session.
        session_id: String,
        /// Its title.
        title: String,
    },
    /// The connection that carries progress was lost or regained; the work goes on.
    Connection {
        /// Whether updates arrive live.
        live: bool,
    },
}

/// How a tool ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToolOutcome {
    /// It did its work.
    Completed,
    /// It failed, and the agent was told.
    Failed {
        /// The tool's own words, shortened.
        reason: String,
    },
    /// It was not let run, and the agent was told that it failed.
    Refused {
        /// Who refused it: a person, or what answers for one.
        by: String,
    },
}

/// One entry of [`Progress::Todo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TodoItem {
    /// What is to be done.
    pub content: String,
    /// The agent's word for its state: `pending`, `in_progress`, `completed`, `cancelled`.
    pub status: String,
}

/// Where a connector puts its progress. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ProgressSink(broadcast::Sender<Progress>);

impl ProgressSink {
    /// A sink whose updates nobody reads.
    pub fn discard() -> Self {
        progress_channel(1).0
    }

    /// Puts one update; returns at once, whether or not somebody reads it.
    pub fn report(&self, progress: Progress) {
        // An error only says that nobody reads.
        let _ = self.0.send(progress);
    }
}

/// Where a host reads it.
#[derive(Debug)]
pub struct ProgressStream(broadcast::Receiver<Progress>);

impl ProgressStream {
    /// The next update, or `None` once every sink is gone and all was read.
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Progress> {
        loop {
            match self.0.recv().await {
                Ok(progress) => return Some(progress),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// A sink and its stream, holding at most about `capacity` unread updates
/// (rounded up to a power of two).
pub fn progress_channel(capacity: usize) -> (ProgressSink, ProgressStream) {
    let (sender, receiver) = broadcast::channel(capacity.max(1));
    (ProgressSink(sender), ProgressStream(receiver))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_reader_loses_the_oldest_and_never_the_last() {
        let (sink, mut stream) = progress_channel(4);
        for ahead in 1..=100 {
            sink.report(Progress::Queued { ahead });
        }
        drop(sink);
        let mut seen = Vec::new();
        while let Some(progress) = stream.next().await {
            seen.push(progress);
        }
        assert_eq!(seen, (97..=100).map(|ahead| Progress::Queued { ahead }).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_sink_without_a_reader_does_not_block() {
        let sink = ProgressSink::discard();
        for ahead in 0..10_000 {
            sink.report(Progress::Queued { ahead });
        }
    }
}
