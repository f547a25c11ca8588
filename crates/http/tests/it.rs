//! The connector at servers: Python's, and one that breaks off as no server should.

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

fn breaking(how: Breaks) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let origin = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        let _ = stream.read(&mut head);
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
    origin
}

#[tokio::test]
async fn what_may_have_been_done_is_never_said_to_be_undone() {
    let post = json!({ "method": "POST", "path": "/x", "body": { "a": 1 } });
    for how in [Breaks::Unanswered, Breaks::Midway, Breaks::Silent] {
        for (action, input, consequence) in [
            ("request", post.clone(), Consequence::Unknown),
            ("get", json!({ "path": "/x" }), Consequence::NothingStarted),
        ] {
            let origin = breaking(how);
            let http = connector(&origin, json!({ "timeout_secs": 1 })).await;
            let error = http.execute(action, input, &context(&origin)).await.unwrap_err();
            assert_eq!(error.consequence(), consequence, "{how:?} {action}: {error}");
        }
    }
    // One that is cancelled was stopped, whatever came of it.
    let origin = breaking(Breaks::Silent);
    let http = connector(&origin, json!({})).await;
    let cancelled = context(&origin);
    let cancel = cancelled.cancel.clone();
    let (error, ()) = tokio::join!(http.execute("request", post.clone(), &cancelled), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
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
        ("request", json!({ "path": "/", "method": "GET" }), "method"),
        ("request", json!({ "path": "/" }), "method"),
        ("request", json!({ "path": "/", "method": "POST", "body": "more than ten" }), "sent_bytes"),
        ("patch", json!({ "path": "/" }), "patch"),
    ] {
        let error = http.check(action, &input).unwrap_err().to_string();
        assert!(error.contains(named), "{action} {input}: {error}");
    }
}
