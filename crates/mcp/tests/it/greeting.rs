//! Who is let in, and who is not.

use std::time::Duration;

use connector_contract::{ActionDecl, Connector as _, ConnectorError, Manifest};
use connector_mcp::{ConnectError, Extended};
use serde_json::{Value, json};

use crate::peer::{Peer, dial, greeting, options, patience, tools};
use crate::probe::{Bench, configure, manifest, soon, try_pair};

async fn refused(extended: Extended, script: impl AsyncFnOnce(&mut Peer)) -> ConnectError {
    let (connecting, mut peer) = dial(options(extended));
    let (connected, ()) = soon(async { tokio::join!(connecting, script(&mut peer)) }).await;
    connected.unwrap_err()
}

fn ours() -> Extended {
    configure(json!({ "password": "x" }))
}

#[tokio::test]
async fn a_server_of_another_revision_is_named() {
    let error = refused(ours(), async |peer| {
        let request = peer.expect("initialize").await;
        peer.answer(&request, greeting("1999-01-01", Some(1))).await;
    })
    .await;
    assert!(matches!(&error, ConnectError::Protocol { found, .. } if found == "1999-01-01"), "{error}");
}

#[tokio::test]
async fn a_server_with_another_extension_or_none_is_named() {
    for (version, found) in [(Some(2), "version 2"), (None, "absent")] {
        let error = refused(ours(), async |peer| {
            let request = peer.expect("initialize").await;
            peer.answer(&request, greeting("2025-11-25", version)).await;
        })
        .await;
        assert!(matches!(&error, ConnectError::Extension { found: it, .. } if it == found), "{error}");
    }
}

#[tokio::test]
async fn a_server_without_the_extension_is_taken_only_where_there_is_nothing_to_configure() {
    let if_offered = |config: Value| {
        let Extended::Connector(configure) = configure(config) else { panic!("it is configured") };
        Extended::IfOffered(configure)
    };
    for (config, version, found) in
        [(json!({ "password": "x" }), None, "absent"), (json!({}), Some(2), "version 2")]
    {
        let error = refused(if_offered(config), async |peer| {
            let request = peer.expect("initialize").await;
            peer.answer(&request, greeting("2025-11-25", version)).await;
        })
        .await;
        assert!(matches!(&error, ConnectError::Extension { found: it, .. } if it == found), "{error}");
    }
    let (connecting, mut peer) = dial(options(if_offered(json!({}))));
    let plain = async {
        let request = peer.expect("initialize").await;
        peer.answer(&request, greeting("2025-11-25", None)).await;
        let request = peer.expect("tools/list").await;
        peer.answer(&request, json!({ "tools": tools(&manifest()) })).await;
    };
    let (connected, ()) = soon(async { tokio::join!(connecting, plain) }).await;
    assert!(!connected.unwrap().checkpoints());
}

#[tokio::test]
async fn a_server_that_says_nothing_is_late() {
    tokio::time::pause();
    let error = refused(ours(), async |peer| {
        peer.expect("initialize").await;
        tokio::time::sleep(patience().start * 2).await;
    })
    .await;
    assert!(matches!(error, ConnectError::Late(_)), "{error}");
}

#[tokio::test]
async fn a_server_that_leaves_is_gone() {
    let (connecting, peer) = dial(options(ours()));
    drop(peer);
    let error = soon(connecting).await.unwrap_err();
    assert!(matches!(error, ConnectError::Ended(_)), "{error}");
}

#[tokio::test]
async fn a_server_that_offers_more_than_it_declares_is_refused() {
    let error = refused(ours(), async |peer| {
        let request = peer.expect("initialize").await;
        peer.answer(&request, greeting("2025-11-25", Some(1))).await;
        let mut listed = tools(&manifest());
        listed.push(json!({ "name": "rm", "inputSchema": { "type": "object" } }));
        let request = peer.expect("tools/list").await;
        peer.answer(&request, json!({ "tools": listed })).await;
    })
    .await;
    assert!(error.to_string().contains("`rm` is offered and not declared"), "{error}");
}

#[tokio::test]
async fn a_server_that_lists_without_end_is_refused() {
    let error = refused(ours(), async |peer| {
        let request = peer.expect("initialize").await;
        peer.answer(&request, greeting("2025-11-25", Some(1))).await;
        for _ in 0..16 {
            let request = peer.expect("tools/list").await;
            peer.answer(&request, json!({ "tools": [], "nextCursor": "more" })).await;
        }
    })
    .await;
    assert!(error.to_string().contains("16 pages"), "{error}");
}

#[tokio::test]
async fn a_manifest_that_changes_with_its_configuration_is_refused() {
    let other = Manifest { description: "Does more.".to_owned(), ..manifest() };
    let error = refused(ours(), async |peer| peer.behave_as(&other).await).await;
    assert!(error.to_string().contains("another one once it is configured"), "{error}");
}

