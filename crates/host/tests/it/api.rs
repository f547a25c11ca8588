//! The HTTP API of a running host: what programs get, and what they cannot get.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::model::Script;

use crate::scripts::Office;
use crate::terminal::User;

/// How long an answer may take: longer than any request waits.
const LIMIT: Duration = Duration::from_secs(90);

/// Where a client connects, and what it carries.
#[derive(Debug, Clone)]
pub(crate) enum At {
    Socket(PathBuf),
    Port(String, Vec<String>),
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn has(&self, header: &str) -> bool {
        self.head.to_ascii_lowercase().contains(&header.to_ascii_lowercase())
    }

    /// The body, where this is no problem.
    fn done(&self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.json()
    }

    /// The problem's code.
    fn problem(&self) -> (u16, String) {
        assert!(self.has("content-type: application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{self:?}");
        (self.status, problem["code"].as_str().unwrap().to_owned())
    }
}

impl At {
    pub(crate) fn socket_of(user: &User) -> Self {
        Self::Socket(user.state().join("api.sock"))
    }

    /// The port of a host that listens, with the token that it made.
    pub(crate) fn port_of(user: &User) -> Self {
        let health = Self::socket_of(user).get("/v1/health").done();
        let address = health["listens_at"].as_str().unwrap().to_owned();
        let token = std::fs::read_to_string(user.state().join("api.token")).unwrap();
        let carried = vec![format!("Host: {address}"), format!("Authorization: Bearer {}", token.trim())];
        Self::Port(address, carried)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.asked("GET", path, &[], "")
    }

    /// The number of the event that a message is stored as; none if no host answers, or not in time, that it is.
    pub(crate) fn submitted(&self, id: &str, text: &str) -> Option<i64> {
        let body = json!({ "text": text, "id": id }).to_string();
        let answer = self.answered("POST", "/v1/events", &["Content-Type: application/json"], &body)?;
        let body: Value = serde_json::from_str(&answer.body).ok()?;
        body["event"]["id"].as_i64().filter(|_| (200..300).contains(&answer.status))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.asked("POST", path, &["Content-Type: application/json"], &body.to_string())
    }

    fn asked(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        self.answered(method, path, headers, body).unwrap_or_else(|| panic!("no answer to {method} {path}"))
    }

