//! What leaves the process through `OutboundHttp`, seen from the other side.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use bytes::Bytes;
use connector_contract::{Grant, Origin, OutboundError, OutboundHttp, Reach, chain};
use http::Request;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

fn http_for(server: &MockServer) -> OutboundHttp {
    let origin: Origin = server.uri().parse().unwrap();
    OutboundHttp::new([Grant::new(origin, Reach::Loopback).unwrap()]).unwrap()
}

fn get(uri: String) -> Request<Bytes> {
    Request::get(uri).body(Bytes::new()).unwrap()
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (server, other) = (MockServer::start().await, MockServer::start().await);
    let answer = ResponseTemplate::new(302).insert_header("location", format!("{}/stolen", other.uri()));
    Mock::given(any()).respond_with(answer).mount(&server).await;

    let response = http_for(&server).send(get(format!("{}/a", server.uri()))).await.unwrap();

    assert_eq!(response.status(), 302);
    assert_eq!(other.received_requests().await.unwrap().len(), 0);
}

#[tokio::test]
async fn what_is_not_granted_is_refused_before_a_socket_is_opened() {
    let (server, other) = (MockServer::start().await, MockServer::start().await);

    let error = http_for(&server).send(get(format!("{}/a", other.uri()))).await.unwrap_err();

    assert!(matches!(error, OutboundError::NotGranted { .. }) && error.nothing_sent(), "{error:?}");
    assert!(error.to_string().contains(&server.uri()), "{error}");
    assert_eq!(other.received_requests().await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_body_is_read_up_to_its_cap() {
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200).set_body_bytes(vec![b'x'; 1000]))
        .mount(&server)
        .await;
    let http = http_for(&server);

    let whole = http.send(get(server.uri())).await.unwrap().bytes(1000).await.unwrap();
    let error = http.send(get(server.uri())).await.unwrap().bytes(999).await.unwrap_err();

    assert_eq!(whole.len(), 1000);
    assert!(matches!(error, OutboundError::BodyTooLong { limit: 999, .. }), "{error:?}");
}

#[tokio::test]
async fn nobody_listening_means_nothing_was_sent_and_the_error_names_the_origin_alone() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let origin: Origin = format!("http://{}", free.local_addr().unwrap()).parse().unwrap();
    drop(free);
    let http = OutboundHttp::new([Grant::new(origin.clone(), Reach::Loopback).unwrap()]).unwrap();

    let error = http.send(get(format!("{origin}/secret?token=abc"))).await.unwrap_err();

    assert!(matches!(error, OutboundError::Unreachable { .. }) && error.nothing_sent(), "{error:?}");
    let text = format!("{} {error:?}", chain(&error));
    assert!(
        text.contains(&origin.to_string()) && !text.contains("token") && !text.contains("secret"),
        "{text}"
    );
}

#[tokio::test]
async fn a_connection_that_breaks_after_sending_is_not_called_nothing_sent() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin: Origin = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let server = tokio::spawn(async move {
        let mut accepted = 0;
        while accepted < 1 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 16];
            tokio::io::AsyncReadExt::read_exact(&mut stream, &mut head).await.unwrap();
            accepted += 1;
        }
    });
    let http = OutboundHttp::new([Grant::new(origin.clone(), Reach::Loopback).unwrap()]).unwrap();

    let error = http.send(get(format!("{origin}/a"))).await.unwrap_err();

    assert!(matches!(error, OutboundError::Interrupted { .. }) && !error.nothing_sent(), "{error:?}");
    server.await.unwrap();
}
