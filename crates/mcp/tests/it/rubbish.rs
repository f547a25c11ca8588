//! Whatever bytes come, there is an end or an answer: no panic, no hang.

use std::sync::Arc;
use std::time::Duration;

use connector_mcp::{Extended, Server};
use proptest::prelude::*;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::peer::{dial, options};
use crate::probe::{ProbeFactory, configure, manifest};

/// Lines that are nearly right, and bytes that are nothing.
fn rubbish() -> impl Strategy<Value = Vec<u8>> {
    let near = prop_oneof![
        Just(json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "x", "version": "1" } } })),
        Just(json!({ "jsonrpc": "2.0", "id": 0, "result": { "protocolVersion": "2025-11-25",
            "capabilities": {}, "serverInfo": { "name": "x", "version": "1" } } })),
        Just(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })),
        Just(json!({ "jsonrpc": "2.0", "id": "lane-0", "result": {} })),
        Just(json!({ "jsonrpc": "2.0", "id": "lane-99999999999999999999", "error": 3 })),
        Just(json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": 7 } })),
        Just(json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call" })),
        Just(json!({ "jsonrpc": "2.0", "id": [1], "method": "tools/list" })),
        Just(json!({ "jsonrpc": "2.0", "id": 3, "method": "connector-opencode/configure", "params": [] })),
        Just(json!({ "jsonrpc": "2.0", "method": "connector-opencode/stop", "params": { "call": 1 } })),
        Just(json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": {} })),
        Just(json!([{ "jsonrpc": "2.0" }])),
    ]
    .prop_map(|value| value.to_string().into_bytes());
    let numbers = Just(br#"{"jsonrpc":"2.0","id":1e999,"method":"ping"}"#.to_vec());
    let deep = Just(
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{}"#, "[".repeat(5000)).into_bytes(),
    );
    let line = prop_oneof![
        4 => near.clone(),
        2 => (near, any::<prop::sample::Index>()).prop_map(|(line, cut)| line[..cut.index(line.len())].to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..200),
        1 => numbers,
        1 => deep,
    ];
    proptest::collection::vec(line, 0..40).prop_map(|lines| lines.join(&b'\n'))
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_mins(1), test).await.unwrap() });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_server_outlives_every_client(bytes in rubbish()) {
        run(async {
            let (near, far) = tokio::io::duplex(1 << 16);
            let (reader, writer) = tokio::io::split(far);
            let probe = Server::new(manifest()).with_factory(Arc::new(ProbeFactory(Arc::default())));
            let served = tokio::spawn(probe.serve(reader, writer));
            let (mut reader, mut writer) = tokio::io::split(near);
            let write = async {
                let _ = writer.write_all(&bytes).await;
                let _ = writer.shutdown().await;
            };
            let mut said = Vec::new();
            let (_, ()) = tokio::join!(reader.read_to_end(&mut said), write);
            let _ = served.await.unwrap();
            for line in said.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                serde_json::from_slice::<serde_json::Value>(line).unwrap();
            }
        });
    }

    #[test]
    fn a_host_outlives_every_server(bytes in rubbish(), plain: bool) {
        run(async {
            let extended = if plain { Extended::Plain } else { configure(json!({ "password": "x" })) };
            let (connecting, mut peer) = dial(options(extended));
            let script = async {
                peer.bytes(&bytes).await;
                drop(peer);
            };
            let (connected, ()) = tokio::join!(connecting, script);
            prop_assert!(connected.is_err());
            Ok(())
        }.map_result());
    }
}

trait MapResult: Future<Output = Result<(), TestCaseError>> + Sized {
    /// Fails as an assertion does.
    async fn map_result(self) {
        self.await.unwrap();
    }
}

impl<F: Future<Output = Result<(), TestCaseError>>> MapResult for F {}
