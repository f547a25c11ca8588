//! What an answer says that it used, read in passing.

use http::{HeaderMap, header};
use memchr::memmem;
use serde_json::Value;

use crate::record::{Recorder, Usage};

/// A longer line, or a longer answer that is no stream of events, is not read.
const LONGEST: usize = 4 << 20;

/// Reads the pieces of one answer; records when it is dropped.
pub(super) struct Meter {
    events: bool,
    line: Vec<u8>,
    /// The line is too long, up to its end.
    skips: bool,
    used: Usage,
    seen: Seen,
    name: String,
    recorder: Recorder,
}

/// What tells whether the answer has to be estimated, and by what: the events and bytes of the answer, and
/// the bytes of the question.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    /// It said what it used.
    told: bool,
    /// It came to its end.
    ended: bool,
    asked: u64,
    events: u64,
    bytes: u64,
}

/// How many bytes are about one token.
const BYTES_OF_TOKEN: u64 = 4;

impl Meter {
    /// Of the answer to a question of `asked` bytes.
    pub(super) fn new(headers: &HeaderMap, (name, asked): (String, usize), recorder: Recorder) -> Self {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let events = kind.starts_with("text/event-stream");
        let seen = Seen { asked: asked as u64, ..Seen::default() };
        let used = Usage::default();
        Self { events, line: Vec::new(), skips: false, used, seen, name, recorder }
    }

    /// Nothing of it is left.
    pub(super) fn ended(&mut self) {
        self.seen.ended = true;
    }

    pub(super) fn read(&mut self, mut piece: &[u8]) {
        self.seen.bytes += piece.len() as u64;
        if self.events {
            while let Some(end) = memchr::memchr(b'\n', piece) {
                self.gather(&piece[..end]);
                self.line_ended();
                piece = &piece[end + 1..];
            }
        }
        self.gather(piece);
    }

    fn gather(&mut self, piece: &[u8]) {
        self.skips |= self.line.len() + piece.len() > LONGEST;
        if self.skips {
            self.line.clear();
        } else {
            self.line.extend_from_slice(piece);
        }
    }

    fn line_ended(&mut self) {
        let (line, skips) = (std::mem::take(&mut self.line), std::mem::take(&mut self.skips));
        self.seen.events += u64::from(line.starts_with(b"data:"));
        // Most events are text, and say nothing of it.
        if !skips
            && let Some(data) = line.strip_prefix(b"data:")
            && memmem::find(data, b"sage").is_some()
        {
            self.object(data);
        }
    }

