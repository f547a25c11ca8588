//! Peers that say too much.

use connector_contract::{Connector as _, Progress};
use connector_mcp::End;
use serde_json::json;

use crate::peer::{Peer, connected, limits};
use crate::probe::{Bench, soon};

async fn ended_by(script: impl AsyncFnOnce(&mut Peer)) -> End {
    let (connector, mut peer) = connected().await;
    let (end, ()) = soon(async { tokio::join!(connector.ended(), script(&mut peer)) }).await;
    end
}

fn violation(end: &End) -> &str {
    match end {
        End::Violation(what) => what,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_line_without_end_ends_the_connection() {
    let end = ended_by(async |peer| while peer.bytes(&[b'x'; 4096]).await {}).await;
    assert!(violation(&end).contains("more than 65536 bytes"), "{end}");
}

#[tokio::test]
async fn rubbish_is_skipped_and_too_much_of_it_is_the_end() {
    let (connector, mut peer) = connected().await;
    for _ in 0..limits().rubbish {
        peer.line("starting up…").await;
    }
    let bench = Bench::default();
    let answers = async {
        let (_, request) = peer.call().await;
        peer.answer(&request, json!({ "content": [], "structuredContent": { "did": "it" } })).await;
        peer.line("one more").await;
        peer
    };
    let (result, _peer) = soon(async { tokio::join!(bench.call(&connector, "x"), answers) }).await;
    assert!(result.unwrap().success);
    assert_eq!(violation(&soon(connector.ended()).await), "sends rubbish");
}

#[tokio::test]
async fn a_flood_of_requests_is_the_end() {
    let end = ended_by(async |peer| {
        let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string() + "\n";
        // Nobody reads the answers: that must not keep the connection from ending.
        for _ in 0..1000 {
            if !peer.bytes(ping.as_bytes()).await {
                return;
            }
        }
    })
    .await;
    assert_eq!(violation(&end), "sends too many requests");
}

#[tokio::test]
async fn a_flood_of_notifications_is_the_end() {
    let end = ended_by(async |peer| {
        for _ in 0..1000 {
            peer.send(json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" })).await;
        }
    })
    .await;
    assert_eq!(violation(&end), "sends too many notifications");
}

#[tokio::test]
async fn answers_that_nobody_asked_for_are_rubbish() {
    let end = ended_by(async |peer| {
        for id in 1000..1010 {
            peer.send(json!({ "jsonrpc": "2.0", "id": id, "result": {} })).await;
        }
    })
    .await;
    assert_eq!(violation(&end), "sends rubbish");
}

#[tokio::test]
async fn a_flood_of_progress_is_thinned_and_the_call_goes_on() {
    let (connector, mut peer) = connected().await;
    let (ctx, mut stream) = Bench::default().context();
    let floods = async {
        let (call, request) = peer.call().await;
        for ahead in 1..=1000 {
            let update = json!({ "type": "queued", "ahead": ahead });
            peer.send(json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": {
                "progressToken": 1, "progress": ahead,
                "_meta": { "connector-opencode/progress": { "call": call, "update": update } } } }))
                .await;
        }
        peer.answer(&request, json!({ "content": [], "structuredContent": { "did": "it" } })).await;
    };
    let input = json!({ "do": "x" });
    let (result, ()) = soon(async { tokio::join!(connector.execute("work", input, &ctx), floods) }).await;
    assert!(result.unwrap().success);
    drop(ctx);
    let mut seen = Vec::new();
    while let Some(Progress::Queued { ahead }) = stream.next().await {
        seen.push(ahead);
    }
    let burst = usize::try_from(limits().progress_per_sec).unwrap() * 2;
    assert!(seen.len() >= burst && seen.len() < 900, "{}", seen.len());
    assert!(seen.is_sorted(), "{seen:?}");
}
