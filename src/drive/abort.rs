//! Ends a turn at the daemon, and owns it until then.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use tokio::time::timeout;

use super::poll::history;
use crate::ids::{MessageId, SessionId};
use crate::link::{Link, LinkError};
use crate::queue::Place;
use crate::turn::Abort;
use crate::wire::{End, Status};

/// What part of the time for a stop goes to reading what it would hit.
const READS: u32 = 5;

pub(super) async fn send_abort(link: &Link, session: &SessionId, message: &MessageId) -> Abort {
    try_abort(link, session, message).await.unwrap_or_else(|error| {
        tracing::debug!(%session, %error, "an abort was not delivered");
        Abort::Failed
    })
}

/// What an interrupt of the session would hit.
enum Hit {
    /// Somebody else's turn: ours waits in the inbox, and this takes it out.
    Another(Box<Request<Bytes>>),
    /// Nothing of ours: it is over, or was never there.
    Nothing,
    Ours,
}

/// Interrupts the session unless something else is known to end the turn. What cannot
/// be read, or not in time, holds no stop up; what is known to wait is never interrupted.
async fn try_abort(link: &Link, session: &SessionId, message: &MessageId) -> Result<Abort, LinkError> {
    match timeout(link.timing.stop / READS, hit(link, session, message)).await {
        Ok(Ok(Hit::Another(back))) => {
            let taken = timeout(link.timing.stop, take_back(link, session, message, *back)).await;
            match taken.unwrap_or(Err(LinkError::Timeout)) {
                Ok(Some(abort)) => return Ok(abort),
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(%session, %error, "a prompt was not taken back");
                    return Ok(Abort::Failed);
                }
            }
        }
        Ok(Ok(Hit::Nothing)) => return Ok(Abort::Delivered),
        Ok(Ok(Hit::Ours)) => {}
        Ok(Err(error)) => tracing::debug!(%session, %error, "interrupting what cannot be looked at"),
        Err(_) => tracing::debug!(%session, "interrupting what cannot be looked at in time"),
    }
    link.fetch(link.dialect.abort(session)).await?;
    Ok(Abort::Delivered)
}

async fn hit(link: &Link, session: &SessionId, message: &MessageId) -> Result<Hit, LinkError> {
    let Some(back) = link.dialect.take_back(session, message) else { return Ok(Hit::Ours) };
    if is_waiting(link, session, message).await? {
        return Ok(Hit::Another(Box::new(back)));
    }
    let record = history(link, session, message).await?;
    let over = matches!(record.end, End::Told(_)) || !record.arrived;
    Ok(if over { Hit::Nothing } else { Hit::Ours })
}

/// Takes a prompt out of the inbox, and touches nothing else; `None` if it has begun
/// meanwhile.
async fn take_back(
    link: &Link,
    session: &SessionId,
    message: &MessageId,
    request: Request<Bytes>,
) -> Result<Option<Abort>, LinkError> {
    link.fetch(request).await?;
    let record = history(link, session, message).await?;
    if record.arrived {
        return Ok(matches!(record.end, End::Told(_)).then_some(Abort::Delivered));
    }
    let still = is_waiting(link, session, message).await?;
    Ok(Some(if still { Abort::Failed } else { Abort::TakenBack }))
}

async fn is_waiting(link: &Link, session: &SessionId, message: &MessageId) -> Result<bool, LinkError> {
    let Some(request) = link.dialect.inbox(session) else { return Ok(false) };
    Ok(link.dialect.read_inbox(&link.fetch(request).await?, message)?.ours)
}

/// Owns a turn at the daemon: dropped before [`AbortGuard::release`], it aborts it.
pub(crate) struct AbortGuard {
    link: Link,
    session: SessionId,
    message: MessageId,
    /// Kept until the abort is confirmed, which must not hit anybody's next turn.
    places: Arc<Vec<Place>>,
    owns: bool,
}

impl AbortGuard {
    pub(crate) fn new(
        link: &Link,
        session: &SessionId,
        message: &MessageId,
        places: Arc<Vec<Place>>,
    ) -> Self {
        Self { link: link.clone(), session: session.clone(), message: message.clone(), places, owns: false }
    }

    pub(crate) fn own(&mut self) {
        self.owns = true;
    }

    pub(crate) fn release(&mut self) {
        self.owns = false;
    }
}

impl Drop for AbortGuard {
    fn drop(&mut self) {
        if !self.owns {
            return;
        }
        let (link, session, message) = (self.link.clone(), self.session.clone(), self.message.clone());
        let places = Arc::clone(&self.places);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if timeout(link.timing.stop, abort(&link, &session, &message)).await.is_err() {
                    tracing::warn!(%session, "a dropped turn could not be confirmed as stopped");
                }
                drop(places);
            });
        }
    }
}

/// Aborts until the turn is seen ended. An idle session alone proves nothing: the
/// prompt may arrive after the first abort.
pub(crate) async fn abort(link: &Link, session: &SessionId, message: &MessageId) {
    let mut broken = 0;
    let mut pause = link.timing.poll_min;
    loop {
        let seen = timeout(link.timing.stop / READS, async {
            let status = link.fetch(link.dialect.status()).await.ok();
            let status = status.and_then(|body| link.dialect.read_status(&body, session).ok());
            (status == Some(Status::Idle), history(link, session, message).await.unwrap_or_default())
        });
        let (idle, record) = seen.await.unwrap_or_default();
        let last = record.steps.last();
        let told = matches!(record.end, End::Told(_));
        if told && record.followed || idle && (told || last.is_some_and(|last| last.head.completed)) {
            return;
        }
        // Half a message of an earlier daemon's ends never.
        broken = if idle && last.is_some() { broken + 1 } else { 0 };
        if broken >= 3 {
            return;
        }
        if send_abort(link, session, message).await == Abort::TakenBack {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(link.timing.poll_max);
    }
}
