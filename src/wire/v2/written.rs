//! The exchanges of `tests/fixtures/wire2`, both ways: what is asked stands there to the
//! letter, and every answer is read to what it says.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::*;
use crate::permissions::Action;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        /// The files, by name.
        const FILES: &[(&str, &str)] = &[$((
            $name,
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/wire2/", $name)),
        )),*];
    };
}

files!(
    "text.json",
    "write.json",
    "bash.json",
    "permission-once.json",
    "permission-reject.json",
    "permission-reject-silent.json",
    "question.json",
    "abort.json",
    "provider-400.json",
    "provider-500-retry.json",
    "no-step.json",
    "routes.json",
    "odd.json",
    "odd.sse",
);

/// The turns among them.
const TURNS: [&str; 11] = [
    "text",
    "write",
    "bash",
    "permission-once",
    "permission-reject",
    "permission-reject-silent",
    "question",
    "abort",
    "provider-400",
    "provider-500-retry",
    "no-step",
];

fn file(name: &str) -> &'static str {
    FILES.iter().find(|it| it.0 == name).unwrap().1
}

fn exchanges(name: &str) -> Vec<Value> {
    serde_json::from_str(file(&format!("{name}.json"))).unwrap()
}

fn dialect() -> V2 {
    let origin = "http://127.0.0.1:4096".parse().unwrap();
    V2::new(&origin, Some(&SecretString::from("s3cret")), Some("/code/app"))
}

fn line(request: &Request<Bytes>) -> (String, Value) {
    let target = request.uri().path_and_query().unwrap();
    (format!("{} {target}", request.method()), serde_json::from_slice(request.body()).unwrap_or(Value::Null))
}

fn asked(exchange: &Value) -> (String, Value) {
    (exchange["request"].as_str().unwrap().to_owned(), exchange["body"].clone())
}

fn body(exchange: &Value) -> Bytes {
    match exchange["response"].as_str() {
        Some(text) => Bytes::from(text.to_owned()),
        None => Bytes::from(exchange["response"].to_string()),
    }
}

/// The session and the message that exchanges are about.
fn turn(exchanges: &[Value]) -> Prompt {
    let prompt = exchanges.iter().find(|it| it["body"]["delivery"] == "queue").unwrap();
    let session = prompt["request"].as_str().unwrap().split('/').nth(3).unwrap();
    prompt_of(session, prompt["body"]["id"].as_str().unwrap(), prompt["body"]["text"].as_str().unwrap())
}

fn prompt_of(session: &str, message: &str, text: &str) -> Prompt {
    Prompt {
        session: SessionId::parse(session).unwrap(),
        message: MessageId::parse(message).unwrap(),
        text: text.to_owned(),
        files: Vec::new(),
        system: None,
        model: Some("scripted/other/one".parse().unwrap()),
        agent: Some("review".into()),
    }
}

/// What is asked during and after a turn, with every reply to what waits for one.
fn of_a_turn(exchanges: &[Value]) -> Vec<Request<Bytes>> {
    let (dialect, prompt) = (dialect(), turn(exchanges));
    let (session, message) = (&prompt.session, &prompt.message);
    let ids = [session.to_string()];
    let earliest = MessageId::new(0, 0, [0; 14]);
    let mut all = vec![
        dialect.session(session),
        dialect.status(),
        dialect.prompt(&prompt),
        dialect.inbox(session).unwrap(),
        dialect.abort(session),
        dialect.changes(session, message),
    ];
    for exchange in exchanges {
        let request = exchange["request"].as_str().unwrap();
        if request.ends_with("/message?order=desc&limit=60") {
            all.extend(dialect.messages(session, &[], message));
            all.extend(dialect.messages(session, &[body(exchange)], &earliest));
        }
        if request.ends_with("/permission") {
            all.extend(dialect.permissions(&ids));
            let ask = dialect.read_permissions(&body(exchange)).unwrap().asks.remove(0);
            let ask = Asked { session: ask.session_id, id: ask.id, multiple: Vec::new() };
            let reject = PermissionReply::Reject { message: "not now".into() };
            all.extend(
                [PermissionReply::Once, reject].iter().filter_map(|it| dialect.reply_permission(&ask, it)),
            );
        }
        if request.ends_with("/form") {
            all.extend(dialect.questions(&ids));
            let ask = dialect.read_questions(&body(exchange)).unwrap().asks.remove(0);
            let multiple = ask.questions.iter().map(|question| question.multiple).collect();
            let ask = Asked { session: ask.session_id, id: ask.id, multiple };
            let answers = QuestionReply::Answers { answers: vec![vec!["A".into()]] };
            all.extend(
                [answers, QuestionReply::Reject].iter().filter_map(|it| dialect.reply_question(&ask, it)),
            );
        }
    }
    all
}

