//! Requests as values, and bodies written from the description.

use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::permissions::Action;
use crate::wire::{Cut, End, Ending, FailureKind, Outcome, Signal, ToolState};

const OURS: &str = "msg_11191c80a0010000000000000A";

fn dialect() -> V2 {
    let origin = "http://127.0.0.1:4096".parse().unwrap();
    V2::new(&origin, Some(&SecretString::from("s3cret")), Some("/a b"))
}

fn ours() -> MessageId {
    MessageId::parse(OURS).unwrap()
}

fn session() -> SessionId {
    SessionId::parse("ses_a").unwrap()
}

fn prompt() -> Prompt {
    Prompt {
        session: session(),
        message: ours(),
        text: "fix it".into(),
        files: Vec::new(),
        system: None,
        model: Some("openrouter/meta/llama".parse().unwrap()),
        agent: Some("build".into()),
    }
}

fn facts() -> SessionFacts {
    let body = json!({ "data": {
        "id": "ses_a", "agent": "build", "time": { "created": 5.0 }, "unknown": [],
        "model": { "id": "meta/llama", "providerID": "openrouter", "variant": "default" },
        "location": { "directory": "/a b" },
        "permissions": [{ "action": "shell", "resource": "*", "effect": "ask" }, { "action": "x" }],
    }});
    dialect().read_session(body.to_string().as_bytes()).unwrap()
}

fn shown(request: &Request<Bytes>) -> (String, Value) {
    let target = request.uri().path_and_query().unwrap();
    let body = serde_json::from_slice(request.body()).unwrap_or(Value::Null);
    (format!("{} {target}", request.method()), body)
}

fn line(text: &str, body: Value) -> (String, Value) {
    (text.to_owned(), body)
}

#[test]
fn a_session_is_made_whole() {
    let rule = |permission: &str| WireRule {
        permission: permission.into(),
        pattern: "*".into(),
        action: Action::Ask,
    };
    let rules = dialect().rules(vec![rule("bash"), rule("task"), rule("write"), rule("webfetch")]);
    let new = NewSession {
        title: Some("t"),
        rules: &rules,
        model: Some(&"openrouter/meta/llama".parse().unwrap()),
        agent: Some("build"),
    };
    let wire = |action: &str| json!({ "action": action, "resource": "*", "effect": "ask" });
    let body = json!({
        "title": "t", "agent": "build", "location": { "directory": "/a b" },
        "model": { "id": "meta/llama", "providerID": "openrouter" },
        "permissions": [wire("shell"), wire("subagent"), wire("edit"), wire("webfetch")],
    });
    assert_eq!(shown(&dialect().create_session(&new)), line("POST /api/session", body));
}

#[test]
fn a_prompt_carries_our_id_and_waits_for_its_turn() {
    let body = json!({ "id": OURS, "text": "fix it", "delivery": "queue" });
    assert_eq!(shown(&dialect().prompt(&prompt())), line("POST /api/session/ses_a/prompt", body));
    let file = crate::files::Attached { name: "a.png".into(), mime: "image/png".into(), data: "AAEC".into() };
    let (_, body) = shown(&dialect().prompt(&Prompt { files: vec![file], ..prompt() }));
    assert_eq!(body["files"], json!([{ "uri": "data:image/png;base64,AAEC" }]));
}

#[test]
fn what_the_session_lacks_is_set_and_what_it_has_is_not() {
    assert!(dialect().session_settings(&facts(), &prompt()).is_empty());
    let other = SessionFacts { model: None, agent: Some("plan".into()), ..facts() };
    let sent: Vec<_> = dialect().session_settings(&other, &prompt()).iter().map(shown).collect();
    let model = json!({ "model": { "id": "meta/llama", "providerID": "openrouter" } });
    assert_eq!(
        sent,
        [
            line("POST /api/session/ses_a/agent", json!({ "agent": "build" })),
            line("POST /api/session/ses_a/model", model)
        ]
    );
}

