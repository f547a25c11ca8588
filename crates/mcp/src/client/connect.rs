//! From two halves of a pipe to a connector that may be called.

use std::collections::BTreeMap;
use std::sync::Arc;

use connector_contract::{Capability, ConnectorError, Manifest, chain};
use rmcp::model::{PaginatedRequestParams, ProtocolVersion, ServerPeerInfo, Tool};
use rmcp::service::{Peer, RoleClient};
use serde::Deserialize as _;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};

use super::calls::{Calls, Relay};
use super::{ConnectError, ConnectOptions, Extended, McpConnector};
use crate::extension::{self, CAPABILITY, CONFIGURE, Configure, Configured, Offer, VERSION};
use crate::pipe::{End, Lane, LaneError, Pipe};
use crate::problem::Problem;
use crate::tools::differences;
use crate::words::Words;

/// Pages of tools that are read; no connector has more.
const PAGES: usize = 16;

pub(super) async fn connect(
    reader: impl AsyncRead + Send + Unpin + 'static,
    writer: impl AsyncWrite + Send + Unpin + 'static,
    options: ConnectOptions,
) -> Result<McpConnector, ConnectError> {
    let ConnectOptions { manifest, extended, limits, patience, words } = options;
    let calls = Arc::new(Calls::default());
    let relay = Relay::new(Arc::clone(&calls));
    let (pipe, lane, writing) = Pipe::open(reader, writer, limits, Arc::new(relay.clone()));
    // Whatever makes this end early, a half-made connection is not left open.
    let guard = CloseOnDrop(Some(lane.clone()));
    let greeting = async {
        let running = rmcp::service::serve_client(relay, pipe).await.map_err(|error| {
            lane.ended().map_or_else(|| ConnectError::Greeting(words.of(&chain(&error))), ConnectError::Ended)
        })?;
        let peer = running.peer().clone();
        let configure = check_peer(peer.peer_info().as_deref(), &manifest, &extended)?;
        let listed = list(&peer, &lane, &words).await?;
        let found = differences(&manifest.actions, &listed);
        if !found.is_empty() {
            return Err(ConnectError::Undeclared(found));
        }
        let configured = match configure {
            None => None,
            Some(configure) => Some(configure_server(&lane, (&manifest, &words), configure).await?),
        };
        Ok((running, peer, configured))
    };
    let (running, peer, configured) = tokio::time::timeout(patience.start, greeting)
        .await
        .map_err(|_| ConnectError::Late(patience.start))??;
    guard.keep();
    let is_extended = configured.is_some();
    let (manifest, checkpoints, targets) = match configured {
        Some(it) => (it.manifest, it.checkpoints, it.targets),
        None => (manifest, false, BTreeMap::new()),
    };
    Ok(McpConnector {
        manifest,
        checkpoints,
        targets,
        extended: is_extended,
        patience,
        words,
        peer,
        lane,
        calls,
        running: tokio::sync::Mutex::new(Some((running, writing))),
    })
}

/// Returns what it is to be configured with, unless it is a plain server.
fn check_peer<'a>(
    info: Option<&ServerPeerInfo>,
    manifest: &Manifest,
    extended: &'a Extended,
) -> Result<Option<&'a Configure>, ConnectError> {
    let info = info.ok_or_else(|| ConnectError::Greeting("it said nothing of itself".to_owned()))?;
    let known = ProtocolVersion::known_up_to(&crate::NEWEST_PROTOCOL);
    if !known.contains(&info.protocol_version) {
        // A revision is a date.
        let of_a_date = |c: &char| c.is_ascii_digit() || *c == '-';
        let found = info.protocol_version.as_str().chars().filter(of_a_date).take(10).collect();
        return Err(ConnectError::Protocol { found, newest: crate::NEWEST_PROTOCOL.as_str().to_owned() });
    }
    let offer = info.capabilities.experimental.as_ref().and_then(|it| it.get(CAPABILITY));
    let configure = match extended {
        Extended::Plain => return Ok(None),
        Extended::IfOffered(configure) if offer.is_none() && is_empty(&configure.config) => return Ok(None),
        Extended::IfOffered(configure) | Extended::Connector(configure) => configure,
    };
    let version = offer.and_then(|it| Offer::deserialize(it).ok()).map(|it| it.version);
    if version != Some(VERSION) {
        let found = version.map_or_else(|| "absent".to_owned(), |it| format!("version {it}"));
        return Err(ConnectError::Extension { found, expected: VERSION });
    }
    let server = info.server_info.as_ref();
    let found = server.map(|it| (it.name.as_str(), it.version.as_str()));
    if found != Some((manifest.name.as_str(), manifest.version.as_str())) {
        return Err(ConnectError::Undeclared(vec![format!(
            "it is not {} {}",
            manifest.name, manifest.version
        )]));
    }
    Ok(Some(configure))
}

