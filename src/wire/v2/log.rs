//! The session's log: the events that the daemon keeps, as a stream that ends.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::failure;
use crate::ids::MessageId;
use crate::sse::Decoder;
use crate::wire::Failure;

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow, default)]
    data: Option<Data<'a>>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(rename = "inboxID", default)]
    message: Option<String>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// Why the turn failed that `ours` began: the first failure after the session began
/// with it, or the last one while it waited. Executions do not say whose they are, so a
/// log that tells of neither the beginning nor the waiting tells nothing.
pub(super) fn reason(body: &[u8], ours: &MessageId) -> Option<Failure> {
    let (mut waits, mut began, mut over, mut reason) = (false, false, false, None);
    let mut decoder = Decoder::new(body.len());
    decoder.feed(body, |data| {
        let Ok(entry) = serde_json::from_slice::<Entry<'_>>(data) else { return };
        let Some(data) = entry.data else { return };
        match entry.kind.as_str() {
            "session.inbox.enqueued" if data.message.as_deref() == Some(ours.as_str()) => waits = true,
            "session.execution.failed" if waits && !began => reason = data.error.and_then(failure::read),
            "session.inbox.delivered" if data.message.as_deref() == Some(ours.as_str()) => {
                (began, reason) = (true, None);
            }
            "session.execution.succeeded" | "session.execution.interrupted" => over |= began,
            "session.execution.failed" if began && !over => {
                over = true;
                reason = data.error.and_then(failure::read);
            }
            _ => {}
        }
    });
    reason
}
