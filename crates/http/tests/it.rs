//! The connector at servers: Python's, and one that breaks off as no server should.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use connector_contract::ask::RejectAsks;
use connector_contract::{
    Connector, ConnectorError, ConnectorFactory as _, Consequence, Context, Grant, NoCheckpoints,
    OutboundHttp, Provenance, Reach, progress_channel,
};
use connector_http::HttpFactory;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Python's own server of a directory.
struct Python {
    process: Child,
    origin: String,
}

impl Python {
    fn serve(directory: &Path) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a server that nobody here wrote")]
        let mut process = Command::new("python3")
            .args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "0"])
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let port = said.split("port ").nth(1).unwrap().split(' ').next().unwrap();
        Self { origin: format!("http://127.0.0.1:{port}"), process }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn connector(origin: &str, more: Value) -> Box<dyn Connector> {
    let mut config = json!({ "base_url": origin });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    HttpFactory.create(config).await.unwrap()
}

fn context(origin: &str) -> Context {
    let grant = Grant::new(origin.parse().unwrap(), Reach::Loopback).unwrap();
    let (progress, _updates) = progress_channel(1);
    Context {
        http: OutboundHttp::new([grant]).unwrap(),
        deadline: Instant::now() + Duration::from_mins(1),
        cancel: CancellationToken::new(),
        progress,
        asks: Arc::new(RejectAsks),
        checkpoints: Arc::new(NoCheckpoints),
        resume: None,
        provenance: Provenance::Local,
        approved: None,
    }
}

#[tokio::test]
async fn what_pythons_server_answers_is_told_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("a.json", r#"{"a":[1,2]}"#);
    write("long.json", &format!("\"{}\"", "x".repeat(100)));
    write("text.txt", "caf\u{e9}\n");
    std::fs::create_dir(directory.path().join("below")).unwrap();
    let python = Python::serve(directory.path());
    let http = connector(&python.origin, json!({ "limits": { "body_bytes": 50 } })).await;
    let post = json!({ "method": "POST", "path": "/a.json", "body": {} });
    for (action, input, status, success, body) in [
        ("get", json!({ "path": "/a.json?x=%20" }), 200, true, Some(json!({ "a": [1, 2] }))),
        ("get", json!({ "path": "/text.txt" }), 200, true, Some(json!("caf\u{e9}\n"))),
        ("get", json!({ "path": "/none" }), 404, false, None),
        // It is not followed.
        ("get", json!({ "path": "/below" }), 301, false, Some(json!(""))),
        ("request", post, 501, false, None),
    ] {
        let result = http.execute(action, input.clone(), &context(&python.origin)).await.unwrap();
        assert_eq!((&result.output["status"], result.success), (&json!(status), success), "{input}");
        if let Some(body) = body {
            assert_eq!(result.output["body"], body, "{input}");
        }
    }
    let long = http.execute("get", json!({ "path": "/long.json" }), &context(&python.origin)).await.unwrap();
    assert_eq!(long.output["truncated"], true);
    assert_eq!(long.output["body"].as_str().unwrap().len(), 50);
}

#[tokio::test]
async fn nothing_is_sent_anywhere_else() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let other = format!("http://127.0.0.1:{}", elsewhere.local_addr().unwrap().port());
    let python = Python::serve(directory.path());
    let leads_there =
        answering(&format!("HTTP/1.1 302 Found\r\nlocation: {other}/\r\ncontent-length: 0\r\n\r\n"));
    let http = connector(&leads_there.0, json!({})).await;
    let answer = http.execute("get", json!({ "path": "/" }), &context(&leads_there.0)).await.unwrap();
    assert_eq!((answer.success, &answer.output["status"]), (false, &json!(302)));
    let http = connector(&python.origin, json!({})).await;
    let refused = http.execute("get", json!({ "path": "/" }), &context(&other)).await.unwrap_err();
    assert!(matches!(refused, ConnectorError::CapabilityDenied { .. }), "{refused}");
    // Two slashes are a path of the same server.
    for (path, taken) in [("//evil.example/", true), ("/../x", false), ("@evil.example/", false)] {
        let input = json!({ "path": path });
        assert_eq!(http.check("get", &input).is_ok(), taken, "{path}");
        assert_eq!(http.execute("get", input, &context(&python.origin)).await.is_ok(), taken, "{path}");
    }
    elsewhere.set_nonblocking(true).unwrap();
    assert!(elsewhere.accept().is_err(), "nobody came");
}

