//! What goes wrong, one fault a row, and what comes of it.

use connector_contract::Consequence;
use serde_json::{Value, json};
use testkit::fake::{Canned, Faults, Fixture, Generation, PromptFault};

/// What a row of the table expects.
pub(super) enum Expect {
    /// The reply of the recording, as if nothing had happened.
    Same,
    /// An error of this consequence whose text has all these words.
    Error(Consequence, &'static [&'static str]),
}
use Expect::{Error, Same};

pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) fixture: Fixture,
    pub(super) faults: Faults,
    pub(super) expect: Expect,
    /// How many tasks the daemon was asked to run.
    pub(super) tasks: usize,
    /// The one wire it can happen on, and why.
    pub(super) only: Option<(Generation, &'static str)>,
}

impl Row {
    fn only(mut self, generation: Generation, why: &'static str) -> Self {
        self.only = Some((generation, why));
        self
    }
}

/// A refusal in a generation's words.
fn refusal(generation: Generation, status: u16, name: &str, message: &str) -> Canned {
    let body = match generation {
        Generation::V1 => json!({ "name": name, "data": { "message": message } }),
        Generation::V2 => json!({ "_tag": name, "message": message }),
    };
    Canned::json(status, &body)
}

fn opaque(generation: Generation) -> Canned {
    refusal(generation, 500, "UnknownError", "Unexpected server error. Check server logs for details.")
}

/// What a generation answers about a session, or when it makes one.
pub(super) fn a_session(generation: Generation, id: &str) -> Canned {
    Canned::json(
        200,
        &match generation {
            Generation::V1 => json!({ "id": id, "directory": "/code/app" }),
            Generation::V2 => json!({ "data": { "id": id, "location": { "directory": "/code/app" } } }),
        },
    )
}

fn prompt(prompt: PromptFault) -> Faults {
    Faults { prompt, ..Faults::default() }
}

fn refused(name: &str, message: &str) -> Faults {
    let error = json!({ "name": name, "data": { "message": message } });
    prompt(PromptFault::Refused { error, answer: opaque(Generation::V1) })
}

pub(super) fn canned(request: &str, answer: Canned) -> Faults {
    Faults { canned: vec![(request.to_owned(), answer)], ..Faults::default() }
}

fn row(generation: Generation, name: &'static str, faults: Faults, expect: Expect, tasks: usize) -> Row {
    Row { name, fixture: Fixture::of(generation, "write"), faults, expect, tasks, only: None }
}