    fn object(&mut self, text: &[u8]) {
        let Ok(value) = serde_json::from_slice::<Value>(text) else { return };
        let values: Vec<&Value> = value.as_array().map_or_else(|| vec![&value], |all| all.iter().collect());
        for said in values.into_iter().filter_map(said) {
            self.seen.told = true;
            // Providers say it again as it grows.
            self.used.input = self.used.input.max(said.input);
            self.used.output = self.used.output.max(said.output);
            self.used.cached = self.used.cached.max(said.cached);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if !self.events && !self.skips {
            let text = std::mem::take(&mut self.line);
            self.object(&text);
        } else {
            self.line_ended();
        }
        self.recorder.used(&self.name, self.sum());
    }
}

impl Meter {
    /// What it comes to. A client may break an answer off before its usage is told, or ask a provider that does
    /// not tell: then it is an estimate, of an event for a token or of the bytes.
    fn sum(&self) -> Usage {
        let mut used = Usage { requests: 1, ..self.used };
        // A question without a body is none to a model.
        if (self.seen.told && self.seen.ended) || self.seen.asked == 0 {
            return used;
        }
        used.estimated = 1;
        if used.input == 0 {
            used.input = self.seen.asked / BYTES_OF_TOKEN;
        }
        let output = if self.events { self.seen.events } else { self.seen.bytes / BYTES_OF_TOKEN };
        used.output = used.output.max(output);
        used
    }
}

/// What one object of an answer says, in the words of `OpenAI`'s two protocols, Anthropic's and Google's.
fn said(value: &Value) -> Option<Usage> {
    let usage = ["/usage", "/response/usage", "/message/usage", "/usageMetadata"];
    let usage = usage.iter().find_map(|path| value.pointer(path)).filter(|usage| usage.is_object())?;
    let number = |paths: &[&str]| paths.iter().find_map(|path| usage.pointer(path)?.as_u64()).unwrap_or(0);
    let anthropic = number(&["/cache_read_input_tokens"]) + number(&["/cache_creation_input_tokens"]);
    Some(Usage {
        requests: 0,
        estimated: 0,
        input: number(&["/prompt_tokens", "/input_tokens", "/promptTokenCount"]) + anthropic,
        output: number(&["/completion_tokens", "/output_tokens", "/candidatesTokenCount"])
            + number(&["/thoughtsTokenCount"]),
        cached: number(&[
            "/prompt_tokens_details/cached_tokens",
            "/input_tokens_details/cached_tokens",
            "/cache_read_input_tokens",
            "/cachedContentTokenCount",
        ]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    fn metered(kind: &'static str, pieces: &[&str], ends: bool) -> Usage {
        let recorder = Recorder::over(None);
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, http::HeaderValue::from_static(kind))]);
        let mut meter = Meter::new(&headers, ("p/m".into(), 40), recorder.clone());
        for piece in pieces {
            meter.read(piece.as_bytes());
        }
        if ends {
            meter.ended();
        }
        drop(meter);
        let Record { usage, .. } = recorder.now();
        usage["p/m"]
    }

    #[test]
    fn each_protocols_answer_says_what_it_used() {
        let used = |input, output, cached| Usage { requests: 1, input, output, cached, estimated: 0 };
        for (kind, pieces, expected) in [
            (
                "text/event-stream",
                &[
                    "data: {\"choices\":[{\"delta\":{}}],\"usage\":null}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tok",
                    "ens\":12,\"completion_tokens\":3,\"prompt_tokens_details\":{\"cached_tokens\":8}}}\n\ndata: [DONE]\n\n",
                ][..],
                used(12, 3, 8),
            ),
            (
                "text/event-stream; charset=utf-8",
                &[
                    "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":5,\"output_tokens\":7,\"input_tokens_details\":{\"cached_tokens\":1}}}}\n\n",
                ],
                used(5, 7, 1),
            ),
            (
                "text/event-stream",
                &[
                    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":2,\"cache_read_input_tokens\":30,\"cache_creation_input_tokens\":4,\"output_tokens\":1}}}\n\n",
                    "event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":9}}\n\n",
                ],
                used(36, 9, 30),
            ),
            (
                "text/event-stream",
                &[
                    "data: {\"usageMetadata\":{\"promptTokenCount\":6,\"candidatesTokenCount\":1}}\r\n\r\n",
                    "data: {\"usageMetadata\":{\"promptTokenCount\":6,\"candidatesTokenCount\":4,\"thoughtsTokenCount\":2,\"cachedContentTokenCount\":3}}",
                ],
                used(6, 6, 3),
            ),
            (
                "application/json",
                &["{\"usage\":{\"prompt_tokens\":1,", "\"completion_tokens\":2}}"],
                used(1, 2, 0),
            ),
            ("application/json", &["[{\"usageMetadata\":{\"promptTokenCount\":4}}]"], used(4, 0, 0)),
        ] {
            assert_eq!(metered(kind, pieces, true), expected, "{pieces:?}");
        }
    }

    #[test]
    fn an_answer_that_does_not_say_what_it_used_is_estimated_and_marked() {
        let used = |input, output| Usage { requests: 1, input, output, cached: 0, estimated: 1 };
        let (json, events) = ("application/json", "text/event-stream");
        let started =
            "data: {\"message\":{\"usage\":{\"input_tokens\":2,\"output_tokens\":1}}}\n\ndata: a\n\n";
        for (kind, pieces, ends, expected) in [
            (json, &["{\"choices\":[]}"][..], true, used(10, 3)),
            (events, &["data: usage\n\ndata: {\"usage\":-1}\n\n"], true, used(10, 2)),
            (events, &["data: a\n\ndata: b\n\ndata: c\n\n"], false, used(10, 3)),
            (events, &[started, "data: b\n\ndata: c\n\n"], false, used(2, 4)),
            (events, &[], false, used(10, 0)),
        ] {
            assert_eq!(metered(kind, pieces, ends), expected, "{pieces:?}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_not_kept() {
        let recorder = Recorder::over(None);
        let headers = HeaderMap::from_iter([(
            header::CONTENT_TYPE,
            http::HeaderValue::from_static("text/event-stream"),
        )]);
        let mut meter = Meter::new(&headers, ("p/m".into(), 40), recorder);
        let long = vec![b'x'; 1 << 20];
        for _ in 0..100 {
            meter.read(&long);
            assert!(meter.line.len() <= LONGEST);
        }
        meter.read(b"\ndata: {\"usage\":{\"prompt_tokens\":1}}\n");
        assert_eq!(meter.used.input, 1);
    }
}