    /// The answer, if the host is there and lives long enough to give it.
    #[expect(clippy::disallowed_methods, reason = "requests are written here, byte by byte")]
    fn answered(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Option<Answer> {
        let length = body.len();
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n");
        let mut bytes = Vec::new();
        match self {
            Self::Socket(path) => {
                let mut stream = UnixStream::connect(path).ok()?;
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                head.push_str("Host: localhost\r\n");
                for header in headers {
                    head.push_str(&format!("{header}\r\n"));
                }
                // Who refuses a request reads no more of it.
                let _ = stream.write_all(format!("{head}\r\n{body}").as_bytes());
                let _ = stream.read_to_end(&mut bytes);
            }
            Self::Port(address, carried) => {
                let mut stream = std::net::TcpStream::connect(address).ok()?;
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                let carried = carried.iter().map(String::as_str);
                for header in carried.chain(headers.iter().copied()) {
                    head.push_str(&format!("{header}\r\n"));
                }
                let _ = stream.write_all(format!("{head}\r\n{body}").as_bytes());
                let _ = stream.read_to_end(&mut bytes);
            }
        }
        let text = String::from_utf8(bytes).unwrap();
        text.contains("\r\n\r\n").then(|| answer(&text))
    }
}

fn answer(text: &str) -> Answer {
    let (head, rest) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut body = String::new();
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        let mut rest = rest;
        while let Some((length, chunk)) = rest.split_once("\r\n") {
            let length = usize::from_str_radix(length, 16).unwrap();
            body.push_str(&chunk[..length]);
            rest = chunk[length..].strip_prefix("\r\n").unwrap();
        }
    } else {
        body.push_str(rest);
    }
    Answer { status, head: head.to_owned(), body }
}

fn me() -> String {
    format!("cli:{}", whoami::username().unwrap())
}

/// Submits, and waits for the card: the event, and the card.
pub(crate) fn card(at: &At, id: &str, text: &str) -> (Value, Value) {
    let event = at.post("/v1/events", &json!({ "text": text, "id": id })).done()["event"]["id"].clone();
    let cards = at.get(&format!("/v1/approvals?event={event}&wait_secs=50")).done();
    assert_eq!(cards.as_array().map(Vec::len), Some(1), "{cards}");
    (event, cards[0].clone())
}

/// A card once it was put out, which is written down once more: as it stays.
pub(crate) async fn shown(at: &At, card: &Value) -> Value {
    let until = Instant::now() + Duration::from_mins(1);
    loop {
        let all = at.get("/v1/approvals").done();
        let now = all.as_array().unwrap().iter().find(|it| it["id"] == card["id"]);
        if let Some(now) = now.filter(|now| !now["expires_at"].is_null()) {
            return now.clone();
        }
        assert!(Instant::now() < until, "nobody was shown the card");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_users_own_programs_submit_read_decide_and_follow_over_the_socket_as_at_the_command_line() {
    let office = Office::with_approver(&me()).await;
    let user = &office.user;
    let at = At::socket_of(user);
    let mode = std::fs::metadata(user.state().join("api.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let health = at.get("/v1/health").done();
    assert_eq!((&health["status"], &health["account"]), (&json!("ok"), &json!(me())));

    let nothing = at.post("/v1/events", &json!({ "text": "good morning" }));
    assert!(nothing.status == 201 && nothing.has("location: /v1/events/1"), "{nothing:?}");
    let nothing = at.get("/v1/events/1?wait_secs=50").done();
    assert_eq!((&nothing["runs"], &nothing["handled"]), (&json!([]), &json!(true)));
    assert_eq!(at.get("/v1/approvals?event=1&wait_secs=50").done(), json!([]), "nothing of it will wait");

    let (event, card) = card(&at, "m1", "/fix write it");
    assert_eq!(card["input"]["prompt"], "write it", "{card}");
    let again = at.post("/v1/events", &json!({ "text": "/fix write it", "id": "m1" }));
    assert_eq!(
        (again.status, &again.json()["event"]["id"]),
        (200, &event),
        "the same id is the same message"
    );
    let step = card["id"].as_str().unwrap();
    let card = shown(&at, &card).await;
    assert_eq!(user.run(&["approvals", "wait", "--json"]).json(), json!([card]));
    assert_eq!(
        at.get(&format!("/v1/approvals/{step}")).done(),
        user.run(&["approvals", "show", step, "--json"]).json()
    );

    let decide = |body: Value| at.post(&format!("/v1/approvals/{step}/decision"), &body);
    let digest = card["digest"].as_str().unwrap();
    for (body, status) in [
        (json!({ "decision": "approve" }), 400),
        (json!({ "decision": "approve", "digest": "" }), 400),
        (json!({ "decision": "approve", "digest": &digest[..11] }), 400),
        (json!({ "decision": "allow", "digest": digest }), 400),
        (json!({ "decision": "approve", "digest": digest, "by": "cli:anna" }), 400),
        (json!({ "decision": "approve", "digest": "0".repeat(64) }), 409),
    ] {
        let refused = decide(body.clone());
        assert_eq!(refused.problem().0, status, "{body}: {refused:?}");
    }
    assert_eq!(at.get("/v1/approvals").done(), json!([card]), "it still waits");
    let approved = decide(json!({ "decision": "approve", "digest": &digest[..12] }));
    assert_eq!(approved.done(), json!({ "answer": "approved" }));
    let late = decide(json!({ "decision": "deny", "digest": digest }));
    assert_eq!(
        (late.problem(), &late.json()["answer"]["answer"]),
        ((409, "conflict".into()), &json!("already"))
    );

    let followed = at.get("/v1/runs/1/events");
    assert!(followed.status == 200 && followed.has("content-type: application/x-ndjson"), "{followed:?}");
    let printed = user.run(&["runs", "follow", "1", "--json"]);
    assert_eq!(printed.code(), 0);
    assert_eq!(followed.body, String::from_utf8(printed.0.stdout).unwrap());
    let second = followed.body.lines().nth(1).unwrap();
    let after = serde_json::from_str::<Value>(second).unwrap()["seq"].clone();
    let rest = at.get(&format!("/v1/runs/1/events?after={after}&follow=false")).body;
    assert_eq!(rest, followed.body.split_inclusive('\n').skip(2).collect::<String>());

    let outcome = at.get(&format!("/v1/events/{event}?wait_secs=50")).done();
    assert_eq!(outcome["runs"][0]["steps"][0]["output"]["reply"], "It is written.", "{outcome}");
    assert_eq!(outcome["runs"][0]["steps"][0]["decided_by"], json!(me()));
    for (path, command) in [
        ("/v1/runs", &["runs", "list"][..]),
        ("/v1/runs/1", &["runs", "show", "1"]),
        ("/v1/events", &["events", "list"]),
        ("/v1/events/2", &["events", "show", "2"]),
        ("/v1/asks", &["approvals", "asks"]),
    ] {
        assert_eq!(at.get(path).done(), user.run(&[command, &["--json"]].concat()).json(), "{path}");
    }
    for path in ["/v1/runs/9", "/v1/runs/9/events", "/v1/events/9", "/v1/approvals/9.1", "/v1/asks/9"] {
        assert_eq!(at.get(path).problem(), (404, "not_found".to_owned()), "{path}");
    }
    let socket = user.state().join("api.sock");
    office.close();
    assert!(!socket.exists(), "it goes with its host");
}

#[tokio::test]
async fn whoever_carries_the_token_is_a_program_that_decides_only_where_it_is_named() {
    let script = Script::default().reply("write it", "It is written.");
    let more = "[api]\nlisten = \"127.0.0.1:0\"\nclient = \"ci\"\n";
    let office = Office::with(User::new(), "api:ci", script, more).await;
    let user = &office.user;
    let socket = At::socket_of(user);
    let address = socket.get("/v1/health").done()["listens_at"].as_str().unwrap().to_owned();
    let file = user.state().join("api.token");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let token = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    let bearer = format!("Authorization: Bearer {token}");
    let with = |headers: &[String]| At::Port(address.clone(), headers.to_vec());
    let host = format!("Host: {address}");
    let at = with(&[host.clone(), bearer.clone()]);
    assert_eq!(at.get("/v1/health").done()["account"], "api:ci");
    for (headers, refused) in [
        (vec![host.clone()], (401, "unauthorized")),
        (vec![host.clone(), format!("{bearer}0")], (401, "unauthorized")),
        (vec!["Host: evil.example".into(), bearer.clone()], (403, "not_allowed")),
        (vec![host.clone(), bearer.clone(), format!("Origin: http://{address}")], (403, "not_allowed")),
    ] {
        for answer in
            [with(&headers).get("/v1/runs"), with(&headers).post("/v1/events", &json!({ "text": "x" }))]
        {
            assert_eq!(answer.problem(), (refused.0, refused.1.to_owned()), "{headers:?}");
        }
    }
    assert_eq!(socket.get("/v1/events").done(), json!([]), "nothing came of those");

    let (_, card) = card(&at, "m1", "/fix write it");
    let (step, digest) = (card["id"].as_str().unwrap(), card["digest"].clone());
    assert_eq!(card["requester"], "api:ci");
    let forged = at.post("/v1/events", &json!({ "text": "/fix write it", "as": "connector-telegram" }));
    assert_eq!(forged.problem(), (403, "not_allowed".to_owned()));
    let path = format!("/v1/approvals/{step}/decision");
    let approve = json!({ "decision": "approve", "digest": digest });
    // The user is no approver here, and their programs are the user.
    let refused = socket.post(&path, &approve);
    assert_eq!((refused.problem().0, &refused.json()["answer"]["answer"]), (403, &json!("not_allowed")));
    let session = at.post(&path, &json!({ "decision": "allow_session", "digest": digest }));
    assert_eq!(session.problem(), (403, "not_allowed".to_owned()));
    assert_eq!(at.post(&path, &approve).done(), json!({ "answer": "approved" }));
    let end = at.get("/v1/events/1?wait_secs=50").done();
    assert_eq!(end["runs"][0]["steps"][0]["decided_by"], "api:ci", "{end}");
    assert_eq!(end["event"]["payload"]["user_id"], "api:ci");

    // Its id is not the command line's of the same name, and the user's run is not its to stop. As an approver, it reads.
    let own = socket.post("/v1/events", &json!({ "text": "/fix write it", "id": "m1" }));
    assert_eq!((own.status, &own.json()["event"]["requester"]), (201, &json!(me())));
    socket.get("/v1/approvals?event=2&wait_secs=50").done();
    assert_eq!(at.post("/v1/runs/2/cancel", &json!(null)).problem(), (404, "not_found".to_owned()));
    assert_eq!(at.get("/v1/runs/2/transcript").done(), json!([]));
    assert_eq!(
        socket.post("/v1/runs/2/cancel", &json!(null)).done(),
        json!({ "run": 2, "outcome": "withdrawn" })
    );
    office.close();
}

#[tokio::test]
async fn what_is_no_request_is_refused_with_a_code_and_words_and_changes_nothing() {
    let office = Office::with_approver(&me()).await;
    let at = At::socket_of(&office.user);
    let kind = &["Content-Type: application/json"][..];
    let long = json!({ "text": "x".repeat(600_000) }).to_string();
    let wide = json!({ "text": "x".repeat(65_537) }).to_string();
    let named = json!({ "text": "x", "id": "i".repeat(201) }).to_string();
    for (method, path, headers, body, status) in [
        ("GET", "/", &[][..], "", 404),
        ("GET", "/v1/", &[], "", 404),
        ("GET", "/v1/runs/../../etc/passwd", &[], "", 404),
        ("DELETE", "/v1/runs/1", &[], "", 405),
        ("POST", "/v1/runs", kind, "{}", 405),
        ("GET", "/v1/runs/x", &[], "", 400),
        ("GET", "/v1/runs/-1", &[], "", 400),
        ("GET", "/v1/runs/%FF", &[], "", 400),
        ("GET", "/v1/approvals/1.0", &[], "", 400),
        ("GET", "/v1/runs?limit=0", &[], "", 400),
        ("GET", "/v1/runs?limit=201", &[], "", 400),
        ("GET", "/v1/runs?limt=2", &[], "", 400),
        ("GET", "/v1/approvals?wait_secs=51", &[], "", 400),
        ("GET", "/v1/approvals?event=99", &[], "", 404),
        ("POST", "/v1/events", &[], "{\"text\":\"x\"}", 415),
        ("POST", "/v1/events", &["Content-Type: text/plain"], "{\"text\":\"x\"}", 415),
        ("POST", "/v1/events", kind, "", 400),
        ("POST", "/v1/events", kind, "{", 400),
        ("POST", "/v1/events", kind, "{\"text\":\"\"}", 400),
        ("POST", "/v1/events", kind, "{\"text\":1}", 400),
        ("POST", "/v1/events", kind, "{\"text\":\"x\",\"requester\":\"cli:anna\"}", 400),
        ("POST", "/v1/events", kind, &wide, 400),
        ("POST", "/v1/events", kind, &named, 400),
        ("POST", "/v1/events", kind, &long, 413),
        ("POST", "/v1/events", &["Content-Type: application/json", "Origin: null"], "{\"text\":\"x\"}", 403),
        ("POST", "/v1/asks/1/answer", kind, "{\"answer\":{\"type\":\"yes\"}}", 400),
        ("POST", "/v1/asks/1/answer", kind, "{\"answer\":{\"type\":\"once\"}}", 404),
        ("POST", "/v1/runs/1/cancel", &[], "", 404),
    ] {
        let refused = at.asked(method, path, headers, body);
        assert_eq!(refused.problem().0, status, "{method} {path}: {refused:?}");
        assert_eq!(refused.has("allow: "), status == 405, "{method} {path}: {refused:?}");
    }
    assert_eq!(at.get("/v1/events").done(), json!([]));
    assert_eq!(at.get("/v1/health").done()["last_seq"], 0);
    office.close();
}

#[tokio::test]
async fn an_ask_is_answered_over_the_socket_and_its_agent_reaches_neither_the_socket_nor_the_port() {
    let user = User::new();
    let socket = user.state().join("api.sock");
    let (port, named, token) = (free_port(), server(), user.home.path().join("token"));
    std::fs::write(&token, "0123456789abcdef0123456789abcdef").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let curl = "curl -s -m 10 --noproxy '*' -o";
    let bearer = "-H 'Authorization: Bearer 0123456789abcdef0123456789abcdef'";
    let command = format!(
        "{curl} by-socket --unix-socket {} http://localhost/v1/health; echo $? > socket-rc; \
         {curl} by-port {bearer} http://127.0.0.1:{port}/v1/health; echo $? > port-rc; \
         {curl} by-named http://127.0.0.1:{named}/; echo $? > named-rc",
        socket.display()
    );
    let script = Script::default()
        .call("reach it", 0, "bash", json!({ "command": command, "description": "reaches out" }))
        .reply("reach it", "I tried.");
    let more =
        format!("loopback = [{named}]\n[api]\nlisten = \"127.0.0.1:{port}\"\ntoken_file = \"token\"\n");
    let office = Office::with(user, &me(), script, &more).await;
    let (user, at) = (&office.user, At::socket_of(&office.user));
    let app = user.home.path().join("app");
    // Whoever is within no walls reaches both.
    let outside = user.home.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    run_in(&outside, &command);
    let read =
        |place: &std::path::Path, name: &str| std::fs::read_to_string(place.join(name)).unwrap_or_default();
    for name in ["by-socket", "by-port"] {
        assert!(read(&outside, name).contains("\"status\":\"ok\""), "{name}: {}", read(&outside, name));
    }

    let (event, card) = card(&at, "m1", "/fix reach it");
    let (step, digest) = (card["id"].as_str().unwrap(), &card["digest"]);
    at.post(&format!("/v1/approvals/{step}/decision"), &json!({ "decision": "approve", "digest": digest }))
        .done();
    let ask = at.get("/v1/asks?wait_secs=50").done()[0].clone();
    assert_eq!(ask["asked"]["permission"], "bash", "{ask}");
    let path = format!("/v1/asks/{}", ask["id"]);
    assert_eq!(at.get(&path).done(), ask);
    let answers = json!({ "answer": { "type": "answers", "answers": [["yes"]] } });
    assert_eq!(at.post(&format!("{path}/answer"), &answers).problem().0, 400);
    let once = json!({ "answer": { "type": "once" } });
    let answered = at.post(&format!("{path}/answer"), &once).done();
    assert_eq!(
        (&answered["ask"]["state"], &answered["ask"]["answered_by"]),
        (&json!("answered"), &json!(me()))
    );
    assert_eq!(at.post(&format!("{path}/answer"), &once).problem(), (409, "conflict".to_owned()));
    let end = at.get(&format!("/v1/events/{event}?wait_secs=50")).done();
    assert_eq!(end["runs"][0]["state"], "succeeded", "{end}");
    let transcript = at.get("/v1/runs/1/transcript").done();
    assert_eq!(user.run(&["runs", "show", "1", "--transcript", "--json"]).json()["transcript"], transcript);
    let lines = transcript.as_array().unwrap();
    let place = |kind: &str| {
        lines.iter().position(|line| line["kind"] == kind).unwrap_or_else(|| panic!("{kind}: {transcript}"))
    };
    let kinds = ["given", "tool_started", "tool_finished", "message", "ended"].map(place);
    assert!(kinds.is_sorted() && kinds[4] == lines.len() - 1, "{transcript}");
    assert!(place("asked") < place("ask_closed") && place("ask_closed") < kinds[2], "{transcript}");
    assert_eq!(
        (&lines[kinds[3]]["text"], &lines[kinds[0]]["input"]["prompt"]),
        (&json!("I tried."), &json!("reach it"))
    );
    let told = user.run(&["runs", "show", "1", "--transcript"]).text();
    assert!(told.contains("\ntranscript\n") && told.contains("💬 I tried."), "{told}");
    let kept = std::fs::metadata(user.state().join("transcripts/1.1.ndjson")).unwrap().permissions().mode();
    assert_eq!(kept & 0o777, 0o600);
    for (name, rc) in [("by-socket", "socket-rc"), ("by-port", "port-rc")] {
        assert_eq!(read(&app, name), "", "the agent reached the host: {name}");
        assert_eq!(read(&app, rc).trim(), "7", "no connection is made: {rc}");
    }
    assert_eq!((read(&app, "named-rc").trim(), &*read(&app, "by-named")), ("0", "named"), "curl works there");
    office.close();
}

#[tokio::test]
async fn a_transcript_has_no_secret_that_its_host_knows_and_is_read_by_no_other_program() {
    let secret = "sesame-of-a-variable";
    let user = User::new().with_variable("DEPLOY_TOKEN", secret);
    let token = "0123456789abcdef0123456789abcdef";
    let file = user.home.path().join("token");
    std::fs::write(&file, token).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let command = format!("echo {secret}");
    let script = Script::default()
        .call("tell it", 0, "bash", json!({ "command": command, "description": "tells" }))
        .reply("tell it", &format!("It is {secret}, and {token}."));
    let more =
        "pass_to_commands = [\"DEPLOY_TOKEN\"]\n[api]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"token\"\n";
    let office = Office::with(user, &me(), script, more).await;
    let (user, at) = (&office.user, At::socket_of(&office.user));
    let (event, card) = card(&at, "m1", "/fix tell it");
    let (step, digest) = (card["id"].as_str().unwrap(), &card["digest"]);
    at.post(&format!("/v1/approvals/{step}/decision"), &json!({ "decision": "approve", "digest": digest }))
        .done();
    let ask = at.get("/v1/asks?wait_secs=50").done()[0].clone();
    let once = json!({ "answer": { "type": "once" } });
    at.post(&format!("/v1/asks/{}/answer", ask["id"]), &once).done();
    let end = at.get(&format!("/v1/events/{event}?wait_secs=50")).done();
    let reply = end["runs"][0]["steps"][0]["output"]["reply"].as_str().unwrap();
    assert!(reply.contains(secret) && reply.contains(token), "the agent said both: {end}");
    let kept = std::fs::read_to_string(user.state().join("transcripts/1.1.ndjson")).unwrap();
    let (over_http, told) =
        (at.get("/v1/runs/1/transcript").body, user.run(&["runs", "show", "1", "--transcript"]).text());
    let told = told.split_once("\ntranscript\n").unwrap().1.to_owned();
    for text in [kept, over_http, told] {
        assert!(!text.contains(secret) && !text.contains(token), "{text}");
        assert!(
            text.contains("It is [redacted], and [redacted].") && text.contains("echo [redacted]"),
            "{text}"
        );
    }

    let address = at.get("/v1/health").done()["listens_at"].as_str().unwrap().to_owned();
    let carried = vec![format!("Host: {address}"), format!("Authorization: Bearer {token}")];
    let program = At::Port(address, carried);
    let other = program.get("/v1/runs/1/transcript");
    assert_eq!(other.problem(), (404, "not_found".to_owned()));
    assert!(other.body.contains("no run 1 of a message of this client's"), "{other:?}");
    program.post("/v1/events", &json!({ "text": "/fix tell it", "id": "own" })).done();
    program.get("/v1/approvals?event=2&wait_secs=50").done();
    for client in [&program, &at] {
        assert_eq!(client.get("/v1/runs/2/transcript").done(), json!([]), "its own, as yet without a word");
    }
    office.close();
}

#[tokio::test]
async fn what_lies_in_the_sockets_place_ends_no_host_and_doctor_tells_of_it() {
    let user = User::new();
    std::fs::create_dir(user.state()).unwrap();
    std::fs::write(user.state().join("api.sock"), "mine").unwrap();
    let office = Office::with(user, &me(), Script::default(), "").await;
    let told =
        office.user.run(&["doctor", "-c", office.user.home.path().join("host.toml").to_str().unwrap()]);
    assert!(told.text().contains("api.sock is there and no socket"), "{}", told.text());
    assert_eq!(office.user.run(&["runs", "list"]).code(), 0);
    office.close();
}

#[expect(clippy::disallowed_methods, reason = "the control of an attempt is run here")]
fn run_in(directory: &std::path::Path, command: &str) {
    let ended = std::process::Command::new("sh").args(["-c", command]).current_dir(directory).status();
    assert!(ended.unwrap().success());
}

/// A server of this machine that says its name, where the daemon may ask it.
fn server() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nnamed");
        }
    });
    port
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
