//! A second connector, at a server from the registry: a rule's request is a card, and what is approved is done.

#![expect(clippy::disallowed_methods, reason = "a server is started here, and what comes of it polled for")]

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use crate::terminal::{Terminal, User, processes_below};

#[path = "../../examples/own_host.rs"]
#[expect(dead_code, reason = "its `main` is for the command line")]
mod own_host;

/// Keeps what it is sent in a file, as REST has it.
const SERVER: &str = "json-server@0.17.4";

const RULES: &str = r#"
[rule]
name = "note"
[trigger]
type = "ConnectorEvent"
connector = "connector-telegram"
event = "message_received"
[[conditions]]
type = "FieldMatches"
field = "trigger.text"
pattern = '^/note\s'
[[actions]]
type = "RunConnector"
connector = "notes"
action = "request"
[actions.params]
method = "POST"
path = "/notes"
body = { text = '${trigger.text | strip_prefix("/note") | trim}' }
[[actions]]
type = "RunConnector"
connector = "notes"
action = "get"
[actions.params]
path = "/notes/{note}"
params = { note = "${step1.output.body.id}" }
"#;

const FORGET: &str = r#"
[rule]
name = "forget"
[trigger]
type = "ConnectorEvent"
connector = "connector-telegram"
event = "message_received"
[[conditions]]
type = "FieldMatches"
field = "trigger.text"
pattern = '^/forget\s'
[[actions]]
type = "RunConnector"
connector = "notes"
action = "request"
[actions.params]
method = "DELETE"
path = "/notes/{note}"
params = { note = '${trigger.text | strip_prefix("/forget") | trim}' }
"#;

/// A server of notes.
struct Server {
    process: Child,
    port: u16,
    file: PathBuf,
}

