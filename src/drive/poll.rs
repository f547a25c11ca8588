//! Reads the daemon's state for a turn: what its session is doing, what is on record,
//! and who waits for an answer.

use bytes::Bytes;
use connector_contract::{OutboundError, chain};
use http::Request;
use tokio::time::timeout;

use crate::ids::{MessageId, SessionId};
use crate::link::{Link, LinkError};
use crate::turn::{Event, Snapshot};
use crate::wire::{End, History, Pending, Status, Undecodable};

/// How many sessions of a turn are asked for what they wait for.
const SESSIONS: usize = 32;
/// How many pages of messages are read at most: a turn is far shorter.
const PAGES: usize = 100;
/// How much is read for the reason of a failure that no message tells.
const REASONS_BYTES: usize = 8 << 20;

pub(super) async fn poll(link: Link, session: SessionId, message: MessageId, children: Vec<String>) -> Event {
    match try_poll(&link, &session, &message, children).await {
        Ok(snapshot) => Event::Polled(Box::new(snapshot)),
        Err(error) => Event::PollFailed {
            unauthorized: matches!(error, LinkError::Unauthorized),
            answered: is_answer(&error),
            reason: chain(&error),
        },
    }
}

/// Whether it is something that the daemon said, and not its silence.
fn is_answer(error: &LinkError) -> bool {
    !matches!(error, LinkError::Timeout | LinkError::Outbound(_))
        || matches!(error, LinkError::Outbound(OutboundError::BodyTooLong { .. }))
}

/// Reads the status before the messages: an idle session's messages are its last.
async fn try_poll(
    link: &Link,
    session: &SessionId,
    message: &MessageId,
    children: Vec<String>,
) -> Result<Snapshot, LinkError> {
    let dialect = &link.dialect;
    let status = dialect.read_status(&link.fetch(dialect.status()).await?, session)?;
    let mut history = history(link, session, message).await?;
    let mut snapshot = Snapshot {
        status,
        history: History::default(),
        permissions: Vec::new(),
        questions: Vec::new(),
        unparseable_permissions: Vec::new(),
        unparseable_questions: Vec::new(),
        children,
        whole: true,
    };
    // The turn may have ended between the two.
    if snapshot.status == Status::Idle || matches!(history.end, End::Told(_)) {
        explain(link, session, message, &mut history).await?;
    } else {
        let asks = timeout(link.timing.request, poll_asks(link, session, &mut snapshot)).await;
        snapshot.whole &= asks.is_ok();
        snapshot.status = history.retry.take().unwrap_or(snapshot.status);
    }
    snapshot.history = history;
    Ok(snapshot)
}

/// Reads what the messages of a turn that does not run leave open: whether work still
/// waits, and why it failed.
async fn explain(
    link: &Link,
    session: &SessionId,
    message: &MessageId,
    history: &mut History,
) -> Result<(), LinkError> {
    let dialect = &link.dialect;
    if history.end == End::Open
        && let Some(request) = dialect.inbox(session)
    {
        history.inbox = dialect.read_inbox(&link.fetch(request).await?, message)?;
        history.arrived |= history.inbox.ours;
    }
    if history.lacks_reason()
        && let Some(request) = dialect.reasons(session)
    {
        // It is as long as the session: where it is too long, the failure goes without a reason.
        let within = link.body_bytes.min(REASONS_BYTES);
        match timeout(link.timing.reason, link.fetch_within(request, within)).await {
            Ok(Ok(body)) => history.reason = dialect.read_reason(&body, message),
            Ok(Err(error)) => tracing::debug!(%session, %error, "the reason of a failure cannot be read"),
            Err(_) => tracing::debug!(%session, "the reason of a failure cannot be read in time"),
        }
    }
    Ok(())
}

/// Reads what the session and its children wait for. What cannot be read takes
/// nothing away from the rest: the poll is then not whole.
async fn poll_asks(link: &Link, session: &SessionId, snapshot: &mut Snapshot) {
    let dialect = &link.dialect;
    snapshot.children.insert(0, session.to_string());
    let mut at = 0;
    while at < snapshot.children.len().min(SESSIONS) {
        let request = dialect.children(&snapshot.children[at]);
        let read = fetch_of(link, request, |body| dialect.read_children(body)).await;
        for child in or_nothing(session, read, &mut snapshot.whole) {
            if !snapshot.children.contains(&child) {
                snapshot.children.push(child);
            }
        }
        at += 1;
    }
    let asked = snapshot.children[..snapshot.children.len().min(SESSIONS)].to_vec();
    let requests = dialect.permissions(&asked);
    // One session each: those beyond the limit are not asked.
    snapshot.whole &= snapshot.children.len() == asked.len() || requests.len() < asked.len();
    for request in requests {
        let read = fetch_of(link, request, |body| dialect.read_permissions(body)).await;
        let Pending { asks, unparseable } = or_nothing(session, read, &mut snapshot.whole);
        snapshot.permissions.extend(asks);
        snapshot.unparseable_permissions.extend(unparseable);
    }
    for request in dialect.questions(&asked) {
        let read = fetch_of(link, request, |body| dialect.read_questions(body)).await;
        let Pending { asks, unparseable } = or_nothing(session, read, &mut snapshot.whole);
        snapshot.questions.extend(asks);
        snapshot.unparseable_questions.extend(unparseable);
    }
    for ask in snapshot.unparseable_permissions.iter().chain(&snapshot.unparseable_questions) {
        tracing::warn!(
            id = ask.id,
            session = ask.session,
            "an ask cannot be read; it is rejected if it is ours"
        );
    }
}

/// What was read; nothing, and a poll that is not whole, where that failed.
fn or_nothing<T: Default>(session: &SessionId, read: Result<T, LinkError>, whole: &mut bool) -> T {
    read.unwrap_or_else(|error| {
        tracing::debug!(%session, %error, "what waits for an answer cannot be read");
        *whole = false;
        T::default()
    })
}

/// Asks for something of a session; one that was deleted meanwhile has nothing.
async fn fetch_of<T: Default>(
    link: &Link,
    request: Request<Bytes>,
    read: impl FnOnce(&[u8]) -> Result<T, Undecodable>,
) -> Result<T, LinkError> {
    match link.fetch(request).await {
        Ok(body) => Ok(read(&body)?),
        Err(LinkError::Status { status: 404, .. }) => Ok(T::default()),
        Err(error) => Err(error),
    }
}

/// Reads the session's messages back to the start of the turn: what is kept of them is no
/// longer than one answer may be.
pub(crate) async fn history(
    link: &Link,
    session: &SessionId,
    message: &MessageId,
) -> Result<History, LinkError> {
    let mut pages: Vec<Bytes> = Vec::new();
    let mut left = link.body_bytes;
    while let Some(request) = link.dialect.messages(session, &pages, message).filter(|_| pages.len() < PAGES)
    {
        if link.dialect.pages_hold_earlier() {
            pages.fill(Bytes::new());
            left = link.body_bytes;
        }
        let page = link.fetch_within(request, left).await?;
        left -= page.len();
        pages.push(page);
    }
    let history = link.dialect.read_messages(&pages, message)?;
    if history.unreadable > 0 {
        tracing::warn!(%session, count = history.unreadable, "messages cannot be read and are skipped");
    }
    Ok(history)
}