fn is_empty(config: &serde_json::Value) -> bool {
    config.is_null() || config.as_object().is_some_and(serde_json::Map::is_empty)
}

async fn list(peer: &Peer<RoleClient>, lane: &Lane, words: &Words) -> Result<Vec<Tool>, ConnectError> {
    let mut tools = Vec::new();
    let mut page = None::<PaginatedRequestParams>;
    for _ in 0..PAGES {
        let listed = tokio::select! {
            biased;
            listed = peer.list_tools(page) => listed,
            end = lane.wait_end() => return Err(ConnectError::Ended(end)),
        };
        let listed = listed.map_err(|error| ConnectError::Greeting(words.of(&chain(&error))))?;
        tools.extend(listed.tools);
        match listed.next_cursor {
            Some(cursor) => page = Some(PaginatedRequestParams::default().with_cursor(Some(cursor))),
            None => return Ok(tools),
        }
    }
    Err(ConnectError::Undeclared(vec![format!("it lists tools on more than {PAGES} pages")]))
}

async fn configure_server(
    lane: &Lane,
    (manifest, words): (&Manifest, &Words),
    configure: &Configure,
) -> Result<Configured, ConnectError> {
    let answer = lane.request(CONFIGURE, json!(configure)).await.map_err(|error| match error {
        LaneError::Ended(end) => ConnectError::Ended(end),
        LaneError::Refused(refusal) => {
            let problem = refusal.data.and_then(|data| Problem::deserialize(data).ok());
            let error = match problem {
                Some(problem) => words.in_problem(problem).into_error(&manifest.name),
                None => ConnectorError::InvalidConfig { reason: words.of(&refusal.message) },
            };
            ConnectError::Configuration(error)
        }
    })?;
    let configured = Configured::deserialize(answer)
        .map_err(|error| ConnectError::Greeting(words.of(&format!("its answer to {CONFIGURE}: {error}"))))?;
    let found = undeclared(manifest, &configured.manifest, configure);
    if found.is_empty() { Ok(configured) } else { Err(ConnectError::Undeclared(found)) }
}

/// A configured manifest is the declared one, with capabilities that are granted.
fn undeclared(declared: &Manifest, configured: &Manifest, configure: &Configure) -> Vec<String> {
    let mut found = Vec::new();
    let with = |capabilities: &[Capability]| Manifest {
        capabilities: capabilities.to_vec(),
        signature_alg: None,
        signature: None,
        ..configured.clone()
    };
    let bare = Manifest { signature_alg: None, signature: None, ..declared.clone() };
    if with(&declared.capabilities) != bare {
        found.push("its manifest is another one once it is configured".to_owned());
    }
    for capability in &configured.capabilities {
        let granted = match capability {
            Capability::NetworkOutbound { host } => {
                configure.grants.iter().any(|origin| origin.authority() == *host)
            }
            _ => declared.capabilities.contains(capability),
        };
        if !granted {
            found.push(format!("it needs {capability}, which is not granted"));
        }
    }
    found
}

struct CloseOnDrop(Option<Lane>);

impl CloseOnDrop {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if let Some(lane) = self.0.take() {
            lane.close();
        }
    }
}

/// What this host offers to servers.
pub(super) fn offer() -> rmcp::model::ClientConfig {
    let mut capabilities = rmcp::model::ClientCapabilities::builder().enable_elicitation().build();
    let offer = extension::meta(CAPABILITY, &Offer { version: VERSION });
    let settings = offer.into_iter().filter_map(|(key, value)| match value {
        serde_json::Value::Object(map) => Some((key, map)),
        _ => None,
    });
    capabilities.experimental = Some(settings.collect());
    let about = rmcp::model::Implementation::new("connector-host", env!("CARGO_PKG_VERSION"));
    rmcp::model::ClientConfig::new(capabilities, about).with_protocol_version(crate::NEWEST_PROTOCOL)
}

/// The end, where one is known; a closed connection otherwise.
pub(super) fn end_of(lane: &Lane) -> End {
    lane.ended().unwrap_or(End::Closed)
}