#[tokio::test]
async fn a_capability_that_is_not_granted_is_refused() {
    let config = json!({ "password": "x", "host": "10.0.0.1:80" });
    let error = try_pair(manifest(), configure(config)).await.err().unwrap();
    assert!(error.to_string().contains("NetworkOutbound(10.0.0.1:80), which is not granted"), "{error}");
}

#[tokio::test]
async fn a_manifest_that_declares_otherwise_is_refused() {
    let mut declared = manifest();
    declared.actions[0].read_only = true;
    let error = try_pair(declared, ours()).await.err().unwrap();
    assert!(error.to_string().contains("read-only"), "{error}");
    let older = Manifest { version: "1.0.0".to_owned(), ..manifest() };
    let error = try_pair(older, ours()).await.err().unwrap();
    assert!(error.to_string().contains("not connector-probe 1.0.0"), "{error}");
}

#[tokio::test]
async fn a_refused_configuration_says_which_key() {
    let error = try_pair(manifest(), configure(json!({}))).await.err().unwrap();
    let ConnectError::Configuration(ConnectorError::InvalidConfig { reason }) = &error else {
        panic!("{error:?}");
    };
    assert!(reason.contains("`password`"), "{reason}");
}

#[tokio::test]
async fn a_configuration_that_failed_may_be_tried_again_and_fails_for_its_own_reason() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let (reader, writer) = tokio::io::split(far);
    let seen = std::sync::Arc::default();
    let probe = connector_mcp::Server::new(manifest())
        .with_factory(std::sync::Arc::new(crate::probe::ProbeFactory(std::sync::Arc::clone(&seen))));
    let served = tokio::spawn(probe.serve(reader, writer));
    let mut host = Peer::over(near);
    host.send(json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "clientInfo": { "name": "host", "version": "1" },
        "capabilities": { "experimental": { "connector-opencode/host": { "version": 1 } } } } }))
        .await;
    soon(host.read()).await;
    host.send(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
    for (config, says) in [
        (json!({}), "`password`"),
        (json!({}), "`password`"),
        (json!({ "password": "x" }), ""),
        (json!({ "password": "x" }), "it is configured already"),
    ] {
        host.send(json!({ "jsonrpc": "2.0", "id": "lane-1", "method": "connector-opencode/configure",
            "params": { "config": config, "grants": [] } }))
            .await;
        let answer = soon(host.read()).await;
        assert!(answer["error"]["message"].as_str().unwrap_or_default().contains(says), "{answer}");
        assert_eq!(answer["result"].is_object(), says.is_empty(), "{answer}");
    }
    drop(host);
    soon(served).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_plain_server_is_a_connector_without_checkpoints() {
    let (connecting, mut peer) = dial(options(Extended::Plain));
    let declared = manifest();
    let script = async {
        let request = peer.expect("initialize").await;
        peer.answer(&request, greeting("2025-06-18", None)).await;
        let request = peer.expect("tools/list").await;
        peer.answer(&request, json!({ "tools": tools(&declared) })).await;
        let request = peer.expect("tools/call").await;
        assert_eq!(request["params"]["_meta"]["connector-opencode/call"], Value::Null);
        let result =
            json!({ "content": [{ "type": "text", "text": "hello" }], "structuredContent": { "did": "it" } });
        peer.answer(&request, result).await;
        let request = peer.expect("tools/call").await;
        peer.answer(
            &request,
            json!({ "content": [{ "type": "text", "text": "no such file" }], "isError": true }),
        )
        .await;
        peer
    };
    let calls = async {
        let connector = connecting.await.unwrap();
        assert!(!connector.checkpoints());
        let result = Bench::default().call(&connector, "it").await.unwrap();
        assert_eq!((result.output["did"].as_str(), result.message.as_str()), (Some("it"), "hello"));
        let error = Bench::default().call(&connector, "it").await.unwrap_err();
        assert!(
            matches!(&error, ConnectorError::Failed { reason, .. } if reason == "no such file"),
            "{error:?}"
        );
    };
    soon(async { tokio::join!(script, calls) }).await;
}

#[tokio::test]
async fn an_action_without_schemas_is_a_tool_that_takes_any_object() {
    let action = ActionDecl {
        name: "any".to_owned(),
        description: String::new(),
        read_only: true,
        input_schema: None,
        output_schema: None,
    };
    let declared = Manifest { actions: vec![action], ..manifest() };
    let (connecting, mut peer) =
        dial(connector_mcp::ConnectOptions { manifest: declared, ..options(Extended::Plain) });
    let script = async {
        let request = peer.expect("initialize").await;
        peer.answer(&request, greeting("2025-06-18", None)).await;
        let request = peer.expect("tools/list").await;
        let tool = json!({ "name": "any", "description": "", "inputSchema": { "type": "object" },
            "annotations": { "readOnlyHint": true } });
        peer.answer(&request, json!({ "tools": [tool] })).await;
        peer
    };
    let (connected, _peer) =
        tokio::time::timeout(Duration::from_mins(1), async { tokio::join!(connecting, script) })
            .await
            .unwrap();
    connected.unwrap();
}