#[test]
fn rules_are_put_behind_those_that_are_there() {
    let deny = WireRule { permission: "edit".into(), pattern: "*".into(), action: Action::Deny };
    let (target, body) = shown(&dialect().set_rules(&facts(), &[deny]));
    assert_eq!(target, "PATCH /api/session/ses_a");
    let actions: Vec<_> = body["permissions"].as_array().unwrap().iter().map(|it| &it["action"]).collect();
    assert_eq!(actions, ["shell", "x", "edit"]);
}

#[test]
fn a_note_is_told_and_forgotten_again() {
    let entry = "/api/experimental/session/ses_a/instructions/entries/origin";
    let told = Prompt { system: Some("from a chat".into()), ..prompt() };
    let sent =
        |prompt: &Prompt, new| dialect().origin_message(prompt, new).iter().map(shown).collect::<Vec<_>>();
    assert_eq!(sent(&told, true), [line(&format!("PUT {entry}"), json!({ "value": "from a chat" }))]);
    let neutral = json!({ "value": "Nothing is said of where the newest task came from." });
    let forgotten = [line(&format!("DELETE {entry}"), Value::Null), line(&format!("PUT {entry}"), neutral)];
    assert_eq!(sent(&prompt(), false), forgotten);
    assert_eq!(sent(&prompt(), true), []);
}

#[test]
fn a_prompt_is_taken_back_and_a_turn_interrupted() {
    let back = dialect().take_back(&session(), &ours()).unwrap();
    assert_eq!(shown(&back).0, format!("DELETE /api/session/ses_a/inbox/{OURS}"));
    assert_eq!(shown(&dialect().abort(&session())).0, "POST /api/session/ses_a/interrupt");
}

#[test]
fn pages_follow_the_cursor_until_one_is_empty() {
    let page = |body: Value| Bytes::from(body.to_string());
    let next = |pages: &[Bytes]| dialect().messages(&session(), pages, &ours()).map(|it| shown(&it).0);
    let messages = "GET /api/session/ses_a/message";
    assert_eq!(next(&[]).unwrap(), format!("{messages}?order=desc&limit=60"));
    let more = page(json!({ "data": [{}], "cursor": { "next": "a+b" } }));
    assert_eq!(next(&[more]).unwrap(), format!("{messages}?limit=200&cursor=a%2Bb"));
    assert_eq!(next(&[page(json!({ "data": [{}], "cursor": {} }))]), None);
    assert_eq!(next(&[page(json!({ "data": [], "cursor": { "next": "a" } }))]), None);
}

#[test]
fn replies_are_what_the_daemon_takes() {
    let ask = |id: &str, multiple: &[bool]| Asked {
        session: "ses_b".into(),
        id: id.into(),
        multiple: multiple.to_vec(),
    };
    let permission = |reply| shown(&dialect().reply_permission(&ask("per_1", &[]), &reply).unwrap());
    let reply = "POST /api/session/ses_b/permission/per_1/reply";
    for once in [PermissionReply::Once, PermissionReply::Always] {
        assert_eq!(permission(once), line(reply, json!({ "decision": "once" })));
    }
    for (message, told) in [("no", "no"), (" ", "a person said no")] {
        let body = json!({ "decision": "reject", "message": told });
        assert_eq!(permission(PermissionReply::Reject { message: message.into() }), line(reply, body));
    }
    let form = ask("frm_1", &[false, true, false]);
    let answers = QuestionReply::Answers { answers: vec![vec!["A".into()], vec!["B".into()], vec![]] };
    assert_eq!(
        shown(&dialect().reply_question(&form, &answers).unwrap()),
        line("POST /api/session/ses_b/form/frm_1/reply", json!({ "answer": { "q0": "A", "q1": ["B"] } }))
    );
    let cancelled = dialect().reply_question(&form, &QuestionReply::Reject).unwrap();
    assert_eq!(cancelled.method(), Method::DELETE);
    assert!(cancelled.uri().query().unwrap().starts_with("message=nobody"), "{cancelled:?}");
    for unparseable in [ask("per_1/../x", &[]), Asked { session: "x/y".into(), ..ask("per_1", &[]) }] {
        assert!(dialect().reply_permission(&unparseable, &PermissionReply::Once).is_none());
        assert!(dialect().reply_question(&unparseable, &QuestionReply::Reject).is_none());
    }
}

