//! The readers, for fuzz targets and benchmarks: what comes from the network,
//! given as bytes. Not part of the API.

use connector_contract::Origin;
use http::StatusCode;

use crate::ids::{MessageId, SessionId};
use crate::sse::Decoder;
use crate::wire::v1::{Requests, V1};
use crate::wire::{Dialect, Peek};

/// Decodes a stream of events that arrives in pieces of `size` bytes. Returns how
/// many events there were, how many of them said something that a turn reads, and
/// how many could not be read.
pub fn decode_events(stream: &[u8], size: usize, limit: usize) -> (usize, usize, usize) {
    let dialect = dialect();
    let mut decoder = Decoder::new(limit);
    let (mut events, mut signals, mut bad) = (0, 0, 0);
    for piece in stream.chunks(size.max(1)) {
        decoder.feed(piece, |data| {
            events += 1;
            match dialect.peek_event(data) {
                Ok(Peek::Session { rest, .. }) => match rest.read() {
                    Ok(Some(_)) => signals += 1,
                    Ok(None) => {}
                    Err(_) => bad += 1,
                },
                Ok(Peek::Connection) => {}
                Err(_) => bad += 1,
            }
        });
    }
    (events, signals, bad)
}

/// Reads `body` as every answer there is. Returns how many readers accept it.
pub fn read_answers(body: &[u8]) -> usize {
    let dialect = dialect();
    let (Ok(session), Ok(message)) = (SessionId::parse("ses_a"), MessageId::parse("msg_a")) else { return 0 };
    for status in [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::INTERNAL_SERVER_ERROR] {
        let _ = dialect.read_answer(status, body);
    }
    let _ = (dialect.read_health(body), dialect.read_failure(body), dialect.read_other_generation(body));
    let _ = (dialect.read_last_model(body), dialect.read_default_model(body));
    [
        dialect.read_session(body).is_ok(),
        dialect.read_status(body, &session).is_ok(),
        dialect.read_messages(body, &message).is_ok(),
        dialect.read_changes(body).is_ok(),
        dialect.read_children(body).is_ok(),
        dialect.read_permissions(body).is_ok(),
        dialect.read_questions(body).is_ok(),
    ]
    .into_iter()
    .filter(|fine| *fine)
    .count()
}

fn dialect() -> V1 {
    // A constant that parses; requests are not built here.
    let origin: Result<Origin, _> = "http://127.0.0.1:4096".parse();
    match origin {
        Ok(origin) => V1 { requests: Requests::new(&origin, None, None) },
        Err(_) => unreachable!("a constant"),
    }
}