/// All rows that exist on one wire alone.
pub(crate) fn rows_of_one_wire() -> Vec<(&'static str, Generation, &'static str)> {
    let tables = [about_the_prompt, about_the_stream, about_who_answers];
    let rows = tables.iter().flat_map(|table| table(Generation::V1));
    rows.filter_map(|row| row.only.map(|(generation, why)| (row.name, generation, why))).collect()
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn about_the_prompt(generation: Generation) -> Vec<Row> {
    use Consequence::{Failed, NothingStarted, Unknown};
    let row = |name, faults, expect, tasks| row(generation, name, faults, expect, tasks);
    let half = Canned { status: 200, content_type: "application/json", body: b"{\"info\":".to_vec() };
    let gateway =
        Canned { status: 502, content_type: "text/html", body: b"<html>bad gateway</html>".to_vec() };
    let another = match generation {
        Generation::V1 => Fixture::of(generation, "text").answer().clone(),
        Generation::V2 => {
            json!({ "data": { "id": "msg_another", "sessionID": "ses_another", "type": "user" } })
        }
    };
    let later = "on 2.x every prompt is admitted, and its failure is the turn's";
    vec![
        row("cut before it is taken", prompt(PromptFault::CutBefore), Same, 1),
        row("cut during the turn", prompt(PromptFault::CutAt(20)), Same, 1),
        row("cut in the answer", prompt(PromptFault::CutInAnswer), Same, 1),
        row("cut after the turn", prompt(PromptFault::CutAt(usize::MAX)), Same, 1),
        row("never answered", prompt(PromptFault::NeverAnswered), Same, 1),
        row("200 empty", prompt(PromptFault::Instead(Canned::empty(200))), Same, 1),
        row("200 web page", prompt(PromptFault::Instead(Canned::page())), Same, 1),
        row("200 half JSON", prompt(PromptFault::Instead(half)), Same, 1),
        row("200 of another message", prompt(PromptFault::Instead(Canned::json(200, &another))), Same, 1),
        row("200 null", prompt(PromptFault::Instead(Canned::json(200, &Value::Null))), Same, 1),
        row("500 after the turn ran", prompt(PromptFault::Instead(opaque(generation))), Same, 1),
        row("502 and not run, once", prompt(PromptFault::InsteadOfTurn(gateway)), Same, 1),
        row("200 empty and not run, once", prompt(PromptFault::InsteadOfTurn(Canned::empty(200))), Same, 1),
        row(
            "200 web page and never run",
            canned(generation.prompt(), Canned::page()),
            Error(Unknown, &["3 times", "web page"]),
            0,
        ),
        row(
            "504 and never run",
            canned(generation.prompt(), Canned::empty(504)),
            Error(Unknown, &["3 times", "504"]),
            0,
        ),
        row(
            "400",
            prompt(PromptFault::InsteadOfTurn(refusal(
                generation,
                400,
                "InvalidRequestError",
                "Expected object | null",
            ))),
            Error(NothingStarted, &["InvalidRequestError"]),
            0,
        ),
        row(
            "401 at the prompt",
            prompt(PromptFault::InsteadOfTurn(Canned::empty(401))),
            Error(NothingStarted, &["password"]),
            0,
        ),
        row(
            "403 at the prompt",
            prompt(PromptFault::InsteadOfTurn(refusal(
                generation,
                403,
                "LocationPermissionDeniedError",
                "may not read /code/app",
            ))),
            Error(NothingStarted, &["LocationPermissionDeniedError"]),
            0,
        ),
        row(
            "404 at the prompt",
            prompt(PromptFault::InsteadOfTurn(refusal(
                generation,
                404,
                "SessionNotFoundError",
                "Session not found: ses_x",
            ))),
            Error(NothingStarted, &["Session not found"]),
            0,
        ),
        row(
            "unknown model, reason in the events",
            refused("UnknownError", "Model not found: anthropic/nope."),
            Error(NothingStarted, &["Model not found: anthropic/nope", "remembers it"]),
            0,
        )
        .only(Generation::V1, later),
        row(
            "unknown model, the turn fails before its first step",
            refused("UnknownError", "Model unavailable: anthropic/nope"),
            Error(Failed, &["Model unavailable: anthropic/nope"]),
            1,
        )
        .only(Generation::V2, "1.x refuses the prompt"),
        row(
            "the same, and no event tells the reason",
            Faults { no_stream: true, ..refused("UnknownError", "Model unavailable: anthropic/nope") },
            Error(Failed, &["Model unavailable: anthropic/nope"]),
            1,
        )
        .only(Generation::V2, "1.x has no log of a session"),
        row(
            "unknown agent, reason in the events",
            refused("UnknownError", "Agent not found: \"nope\". Available agents: build"),
            Error(NothingStarted, &["Available agents: build"]),
            0,
        )
        .only(Generation::V1, later),
        row(
            "500 without any reason",
            prompt(PromptFault::InsteadOfTurn(opaque(generation))),
            Error(NothingStarted, &["does not say why"]),
            0,
        ),
        row(
            "daemon restarts mid-turn",
            Faults { restart_at: Some(18), ..Faults::default() },
            Error(Failed, &["restarted", "nothing runs any more"]),
            1,
        ),
        row(
            "401 mid-turn",
            Faults {
                lock_out_at: Some(15),
                stream_cut_at: Some(15),
                prompt: PromptFault::CutAt(15),
                ..Faults::default()
            },
            Error(Unknown, &["password"]),
            1,
        ),
    ]
}

/// An event about a session, as it travels: its type on each wire, and what it tells.
fn line(generation: Generation, kinds: [&str; 2], session: &str, body: &Value) -> Vec<u8> {
    let mut body = body.clone();
    body["sessionID"] = json!(session);
    let event = match generation {
        Generation::V1 => json!({ "type": kinds[0], "properties": body }),
        Generation::V2 => json!({ "type": kinds[1], "data": body }),
    };
    format!("data: {event}\n\n").into_bytes()
}

pub(super) fn about_the_stream(generation: Generation) -> Vec<Row> {
    const OURS: &str = "ses_fake000000010000000000000000";
    let row = |name, faults, expect, tasks| row(generation, name, faults, expect, tasks);
    let line = |kinds, session, body: Value| line(generation, kinds, session, &body);
    let insert =
        |bytes: Vec<u8>| Faults { insert: vec![(5, bytes.clone()), (20, bytes)], ..Faults::default() };
    let idle = ["session.idle", "session.execution.succeeded"];
    let huge = [b"data: {\"x\":\"".to_vec(), vec![b'x'; 10 << 20], b"\"}\n\n".to_vec()].concat();
    let strange = [
        b"data: [1,2,3]\n\ndata: {\"type\":7}\n\n".to_vec(),
        line(
            ["session.status", "session.step.started"],
            OURS,
            json!({ "status": 4, "assistantMessageID": 4 }),
        ),
    ];
    let theirs =
        json!({ "name": "UnknownError", "data": { "message": "not yours" }, "message": "not yours" });
    vec![
        row("never opens", Faults { no_stream: true, ..Faults::default() }, Same, 1),
        row(
            "never opens, prompt cut",
            Faults { no_stream: true, prompt: PromptFault::CutAt(3), ..Faults::default() },
            Same,
            1,
        ),
        row("silent", Faults { silent_stream: true, ..Faults::default() }, Same, 1),
        row("split at every byte", Faults { split: Some(1), ..Faults::default() }, Same, 1),
        row(
            "split at every third byte, CR LF, BOM",
            Faults { split: Some(3), crlf: true, bom: true, ..Faults::default() },
            Same,
            1,
        ),
        row("every second event early", Faults { reorder: true, ..Faults::default() }, Same, 1),
        row(
            "every second event early, prompt cut",
            Faults { reorder: true, prompt: PromptFault::CutAt(20), ..Faults::default() },
            Same,
            1,
        ),
        Row {
            fixture: Fixture::hologram(generation),
            ..row("unknown part type in the record", prompt(PromptFault::CutAt(20)), Same, 1)
        },
        row("every event twice", Faults { duplicate: true, ..Faults::default() }, Same, 1),
        row("invalid UTF-8", insert(b"data: \"\xff\xfe\"\n\n".to_vec()), Same, 1),
        row("not JSON", insert(b"data: {oops\n\n".to_vec()), Same, 1),
        row("JSON of another shape", insert(strange.concat()), Same, 1),
        row("10 MB event", insert(huge), Same, 1),
        row(
            "unknown event type",
            insert(line(["session.exploded"; 2], OURS, json!({ "blast": {} }))),
            Same,
            1,
        ),
        row(
            "unknown part type",
            insert(line(
                ["message.part.updated", "session.hologram.started"],
                OURS,
                json!({
                    "part": { "id": "prt_1", "messageID": "msg_1", "type": "hologram" },
                    "assistantMessageID": "msg_1", "ordinal": 0,
                }),
            )),
            Same,
            1,
        ),
        row("stale idle of the previous turn", insert(line(idle, OURS, json!({}))), Same, 1),
        row("idle of somebody else", insert(line(idle, "ses_other", json!({}))), Same, 1),
        row(
            "error of somebody else",
            insert(line(
                ["session.error", "session.execution.failed"],
                "ses_other",
                json!({ "error": theirs }),
            )),
            Same,
            1,
        ),
        row(
            "instance disposed",
            Faults {
                insert: vec![(
                    9,
                    line(["server.instance.disposed"; 2], OURS, json!({ "directory": "/code/app" })),
                )],
                stream_cut_at: Some(9),
                ..Faults::default()
            },
            Same,
            1,
        ),
    ]
}

pub(super) fn about_who_answers(generation: Generation) -> Vec<Row> {
    use Consequence::NothingStarted;
    const SAYS: &str = "2.x tells its health by a status, and its version by another route";
    let row = |name, faults, expect, tasks| row(generation, name, faults, expect, tasks);
    let health = |body: Value| canned(generation.health(), Canned::json(200, &body));
    let unwell = Canned::json(503, &json!({ "code": "service_failed", "message": "no database" }));
    let right = json!({ "healthy": true, "version": generation.version() });
    let no_session = match generation {
        Generation::V1 => json!({ "id": "../x" }),
        Generation::V2 => json!({ "data": { "id": "../x" } }),
    };
    vec![
        row(
            "a stranger's JSON",
            health(json!({ "ok": true })),
            Error(NothingStarted, &["not opencode", "base_url"]),
            0,
        ),
        row(
            "the right words as plain text",
            canned(generation.health(), Canned { content_type: "text/plain", ..Canned::json(200, &right) }),
            Error(NothingStarted, &["not opencode"]),
            0,
        ),
        row("a stranger's page", canned("GET ", Canned::page()), Error(NothingStarted, &["not opencode"]), 0),
        row(
            "a stranger's 404",
            canned("GET ", Canned::empty(404)),
            Error(NothingStarted, &["not opencode"]),
            0,
        ),
        row(
            "too old",
            health(json!({ "healthy": true, "version": "1.0.215" })),
            Error(NothingStarted, &["CVE-2026-22812", "1.1.7"]),
            0,
        )
        .only(Generation::V1, "what is too old of 2.x is a row of the probing table"),
        row(
            "unhealthy",
            health(json!({ "healthy": false, "version": "1.18.33" })),
            Error(NothingStarted, &["not healthy"]),
            0,
        )
        .only(Generation::V1, SAYS),
        row(
            "failed to start",
            canned(generation.health(), unwell),
            Error(NothingStarted, &["failed to start"]),
            0,
        )
        .only(Generation::V2, "1.x says that it is healthy or not"),
        row(
            "wants another password",
            Faults { password: Some("p".into()), ..Faults::default() },
            Error(NothingStarted, &["password"]),
            0,
        ),
        row(
            "a session that is no session",
            canned(generation.create(), Canned::json(200, &no_session)),
            Error(NothingStarted, &["no usable answer"]),
            0,
        ),
        row(
            "no session, a page",
            canned(generation.create(), Canned::page()),
            Error(NothingStarted, &["no usable answer"]),
            0,
        ),
    ]
}