/// A server that says this, and the head of what it was asked.
fn answering(says: &str) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let origin = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let (tell, asked) = std::sync::mpsc::channel();
    let says = says.to_owned();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        while lines.read_line(&mut head).unwrap() > 2 {}
        let _ = tell.send(head);
        let _ = lines.get_mut().write_all(says.as_bytes());
    });
    (origin, asked)
}

fn ok_of_json(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
}

#[tokio::test]
async fn a_request_carries_what_is_configured_and_shown_and_nothing_else() {
    let (origin, asked) = answering(&ok_of_json("{}"));
    let settings = json!({
        "authorization": "Bearer hunter2-hunter2", "headers": { "x-client": "host" }, "secret_headers": { "x-api-key": "k" },
    });
    let http = connector(&origin, settings).await;
    let input = json!({
        "method": "POST", "path": "/a/{b}", "params": { "b": "c d" }, "query": { "q": "\u{fc}&" }, "body": { "e": 1 },
    });
    http.execute("request", input, &context(&origin)).await.unwrap();
    let head = asked.recv().unwrap();
    let mut lines: Vec<&str> = head.trim_end().lines().collect();
    assert_eq!(lines.remove(0), "POST /a/c%20d?q=%C3%BC%26 HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {}", origin.trim_start_matches("http://"));
    let mut wanted = [
        "accept: application/json, */*;q=0.5",
        "authorization: Bearer hunter2-hunter2",
        "content-length: 7",
        "content-type: application/json",
        &host,
        "x-api-key: k",
        "x-client: host",
    ];
    wanted.sort_unstable();
    assert_eq!(lines, wanted);
}

#[tokio::test]
async fn an_answer_is_kept_without_the_instances_secrets_and_only_as_deep_as_a_host_reads() {
    let settings =
        json!({ "authorization": "Bearer hunter2-hunter2", "secret_headers": { "x-key": "sesame-sesame" } });
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    for (body, kept) in [
        (
            r#"{"h":{"authorization":"Bearer hunter2-hunter2"},"k":"sesame-sesame","x":"hunter2-hunter2"}"#,
            json!({ "h": { "authorization": "***" }, "k": "***", "x": "***" }),
        ),
        (&*deep, json!(deep)),
        (r#"{"k":"sesame\u002dsesame","sesame-sesame":1}"#, json!({ "k": "***", "***": 1 })),
        ("[[1]]", json!([[1]])),
        ("{", json!("{")),
    ] {
        let (origin, _asked) = answering(&ok_of_json(body));
        let http = connector(&origin, settings.clone()).await;
        let answer = http.execute("get", json!({ "path": "/" }), &context(&origin)).await.unwrap();
        assert_eq!(answer.output["body"], kept);
    }
    // Nor is its beginning, where the answer is cut.
    let (origin, _asked) = answering(&ok_of_json("[\"sesame-sesame\"]"));
    let mut short = settings.clone();
    short["limits"] = json!({ "body_bytes": 12 });
    let http = connector(&origin, short).await;
    let answer = http.execute("get", json!({ "path": "/" }), &context(&origin)).await.unwrap();
    assert_eq!((&answer.output["truncated"], &answer.output["body"]), (&json!(true), &json!("[\"***")));
    // What it did before it said so, nobody knows: it is an answer like any other.
    let (origin, _asked) = answering("HTTP/1.1 401 Unauthorized\r\ncontent-length: 3\r\n\r\nwhy");
    let http = connector(&origin, settings).await;
    let input = json!({ "method": "POST", "path": "/" });
    let answer = http.execute("request", input, &context(&origin)).await.unwrap();
    assert_eq!((answer.success, &answer.output["body"]), (false, &json!("why")));
    assert!(
        answer.message.contains("authorization") && !answer.message.contains("hunter2"),
        "{}",
        answer.message
    );
}

/// How a server breaks off.
#[derive(Debug, Clone, Copy)]
enum Breaks {
    /// It reads the request and closes.
    Unanswered,
    /// It answers with less than it said.
    Midway,
    /// It reads the request and says nothing.
    Silent,
}

fn breaking(how: Breaks) -> (String, tokio::sync::oneshot::Receiver<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let origin = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let (tell, asked) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        let _ = stream.read(&mut head);
        let _ = tell.send(());
        match how {
            Breaks::Unanswered => {}
            Breaks::Midway => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhalf");
            }
            Breaks::Silent => {
                let _ = stream.read_to_end(&mut Vec::new());
            }
        }
    });
    (origin, asked)
}

