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
/// with it. Executions do not say whose they are, so a log that does not tell of the
/// beginning tells nothing.
pub(super) fn reason(body: &[u8], ours: &MessageId) -> Option<Failure> {
    let (mut began, mut over, mut reason) = (false, false, None);
    let mut decoder = Decoder::new(body.len());
    decoder.feed(body, |data| {
        let Ok(entry) = serde_json::from_slice::<Entry<'_>>(data) else { return };
        let Some(data) = entry.data else { return };
        match entry.kind.as_str() {
            "session.inbox.delivered" if data.message.as_deref() == Some(ours.as_str()) => began = true,
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
