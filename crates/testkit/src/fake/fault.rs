//! What goes wrong, as data.

use std::time::Duration;

use serde_json::Value;

/// An answer given instead of the right one.
#[derive(Debug, Clone)]
pub struct Canned {
    /// The status.
    pub status: u16,
    /// The content type.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

impl Canned {
    /// JSON.
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self { status, content_type: "application/json", body: body.to_string().into_bytes() }
    }

    /// A web page, as the real daemon sends for a route it does not know.
    pub fn page() -> Self {
        Self { status: 200, content_type: "text/html", body: b"<!doctype html><html></html>".to_vec() }
    }

    /// Nothing.
    pub fn empty(status: u16) -> Self {
        Self { status, content_type: "application/json", body: Vec::new() }
    }
}

/// What happens to the request that carries a prompt. The cuts happen once: the
/// same prompt sent again is served.
#[derive(Debug, Clone, Default)]
pub enum PromptFault {
    /// Nothing.
    #[default]
    None,
    /// The connection breaks, and the prompt was not taken.
    CutBefore,
    /// The connection breaks after so many events; the turn goes on.
    CutAt(usize),
    /// The connection breaks in the middle of the answer.
    CutInAnswer,
    /// The answer never comes, and the connection stays open.
    NeverAnswered,
    /// The turn runs; something else is answered.
    Instead(Canned),
    /// The turn does not run; something else is answered, once.
    InsteadOfTurn(Canned),
    /// The turn does not run, ever, for this reason. On 1.x a `session.error` tells
    /// it and something else is answered; on 2.x the prompt is admitted as ever, and
    /// the execution fails before its first step.
    Refused {
        /// The session's error: `{name, data}`.
        error: serde_json::Value,
        /// The answer of 1.x.
        answer: Canned,
    },
}

/// Everything that goes wrong.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own, named where it is set")]
pub struct Faults {
    /// About the prompt.
    pub prompt: PromptFault,
    /// The event stream breaks after so many events of the turn, once.
    pub stream_cut_at: Option<usize>,
    /// The event stream can never be opened.
    pub no_stream: bool,
    /// The event stream opens and stays silent.
    pub silent_stream: bool,
    /// Every event stream ends right after its greeting.
    pub short_streams: bool,
    /// Every stream is written in pieces of so many bytes.
    pub split: Option<usize>,
    /// Lines end in CR LF.
    pub crlf: bool,
    /// The stream begins with a byte order mark.
    pub bom: bool,
    /// Every second event comes before the one it should follow.
    pub reorder: bool,
    /// Every event comes twice.
    pub duplicate: bool,
    /// Bytes put into the stream before the event of that number.
    pub insert: Vec<(usize, Vec<u8>)>,
    /// The daemon restarts after so many events: all connections break, the turn
    /// is gone, and its record stays as it was.
    pub restart_at: Option<usize>,
    /// Answers to other requests, by the start of `METHOD /path`.
    pub canned: Vec<(String, Canned)>,
    /// Requests that are never answered, by the start of `METHOD /path`.
    pub unanswered: Vec<String>,
    /// Between two events.
    pub pace: Duration,
    /// Wants this password; its generation's own when absent.
    pub password: Option<String>,
    /// Wants another password once so many events were played.
    pub lock_out_at: Option<usize>,
    /// Says it is this version; its generation's own when absent.
    pub version: Option<String>,
    /// So many first requests find it starting (2.x: 503).
    pub starting: usize,
    /// Answers 401 without a body to everything, as something in front of a 2.x server would.
    pub bare_401: bool,
    /// Between two heartbeats of an event stream (2.x: comments). None when absent.
    pub heartbeat: Option<Duration>,
    /// Between an abort's answer and the end of the turn (2.x).
    pub cleanup: Duration,
    /// The directory is cold: the first lists of models and agents are empty, the default
    /// model is one of opencode's own, and the configuration names none (2.x).
    pub cold_models: bool,
    /// Permissions that somebody granted for good (2.x).
    pub saved: Vec<Value>,
}
