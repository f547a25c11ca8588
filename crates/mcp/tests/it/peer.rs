//! A server written by hand, line by line, which may do anything.

use std::time::Duration;

use connector_contract::Manifest;
use connector_mcp::{ConnectError, ConnectOptions, Extended, Limits, McpConnector, Patience};
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf,
};

use crate::probe::{configure, manifest};

/// The far end of a connection.
pub(crate) struct Peer {
    lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
    writer: WriteHalf<DuplexStream>,
}

impl Peer {
    pub(crate) fn over(far: DuplexStream) -> Self {
        let (reader, writer) = tokio::io::split(far);
        Self { lines: BufReader::new(reader).lines(), writer }
    }

    pub(crate) async fn read(&mut self) -> Value {
        serde_json::from_str(&self.lines.next_line().await.unwrap().unwrap()).unwrap()
    }

    /// The next request with this method; everything else is passed over.
    pub(crate) async fn expect(&mut self, method: &str) -> Value {
        loop {
            let message = self.read().await;
            if message["method"] == method {
                return message;
            }
        }
    }

    pub(crate) async fn line(&mut self, line: &str) {
        // A client that has hung up is what some tests wait for.
        let _ = self.writer.write_all(format!("{line}\n").as_bytes()).await;
    }

    pub(crate) async fn bytes(&mut self, bytes: &[u8]) -> bool {
        self.writer.write_all(bytes).await.is_ok()
    }

    pub(crate) async fn send(&mut self, message: Value) {
        self.line(&message.to_string()).await;
    }

    pub(crate) async fn answer(&mut self, request: &Value, result: Value) {
        self.send(json!({ "jsonrpc": "2.0", "id": request["id"], "result": result })).await;
    }

    /// Greets, lists, and is configured as a proper connector would.
    pub(crate) async fn behave(&mut self) {
        self.behave_as(&manifest()).await;
    }

    /// The same, with this manifest in its answer.
    pub(crate) async fn behave_as(&mut self, manifest: &Manifest) {
        let request = self.expect("initialize").await;
        self.answer(&request, greeting("2025-11-25", Some(1))).await;
        let request = self.expect("tools/list").await;
        self.answer(&request, json!({ "tools": tools(manifest) })).await;
        let request = self.expect("connector-opencode/configure").await;
        self.answer(&request, json!({ "manifest": manifest, "checkpoints": true })).await;
    }

    /// The `_meta` name of the next call, and its request.
    pub(crate) async fn call(&mut self) -> (String, Value) {
        let request = self.expect("tools/call").await;
        let name = request["params"]["_meta"]["connector-opencode/call"]["call"].as_str().unwrap().to_owned();
        (name, request)
    }
}

pub(crate) fn greeting(protocol: &str, version: Option<u32>) -> Value {
    let experimental =
        version.map_or(json!({}), |it| json!({ "connector-opencode/host": { "version": it } }));
    json!({
        "protocolVersion": protocol,
        "capabilities": { "tools": {}, "experimental": experimental },
        "serverInfo": { "name": "connector-probe", "version": "1.2.3" },
    })
}

pub(crate) fn tools(manifest: &Manifest) -> Vec<Value> {
    let tool = |action: &connector_contract::ActionDecl| {
        json!({
            "name": action.name,
            "description": action.description,
            "inputSchema": action.input_schema,
            "outputSchema": action.output_schema,
            "annotations": { "readOnlyHint": action.read_only },
        })
    };
    manifest.actions.iter().map(tool).collect()
}

/// Small enough that a test reaches them.
pub(crate) fn limits() -> Limits {
    Limits {
        line_bytes: 64 << 10,
        rubbish: 8,
        progress_per_sec: 10,
        requests_per_sec: 4,
        ..Limits::default()
    }
}

pub(crate) fn patience() -> Patience {
    Patience {
        start: Duration::from_secs(20),
        stop: Duration::from_millis(200),
        grace: Duration::from_millis(50),
        exit: Duration::from_millis(200),
    }
}

/// A connection under way, and its far end.
pub(crate) fn dial(
    options: ConnectOptions,
) -> (impl Future<Output = Result<McpConnector, ConnectError>>, Peer) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let (reader, writer) = tokio::io::split(near);
    let connecting = McpConnector::connect(reader, writer, options);
    (connecting, Peer::over(far))
}

pub(crate) fn options(extended: Extended) -> ConnectOptions {
    ConnectOptions { limits: limits(), patience: patience(), ..ConnectOptions::new(manifest(), extended) }
}

/// A connector whose server behaved until now.
pub(crate) async fn connected() -> (McpConnector, Peer) {
    let (connecting, mut peer) = dial(options(configure(json!({ "password": "x" }))));
    let (connector, ()) = tokio::join!(connecting, peer.behave());
    (connector.unwrap(), peer)
}

/// The same with a server that knows no extension, and the usual limits.
pub(crate) async fn connected_plain() -> (McpConnector, Peer) {
    let options = ConnectOptions { limits: Limits::default(), ..options(Extended::Plain) };
    let (connecting, mut peer) = dial(options);
    let behave = async {
        let request = peer.expect("initialize").await;
        peer.answer(&request, greeting("2025-06-18", None)).await;
        let request = peer.expect("tools/list").await;
        peer.answer(&request, json!({ "tools": tools(&manifest()) })).await;
    };
    let (connector, ()) = tokio::join!(connecting, behave);
    (connector.unwrap(), peer)
}
