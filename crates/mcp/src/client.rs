//! An MCP server, usually a process of its own, as a connector.
//!
//! [`McpConnector::connect`] greets the server, compares what it offers with what
//! its manifest declares, and configures it when it is a connector of ours; all of
//! that within a limit, and what does not fit is refused with the difference. From
//! then on it is a [`Connector`]: a call becomes a `tools/call`, progress, asks and
//! checkpoints of that call are relayed to its context and to no other, and its
//! answer or error comes back as what it was.
//!
//! A server that is gone, silent or against the rules is an error by consequence:
//! nothing started while a checkpointing connector has not reported a checkpoint,
//! outcome unknown otherwise. The connection is then at an [end](McpConnector::ended),
//! and whoever started the process decides what to do about it.

mod calls;
mod connect;
mod execute;
mod outcome;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use connector_contract::{
    ActionResult, Connector, ConnectorError, Context, EventHandler, Manifest, Provenance, Subscription,
    Target,
};
use rmcp::service::{Peer, RoleClient, RunningService};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;

use crate::extension::{Configure, Targets};
use crate::pipe::{End, Lane, Limits};
use crate::problem::shortened;
use crate::words::Words;
use calls::{Calls, Relay};

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// From the first byte to being ready for calls.
    pub start: Duration,
    /// From a stop to the outcome of the call; longer than the connector takes to
    /// stop what it started and to confirm that. After it the connection is ended.
    pub stop: Duration,
    /// Beyond a call's deadline, which the server keeps by itself.
    pub grace: Duration,
    /// From closing to the server's last byte; and from cancelling a call of a
    /// [plain](Extended::Plain) server, which need not answer, to the connection's end.
    pub exit: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self { start: secs(10), stop: secs(30), grace: secs(5), exit: secs(5) }
    }
}

/// What kind of server it is.
#[derive(Debug, Clone)]
pub enum Extended {
    /// A connector of ours: it must offer the [extension](crate::extension), and is
    /// configured over the connection.
    Connector(Configure),
    /// A connector of ours if it offers the extension, and otherwise [plain](Self::Plain),
    /// which it may be only where there is nothing to configure.
    IfOffered(Configure),
    /// Any MCP server: no configuration, no checkpoints, nothing is resumed.
    Plain,
}

/// How to connect.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// What the server must offer, no more and no less.
    pub manifest: Manifest,
    /// What kind it is.
    pub extended: Extended,
    /// How much it may say.
    pub limits: Limits,
    /// How long it may take.
    pub patience: Patience,
    /// Who hears its own words about errors.
    pub words: Words,
}

impl ConnectOptions {
    /// The usual limits and patience.
    pub fn new(manifest: Manifest, extended: Extended) -> Self {
        Self {
            manifest,
            extended,
            limits: Limits::default(),
            patience: Patience::default(),
            words: Words::Told,
        }
    }
}

/// Why a server is not used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It said nothing, or not enough, in time.
    #[error("the server was not ready within {0:?}")]
    Late(Duration),
    /// The connection ended first.
    #[error("the server is gone before it was ready: {0}")]
    Ended(End),
    /// It did not greet as MCP servers do.
    #[error("the server does not speak MCP: {0}")]
    Greeting(String),
    /// It speaks another revision of MCP.
    #[error("the server speaks MCP {found}, and this host 2024-11-05 to {newest}")]
    Protocol {
        /// The server's.
        found: String,
        /// The newest known here.
        newest: String,
    },
    /// It offers no extension, or another version of it.
    #[error("the server's host extension is {found}, and this host's is version {expected}")]
    Extension {
        /// What it offers.
        found: String,
        /// The version known here.
        expected: u32,
    },
    /// What it is or offers is not what its manifest declares.
    #[error("the server is not what its manifest declares: {}", shortened(&.0.join("; ")))]
    Undeclared(Vec<String>),
    /// It refused its configuration.
    #[error("the server refused its configuration")]
    Configuration(#[source] ConnectorError),
}

/// The SDK's loop, and the task that writes.
type Running = (RunningService<RoleClient, Relay>, JoinHandle<()>);

/// A connector at the other end of a pipe. Dropping it closes the connection
/// without waiting; calls under way then end with an unknown outcome.
pub struct McpConnector {
    manifest: Manifest,
    checkpoints: bool,
    targets: BTreeMap<String, Targets>,
    extended: bool,
    patience: Patience,
    words: Words,
    peer: Peer<RoleClient>,
    lane: Lane,
    calls: Arc<Calls>,
    running: tokio::sync::Mutex<Option<Running>>,
}

impl McpConnector {
    /// Makes a connector of the server that reads `writer` and writes `reader`.
    ///
    /// Dropping the future closes the connection.
    pub async fn connect(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        options: ConnectOptions,
    ) -> Result<Self, ConnectError> {
        Box::pin(connect::connect(reader, writer, options)).await
    }

    /// Waits for the connection's end. Cancel safe.
    pub async fn ended(&self) -> End {
        self.lane.wait_end().await
    }

    /// Why the connection is at an end, if it is.
    pub fn end(&self) -> Option<End> {
        self.lane.ended()
    }

    /// Closes the connection, which asks the server to stop its calls and to leave,
    /// and waits for what is still to be written, within [`Patience::exit`].
    pub async fn close(&self) {
        self.lane.close();
        let Some((mut running, writing)) = self.running.lock().await.take() else { return };
        let closing = async {
            let _ = running.close().await;
            let _ = writing.await;
        };
        if tokio::time::timeout(self.patience.exit, closing).await.is_err() {
            tracing::warn!(connector = self.manifest.name, "a server's pipe did not close in time");
        }
    }
}

impl std::fmt::Debug for McpConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("McpConnector")
            .field("name", &self.manifest.name)
            .field("end", &self.end())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Connector for McpConnector {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    async fn execute(
        &self,
        action: &str,
        input: Value,
        ctx: &Context,
    ) -> Result<ActionResult, ConnectorError> {
        Box::pin(execute::execute(self, action, input, ctx)).await
    }

    /// As the server told it when it was configured; an input that names one of the
    /// settings overrides it.
    fn target(&self, action: &str, input: &Value, provenance: &Provenance) -> Target {
        let Some(targets) = self.targets.get(action) else { return Target::default() };
        let mut target = match provenance {
            Provenance::Local => targets.local.clone(),
            Provenance::Chat { .. } => targets.chat.clone(),
        };
        for (key, value) in &mut target.settings {
            if let Some(given) = input.get(key).filter(|it| !it.is_null()) {
                value.clone_from(given);
            }
        }
        target
    }

    fn checkpoints(&self) -> bool {
        self.checkpoints
    }

    async fn on_event(&self, trigger: &str, _handler: EventHandler) -> Result<Subscription, ConnectorError> {
        Err(ConnectorError::InvalidInput {
            reason: format!("{}: `{trigger}` cannot be listened to over a pipe", self.manifest.name),
        })
    }

    async fn remove_event(&self, _subscription: &Subscription) -> Result<(), ConnectorError> {
        Ok(())
    }
}