#[tokio::test]
async fn what_may_have_been_done_is_never_said_to_be_undone() {
    let post = json!({ "method": "POST", "path": "/x", "body": { "a": 1 } });
    for how in [Breaks::Unanswered, Breaks::Midway, Breaks::Silent] {
        for (action, input, consequence) in [
            ("request", post.clone(), Consequence::Unknown),
            ("get", json!({ "path": "/x" }), Consequence::NothingStarted),
        ] {
            let (origin, _asked) = breaking(how);
            let http = connector(&origin, json!({ "timeout_secs": 1 })).await;
            let error = http.execute(action, input, &context(&origin)).await.unwrap_err();
            assert_eq!(error.consequence(), consequence, "{how:?} {action}: {error}");
        }
    }
    // One that is cancelled was stopped, whatever came of it.
    let (origin, asked) = breaking(Breaks::Silent);
    let http = connector(&origin, json!({})).await;
    let cancelled = context(&origin);
    let cancel = cancelled.cancel.clone();
    let (error, ()) = tokio::join!(http.execute("request", post.clone(), &cancelled), async {
        asked.await.unwrap();
        cancel.cancel();
    });
    assert_eq!(error.unwrap_err().consequence(), Consequence::Stopped);
    // Nobody listens: nothing was sent.
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let origin = format!("http://127.0.0.1:{gone}");
    let http = connector(&origin, json!({})).await;
    let error = http.execute("request", post, &context(&origin)).await.unwrap_err();
    assert_eq!(error.consequence(), Consequence::NothingStarted, "{error}");
}

#[tokio::test]
async fn an_input_that_cannot_be_meant_is_refused_by_what_it_names() {
    let http = connector("http://127.0.0.1:1", json!({ "limits": { "sent_bytes": 10 } })).await;
    for (action, input, named) in [
        ("get", json!({}), "path"),
        ("get", json!({ "path": "x" }), "path"),
        ("get", json!({ "path": "/", "method": "POST" }), "method"),
        ("request", json!({ "path": "/", "method": "TRACE" }), "method"),
        ("request", json!({ "path": "/", "method": "GET", "body": {} }), "body"),
        ("get", json!({ "path": "/a/../b" }), "path"),
        ("get", json!({ "path": "/{id}", "params": { "id": "../x" } }), "path"),
        ("request", json!({ "path": "/" }), "method"),
        ("request", json!({ "path": "/", "method": "POST", "body": ["more than ten"] }), "sent_bytes"),
        ("patch", json!({ "path": "/" }), "patch"),
    ] {
        let error = http.check(action, &input).unwrap_err().to_string();
        assert!(error.contains(named), "{action} {input}: {error}");
    }
}
