//! A plain HTTP client for the tests: JSON in, JSON out.

use std::path::Path;

use serde_json::{Value, json};
use testkit::RealDaemon;

/// The status and the JSON body of an answer; a body that is no JSON is a string.
pub(crate) async fn call(
    method: reqwest::Method,
    url: &str,
    password: Option<&str>,
    body: Option<&Value>,
) -> (u16, Value) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    #[expect(clippy::disallowed_methods, reason = "tests speak to what they started themselves")]
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.request(method, url);
    if let Some(password) = password {
        request = request.basic_auth("opencode", Some(password));
    }
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Runs one prompt in a new session in `directory`; the answer of the prompt's POST.
pub(crate) async fn prompt(daemon: &RealDaemon, directory: &Path, text: &str) -> (u16, Value) {
    let session = session(daemon, directory).await;
    say(daemon, directory, &session, text).await
}

pub(crate) async fn session(daemon: &RealDaemon, directory: &Path) -> String {
    let url = format!("{}/session?directory={}", daemon.base_url(), directory.display());
    let (status, session) = post(daemon, &url, &json!({})).await;
    assert_eq!(status, 200, "{session}");
    session["id"].as_str().unwrap().to_owned()
}

pub(crate) async fn say(daemon: &RealDaemon, directory: &Path, session: &str, text: &str) -> (u16, Value) {
    let url = format!("{}/session/{session}/message?directory={}", daemon.base_url(), directory.display());
    post(daemon, &url, &json!({ "parts": [{ "type": "text", "text": text }] })).await
}

async fn post(daemon: &RealDaemon, url: &str, body: &Value) -> (u16, Value) {
    use secrecy::ExposeSecret;
    let password = daemon.password();
    call(reqwest::Method::POST, url, Some(password.expose_secret()), Some(body)).await
}

/// The texts of a message's parts.
pub(crate) fn reply(message: &Value) -> String {
    let parts = message["parts"].as_array().unwrap();
    parts.iter().filter(|part| part["type"] == "text").filter_map(|part| part["text"].as_str()).collect()
}
