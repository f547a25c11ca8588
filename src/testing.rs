//! The readers, for fuzz targets and benchmarks: what comes from the network,
//! given as bytes. Not part of the API.

use std::sync::Arc;

use bytes::Bytes;
use connector_contract::Origin;
use http::StatusCode;

use crate::ids::{MessageId, SessionId};
use crate::sse::Decoder;
use crate::wire::{Dialect, dialects};

/// Decodes a stream of events of 1.x that arrives in pieces of `size` bytes. Returns
/// how many events there were, how many of them said something that a turn reads,
/// and how many could not be read.
pub fn decode_events(stream: &[u8], size: usize, limit: usize) -> (usize, usize, usize) {
    decode("v1", stream, size, limit)
}

/// The same for 2.x.
pub fn decode_events_of_2(stream: &[u8], size: usize, limit: usize) -> (usize, usize, usize) {
    decode("v2", stream, size, limit)
}

fn decode(name: &str, stream: &[u8], size: usize, limit: usize) -> (usize, usize, usize) {
    let Some(dialect) = all().into_iter().find(|dialect| dialect.name() == name) else { return (0, 0, 0) };
    let mut decoder = Decoder::new(limit);
    let (mut events, mut signals, mut bad) = (0, 0, 0);
    for piece in stream.chunks(size.max(1)) {
        decoder.feed(piece, |data| {
            events += 1;
            match dialect.read_event(data, &|_, _| true) {
                Ok(Some(_)) => signals += 1,
                Ok(None) => {}
                Err(_) => bad += 1,
            }
        });
    }
    (events, signals, bad)
}

/// Reads `body` as every answer there is, in every dialect. Returns how many readers
/// accept it.
pub fn read_answers(body: &[u8]) -> usize {
    all().into_iter().map(|dialect| read_with(dialect.as_ref(), body)).sum()
}

fn read_with(dialect: &dyn Dialect, body: &[u8]) -> usize {
    let (Ok(session), Ok(message)) = (SessionId::parse("ses_a"), MessageId::parse("msg_a")) else { return 0 };
    for status in [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::INTERNAL_SERVER_ERROR] {
        let _ = (dialect.read_answer(status, body, &message), dialect.read_health(status, body));
    }
    let _ = (dialect.read_failure(body), dialect.read_reason(body, &message));
    let _ = dialect.read_inbox(body, &message);
    let _ = (dialect.read_last_model(body), dialect.read_default_model(body));
    let page = Bytes::copy_from_slice(body);
    let _ = dialect.read_project(body);
    let _ = dialect.read_agent_model(&[page.clone(), page.clone()], None);
    let _ = dialect.messages(&session, std::slice::from_ref(&page), &message);
    [
        dialect.read_session(body).is_ok(),
        dialect.read_status(body, &session).is_ok(),
        dialect.read_messages(std::slice::from_ref(&page), &message).is_ok(),
        dialect.read_changes(body).is_ok(),
        dialect.read_children(body).is_ok(),
        dialect.read_permissions(body).is_ok(),
        dialect.read_questions(body).is_ok(),
        dialect.read_below(&[page.clone(), page.clone()], None).is_ok(),
        // 1.x saves none, and says so of anything.
        dialect.read_saved(body).is_ok_and(|rules| !rules.is_empty()),
    ]
    .into_iter()
    .filter(|fine| *fine)
    .count()
}

fn all() -> Vec<Arc<dyn Dialect>> {
    // A constant that parses; requests are not sent here.
    let origin: Result<Origin, _> = "http://127.0.0.1:4096".parse();
    match origin {
        Ok(origin) => dialects(&origin, None, None),
        Err(_) => unreachable!("a constant"),
    }
}