/// What stands there to hold the fake to it, and is never asked.
fn is_for_the_fake(exchange: &Value) -> bool {
    let (request, body) = asked(exchange);
    let one = |what: &str| request.starts_with("GET ") && request.contains(what);
    // The client chooses the session's id there.
    request == "POST /api/session"
        || request.ends_with("/message?limit=1")
        || request.contains("/permission/request?")
        || request.contains("/log?after=")
        || one("/permission/per_")
        || one("/form/frm_")
        || body["text"] == "other words, the same id"
        || [json!({}), json!({ "reply": "once" }), json!({ "decision": "reject" })].contains(&body)
        || body["answer"]["q0"].is_array()
}

#[test]
fn what_is_asked_during_a_turn_stands_in_its_exchanges_and_the_other_way_round() {
    for name in TURNS {
        let exchanges = exchanges(name);
        let built: Vec<_> = of_a_turn(&exchanges).iter().map(line).collect();
        let plugins: Vec<_> = exchanges.iter().filter(|it| !is_for_the_fake(it)).collect();
        for exchange in &plugins {
            assert!(built.contains(&asked(exchange)), "{name}: never asked: {exchange}");
        }
        assert!(plugins.len() >= 7, "{name}: {plugins:?}");
    }
}

#[test]
fn what_is_asked_outside_a_turn_stands_there_to_the_letter() {
    let dialect = dialect();
    let exchanges = exchanges("routes");
    let facts = |at: usize| dialect.read_session(&body(&exchanges[at])).unwrap();
    let session = facts(1).id;
    let text = session.to_string();
    let rule =
        |permission: &str, action| WireRule { permission: permission.into(), pattern: "*".into(), action };
    let rules = [rule("shell", Action::Ask)];
    let model = "scripted/scripted".parse().unwrap();
    let new = NewSession { title: Some("routes"), rules: &rules, model: Some(&model), agent: Some("build") };
    let prompt = prompt_of(&text, "msg_1fbb8188c000Gy2jna7bblV55l", "go");
    let told = Prompt { system: Some("from a chat".into()), ..prompt.clone() };
    let mut built = vec![dialect.health(), dialect.create_session(&new), dialect.session(&session)];
    built.extend(dialect.session_settings(&facts(2), &prompt));
    built.push(dialect.set_rules(&facts(2), &[rule("edit", Action::Deny)]));
    built.extend([dialect.session(&session), dialect.defaults()]);
    built.extend(dialect.origin_message(&told, true));
    built.extend(dialect.origin_message(&prompt, false));
    built.push(dialect.children(&text));
    built.extend(dialect.permissions(std::slice::from_ref(&text)));
    built.extend(dialect.questions(std::slice::from_ref(&text)));
    built.extend(dialect.inbox(&session));
    built.extend(dialect.take_back(&session, &prompt.message));
    built.extend([dialect.abort(&session), dialect.status()]);
    built.extend(dialect.reasons(&session));
    built.push(dialect.session(&SessionId::parse("ses_nope").unwrap()));
    let built: Vec<_> = built.iter().map(line).collect();
    assert_eq!(built, exchanges.iter().map(asked).collect::<Vec<_>>());
    assert!(dialect.session_settings(&facts(6), &prompt).is_empty(), "it has become what the prompt needs");
}

