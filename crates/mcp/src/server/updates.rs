//! Progress as notifications: words for people, and the exact update beside them.

use std::sync::Arc;
use std::time::Duration;

use connector_contract::{Progress, ProgressStream, ToolOutcome};
use futures_util::FutureExt as _;
use rmcp::model::{MetaObject, NotificationMetaObject, ProgressNotificationParam, ProgressToken};
use rmcp::service::{Peer, RequestContext, RoleServer};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::asks::AskLog;
use crate::extension::{self, ProgressMeta};

/// The reply so far is sent whole each time, so not with every word.
const TEXT_PACE: Duration = Duration::from_millis(200);

/// How long a client hears nothing while a call is under way. Many give a call up after a minute
/// without progress, some after less.
pub(super) const QUIET: Duration = Duration::from_secs(10);

/// The most of a reply that words for people carry.
const TAIL: usize = 400;

/// The progress of one call.
pub(super) struct Updates {
    peer: Peer<RoleServer>,
    /// Absent when the client wants none.
    token: Option<ProgressToken>,
    call: Option<String>,
    asks: Arc<AskLog>,
}

impl Updates {
    pub(super) fn new(context: &RequestContext<RoleServer>, call: Option<String>, asks: Arc<AskLog>) -> Self {
        Self { peer: context.peer.clone(), token: context.meta.get_progress_token(), call, asks }
    }

    /// Sends what comes, one after the other, until the call has finished. A host of ours then
    /// gets the rest too; to other clients the result says it all, and some take progress that
    /// comes right before a result for progress of nothing. They are told every ten seconds that the
    /// call is alive, with what it does or waits for; a host of ours knows that by itself.
    pub(super) async fn forward(self, mut stream: ProgressStream, finished: &CancellationToken) {
        let Some(token) = &self.token else {
            while let Some(Some(update)) = finished.run_until_cancelled(stream.next()).await {
                self.asks.note(&update);
            }
            return self.note_rest(&mut stream);
        };
        let (mut count, mut held, mut texted) = (0u32, None, None::<Instant>);
        let (began, mut last) = (Instant::now(), String::new());
        let mut quiet = tokio::time::interval_at(began + QUIET, QUIET);
        loop {
            let update = tokio::select! {
                biased;
                update = stream.next() => update,
                _ = quiet.tick(), if self.call.is_none() && !finished.is_cancelled() => {
                    count += 1;
                    self.notify(token, count, self.alive(began.elapsed(), &last), None).await;
                    continue;
                }
                // Someone may keep a sink beyond the call: what is there is all there is.
                () = finished.cancelled() => stream.next().now_or_never().flatten(),
            };
            let Some(update) = update else { break };
            self.asks.note(&update);
            if self.call.is_none() && finished.is_cancelled() {
                return self.note_rest(&mut stream);
            }
            if matches!(update, Progress::Text { .. }) {
                if texted.is_some_and(|at| at.elapsed() < TEXT_PACE) {
                    held = Some(update);
                    continue;
                }
                texted = Some(Instant::now());
                held = None;
            }
            if !matches!(update, Progress::Text { .. }) {
                last = in_words(&update);
            }
            quiet.reset();
            for update in held.take().into_iter().chain([update]) {
                count += 1;
                self.send(token, count, update).await;
            }
        }
        if let Some(update) = held.filter(|_| self.call.is_some()) {
            self.send(token, count + 1, update).await;
        }
    }

    async fn send(&self, token: &ProgressToken, count: u32, update: Progress) {
        let words = in_words(&update);
        let meta = ProgressMeta { call: self.call.clone(), update };
        self.notify(token, count, words, Some(meta)).await;
    }

    fn alive(&self, elapsed: Duration, last: &str) -> String {
        let elapsed = format!("{} min {:02} s", elapsed.as_secs() / 60, elapsed.as_secs() % 60);
        match self.asks.waiting_for() {
            Some(ask) => format!("waiting for an answer: {ask} ({elapsed})"),
            None if last.is_empty() => format!("at work ({elapsed})"),
            None => format!("at work ({elapsed}); last: {last}"),
        }
    }

    /// What was reported before the call finished, and is told to nobody any more.
    fn note_rest(&self, stream: &mut ProgressStream) {
        while let Some(Some(update)) = stream.next().now_or_never() {
            self.asks.note(&update);
        }
    }

    async fn notify(&self, token: &ProgressToken, count: u32, words: String, meta: Option<ProgressMeta>) {
        let mut params = ProgressNotificationParam::new(token.clone(), f64::from(count)).with_message(words);
        params.meta =
            meta.map(|meta| NotificationMetaObject(MetaObject(extension::meta(extension::PROGRESS, &meta))));
        // A client that is gone needs no progress.
        let _ = self.peer.notify_progress(params).await;
    }
}

/// An update in words, for people.
pub(super) fn in_words(update: &Progress) -> String {
    match update {
        Progress::Queued { ahead } => format!("waiting; {ahead} ahead"),
        Progress::Waiting { reason } => format!("waiting: {reason}"),
        Progress::Started { session_id } => format!("started in session {session_id}"),
        Progress::ToolStarted { tool, title, .. } => format!("{tool} {title}"),
        Progress::ToolFinished { tool, title, outcome: ToolOutcome::Completed, .. } => {
            format!("{tool} {title}: done")
        }
        Progress::ToolFinished { tool, title, outcome: ToolOutcome::Failed { reason }, .. } => {
            format!("{tool} {title}: failed: {reason}")
        }
        Progress::ToolFinished { tool, title, outcome: ToolOutcome::Refused { by }, .. } => {
            format!("{tool} {title}: refused by {by}")
        }
        Progress::Todo { items } => {
            let done = items.iter().filter(|item| item.status == "completed").count();
            format!("{done} of {} done", items.len())
        }
        Progress::Text { so_far } => tail(so_far).to_owned(),
        Progress::Retry { attempt, reason, .. } => {
            format!("the provider failed ({reason}); attempt {attempt}")
        }
        Progress::SubAgentStarted { title, .. } => format!("sub-agent: {title}"),
        Progress::Connection { live: true } => "the daemon's events are back".to_owned(),
        Progress::Connection { live: false } => "the daemon's events are lost; the work goes on".to_owned(),
    }
}

fn tail(text: &str) -> &str {
    let from = text.len().saturating_sub(TAIL);
    let from = (from..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    &text[from..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_carry_the_end_of_a_long_reply_and_never_split_a_character() {
        assert_eq!(tail("short"), "short");
        let long = "é".repeat(500);
        assert_eq!(tail(&long).len(), TAIL);
        assert!(tail(&format!("{long}x")).ends_with('x'));
    }
}
