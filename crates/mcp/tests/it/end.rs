//! What an ending means.

use std::sync::atomic::Ordering;
use std::time::Duration;

use connector_contract::{Checkpoint, Connector as _, ConnectorError, Consequence};
use connector_mcp::End;
use serde_json::json;

use crate::peer::{connected, connected_plain};
use crate::probe::{Bench, pair, soon};

fn checkpoint(call: &str, id: &str) -> serde_json::Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "connector-opencode/checkpoint",
        "params": { "call": call, "checkpoint": { "session": "ses_1" } } })
}

/// A permission request of this call.
pub(crate) fn permission(call: &str, id: u32, metadata: &serde_json::Value) -> serde_json::Value {
    let ask = json!({ "call": call, "ask": { "type": "permission", "id": "per_1",
        "session_id": "ses_1", "permission": "bash", "patterns": ["rm"], "metadata": metadata } });
    json!({ "jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": {
        "message": "may I?", "requestedSchema": { "type": "object", "properties": {} },
        "_meta": { "connector-opencode/ask": ask } } })
}

#[tokio::test]
async fn a_server_that_dies_before_a_checkpoint_started_nothing() {
    let (connector, mut peer) = connected().await;
    let bench = Bench::default();
    let dies = async {
        peer.call().await;
        drop(peer);
    };
    let (result, ()) = soon(async { tokio::join!(bench.call(&connector, "x"), dies) }).await;
    let error = result.unwrap_err();
    assert_eq!(error.consequence(), Consequence::NothingStarted, "{error:?}");
    assert_eq!(soon(connector.ended()).await, End::Closed);
    let error = bench.call(&connector, "x").await.unwrap_err();
    assert!(matches!(error, ConnectorError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_dies_after_a_checkpoint_leaves_the_outcome_unknown() {
    let (connector, mut peer) = connected().await;
    let bench = Bench::default();
    let dies = async {
        let (call, _) = peer.call().await;
        peer.send(checkpoint(&call, "c1")).await;
        let answer = peer.read().await;
        assert_eq!((answer["id"].as_str(), &answer["result"]), (Some("c1"), &json!({})));
        drop(peer);
    };
    let (result, ()) = soon(async { tokio::join!(bench.call(&connector, "x"), dies) }).await;
    assert_eq!(result.unwrap_err().consequence(), Consequence::Unknown);
    assert_eq!(*bench.log.kept.lock().unwrap(), [Checkpoint(json!({ "session": "ses_1" }))]);
}

#[tokio::test]
async fn what_was_begun_earlier_is_unknown_while_the_server_is_gone() {
    let (connector, peer) = connected().await;
    drop(peer);
    soon(connector.ended()).await;
    let bench = Bench { resume: Some(Checkpoint(json!(1))), ..Bench::default() };
    assert_eq!(bench.call(&connector, "x").await.unwrap_err().consequence(), Consequence::Unknown);
}

#[tokio::test]
async fn a_checkpoint_or_an_ask_for_another_call_is_refused() {
    let (connector, mut peer) = connected().await;
    let bench = Bench::default();
    let tries = async {
        let (_, request) = peer.call().await;
        peer.send(checkpoint("call-999", "c1")).await;
        assert!(peer.read().await["error"]["message"].as_str().unwrap().contains("no such call"));
        peer.send(permission("call-999", 5, &json!({}))).await;
        assert!(peer.read().await["error"]["message"].as_str().unwrap().contains("no such call"));
        peer.answer(&request, json!({ "content": [], "structuredContent": { "did": "it" } })).await;
    };
    let (result, ()) = soon(async { tokio::join!(bench.call(&connector, "x"), tries) }).await;
    assert!(result.unwrap().success);
    assert!(bench.log.kept.lock().unwrap().is_empty());
    assert!(bench.asks.asked.lock().unwrap().is_empty());
}

/// The calls have the same names and numbers, since each connection counts its own.
#[tokio::test]
async fn a_server_answers_and_records_for_no_live_call_of_another_server() {
    let ((one, mut peer), (other, mut forger)) = (connected().await, connected().await);
    let (bench, lies) = (Bench::default(), Bench::default());
    let result = json!({ "content": [], "structuredContent": { "did": "forged" } });
    let script = async {
        let (call, request) = peer.call().await;
        let (same, number) = forger.call().await;
        assert_eq!((&call, &request["id"]), (&same, &number["id"]));
        forger.send(checkpoint(&call, "c1")).await;
        assert!(forger.read().await["result"].is_object());
        forger.answer(&request, result).await;
        forger.send(permission(&call, 5, &json!({}))).await;
        peer.answer(&request, json!({ "content": [], "structuredContent": { "did": "it" } })).await;
    };
    let calls = async { tokio::join!(bench.call(&one, "x"), lies.call(&other, "x")) };
    let ((honest, not), ()) = soon(async { tokio::join!(calls, script) }).await;
    assert_eq!(
        (&honest.unwrap().output["did"], &not.unwrap().output["did"]),
        (&json!("it"), &json!("forged"))
    );
    assert!(bench.log.kept.lock().unwrap().is_empty() && bench.asks.asked.lock().unwrap().is_empty());
    assert_eq!(lies.log.kept.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_form_without_an_ask_is_declined() {
    let (connector, mut peer) = connected().await;
    peer.send(json!({ "jsonrpc": "2.0", "id": 5, "method": "elicitation/create", "params": {
        "message": "your password?", "requestedSchema": { "type": "object", "properties": {} } } }))
        .await;
    let answer = soon(peer.read()).await;
    assert_eq!(answer["result"]["action"], "decline", "{answer}");
    assert_eq!(connector.end(), None);
}

#[tokio::test]
async fn a_server_that_ignores_a_stop_is_not_waited_for() {
    let (connector, mut peer) = connected().await;
    let bench = Bench::default();
    let stop = async {
        let (call, _) = peer.call().await;
        bench.cancel.cancel();
        assert_eq!(peer.expect("connector-opencode/stop").await["params"]["call"], call.as_str());
        peer
    };
    let (result, _peer) = soon(async { tokio::join!(bench.call(&connector, "x"), stop) }).await;
    let error = result.unwrap_err();
    assert!(
        matches!(&error, ConnectorError::OutcomeUnknown { reason, .. } if reason.contains("no outcome")),
        "{error:?}"
    );
    assert!(matches!(connector.end(), Some(End::Violation(_))), "{:?}", connector.end());
}

#[tokio::test]
async fn a_plain_server_that_goes_on_after_a_stop_is_ended() {
    let (connector, mut peer) = connected_plain().await;
    let bench = Bench::default();
    let stop = async {
        let request = peer.expect("tools/call").await;
        bench.cancel.cancel();
        let told = peer.expect("notifications/cancelled").await;
        assert_eq!(told["params"]["requestId"], request["id"]);
        peer
    };
    let (result, _peer) = soon(async { tokio::join!(bench.call(&connector, "x"), stop) }).await;
    assert_eq!(result.unwrap_err().consequence(), Consequence::Unknown);
    assert!(matches!(connector.end(), Some(End::Violation(_))), "{:?}", connector.end());
}

#[tokio::test]
async fn a_plain_server_that_answers_a_stopped_call_is_believed_and_kept() {
    let (connector, mut peer) = connected_plain().await;
    let bench = Bench::default();
    let stop = async {
        let request = peer.expect("tools/call").await;
        bench.cancel.cancel();
        peer.expect("notifications/cancelled").await;
        peer.answer(&request, json!({ "content": [], "structuredContent": { "did": "it" } })).await;
        peer
    };
    let (result, _peer) = soon(async { tokio::join!(bench.call(&connector, "x"), stop) }).await;
    assert_eq!(result.unwrap().output["did"], "it");
    assert_eq!(connector.end(), None);
}

#[tokio::test]
async fn a_plain_server_that_reads_nothing_cannot_hold_a_stop_up() {
    let (connector, mut peer) = connected_plain().await;
    let bench = Bench::default();
    let stop = async {
        peer.expect("tools/call").await;
        // More answers than fit into the pipe and the queue before it.
        for id in 0..400 {
            let id = format!("{id:01000}");
            let ping = json!({ "jsonrpc": "2.0", "id": id, "method": "ping" }).to_string() + "\n";
            assert!(peer.bytes(ping.as_bytes()).await);
        }
        // Until every task has done what it can.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        bench.cancel.cancel();
        peer
    };
    let (result, _peer) = soon(async { tokio::join!(bench.call(&connector, "x"), stop) }).await;
    assert_eq!(result.unwrap_err().consequence(), Consequence::Unknown);
}

#[tokio::test]
async fn a_plain_call_whose_future_is_dropped_is_cancelled() {
    let (connector, mut peer) = connected_plain().await;
    let bench = Bench::default();
    let request = tokio::select! {
        _ = bench.call(&connector, "x") => panic!("nobody answers it"),
        request = peer.expect("tools/call") => request,
    };
    let told = soon(peer.expect("notifications/cancelled")).await;
    assert_eq!(told["params"]["requestId"], request["id"]);
}

#[tokio::test]
async fn an_ask_that_is_open_when_its_call_is_answered_is_withdrawn() {
    let (connector, mut peer) = connected().await;
    let bench = Bench::default();
    bench.asks.silent.store(true, Ordering::SeqCst);
    let (ctx, mut stream) = bench.context();
    let answers = async {
        let (call, request) = peer.call().await;
        peer.send(permission(&call, 5, &json!({}))).await;
        bench.asks.reached.notified().await;
        peer.answer(&request, json!({ "content": [], "structuredContent": { "did": "it" } })).await;
        peer
    };
    let call = connector.execute("work", json!({ "do": "x" }), &ctx);
    let (result, mut peer) = soon(async { tokio::join!(call, answers) }).await;
    assert!(result.unwrap().success);
    drop(ctx);
    // Whoever shows progress waits for this.
    assert!(soon(stream.next()).await.is_none());
    assert_eq!(soon(peer.read()).await["result"]["action"], "cancel");
}

#[tokio::test]
async fn a_server_that_forgets_the_deadline_is_stopped() {
    let (connector, mut peer) = connected().await;
    let bench = Bench { deadline: Duration::from_millis(50), ..Bench::default() };
    let stop = async {
        peer.call().await;
        peer.expect("connector-opencode/stop").await;
        peer
    };
    let (result, _peer) = soon(async { tokio::join!(bench.call(&connector, "x"), stop) }).await;
    assert_eq!(result.unwrap_err().consequence(), Consequence::Unknown);
}

#[tokio::test]
async fn closing_stops_the_calls_and_the_server_leaves() {
    let (pair, bench) = (pair().await, Bench::default());
    let close = async {
        pair.seen.reached.notified().await;
        pair.connector.close().await;
    };
    let (result, ()) =
        soon(async { tokio::join!(bench.call(&pair.connector, "checkpoint and wait"), close) }).await;
    assert_eq!(result.unwrap_err().consequence(), Consequence::Unknown);
    soon(pair.served).await.unwrap().unwrap();
    assert!(pair.seen.stopped.load(Ordering::SeqCst));
    assert_eq!(pair.connector.end(), Some(End::Shut));
}

#[tokio::test]
async fn a_server_that_answers_with_what_is_no_answer_is_ended() {
    let (connector, mut peer) = connected().await;
    let bench = Bench::default();
    let answers = async {
        let (_, request) = peer.call().await;
        peer.send(json!({ "jsonrpc": "2.0", "id": request["id"] })).await;
        peer
    };
    let (result, _peer) = soon(async { tokio::join!(bench.call(&connector, "x"), answers) }).await;
    assert!(result.is_err());
    assert!(matches!(connector.end(), Some(End::Violation(_))), "{:?}", connector.end());
}

#[tokio::test]
async fn a_call_that_is_cancelled_at_once_never_left() {
    let (pair, bench) = (pair().await, Bench::default());
    bench.cancel.cancel();
    let (ctx, _stream) = bench.context();
    let error = pair.connector.execute("work", json!({ "do": "wait" }), &ctx).await.unwrap_err();
    assert!(matches!(error, ConnectorError::Cancelled { .. }), "{error:?}");
}

#[tokio::test]
async fn a_stop_that_overtakes_its_call_still_stops_it() {
    let pair = pair().await;
    for _ in 0..50 {
        let bench = Bench::default();
        let stop = async { bench.cancel.cancel() };
        let (result, ()) = soon(async { tokio::join!(bench.call(&pair.connector, "wait"), stop) }).await;
        let error = result.unwrap_err();
        assert!(
            matches!(error, ConnectorError::Stopped { .. } | ConnectorError::Cancelled { .. }),
            "{error:?}"
        );
    }
}
