//! Requests from outside that fire rules, by clients that we did not write: what comes in, and what does not.

#![expect(clippy::disallowed_methods, reason = "the clients are started here")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::fuzz::{CLIENTS, fuzz};
use crate::terminal::{Terminal, User};

const SECRET: &str = "hunter2-hunter2-hunter2";
const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What no log may say.
const BODY: &str = "{\"ref\":\"refs/heads/quicksilver\"}";

/// A user whose host takes requests, with a rule for each path.
struct Hooked {
    user: User,
    host: Terminal,
    base: String,
}

fn user() -> User {
    let user = User::new().with_variable("CI_SECRET", SECRET).with_variable("SVIX_SECRET", WHSEC);
    let home = user.home.path();
    std::fs::create_dir(home.join("rules")).unwrap();
    for (name, path) in
        [("ci", "hooks/ci"), ("svix", "/hooks/svix"), ("lab", "/hooks/lab"), ("open", "/open")]
    {
        let rule = format!(
            "[rule]\nname = \"{name}\"\n[trigger]\ntype = \"Webhook\"\npath = \"{path}\"\n\
             [[actions]]\ntype = \"Reply\"\ntext = '${{trigger.webhook.path}} ${{trigger.webhook.headers | json}}'\n"
        );
        std::fs::write(home.join(format!("rules/{name}.toml")), rule).unwrap();
    }
    std::fs::write(home.join("lab.secret"), format!("{SECRET}\n")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(home.join("lab.secret"), mode).unwrap();
    let config = "rules = \"rules\"\n[connectors.connector-opencode]\nbase_url = \"http://127.0.0.1:9\"\n\
                  [webhooks]\nlisten = \"127.0.0.1:0\"\nmax_bytes = 4096\n\
                  [webhooks.paths.\"/hooks/ci\"]\nverify = \"github\"\nsecret = \"env:CI_SECRET\"\n\
                  [webhooks.paths.\"/hooks/svix\"]\nverify = \"standard\"\nsecret = \"env:SVIX_SECRET\"\n\
                  [webhooks.paths.\"/hooks/lab\"]\nverify = \"token\"\nsecret = \"file:lab.secret\"\n\
                  [webhooks.paths.\"/open\"]\nverify = \"none\"\n";
    std::fs::write(home.join("host.toml"), config).unwrap();
    user
}

impl Hooked {
    fn start(user: User) -> Self {
        let mut host = user.start(&["run", "-c", user.home.path().join("host.toml").to_str().unwrap()]);
        let line = host.expect("webhooks are heard at a port");
        let address = line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap();
        let base = format!("http://{address}");
        host.expect("host is running");
        Self { user, host, base }
    }

    /// Ends the host; the user, and all that it logged.
    fn stop(self) -> (User, String) {
        self.host.signal(Signal::TERM);
        let (code, seen) = self.host.finish();
        let seen = seen.join("\n");
        assert_eq!(code, 0, "{seen}");
        (self.user, seen)
    }

    /// A request that is signed by `HOW`: its status, and the answer.
    fn deliver(&self, how: &str, path: &str, secret: &str, id: &str, body: &str) -> (u16, Value) {
        let url = format!("{}{path}", self.base);
        let script = Path::new(CLIENTS).join("deliver.py");
        let said = said(Command::new("python3").arg(script).args([how, &url, secret, id, body]));
        let (status, body) = said.split_once(' ').unwrap();
        (
            status.parse().unwrap(),
            serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {said}")),
        )
    }

    /// What curl is answered: the status, and the answer.
    fn curl(&self, path: &str, more: &[&str]) -> (u16, String) {
        let mut command = Command::new("curl");
        command.args(["--silent", "--max-time", "60", "--write-out", "\n%{http_code}"]).args(more);
        let said = said(command.arg(format!("{}{path}", self.base)));
        let (body, status) = said.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }

    /// A connection that is kept, and how a request on it is answered: empty where it is not taken.
    fn kept(&self, path: &str, header: &str) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(self.base.strip_prefix("http://").unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{header}");
        // Where it is not taken it may be closed by now.
        let _ = stream.write_all(format!("{head}content-length: 2\r\n\r\n{{}}").as_bytes());
        let mut answer = String::new();
        let _ = BufReader::new(&stream).read_line(&mut answer);
        (stream, answer)
    }

    /// The events, newest first, once rules have looked at all of them.
    fn events(&self) -> Vec<Value> {
        let until = Instant::now() + Duration::from_mins(2);
        loop {
            let listed = self.user.run(&["events", "list", "--limit", "1000", "--json"]).json();
            let events = listed.as_array().unwrap().clone();
            let ended = |event: &Value| {
                let runs = event["runs"].as_array().unwrap();
                event["handled"] == true && runs.iter().all(|run| run["state"] != "active")
            };
            if events.iter().all(ended) {
                return events;
            }
            assert!(Instant::now() < until, "rules have not done with all of them: {events:#?}");
        }
    }
}

fn said(command: &mut Command) -> String {
    let ended = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(ended.stdout).unwrap();
    assert!(ended.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&ended.stderr));
    text.trim_end().to_owned()
}