/// Reads an answer with the reader of its route, and shows what it says.
fn read(exchange: &Value, prompt: &Prompt) -> Option<String> {
    let (dialect, body) = (dialect(), body(exchange));
    let (session, message) = (&prompt.session, &prompt.message);
    let status = StatusCode::from_u16(u16::try_from(exchange["status"].as_u64().unwrap()).unwrap()).unwrap();
    let (method, target) = exchange["request"].as_str().unwrap().split_once(' ').unwrap();
    let path: Vec<&str> = target.split('?').next().unwrap().trim_matches('/').split('/').collect();
    if status.is_client_error() {
        return Some(format!("{:?}", dialect.read_failure(&body).unwrap()));
    }
    Some(match (method, path.as_slice()) {
        ("POST", [.., "prompt"]) => format!("{:?}", dialect.read_answer(status, &body, message)),
        ("GET", ["api", "info"]) => format!("{:?}", dialect.read_health(status, &body)),
        ("GET", ["api", "config"]) => format!("{:?}", dialect.read_default_model(&body)),
        ("GET", ["api", "session"]) => format!("{:?}", dialect.read_children(&body).unwrap()),
        ("GET", ["api", "session", "active"]) => {
            format!("{:?}", dialect.read_status(&body, session).unwrap())
        }
        ("GET", ["api", "session", _]) | ("POST", ["api", "session"]) => {
            format!("{:?}", dialect.read_session(&body).unwrap())
        }
        ("GET", ["api", "session", _, "inbox"]) => {
            format!("{:?}", dialect.read_inbox(&body, message).unwrap())
        }
        ("GET", ["api", "session", _, "message"]) => {
            let history = dialect.read_messages(std::slice::from_ref(&body), message).unwrap();
            format!("{}, last model {:?}", shown(&history), dialect.read_last_model(&body))
        }
        ("GET", ["api", "session", _, "permission"]) => {
            format!("{:?}", dialect.read_permissions(&body).unwrap())
        }
        ("GET", ["api", "session", _, "form"]) => format!("{:?}", dialect.read_questions(&body).unwrap()),
        ("GET", ["api", "session", _, "diff"]) => format!("{:?}", dialect.read_changes(&body).unwrap()),
        ("GET", [.., "log"]) => format!("{:?}", dialect.read_reason(&body, message)),
        ("GET", _) => {
            assert!(is_for_the_fake(exchange), "no reader: {exchange}");
            return None;
        }
        _ => return None,
    })
}

/// A turn's record, without the rows themselves; of those, whether they are kept.
fn shown(history: &History) -> String {
    let History { arrived, end, followed, newest, unreadable, retry, .. } = history;
    let mut text = format!(
        "arrived {arrived}, {end:?}, followed {followed}, newest {newest:?}, unreadable {unreadable}, {retry:?}"
    );
    for step in &history.steps {
        let super::super::Message { head, text: said, touched, refused, raw, .. } = step;
        let touched: Vec<&str> = touched.iter().map(|file| file.path.as_str()).collect();
        let kept = if raw.is_null() { "" } else { ", whole" };
        let _ = write!(text, "\n    {head:?} {said:?} {touched:?} refused {refused}{kept}");
    }
    text
}

fn all_read(name: &str, prompt: &Prompt) -> String {
    let mut text = String::new();
    for exchange in exchanges(name) {
        if let Some(value) = read(&exchange, prompt) {
            let _ = writeln!(text, "{name}: {}\n  {value}", exchange["request"].as_str().unwrap());
        }
    }
    text
}

#[test]
fn each_answer_is_read_to_what_it_says() {
    let turns: Vec<_> = TURNS.iter().map(|name| all_read(name, &turn(&exchanges(name)))).collect();
    insta::assert_snapshot!("answers_of_turns", turns.concat());
    let routes = prompt_of("ses_fake000000010000000000000000", "msg_1fbb8188c000Gy2jna7bblV55l", "go");
    insta::assert_snapshot!("answers_outside_a_turn", all_read("routes", &routes));
}

#[test]
fn what_nobody_has_described_is_passed_over_in_answers_and_events() {
    let prompt = prompt_of("ses_odd", "msg_11191c80a0010000000000000A", "go");
    insta::assert_snapshot!("odd_answers", all_read("odd", &prompt));
    let events = file("odd.sse");
    let data = events.lines().filter_map(|line| line.strip_prefix("data: "));
    let told =
        data.map(|data| format!("{:?}\n", dialect().read_event(data.as_bytes(), &|_, _| true).unwrap()));
    insta::assert_snapshot!("odd_events", told.collect::<String>());
}
