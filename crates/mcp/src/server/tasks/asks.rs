//! What a task's agent asks: of the client that listens to the task.

use std::sync::Arc;

use async_trait::async_trait;
use connector_contract::AskRelay;
use connector_contract::ask::{PermissionAsk, PermissionReply, QuestionAsk, QuestionReply};
use tokio::sync::watch;

use super::super::asks::{AskLog, PeerAsks, Silence};
use super::task::Audience;

/// Asks whoever listens. Once they are gone, the ask waits for the next who does, as long as the connector lets
/// it wait.
pub(super) struct TaskAsks {
    audience: watch::Receiver<Audience>,
    log: Arc<AskLog>,
}

impl TaskAsks {
    pub(super) fn new(audience: watch::Receiver<Audience>, log: Arc<AskLog>) -> Self {
        Self { audience, log }
    }

    /// What `ask` comes to with somebody who is still there when it does.
    async fn of_somebody<T, F>(&self, ask: impl Fn(PeerAsks) -> F) -> Result<T, Silence>
    where
        F: Future<Output = Result<T, Silence>>,
    {
        let mut audience = self.audience.clone();
        loop {
            let now = audience.borrow_and_update().clone();
            let asking = ask(PeerAsks::new(now.peer.clone(), None, Arc::clone(&self.log)));
            tokio::select! {
                // Somebody else listens now; dropping the ask withdraws it.
                Ok(()) = audience.changed() => {}
                answer = asking => {
                    let gone = matches!(answer, Err(Silence::Gone));
                    if !gone || audience.changed().await.is_err() {
                        return answer;
                    }
                }
            }
        }
    }
}

#[async_trait]
impl AskRelay for TaskAsks {
    async fn permission(&self, ask: PermissionAsk) -> PermissionReply {
        let open = self.log.permission(&ask);
        let answer = self.of_somebody(|peer| {
            let ask = ask.clone();
            async move { peer.try_permission(ask).await }
        });
        open.permitted(answer.await)
    }

    async fn question(&self, ask: QuestionAsk) -> QuestionReply {
        let open = self.log.question(&ask);
        let answer = self.of_somebody(|peer| {
            let ask = ask.clone();
            async move { peer.try_question(ask).await }
        });
        open.answered(answer.await)
    }
}
