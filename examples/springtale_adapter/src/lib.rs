//! The connector for opencode as one of Springtale's: see the README for what crosses.

pub mod springtale;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use connector_contract::ask::RejectAsks;
use connector_contract::{
    Connector, ConnectorFactory as _, Context, Grant, NoCheckpoints, OutboundHttp, Provenance, Reach,
    SourceNote, chain, progress_channel,
};
use connector_opencode::OpencodeFactory;
use serde_json::Value;
use springtale as theirs;
type Result<T> = std::result::Result<T, theirs::ConnectorError>;

/// One of ours behind their trait.
pub struct Adapter {
    inner: Box<dyn Connector>,
    manifest: theirs::ConnectorManifest,
    http: OutboundHttp,
}

impl Adapter {
    /// The connector of `config`, as `[connectors.opencode]` has it. Does no I/O.
    pub async fn new(config: Value) -> Result<Self> {
        let base_url = config["base_url"].as_str().unwrap_or("http://127.0.0.1:4096").to_owned();
        let inner = OpencodeFactory::default().create(config).await.map_err(failed)?;
        let grant = Grant::new(base_url.parse().map_err(failed)?, Reach::Loopback).map_err(failed)?;
        let http = OutboundHttp::new([grant]).map_err(failed)?;
        let manifest = serde_json::to_value(inner.manifest()).and_then(serde_json::from_value);
        Ok(Self { manifest: manifest.map_err(failed)?, inner, http })
    }
}

#[async_trait]
impl theirs::Connector for Adapter {
    fn triggers(&self) -> &[theirs::TriggerDecl] {
        &self.manifest.triggers
    }
    fn actions(&self) -> &[theirs::ActionDecl] {
        &self.manifest.actions
    }
    fn manifest(&self) -> &theirs::ConnectorManifest {
        &self.manifest
    }
    async fn execute(&self, action: &str, input: Value) -> Result<theirs::ActionResult> {
        let ctx = Context {
            http: self.http.clone(),
            deadline: tokio::time::Instant::now() + Duration::from_hours(1),
            cancel: tokio_util::sync::CancellationToken::new(),
            progress: progress_channel(1).0,
            asks: Arc::new(RejectAsks),
            checkpoints: Arc::new(NoCheckpoints),
            resume: None,
            // Their host does not say who asked, so the strict rules for chats hold.
            provenance: work_of(action),
            approved: None,
        };
        let result = self.inner.execute(action, input, &ctx).await.map_err(failed)?;
        Ok(theirs::ActionResult { success: result.success, output: result.output, message: result.message })
    }
    async fn on_event(&self, trigger: &str, _: theirs::EventHandler) -> Result<theirs::Subscription> {
        Err(theirs::ConnectorError::ExecutionFailed(format!("there is no event `{trigger}`")))
    }
    async fn remove_event(&self, _: &theirs::Subscription) -> Result<()> {
        Ok(())
    }
}

fn work_of(action: &str) -> Provenance {
    Provenance::Chat { surface: "springtale".into(), rule: action.into(), note: SourceNote::Usual }
}

fn failed(error: impl std::error::Error + 'static) -> theirs::ConnectorError {
    theirs::ConnectorError::ExecutionFailed(chain(&error))
}
