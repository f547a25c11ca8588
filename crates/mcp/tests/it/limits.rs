//! What one call may leave behind: in the ledger, in memory, in a chat.

use std::sync::atomic::Ordering;

use connector_mcp::{ConnectOptions, Limits, McpConnector};
use serde_json::{Value, json};

use crate::end::permission;
use crate::peer::{Peer, connected, dial, options};
use crate::probe::{Bench, configure, soon};

/// A connection on which much may be said.
async fn wide() -> (McpConnector, Peer) {
    let options = options(configure(json!({ "password": "x" })));
    let (connecting, mut peer) = dial(ConnectOptions { limits: Limits::default(), ..options });
    let (connector, ()) = tokio::join!(connecting, peer.behave());
    (connector.unwrap(), peer)
}

fn refusal(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn checkpoints_have_a_limit_each_and_together() {
    let (connector, mut peer) = wide().await;
    let bench = Bench::default();
    let script = async {
        let (call, request) = peer.call().await;
        let sizes = std::iter::once((65 << 10, "the checkpoint has more than 65536 bytes"))
            .chain(std::iter::repeat_n((60 << 10, ""), 17))
            .chain([(60 << 10, "more than 1048576 bytes together")]);
        for (size, says) in sizes {
            peer.send(json!({ "jsonrpc": "2.0", "id": "c", "method": "connector-opencode/checkpoint",
                "params": { "call": call, "checkpoint": "x".repeat(size) } }))
                .await;
            let answer = peer.read().await;
            assert!(
                refusal(&answer).contains(says) && answer["result"].is_object() == says.is_empty(),
                "{answer}"
            );
        }
        peer.answer(&request, json!({ "content": [], "structuredContent": { "did": "it" } })).await;
    };
    let (result, ()) = soon(async { tokio::join!(bench.call(&connector, "x"), script) }).await;
    assert!(result.unwrap().success);
    assert_eq!(bench.log.kept.lock().unwrap().len(), 17);
}

#[tokio::test]
async fn a_long_ask_is_rejected_with_words_since_nobody_can_see_all_of_it() {
    let (connector, mut peer) = wide().await;
    let bench = Bench::default();
    let long = "x".repeat(300 << 10);
    let script = async {
        let (call, request) = peer.call().await;
        peer.send(permission(&call, 5, &json!({ "diff": long }))).await;
        let answer = peer.read().await;
        assert_eq!(answer["result"]["content"]["decision"], "reject", "{answer}");
        let reason = answer["result"]["content"]["reason"].as_str().unwrap();
        assert!(reason.contains("too long to be shown to a person whole"), "{reason}");
        let mut wordy = permission(&call, 6, &Value::Null);
        wordy["params"]["_meta"]["connector-opencode/ask"]["ask"]["patterns"] = json!([long]);
        peer.send(wordy).await;
        let answer = peer.read().await;
        assert_eq!(answer["result"]["content"]["decision"], "reject", "{answer}");
        peer.answer(&request, json!({ "content": [], "structuredContent": { "did": "it" } })).await;
    };
    let (result, ()) = soon(async { tokio::join!(bench.call(&connector, "x"), script) }).await;
    assert!(result.unwrap().success);
    assert!(bench.asks.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_call_has_a_bounded_number_of_open_asks() {
    let (connector, mut peer) = connected().await;
    let bench = Bench::default();
    bench.asks.silent.store(true, Ordering::SeqCst);
    let script = async {
        let (call, request) = peer.call().await;
        for id in 0..17 {
            peer.send(permission(&call, id, &json!({}))).await;
        }
        let answer = peer.read().await;
        assert!(refusal(&answer).contains("more than 16 asks at once"), "{answer}");
        peer.answer(&request, json!({ "content": [], "structuredContent": { "did": "it" } })).await;
        peer
    };
    let (result, _peer) = soon(async { tokio::join!(bench.call(&connector, "x"), script) }).await;
    assert!(result.unwrap().success);
    assert_eq!(bench.asks.asked.lock().unwrap().len(), 16);
}