#[test]
fn a_session_is_read_and_an_odd_rule_kept() {
    let facts = facts();
    assert_eq!(facts.directory.as_deref(), Some("/a b"));
    assert_eq!((facts.created, facts.rules.len()), (Some(5), 2));
    let ask = WireRule { permission: "shell".into(), pattern: "*".into(), action: Action::Ask };
    let ask = std::slice::from_ref(&ask);
    assert!(!facts.is_under(ask), "what cannot be read stands behind it");
    let alone = SessionFacts { rules: facts.rules[..1].to_vec(), ..facts.clone() };
    assert!(alone.is_under(ask) && alone.is_under(&[]) && !alone.is_under(&[ask, ask].concat()));
    assert_eq!(facts.model.unwrap().to_string(), "openrouter/meta/llama");
}

#[test]
fn what_is_odd_and_decides_nothing_hides_nothing() {
    for tokens in [json!("many"), json!({ "input": 2, "cache": null }), json!({ "input": 2, "cache": [7] })] {
        let row = json!({
            "id": "msg_11191c80a0020000000000000B", "type": "assistant", "finish": "stop", "tokens": tokens,
            "time": { "completed": 1 }, "content": [{ "type": "text", "text": "done" }],
        });
        let page = Bytes::from(json!({ "data": [row, user(OURS)], "cursor": {} }).to_string());
        let history = dialect().read_messages(&[page], &ours()).unwrap();
        let known = if tokens.is_object() { 2 } else { 0 };
        assert_eq!((history.unreadable, history.steps.len()), (0, 1), "{tokens}");
        assert_eq!(history.steps[0].head.tokens.input, known, "{tokens}");
    }
    let children = json!({ "data": [{ "id": "ses_b" }, { "id": 7 }, "odd", { "id": "ses_c" }] });
    assert_eq!(dialect().read_children(children.to_string().as_bytes()).unwrap(), ["ses_b", "ses_c"]);
    let both = json!({ "type": "session.tool.called", "data": {
        "sessionID": "ses_a", "assistantMessageID": "msg_1", "id": "c", "callID": "c", "input": {},
    }});
    assert!(dialect().read_event(both.to_string().as_bytes(), &|_, _| true).unwrap().is_some());
}

#[test]
fn an_ask_that_was_answered_elsewhere_is_gone() {
    let settled: Vec<u16> =
        [200, 400, 404, 409, 500].into_iter().filter(|it| dialect().is_settled(*it)).collect();
    assert_eq!(settled, [404, 409]);
}

#[test]
fn a_record_tells_whether_the_session_has_gone_on_to_something_else() {
    let idle = json!({ "id": "idl_1", "type": "idle", "outcome": "interrupted" });
    let read = |rows: Value| {
        let page = Bytes::from(json!({ "data": rows, "cursor": {} }).to_string());
        let history = dialect().read_messages(&[page], &ours()).unwrap();
        (history.end, history.followed)
    };
    let told = End::Told(Outcome::Interrupted);
    assert_eq!(read(json!([idle, user(OURS)])), (told, false));
    assert_eq!(read(json!([user("msg_11191c80a0090000000000000B"), idle, user(OURS)])), (told, true));
}