impl Server {
    fn start(directory: &Path) -> Self {
        let file = directory.join("notes.json");
        std::fs::write(&file, json!({ "notes": [] }).to_string()).unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let process = Command::new(crate::configuration::npm(SERVER, "json-server"))
            .args(["--host", "127.0.0.1", "--quiet", "--port", &port.to_string()])
            .arg(&file)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { process, port, file };
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(began.elapsed() < Duration::from_mins(1), "the server does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    fn notes(&self) -> Value {
        let text = std::fs::read_to_string(&self.file).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["notes"].take()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A host with an instance called `notes`.
struct Notes {
    user: User,
    server: Server,
    host: Terminal,
}

impl Notes {
    fn start(isolation: &str) -> Self {
        let user = User::new().with_variable("NOTES_TOKEN", "Bearer hunter2-hunter2");
        let home = user.home.path();
        let directory = home.join("server");
        std::fs::create_dir(&directory).unwrap();
        let server = Server::start(&directory);
        std::fs::create_dir(home.join("rules")).unwrap();
        std::fs::write(home.join("rules/note.toml"), RULES).unwrap();
        std::fs::write(home.join("rules/forget.toml"), FORGET).unwrap();
        let config = format!(
            "rules = \"rules\"\n[gate]\napprovers = [\"cli:{}\"]\n\
             [connectors.notes]\nuse = \"connector-http\"\nbase_url = \"http://127.0.0.1:{}\"\n\
             authorization = \"env:NOTES_TOKEN\"\nheaders = {{ x-client = \"host\" }}\nisolation = \"{isolation}\"\n",
            whoami::username().unwrap(),
            server.port,
        );
        let file = home.join("host.toml");
        std::fs::write(&file, config).unwrap();
        let mut host = user.start(&["run", "-c", file.to_str().unwrap()]);
        host.expect("host is running");
        Self { user, server, host }
    }

    fn send(&mut self, id: &str, text: &str) {
        let sent = self.user.run(&["send", "--as", "connector-telegram", "--id", id, text]);
        assert_eq!(sent.code(), 0, "{}", sent.text());
        self.host.expect("waits for approval");
    }

    fn approve(&mut self, step: &str) {
        let approved = self.user.run(&["approvals", "approve", step]);
        assert_eq!(approved.code(), 0, "{}", approved.text());
    }

    /// The run, once it has ended.
    fn run(&self, id: &str) -> Value {
        let began = Instant::now();
        loop {
            let run = self.user.run(&["runs", "show", id, "--json"]).json();
            if run["run"]["state"] != "active" {
                return run;
            }
            assert!(began.elapsed() < Duration::from_mins(1), "{run}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn end(mut self) {
        self.host.signal(rustix::process::Signal::TERM);
        assert_eq!(self.host.wait(), 0);
        let seen = self.host.seen.join("\n");
        assert!(!seen.contains("hunter2"), "{seen}");
        drop(self.server);
        assert_eq!(processes_below(self.user.home.path()), []);
    }
}

fn a_request_is_a_card_and_is_sent_once_it_is_approved(isolation: &str) {
    let mut notes = Notes::start(isolation);
    notes.send("m1", "/note buy milk");
    let card = notes.user.run(&["approvals", "show", "1.1"]).text();
    for shown in ["POST", "/notes", "buy milk", "x-client", &format!("127.0.0.1:{}", notes.server.port)] {
        assert!(card.contains(shown), "{shown}: {card}");
    }
    for (what, of_agents) in [("model", "model "), ("agent", "agent "), ("directory", "directory ")] {
        assert!(!card.contains(of_agents), "no {what} has to do with it: {card}");
    }
    assert!(!card.contains("hunter2"), "{card}");
    assert_eq!(notes.server.notes(), json!([]), "nothing is sent before it is approved");

    notes.approve("1.1");
    notes.host.expect("succeeded");
    assert_eq!(notes.server.notes(), json!([{ "text": "buy milk", "id": 1 }]));
    let run = notes.run("1");
    assert_eq!(run["run"]["state"], "succeeded", "{run}");
    assert_eq!(run["steps"][0]["output"]["status"], 201);
    assert_eq!(run["steps"][0]["output"]["reply"], "POST /notes: 201 Created");
    // It changes nothing, so that nobody is asked about it.
    assert_eq!(run["steps"][1]["decided_by"], Value::Null);
    assert_eq!(run["steps"][1]["output"]["body"], json!({ "text": "buy milk", "id": 1 }));
    assert!(!run.to_string().contains("hunter2"), "{run}");
    notes.end();
}

#[tokio::test]
async fn a_request_is_a_card_and_is_sent_once_it_is_approved_in_process() {
    tokio::task::spawn_blocking(|| a_request_is_a_card_and_is_sent_once_it_is_approved("in-process"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_request_is_a_card_and_is_sent_once_it_is_approved_within_walls() {
    tokio::task::spawn_blocking(|| a_request_is_a_card_and_is_sent_once_it_is_approved("process"))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_the_server_refuses_or_never_got_is_a_failed_step() {
    tokio::task::spawn_blocking(|| {
        let mut notes = Notes::start("process");
        notes.send("m1", "/forget 7");
        notes.approve("1.1");
        let run = notes.run("1");
        assert_eq!(run["run"]["state"], "failed", "{run}");
        let answer = &run["steps"][0]["output"];
        assert_eq!(
            (&answer["status"], &answer["body"]),
            (&json!(404), &json!({})),
            "its answer is kept: {run}"
        );

        notes.send("m2", "/note one");
        notes.server.process.kill().unwrap();
        notes.server.process.wait().unwrap();
        notes.approve("2.1");
        let run = notes.run("2");
        assert_eq!(run["steps"][0]["consequence"], "nothing_started", "{run}");
        let reason = run["steps"][0]["reason"].as_str().unwrap();
        assert_eq!(reason.matches("cannot connect").count(), 1, "said once: {reason}");
        notes.end();
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_host_of_ones_own_is_a_rule_a_connector_and_a_surface() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().to_owned();
    let server = tokio::task::spawn_blocking(move || Server::start(&directory)).await.unwrap();
    let origin = format!("http://127.0.0.1:{}", server.port);
    let (mut typed, input) = tokio::io::duplex(1_000);
    let input: Box<dyn AsyncBufRead + Send + Unpin> = Box::new(BufReader::new(input));
    let state = place.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let ledger = state.join("ledger.sqlite");
    let host = tokio::spawn(async move {
        own_host::run(&origin, &state, input.lines()).await.map_err(|it| it.to_string())
    });

    typed.write_all(b"y\nbuy milk\n").await.unwrap();
    let until = |sql: &'static str| {
        let ledger = ledger.clone();
        async move {
            let began = Instant::now();
            while !ledger.exists() || crate::database::value::<u32>(&ledger, sql) == 0 {
                assert!(began.elapsed() < Duration::from_mins(1), "{sql}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    until("SELECT count(*) FROM steps WHERE state = 'waiting' AND delivered_at IS NOT NULL").await;
    assert_eq!(server.notes(), json!([]), "nothing is sent before it is approved");
    typed.write_all(b"y\n").await.unwrap();
    until("SELECT count(*) FROM runs WHERE state = 'succeeded'").await;
    assert_eq!(server.notes(), json!([{ "text": "buy milk", "id": 1 }]));
    typed.write_all(b"y\n").await.unwrap();
    drop(typed);
    host.await.unwrap().unwrap();
    let lines: String =
        crate::database::value(&ledger, "SELECT group_concat(payload ->> 'text') FROM events");
    assert_eq!(lines, "buy milk", "a `y` is no note, whether a card waits or not");
}
