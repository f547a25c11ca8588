//! A client of somebody else's: what it is told while it waits, and when it errs.

use std::sync::Arc;
use std::time::Duration;

use connector_contract::{ConnectorFactory as _, OutboundHttp, Pins};
use connector_mcp::Server;
use serde_json::{Value, json};

use crate::peer::Peer;
use crate::probe::{ProbeFactory, manifest};

/// A connection to a server, greeted.
async fn greeted(capabilities: Value) -> Peer {
    let connector = ProbeFactory(Arc::default()).create(json!({ "password": "x" })).await.unwrap();
    let http = OutboundHttp::pinned(Vec::new(), Pins::default()).unwrap();
    let server =
        Server::new(manifest()).with_connector(Arc::from(connector), http).with_instructions("Say what.");
    let (near, far) = tokio::io::duplex(1 << 20);
    let (reader, writer) = tokio::io::split(far);
    tokio::spawn(server.serve(reader, writer));
    let mut client = Peer::over(near);
    client
        .send(json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": capabilities,
            "clientInfo": { "name": "somebody", "version": "1" } } }))
        .await;
    assert_eq!(client.read().await["result"]["instructions"], "Say what.");
    client.send(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
    client
}

fn call(id: u32, what: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {
        "name": "work", "arguments": { "do": what }, "_meta": { "progressToken": "p" } } })
}

#[tokio::test(start_paused = true)]
async fn a_silent_call_says_every_ten_seconds_that_it_is_alive() {
    let mut client = greeted(json!({})).await;
    client.send(call(1, "wait")).await;
    let began = tokio::time::Instant::now();
    for round in 1..=9u32 {
        let message = client.expect("notifications/progress").await;
        assert_eq!(message["params"]["progress"], json!(f64::from(round)), "{message}");
        assert!(message["params"]["message"].as_str().unwrap().starts_with("at work ("), "{message}");
        assert!(began.elapsed() <= Duration::from_secs(u64::from(10 * round + 1)), "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_ask_is_named_while_it_waits_for_its_answer() {
    let mut client = greeted(json!({ "elicitation": {} })).await;
    client.send(call(1, "permission")).await;
    let form = client.expect("elicitation/create").await;
    let message = client.expect("notifications/progress").await;
    assert_eq!(message["params"]["message"], "waiting for an answer: bash rm -rf build (0 min 10 s)");
    client.answer(&form, json!({ "action": "accept", "content": { "decision": "once" } })).await;
    let result = answer(&mut client, 1).await;
    assert_eq!(result["result"]["content"].as_array().unwrap().len(), 1, "nothing was refused: {result}");
}

#[tokio::test]
async fn what_was_refused_is_in_the_result_with_what_would_allow_it() {
    for (capabilities, reply, why) in [
        (json!({}), None, "nobody can be asked through this client"),
        (json!({ "elicitation": {} }), Some(json!({ "action": "decline" })), "declined"),
        (
            json!({ "elicitation": {} }),
            Some(json!({ "action": "accept", "content": { "decision": "reject", "reason": "not today" } })),
            "not today",
        ),
    ] {
        for (what, named) in [("permission", "bash rm -rf build"), ("question", "Which?")] {
            let mut client = greeted(capabilities.clone()).await;
            client.send(call(1, what)).await;
            if let Some(reply) = &reply {
                let form = client.expect("elicitation/create").await;
                client.answer(&form, reply.clone()).await;
            }
            let result = answer(&mut client, 1).await;
            let text = result["result"]["content"][1]["text"].as_str().unwrap().to_owned();
            let why = if what == "question" && why == "not today" { "not answered" } else { why };
            assert!(text.contains(named) && text.contains(why) && text.contains("`asks`"), "{text}");
        }
    }
}

#[tokio::test]
async fn what_nobody_was_asked_or_nobody_answered_is_in_the_result_too() {
    for (capabilities, what, why) in [
        (json!({ "elicitation": {} }), "permission for a moment", "nobody at this client answered"),
        (json!({}), "a tool that is refused", "refused by the connector"),
    ] {
        let mut client = greeted(capabilities).await;
        client.send(call(1, what)).await;
        let result = answer(&mut client, 1).await;
        let text = result["result"]["content"][1]["text"].as_str().unwrap_or_default().to_owned();
        assert!(text.contains("bash rm -rf build") && text.contains(why), "{what}: {result}");
    }
}

#[tokio::test]
async fn each_mistake_has_its_own_code_and_ends_nothing_but_itself() {
    let mut client = greeted(json!({})).await;
    let request = |id: u32, method: &str, params: Value| {
        json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string().into_bytes()
    };
    let mut not_utf8 = call(1, "x").to_string().into_bytes();
    not_utf8[40] = 0xff;
    for (line, id, code) in [
        (not_utf8, Value::Null, -32700),
        (b"{\"jsonrpc\":\"2.0\",".to_vec(), Value::Null, -32700),
        (b"hello".to_vec(), Value::Null, -32700),
        (request(2, "tools/fly", json!({})), json!(2), -32601),
        (request(3, "tools/call", json!({})), json!(3), -32602),
        (request(4, "tools/call", json!({ "name": 7 })), json!(4), -32602),
        (request(5, "tools/call", json!({ "name": "work", "arguments": "x" })), json!(5), -32602),
        (request(6, "tools/call", json!({ "name": "fly" })), json!(6), -32602),
        (request(7, "initialize", json!([])), json!(7), -32602),
    ] {
        client.bytes(&[line.as_slice(), b"\n"].concat()).await;
        let error = client.read().await;
        let shown = String::from_utf8_lossy(&line);
        assert_eq!((&error["id"], &error["error"]["code"]), (&id, &json!(code)), "{shown}: {error}");
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.len() > 5 && !message.contains('{'), "{shown}: {error}");
    }
    client.send(call(9, "x")).await;
    assert_eq!(answer(&mut client, 9).await["id"], 9, "the connection lives");
}

#[tokio::test]
async fn numbers_and_nulls_are_taken_as_their_schema_means_them() {
    let mut client = greeted(json!({})).await;
    let arguments = json!({ "do": "echo", "count": 3.0, "note": null });
    let mut request = call(1, "echo");
    request["params"]["arguments"] = arguments;
    client.send(request).await;
    let result = answer(&mut client, 1).await;
    assert_eq!(result["result"]["structuredContent"]["did"], r#"{"do":"echo","count":3}"#);
}

/// The answer to a request; progress and the like are passed over.
async fn answer(client: &mut Peer, id: u32) -> Value {
    loop {
        let message = client.read().await;
        if message["id"] == id && message.get("method").is_none() {
            return message;
        }
    }
}
