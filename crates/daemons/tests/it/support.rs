//! Programs to start, and what they leave behind.

pub(crate) mod inside;
pub(crate) mod upstream;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use opencode_daemons::{Environment, Spec};

/// A program beside these tests.
pub(crate) fn program(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/programs").join(name)
}

/// A daemon-to-be that runs one of these programs in `directory`.
pub(crate) fn spec(name: &str, directory: &std::path::Path) -> Spec {
    let mut spec = Spec::new(program(name), directory, Environment::of_this_process());
    spec.startup_limit = Duration::from_mins(1);
    spec.stop_grace = Duration::from_secs(10);
    spec
}

/// The same with a variable that the program gets.
pub(crate) fn with(mut spec: Spec, name: &str, value: &str) -> Spec {
    spec.pass.push(name.to_owned());
    spec.environment = spec.environment.with(name, value);
    spec
}

/// The running processes whose environment holds `NAME=value`.
pub(crate) fn processes_with(name: &str, value: &str) -> Vec<u32> {
    let wanted = format!("{name}={value}");
    let carries = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()))
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(carries).collect()
}

/// Waits for a condition, up to half a minute.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A listener that answers 200 to everything and remembers what it was told.
pub(crate) struct Stranger {
    pub(crate) port: u16,
    heard: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Stranger {
    pub(crate) async fn on(port: u16) -> Self {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = std::sync::Arc::<std::sync::Mutex<Vec<u8>>>::default();
        let memory = std::sync::Arc::clone(&heard);
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = [0; 4096];
                let read = stream.read(&mut buffer).await.unwrap_or(0);
                memory.lock().unwrap().extend_from_slice(&buffer[..read]);
                let body = r#"{"healthy":true,"version":"1.18.33"}"#;
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { port, heard, task }
    }

    pub(crate) fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap()).into_owned()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs one prompt in a new session of a real daemon; the answer of the prompt's POST.
pub(crate) async fn prompt(daemon: &testkit::RealDaemon, text: &str) -> serde_json::Value {
    prompt_at(&daemon.base_url(), &daemon.password(), text).await
}

/// Runs one prompt, whose first answer is a tool, in a new session of a real daemon of any generation.
pub(crate) async fn run(daemon: &testkit::RealDaemon, text: &str) {
    if daemon.generation() == testkit::fake::Generation::V1 {
        prompt(daemon, text).await;
        return;
    }
    let (address, password) = (daemon.base_url(), daemon.password());
    begin_at(&address, &password, &daemon.directory(), text).await;
    let told = |seen: &[testkit::model::Seen]| seen.iter().any(|it| it.tools_done > 0);
    assert!(daemon.model().wait_for(Duration::from_mins(2), told).await, "the tool was run");
}

/// The same at an address and in a directory that it is told, of 2.x without waiting for the tool.
pub(crate) async fn run_in(
    (address, password): (&str, &secrecy::SecretString),
    generation: testkit::fake::Generation,
    directory: &std::path::Path,
    text: &str,
) {
    if generation == testkit::fake::Generation::V2 {
        begin_at(address, password, directory, text).await;
        return;
    }
    let place = format!("?directory={}", directory.display());
    let session = post(address, password, &format!("/session{place}"), "{}").await;
    let body = serde_json::json!({ "parts": [{ "type": "text", "text": text }] }).to_string();
    let path = format!("/session/{}/message{place}", session["id"].as_str().unwrap());
    post(address, password, &path, &body).await;
}

/// Sends a daemon of 2.x a prompt.
async fn begin_at(address: &str, password: &secrecy::SecretString, directory: &std::path::Path, text: &str) {
    let place = serde_json::json!({ "location": { "directory": directory } }).to_string();
    let session = post(address, password, "/api/session", &place).await;
    let path = format!("/api/session/{}/prompt", session["data"]["id"].as_str().unwrap());
    post(address, password, &path, &serde_json::json!({ "text": text }).to_string()).await;
}

/// The same with a model of this provider.
pub(crate) async fn prompt_with(
    daemon: &testkit::RealDaemon,
    text: &str,
    (provider, model): (&str, &str),
) -> serde_json::Value {
    let (address, password) = (daemon.base_url(), daemon.password());
    let session = post(&address, &password, "/session", "{}").await;
    let model = serde_json::json!({ "providerID": provider, "modelID": model });
    let body = serde_json::json!({ "parts": [{ "type": "text", "text": text }], "model": model }).to_string();
    post(&address, &password, &format!("/session/{}/message", session["id"].as_str().unwrap()), &body).await
}

/// The same at an address.
pub(crate) async fn prompt_at(
    address: &str,
    password: &secrecy::SecretString,
    text: &str,
) -> serde_json::Value {
    let session = post(address, password, "/session", "{}").await;
    let body = serde_json::json!({ "parts": [{ "type": "text", "text": text }] }).to_string();
    post(address, password, &format!("/session/{}/message", session["id"].as_str().unwrap()), &body).await
}

async fn post(address: &str, password: &secrecy::SecretString, path: &str, body: &str) -> serde_json::Value {
    use http_body_util::{BodyExt, Full};
    let token = format!("opencode:{}", secrecy::ExposeSecret::expose_secret(password));
    let request = http::Request::post(path)
        .header("host", address.trim_start_matches("http://"))
        .header("content-type", "application/json")
        .header("authorization", format!("Basic {}", data_encoding::BASE64.encode(token.as_bytes())))
        .body(Full::new(bytes::Bytes::from(body.to_owned())))
        .unwrap();
    #[expect(clippy::disallowed_methods, reason = "tests speak to what they started themselves")]
    let stream = tokio::net::TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap()
}
