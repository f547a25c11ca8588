//! What answers of both generations are made of.

use std::sync::atomic::Ordering;

use serde_json::Value;

use super::fault::Canned;
use super::server::{Answer, Request};
use super::state::Shared;

/// Opens an event stream that greets with `greeting`.
pub(super) fn events(shared: &Shared, greeting: &str) -> Answer {
    if shared.faults.no_stream {
        return Answer::Hangup;
    }
    let end = if shared.faults.crlf { "\r\n" } else { "\n" };
    let mut first = if shared.faults.bom { "\u{feff}".to_owned() } else { String::new() };
    if !shared.faults.silent_stream {
        first.push_str(&format!("data: {greeting}{end}{end}"));
    }
    if shared.faults.short_streams {
        let body = first.into_bytes();
        return Answer::Whole(Canned { status: 200, content_type: "text/event-stream", body });
    }
    Answer::Stream { first: first.into_bytes(), items: shared.stream.subscribe() }
}

/// Whether a request carries the password.
pub(super) fn authorized(shared: &Shared, request: &Request) -> bool {
    if shared.locked.load(Ordering::Relaxed) {
        return false;
    }
    shared.password().is_none_or(|password| {
        request.authorization.as_deref()
            == Some(&format!("Basic {}", base64(&format!("opencode:{password}"))))
    })
}

fn base64(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for piece in text.as_bytes().chunks(3) {
        let word =
            piece.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - piece.len()));
        for at in 0..4 {
            let sextet = (word >> (18 - 6 * at)) & 63;
            out.push(if at <= piece.len() { char::from(ALPHABET[sextet as usize]) } else { '=' });
        }
    }
    out
}

pub(super) fn ok(body: &Value) -> Answer {
    json_answer(200, body)
}

pub(super) fn json_answer(status: u16, body: &Value) -> Answer {
    Answer::Whole(Canned::json(status, body))
}
