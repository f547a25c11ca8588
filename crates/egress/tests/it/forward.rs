//! The egress proxy, and what it leads to and does not.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use axum::routing::any;
use connector_egress::{Policy, Record};

use crate::support::{network, say, upstream};

async fn web() -> SocketAddr {
    let answer = any(|headers: HeaderMap, uri: axum::http::Uri| async move {
        let seen: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
        format!("{uri} {}", seen.join(" "))
    });
    upstream(axum::Router::new().fallback(answer)).await
}

fn asked(line: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nhost: other.example\r\nproxy-authorization: Basic x\r\nproxy-connection: close\r\n\r\n"
    )
}

#[tokio::test]
async fn a_named_port_of_this_machine_is_reached_both_ways_and_another_is_not() {
    let (web, other) = (web().await, web().await);
    let policy = Policy { loopback: vec![web.port()], ..Policy::default() };
    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().join("record");
    let proxy = network(policy, Some(&record));

    let answer = say(
        proxy.address,
        &asked(&format!("GET http://{web}/a?b")).replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n"),
    )
    .await;
    let expected = format!("/a?b host={web}");
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains(&expected) && !answer.contains("Basic"),
        "{answer}"
    );

    let tunnelled =
        format!("CONNECT {web} HTTP/1.1\r\n\r\nGET /c HTTP/1.1\r\nhost: {web}\r\nconnection: close\r\n\r\n");
    let answer = say(proxy.address, &tunnelled).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(&format!("/c host={web}")), "{answer}");

    let port = other.port();
    for line in [
        format!("CONNECT {other}"),
        format!("CONNECT localhost:{port}"),
        format!("CONNECT [::1]:{port}"),
        format!("CONNECT [::ffff:127.0.0.1]:{port}"),
        format!("CONNECT 0.0.0.0:{port}"),
        format!("GET http://127.1:{port}/"),
        format!("GET http://localhost.:{port}/"),
        "CONNECT example.org:443".to_owned(),
        "GET http://169.254.169.254/latest".to_owned(),
    ] {
        let answer =
            say(proxy.address, &asked(&line).replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("egress_proxy"), "{line}: {answer}");
    }
    let begun = Instant::now();
    let record = loop {
        let read = Record::read(&record).unwrap();
        if read.refusals.values().map(|refused| refused.times).sum::<u64>() >= 9 {
            break read;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{read:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let refused = &record.refusals["example.org:443"];
    assert_eq!((refused.times, refused.why.as_str()), (1, "it is not among the hosts that may be reached"));
}

#[tokio::test]
async fn what_is_no_request_to_a_proxy_is_told_so() {
    let proxy = network(Policy::default(), None);
    for line in ["GET /a", "CONNECT user@example.org:443", "GET ftp://example.org/"] {
        let answer =
            say(proxy.address, &asked(line).replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{line}: {answer}");
    }
}