#[test]
fn a_signed_request_fires_its_rule_once_also_after_a_restart_and_no_log_says_what_it_was() {
    let hooked = Hooked::start(user());
    let deliveries = [
        ("github", "/hooks/ci", SECRET, "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
        ("standard", "/hooks/svix", WHSEC, "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("token", "/hooks/lab", SECRET, ""),
    ];
    let all = |hooked: &Hooked| -> Vec<(u16, Value)> {
        let one =
            |(how, path, secret, id): (&str, &str, &str, &str)| hooked.deliver(how, path, secret, id, BODY);
        deliveries.into_iter().map(one).collect()
    };
    let first = all(&hooked);
    let stored = |event: u64, again: bool| json!({ "event": event, "again": again });
    assert_eq!(first, [(201, stored(1, false)), (201, stored(2, false)), (201, stored(3, false))]);
    let again = [(200, stored(1, true)), (200, stored(2, true)), (200, stored(3, true))];
    assert_eq!(all(&hooked), again);
    let events = hooked.events();
    let (user, log) = hooked.stop();
    let hooked = Hooked::start(user);
    assert_eq!(all(&hooked), again);
    assert_eq!(hooked.deliver("github", "/hooks/ci", SECRET, "another", BODY).0, 201);
    let after = hooked.events();
    let (user, later) = hooked.stop();

    assert_eq!((events.len(), after.len()), (3, 4));
    for (event, (name, requester, passed)) in after[1..].iter().rev().zip([
        ("ci", "webhook:/hooks/ci", json!({ "x-github-event": "push" })),
        ("svix", "webhook:/hooks/svix", json!({})),
        ("lab", "webhook:/hooks/lab", json!({ "x-gitlab-event": "Push Hook" })),
    ]) {
        let row = &event["event"];
        assert_eq!(
            (&row["requester"], &row["surface"], &row["chat"]),
            (&json!(requester), &json!("cli"), &json!("main"))
        );
        assert_eq!(row["payload"]["ref"], "refs/heads/quicksilver");
        assert_eq!(row["payload"]["webhook"]["headers"], passed, "{row}");
        let runs = event["runs"].as_array().unwrap();
        assert_eq!(runs.len(), 1, "{event}");
        assert_eq!((&runs[0]["rule"], &runs[0]["state"]), (&json!(name), &json!("succeeded")), "{event}");
    }
    for word in ["quicksilver", "hunter2", &WHSEC[6..]] {
        assert!(!log.contains(word) && !later.contains(word), "{word}: {log}\n{later}");
    }
    assert_eq!(user.run(&["audit", "verify"]).code(), 0);
}

#[test]
fn another_request_under_a_known_id_is_refused_and_told_of_also_after_a_restart() {
    let mut hooked = Hooked::start(user());
    let other = BODY.replace("quicksilver", "mercury");
    let deliveries = [
        ("github", "/hooks/ci", SECRET, 1),
        ("standard", "/hooks/svix", WHSEC, 2),
        ("token", "/hooks/lab", SECRET, 3),
    ];
    let mut first = 201;
    for _ in 0..2 {
        for (how, path, secret, event) in deliveries {
            let deliver = |body: &str| hooked.deliver(how, path, secret, "1", body);
            assert_eq!(deliver(BODY), (first, json!({ "event": event, "again": first == 200 })), "{how}");
            let (status, problem) = deliver(&other);
            assert_eq!((status, &problem["code"]), (409, &json!("conflict")), "{how}: {problem}");
            let told = problem["detail"].as_str().unwrap();
            assert!(told.contains(&format!("the event {event} came under the same id")), "{told}");
            assert_eq!(deliver(BODY).0, 200, "{how}");
        }
        assert_eq!(hooked.events().len(), 3);
        let (user, log) = hooked.stop();
        assert_eq!(log.matches("another request has the id of this event, and is lost").count(), 3, "{log}");
        for word in ["quicksilver", "mercury", "hunter2", &WHSEC[6..]] {
            assert!(!log.contains(word), "{word}: {log}");
        }
        hooked = Hooked::start(user);
        first = 200;
    }
    hooked.stop();
}

#[test]
fn what_is_not_a_right_request_is_answered_with_why_and_stores_nothing() {
    let hooked = Hooked::start(user());
    let json = ["-H", "content-type: application/json"];
    let signed =
        "X-Hub-Signature-256: sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let token = format!("X-Gitlab-Token: {SECRET}");
    let (long, deep) = ("x".repeat(5_000), "[".repeat(2_000));
    // It can be read, and not any more once it is a field of an event.
    let edge = format!("{}{}", "[".repeat(127), "]".repeat(127));
    let with = |more: &[&'static str]| [&json[..], more].concat();
    let lab = |body: &str| {
        let [kind, of] = json;
        vec![kind.to_owned(), of.to_owned(), "-H".to_owned(), token.clone(), "-d".to_owned(), body.to_owned()]
    };
    let owned = |all: Vec<&str>| all.into_iter().map(str::to_owned).collect::<Vec<_>>();
    for (what, path, more, status, code) in [
        ("a wrong signature", "/hooks/ci", owned(with(&["-H", signed, "-d", "{}"])), 401, "unauthorized"),
        ("no signature", "/hooks/ci", owned(with(&["-d", "{}"])), 401, "unauthorized"),
        (
            "two signatures",
            "/hooks/ci",
            owned(with(&["-H", signed, "-H", signed, "-d", "{}"])),
            401,
            "unauthorized",
        ),
        ("another's headers", "/hooks/svix", owned(with(&["-H", signed, "-d", "{}"])), 401, "unauthorized"),
        ("no token", "/hooks/lab", owned(with(&["-d", "{}"])), 401, "unauthorized"),
        (
            "a wrong token",
            "/hooks/lab",
            owned(with(&["-H", "X-Gitlab-Token: hunter2", "-d", "{}"])),
            401,
            "unauthorized",
        ),
        (
            "too much, unsigned",
            "/hooks/ci",
            [owned(with(&["-d"])), vec![long.clone()]].concat(),
            401,
            "unauthorized",
        ),
        (
            "too much, with a wrong token",
            "/hooks/lab",
            [owned(with(&["-H", "X-Gitlab-Token: hunter2", "-d"])), vec![long.clone()]].concat(),
            401,
            "unauthorized",
        ),
        ("too much", "/hooks/lab", lab(&long), 413, "too_large"),
        (
            "too much, in pieces",
            "/hooks/lab",
            [lab(&long), owned(vec!["-H", "transfer-encoding: chunked"])].concat(),
            413,
            "too_large",
        ),
        ("no JSON", "/hooks/lab", lab("{\"a\":"), 400, "invalid_request"),
        ("nothing at all", "/hooks/lab", lab(""), 400, "invalid_request"),
        ("deep JSON", "/hooks/lab", lab(&deep), 400, "invalid_request"),
        ("JSON as deep as can be", "/hooks/lab", lab(&edge), 400, "invalid_request"),
        ("a form", "/open", owned(vec!["-d", "payload=%7B%7D"]), 415, "unsupported_media_type"),
        ("no kind", "/open", owned(vec!["-H", "content-type:", "-d", "{}"]), 415, "unsupported_media_type"),
        (
            "a page",
            "/open",
            owned(with(&["-H", "Origin: http://evil.example", "-d", "{}"])),
            403,
            "not_allowed",
        ),
        ("GET", "/open", owned(vec![]), 405, "method_not_allowed"),
        ("PUT", "/hooks/ci", owned(with(&["-X", "PUT", "-d", "{}"])), 405, "method_not_allowed"),
        ("another path", "/hooks", owned(with(&["-d", "{}"])), 404, "not_found"),
        ("a path below", "/hooks/ci/x", owned(with(&["-d", "{}"])), 404, "not_found"),
        ("a path written otherwise", "/hooks/%63i", owned(with(&["-d", "{}"])), 404, "not_found"),
        ("a path of the API", "/v1/health", owned(vec![]), 404, "not_found"),
    ] {
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let (seen, body) = hooked.curl(path, &more);
        let problem: Value =
            serde_json::from_str(&body).unwrap_or_else(|error| panic!("{what}: {error}: {body}"));
        assert_eq!((seen, problem["code"].as_str().unwrap()), (status, code), "{what}: {body}");
        let names = |detail: &str| detail.contains("hunter2") || detail.to_lowercase().contains("x-");
        assert!(problem["detail"].as_str().is_some_and(|detail| !names(detail)), "{what}: {body}");
    }
    for (how, secret) in
        [("standard-600", WHSEC), ("standard--600", WHSEC), ("standard", "whsec_AAAAAAAAAAAAAAAAAAAAAAAA")]
    {
        let (status, problem) = hooked.deliver(how, "/hooks/svix", secret, "msg_1", BODY);
        assert_eq!((status, problem["code"].as_str()), (401, Some("unauthorized")), "{how}: {problem}");
    }
    assert_eq!(hooked.events(), Vec::<Value>::new());
    // It is none of these that makes it refuse.
    assert_eq!(hooked.curl("/open", &["-H", "content-type: application/json", "-d", "{}"]).0, 201);
    assert_eq!(
        hooked.curl("/hooks/lab?from=there", &lab("[1]").iter().map(String::as_str).collect::<Vec<_>>()).0,
        201
    );
    let events = hooked.events();
    assert_eq!((events.len(), &events[0]["event"]["payload"]["body"]), (2, &json!([1])));
    let (_, told) = hooked.stop();
    assert!(!told.contains("hunter2") && !told.contains("xxxx"), "{told}");
}

#[test]
fn kept_connections_give_way_to_a_new_one_unless_they_carried_a_secret() {
    let header = format!("X-Gitlab-Token: {SECRET}\r\n");
    for (path, header, gives_way) in [("/open", "", true), ("/hooks/lab", &header, false)] {
        let hooked = Hooked::start(user());
        // As many as there are at once.
        let kept: Vec<(TcpStream, String)> = (0..64).map(|_| hooked.kept(path, header)).collect();
        assert!(kept.iter().all(|(_, answer)| answer.starts_with("HTTP/1.1 20")), "{kept:?}");
        let (_, answer) = hooked.kept(path, header);
        assert_eq!(answer.starts_with("HTTP/1.1 200"), gives_way, "{path}: {answer}");
        drop(kept);
        hooked.stop();
    }
}

#[test]
fn no_request_that_a_fuzzer_makes_breaks_a_webhook() {
    let hooked = Hooked::start(user());
    let checks = [
        "--checks",
        "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        "--max-examples",
        "50",
    ];
    let header = format!("X-Gitlab-Token: {SECRET}");
    fuzz(&Path::new(CLIENTS).join("hook.json"), &hooked.base, &header, &checks);
    let events = hooked.events();
    assert!(!events.is_empty() && events.iter().all(|event| event["runs"][0]["rule"] == "lab"), "{events:?}");
    let (user, _) = hooked.stop();
    assert_eq!(user.run(&["audit", "verify"]).code(), 0);
}

#[test]
fn a_webhook_that_cannot_be_checked_or_is_heard_nowhere_is_told_before_it_is_missed() {
    let user = user();
    let path = user.home.path().join("host.toml");
    let right = std::fs::read_to_string(&path).unwrap();
    let at = path.to_str().unwrap();
    let told = |user: &User, config: &str| {
        std::fs::write(&path, config).unwrap();
        let check = user.run(&["config", "check", "-c", at]);
        let doctor = user.run(&["doctor", "-c", at]);
        (check.code(), check.text(), doctor.text())
    };
    let (code, check, doctor) = told(&user, &right);
    assert_eq!(code, 0, "{check}");
    assert!(doctor.contains("/open takes what anybody sends who reaches its port"), "{doctor}");
    let unheard = right.replace("listen = \"127.0.0.1:0\"\n", "");
    let unknown = right.replace("[webhooks.paths.\"/hooks/ci\"]", "[webhooks.paths.\"/hooks/cd\"]");
    for (config, words) in [
        (
            unheard,
            "the rule ci waits for requests to /hooks/ci that nothing takes: [webhooks] has no `listen`",
        ),
        (unknown, "there is no [webhooks.paths.\"/hooks/ci\"] that says how a request is checked"),
    ] {
        let (code, check, doctor) = told(&user, &config);
        assert_eq!(code, 1, "{check}");
        assert!(check.contains(words) && doctor.contains(words), "{check}\n{doctor}");
        let mut host = user.start(&["run", "-c", at]);
        host.expect(words);
        host.expect("host is running");
        host.signal(Signal::TERM);
        assert_eq!(host.wait(), 0);
    }
    for (config, words) in [
        (right.replace("secret = \"env:CI_SECRET\"\n", ""), "there is no `secret`"),
        (right.replace("env:CI_SECRET", "env:NOBODY_SET_IT"), "NOBODY_SET_IT, which is not set"),
        (right.replace("file:lab.secret", "file:rules/ci.toml"), "make it yours alone with chmod 600"),
    ] {
        let (code, check, doctor) = told(&user, &config);
        assert_eq!(code, 1, "{check}");
        assert!(check.contains(words) && doctor.contains(words), "{check}\n{doctor}");
        let host = user.run(&["run", "-c", at]);
        assert!(host.code() == 2 && host.text().contains(words), "{}", host.text());
    }
    for (config, words) in [
        (right.replace("env:CI_SECRET", SECRET), "is named and not written here"),
        (right.replace("127.0.0.1:0", "0.0.0.0:0"), "it is served on this machine only"),
        (right.replace("verify = \"none\"", "verify = \"nothing\""), "expected one of `github`"),
        (right.replace("max_bytes = 4096", "max_bytes = 0"), "`webhooks.max_bytes` takes 1 to"),
    ] {
        let (code, check, _) = told(&user, &config);
        assert!(code == 1 && check.contains(words) && !check.contains("hunter2"), "{check}");
    }
}