#[test]
fn only_our_own_admission_counts() {
    let read = |status: u16, body: &str| {
        dialect().read_answer(StatusCode::from_u16(status).unwrap(), body.as_bytes(), &ours())
    };
    let taken = json!({ "data": { "id": OURS, "type": "user", "payload": {}, "delivery": "queue" } });
    assert_eq!(read(200, &taken.to_string()), Answer::Admitted);
    for odd in ["", "<html>", "[]", r#"{"data":{"id":"msg_other"}}"#] {
        assert!(matches!(read(200, odd), Answer::Odd(_)), "{odd}");
    }
    let conflict = read(409, r#"{"_tag":"ConflictError","message":"taken"}"#);
    assert!(
        matches!(conflict, Answer::Refused { status: 409, failure: Some(it) } if it.reason == "ConflictError")
    );
}

fn user(id: &str) -> Value {
    json!({ "id": id, "type": "user", "text": "go", "time": { "created": 1 } })
}

fn step(id: &str, finish: &str, content: &Value) -> Value {
    json!({
        "id": id, "type": "assistant", "finish": finish, "content": content, "novel": {},
        "model": { "id": "m", "providerID": "p" }, "snapshot": { "files": ["a.txt"] },
        "cost": 0.5, "tokens": { "input": 3.0, "output": "NaN", "cache": { "read": "Infinity" } },
        "time": { "created": 1, "completed": 2.5 },
    })
}

fn idle(outcome: &str) -> Value {
    json!({ "id": "msg_11191c80f0010000000000000A", "type": "idle", "outcome": outcome })
}

fn history(rows: &[Value]) -> History {
    let newest_first: Vec<_> = rows.iter().rev().collect();
    let page = Bytes::from(json!({ "data": newest_first, "cursor": {} }).to_string());
    dialect().read_messages(&[page], &ours()).unwrap()
}

#[test]
fn a_turn_is_all_steps_until_the_session_goes_idle() {
    let text = json!([{ "type": "text", "text": " done " }, { "type": "novel" }, 7]);
    let tool = json!([{ "type": "tool", "id": "c", "name": "shell", "executed": false,
        "state": { "status": "error", "error": { "type": "permission.rejected", "message": "no" } } }]);
    let turn = history(&[
        user("msg_11191c7000010000000000000A"),
        step("msg_11191c7100010000000000000A", "stop", &text),
        idle("succeeded"),
        user(OURS),
        json!({ "id": "msg_x", "type": "novel" }),
        json!("no row"),
        step("msg_11191c80b0010000000000000A", "tool-calls", &tool),
        json!({ "id": "msg_s", "type": "assistant", "snapshot": 7, "retry": [], "content": [], "time": null }),
        json!({ "id": "msg_c", "type": "compaction", "status": "completed", "cost": 1, "tokens": { "input": 2 } }),
        step("msg_11191c80c0010000000000000A", "stop", &text),
        idle("succeeded"),
        user("msg_11191c80ff010000000000000A"),
    ]);
    assert_eq!(turn.end, End::Told(Outcome::Succeeded));
    assert_eq!((turn.arrived, turn.unreadable), (true, 1));
    assert_eq!(turn.newest.as_deref(), Some("msg_11191c80ff010000000000000A"));
    let cost: f64 = turn.steps.iter().map(|step| step.head.cost).sum();
    assert!((cost - 2.0).abs() < 1e-9, "{cost}");
    assert!(turn.steps[0].refused && turn.steps[0].head.ending == Some(Ending::Tools));
    let last = turn.last().unwrap();
    assert_eq!((last.text.as_str(), last.head.tokens.input, last.head.tokens.output), ("done", 3, 0));
    assert_eq!(last.touched[0].path, "a.txt");
    assert_eq!(
        (&last.raw["info"]["finish"], &last.raw["parts"][0]["type"]),
        (&json!("stop"), &json!("text"))
    );
    assert!(last.raw["info"].get("content").is_none());
}

#[test]
fn all_that_the_agent_says_is_its_reply_but_for_what_it_answers_the_daemon_after_its_last_word() {
    let said = |id: &str, finish: &str, text: &str| {
        step(&format!("msg_11191c80{id}010000000000000A"), finish, &json!([{ "type": "text", "text": text }]))
    };
    let summary = json!({ "id": "msg_c", "type": "compaction", "status": "completed" });
    let go_on = json!({ "id": "msg_g", "type": "synthetic", "text": "Continue if you have next steps" });
    for (finish, spoken) in [("stop", vec!["first"]), ("tool-calls", vec!["first", "more"])] {
        let turn = history(&[
            user(OURS),
            said("b0", finish, "first"),
            summary.clone(),
            go_on.clone(),
            said("c0", "stop", "more"),
            idle("succeeded"),
        ]);
        let texts: Vec<&str> = turn.spoken().map(|step| step.text.as_str()).collect();
        assert_eq!(texts, spoken, "{finish}");
    }
    // A daemon that was started anew goes on with its own words, which count.
    let turn = history(&[
        user(OURS),
        said("b0", "tool-calls", "first"),
        go_on,
        said("c0", "length", "half of"),
        idle("succeeded"),
    ]);
    assert_eq!(turn.spoken().map(|step| step.cut).collect::<Vec<_>>(), [None, Some(Cut::Length)]);
}

#[test]
fn each_end_is_told_apart() {
    let text = json!([{ "type": "text", "text": "done" }]);
    let last = step("msg_11191c80c0010000000000000A", "stop", &text);
    let other = user("msg_11191c80d0010000000000000A");
    for (rows, end, lacks_reason) in [
        (vec![], End::Open, true),
        (vec![idle("failed")], End::Told(Outcome::Failed), true),
        (vec![idle("interrupted")], End::Told(Outcome::Interrupted), false),
        (vec![idle("something new")], End::Told(Outcome::Failed), true),
        (vec![last.clone()], End::Open, false),
        (vec![last.clone(), other.clone()], End::Told(Outcome::Succeeded), false),
        (vec![other, last.clone(), idle("succeeded")], End::Told(Outcome::Succeeded), false),
    ] {
        let rows: Vec<_> = std::iter::once(user(OURS)).chain(rows).collect();
        let turn = history(&rows);
        assert_eq!((turn.end, turn.lacks_reason()), (end, lacks_reason), "{rows:?}");
    }
    let absent = history(&[last]);
    assert_eq!((absent.arrived, absent.end, absent.lacks_reason()), (false, End::Open, false));
}

#[test]
fn a_provider_that_is_asked_again_is_told_until_the_message_grows() {
    let row = |content: Value| {
        json!({ "id": "msg_11191c80b0010000000000000A", "type": "assistant", "content": content, "time": {},
            "retry": { "attempt": 2, "at": 9.5, "error": { "type": "unknown", "message": "boom" } } })
    };
    let retry = Status::Retry {
        attempt: 1,
        reason: "the reason is in the daemon's own record of the session".into(),
        next_at_ms: Some(9),
    };
    assert_eq!(history(&[user(OURS), row(json!([]))]).retry, Some(retry));
    assert_eq!(history(&[user(OURS), row(json!([{ "type": "text", "text": "h" }]))]).retry, None);
}

#[test]
fn a_record_is_read_until_it_is_older_than_the_turn() {
    let page = |id: &str| Bytes::from(json!({ "data": [user(id)], "cursor": { "next": "x" } }).to_string());
    let more = |id: &str| dialect().messages(&session(), &[page(id)], &ours()).is_some();
    assert!(!more("msg_11191c7000010000000000000A") && !more(OURS));
    assert!(more("msg_11191c80ff010000000000000A"));
}

#[test]
fn the_log_explains_our_own_turn_and_no_other() {
    let line = |kind: &str, data: Value| format!("data: {}\n\n", json!({ "type": kind, "data": data }));
    let delivered =
        |id: &str| line("session.inbox.delivered", json!({ "sessionID": "ses_a", "inboxID": id }));
    let failed = |why: &str| {
        line(
            "session.execution.failed",
            json!({ "error": { "type": "provider.no-route", "message": format!("Model unavailable: {why}") } }),
        )
    };
    let done = || line("session.execution.succeeded", json!({}));
    let reason = |log: String| dialect().read_reason(log.as_bytes(), &ours());
    let log = [delivered("msg_a"), failed("early"), delivered(OURS), failed("ours"), failed("late")].concat();
    let failure = reason(log + ": heartbeat\n\ndata: {\"type\":\"log.synced\"}\n\n").unwrap();
    assert_eq!(
        (failure.kind, failure.reason.as_str()),
        (FailureKind::UnknownModel, "provider.no-route: Model unavailable: ours")
    );
    assert_eq!(reason([delivered(OURS), done(), failed("late")].concat()), None);
    assert_eq!(reason(failed("whose?")), None);
    assert_eq!(reason(String::new()), None);
}

fn signal(kind: &str, data: &Value) -> Option<Signal> {
    let event = json!({ "id": "evt_1", "type": kind, "data": data, "durable": { "seq": 1 } }).to_string();
    dialect().read_event(event.as_bytes(), &|_, _| true).unwrap().map(|told| told.signal)
}

#[test]
fn events_say_what_happens() {
    let with = |more: Value| {
        let mut data = json!({ "sessionID": "ses_a", "assistantMessageID": "msg_n", "ordinal": 1 });
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        data
    };
    let taken = signal("session.inbox.delivered", &with(json!({ "inboxID": OURS })));
    assert_eq!(taken, Some(Signal::Taken(OURS.into())));
    let delta = signal("session.text.delta", &with(json!({ "delta": "h" })));
    assert_eq!(
        delta,
        Some(Signal::Delta { message: "msg_n".into(), part: "msg_n/1".into(), text: "h".into() })
    );
    let ended = signal("session.step.ended", &with(json!({ "finish": "stop", "cost": 1, "tokens": {} })));
    assert!(
        matches!(ended, Some(Signal::Step(head)) if head.completed && head.ending == Some(Ending::Final))
    );
    let failed = with(json!({ "error": { "type": "provider.auth", "message": "bad key", "status": 401 } }));
    let Some(Signal::Ended(Some(failure))) = signal("session.execution.failed", &failed) else { panic!() };
    assert_eq!(
        failure.reason,
        "provider.auth: the model's provider refuses the key or login (it answered 401)"
    );
    assert_eq!(
        signal("session.execution.interrupted", &with(json!({ "reason": "user" }))),
        Some(Signal::Ended(None))
    );
    let retry = with(json!({ "attempt": 2, "at": 9.5, "error": { "type": "unknown", "message": "boom" } }));
    assert_eq!(
        signal("session.retry.scheduled", &retry),
        Some(Signal::Status(Status::Retry {
            attempt: 1,
            reason: "the reason is in the daemon's own record of the session".into(),
            next_at_ms: Some(9)
        }))
    );
    assert_eq!(signal("session.novel.thing", &with(json!({}))), None);
    assert_eq!(signal("server.connected", &json!({})), None);
}

#[test]
fn a_tool_is_told_in_pieces_that_share_its_call() {
    let piece = |kind: &str, more: Value| {
        let mut data = json!({ "sessionID": "ses_a", "assistantMessageID": "msg_n", "id": "call_1" });
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let Some(Signal::Tool(tool)) = signal(kind, &data) else { panic!("{kind}") };
        assert_eq!(tool.call, "msg_n/call_1");
        (tool.tool, tool.title, tool.state)
    };
    let named = piece("session.tool.input.started", json!({ "name": "shell" }));
    assert_eq!(named, (Some("bash".into()), None, ToolState::Pending));
    let called = piece("session.tool.called", json!({ "input": { "command": "ls" } }));
    assert_eq!(called, (None, Some("ls".into()), ToolState::Running));
    assert_eq!(piece("session.tool.success", json!({ "content": [] })).2, ToolState::Completed);
    let failed = piece("session.tool.failed", json!({ "error": { "type": "tool.failed", "message": "no" } }));
    assert_eq!(failed.2, ToolState::Failed("no".into()));
}

#[test]
fn asks_are_read_from_events_and_lists_alike() {
    let permission =
        json!({ "id": "per_1", "sessionID": "ses_b", "action": "shell", "resources": ["ls"], "save": ["*"] });
    let Some(Signal::PermissionAsked(ask)) = signal("permission.asked", &permission) else { panic!() };
    assert_eq!((ask.permission.as_str(), ask.patterns.as_slice()), ("bash", &["ls".to_owned()][..]));
    let list = json!({ "data": [permission, { "id": "per_2", "sessionID": "ses_b" }, 7] }).to_string();
    let pending = dialect().read_permissions(list.as_bytes()).unwrap();
    assert_eq!((pending.asks, pending.unparseable[0].id.as_str()), (vec![ask], "per_2"));

    let option = |value: &str, label: &str| json!({ "value": value, "label": label, "description": "d" });
    let field = |key: &str, kind: &str| {
        json!({ "key": key, "type": kind, "title": "T", "description": "Which?",
        "options": [option("A", "A"), option("b", "B")], "custom": true })
    };
    let form = |id: &str, fields: Vec<Value>| json!({ "id": id, "sessionID": "ses_b", "fields": fields });
    let fine = form("frm_1", vec![field("q0", "string"), field("q1", "multiselect")]);
    let Some(Signal::QuestionAsked(ask)) = signal("form.created", &json!({ "form": fine })) else { panic!() };
    assert_eq!((ask.session_id.as_str(), ask.questions.len()), ("ses_b", 2));
    let (first, second) = (&ask.questions[0], &ask.questions[1]);
    assert_eq!((first.question.as_str(), first.header.as_str()), ("Which?", "T"));
    assert_eq!((first.multiple, second.multiple), (false, true));
    assert_eq!((first.options[1].label.as_str(), first.options[1].description.as_str()), ("b", "B: d"));
    let list = json!({ "data": [
        fine,
        form("frm_2", vec![field("email", "string")]),
        form("frm_3", vec![field("q0", "number")]),
        form("frm_4", vec![]),
        { "id": "frm_5", "sessionID": "ses_b", "mode": "url", "url": "x" },
    ]});
    let pending = dialect().read_questions(list.to_string().as_bytes()).unwrap();
    let unparseable: Vec<_> = pending.unparseable.iter().map(|ask| ask.id.as_str()).collect();
    assert_eq!((pending.asks, unparseable), (vec![ask], vec!["frm_2", "frm_3", "frm_4", "frm_5"]));
    for (kind, data) in [
        ("permission.replied", json!({ "sessionID": "ses_b", "requestID": "x", "reply": "once" })),
        ("form.replied", json!({ "sessionID": "ses_b", "id": "x", "answer": {} })),
        ("form.cancelled", json!({ "sessionID": "ses_b", "id": "x" })),
    ] {
        assert_eq!(signal(kind, &data), Some(Signal::AskClosed("x".into())), "{kind}");
    }
}

#[test]
fn what_is_active_works_and_what_is_not_rests() {
    let status = |body: Value| dialect().read_status(body.to_string().as_bytes(), &session()).unwrap();
    assert_eq!(status(json!({ "data": { "ses_a": { "type": "running" } } })), Status::Busy);
    assert_eq!(status(json!({ "data": { "ses_b": { "type": "running" } } })), Status::Idle);
    let inbox = |body: Value| dialect().read_inbox(body.to_string().as_bytes(), &ours()).unwrap();
    assert_eq!(inbox(json!({ "data": [{ "id": OURS, "type": "user" }] })), Inbox { ours: true, any: true });
    assert_eq!(inbox(json!({ "data": [{ "type": "compaction" }] })), Inbox { ours: false, any: true });
    assert_eq!(inbox(json!({ "data": [] })), Inbox::default());
}
