//! The model proxy before providers that only look real.

use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use axum::routing::{any, post};
use connector_egress::Record;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{models, say, upstream};

fn posted(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer token\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn the_provider_gets_its_key_and_the_client_never_sees_it() {
    let echo = |headers: HeaderMap, body: String| async move {
        let shown = headers["authorization"].to_str().unwrap().to_owned();
        ([("x-said", shown.clone())], format!("{shown} {body}"))
    };
    let upstream = upstream(axum::Router::new().route("/v1/chat", post(echo))).await;
    let proxy = models(&[("a", format!("http://{upstream}/v1"))], None);
    let answer = say(proxy.address, &posted("/a/chat", "hello")).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("Bearer *********** hello"),
        "{answer}"
    );
    assert!(answer.contains("x-said: [secret]") && !answer.contains("sk-real-key"), "{answer}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_an_unreachable_provider_is_named() {
    let away = any(|| async { axum::response::Redirect::temporary("http://127.0.0.1:1/stolen") });
    let upstream = upstream(axum::Router::new().route("/v1/chat", away)).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = models(&[("a", format!("http://{upstream}/v1")), ("b", format!("http://{closed}/v1"))], None);
    let answer = say(proxy.address, &posted("/a/chat", "")).await;
    assert!(answer.starts_with("HTTP/1.1 307"), "{answer}");
    let answer = say(proxy.address, &posted("/b/chat", "")).await;
    assert!(
        answer.starts_with("HTTP/1.1 502") && answer.contains("the model provider at 127.0.0.1"),
        "{answer}"
    );
    for (request, status) in [
        (posted("/a/chat", "").replace("Bearer token", "Bearer wrong"), "401"),
        (posted("/c/chat", ""), "404"),
        (posted("/a/../x", ""), "400"),
        (posted("/a/chat", "").replace("POST", "DELETE"), "405"),
        (posted("/a/realtime/client_secrets", "{}"), "403"),
    ] {
        let answer = say(proxy.address, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains("egress_proxy"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn events_pass_as_they_come_and_are_counted() {
    use futures_util::{StreamExt as _, stream};
    let (go_on, waits) = tokio::sync::watch::channel(false);
    let events = move || {
        let mut waits = waits.clone();
        let second = async move {
            waits.wait_for(|go_on| *go_on).await.unwrap();
            Ok::<_, std::io::Error>("data: {\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n")
        };
        let body = stream::once(async { Ok("data: one\n\n") }).chain(stream::once(second));
        async { ([("content-type", "text/event-stream")], axum::body::Body::from_stream(body)) }
    };
    let upstream = upstream(axum::Router::new().route("/v1/chat", post(events))).await;
    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().join("record");
    let proxy = models(&[("a", format!("http://{upstream}/v1"))], Some(&record));
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(posted("/a/chat", "{\"model\":\"m\"}").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains("data: one") {
        assert!(
            stream.read_buf(&mut answer).await.unwrap() > 0,
            "the first event came before the second was made"
        );
    }
    go_on.send_replace(true);
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("completion_tokens"));
    let begun = Instant::now();
    let used = loop {
        if let Some(used) = Record::read(&record).unwrap().usage.get("a/m") {
            break *used;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing was recorded");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!((used.requests, used.input, used.output), (1, 5, 2));
}

#[tokio::test]
async fn a_head_without_an_end_is_bounded() {
    let proxy = models(&[], None);
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(1 << 20));
    let answer = say(proxy.address, &long).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    let many = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect::<Vec<_>>().concat();
    let answer = say(proxy.address, &format!("GET / HTTP/1.1\r\n{many}\r\n")).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn what_asks_no_model_goes_nowhere_and_is_recorded() {
    let upstream = upstream(axum::Router::new().fallback(any(|| async { "reached" }))).await;
    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().join("record");
    let proxy = models(&[("a", format!("http://{upstream}/v1"))], Some(&record));
    let answer = say(proxy.address, &posted("/a/responses", "{}")).await;
    assert!(answer.ends_with("reached"), "{answer}");
    let answer = say(proxy.address, &posted("/a/realtime/client_secrets?x=y", "{}")).await;
    assert!(answer.starts_with("HTTP/1.1 403") && !answer.contains("reached"), "{answer}");
    let begun = Instant::now();
    loop {
        let refusals = Record::read(&record).unwrap().refusals;
        if let Some(refused) = refusals.get("POST /a/realtime/client_secrets") {
            assert_eq!((refusals.len(), refused.times), (1, 1));
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{refusals:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_stream_is_asked_for_its_usage_and_a_provider_that_does_not_know_how_gets_the_clients_words() {
    let told = |body: String| async move { body };
    let knows = upstream(axum::Router::new().route("/v1/chat/completions", post(told))).await;
    let picky = |body: String| async move {
        if body.contains("stream_options") {
            return (
                axum::http::StatusCode::UNPROCESSABLE_ENTITY,
                "extra inputs are not permitted".to_owned(),
            );
        }
        (axum::http::StatusCode::OK, body)
    };
    let picky = upstream(axum::Router::new().route("/v1/chat/completions", post(picky))).await;
    let proxy = models(&[("a", format!("http://{knows}/v1")), ("b", format!("http://{picky}/v1"))], None);
    let asked = r#"{"stream":true}"#;
    let answer = say(proxy.address, &posted("/a/chat/completions", asked)).await;
    assert!(answer.contains("\"include_usage\":true"), "{answer}");
    let answer = say(proxy.address, &posted("/b/chat/completions", asked)).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(asked), "{answer}");
}
