//! A connector whose daemon the host starts: one workspace, one daemon.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use connector_contract::{ConnectorFactory, Origin, Reach, chain};
use opencode_daemons::{Daemon, Spec};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use crate::instance::{Provider, Ready, grant};

/// Starts a workspace's daemon when a call needs it, and again when it died.
#[derive(Clone)]
pub struct Managed(Arc<Inner>);

struct Inner {
    factory: Arc<dyn ConnectorFactory>,
    config: Map<String, Value>,
    spec: Spec,
    record: PathBuf,
    // Held while the daemon starts: one start serves everybody who waits for it.
    running: Mutex<Option<(Daemon, Ready)>>,
}

impl Managed {
    /// A provider for the daemon that `spec` describes, remembered in the file
    /// `record`, with connectors of `factory` configured by `config`.
    pub fn new(
        factory: Arc<dyn ConnectorFactory>,
        config: Map<String, Value>,
        spec: Spec,
        record: PathBuf,
    ) -> Self {
        Self(Arc::new(Inner { factory, config, spec, record, running: Mutex::new(None) }))
    }

    /// Ends the daemon and everything it started.
    pub async fn stop(&self) {
        if let Some((daemon, _)) = self.0.running.lock().await.take() {
            daemon.stop().await;
        }
    }

    async fn start(&self) -> Result<(Daemon, Ready), String> {
        let inner = &self.0;
        let started = Daemon::adopt_or_start(inner.spec.clone(), &inner.record).await;
        let (daemon, adopted) = started.map_err(|error| chain(&error))?;
        tracing::info!(?adopted, port = daemon.port(), version = daemon.version(), "daemon ready");
        let mut config = inner.config.clone();
        config.insert("base_url".to_owned(), json!(daemon.base_url()));
        config.insert("password".to_owned(), json!(daemon.password().expose_secret()));
        let connector = inner.factory.create(Value::Object(config)).await.map_err(|error| chain(&error))?;
        let origin: Origin = daemon.base_url().parse().map_err(|error| chain(&error))?;
        let http = grant(connector.as_ref(), &origin, Reach::Loopback).map_err(|error| chain(&error))?;
        Ok((daemon, Ready { connector: connector.into(), http }))
    }
}

#[async_trait]
impl Provider for Managed {
    async fn ready(&self) -> Result<Ready, String> {
        let mut running = self.0.running.lock().await;
        if let Some((daemon, ready)) = running.as_mut() {
            if daemon.try_exit().is_none() {
                return Ok(ready.clone());
            }
            *running = None;
        }
        let (daemon, ready) = self.start().await?;
        *running = Some((daemon, ready.clone()));
        Ok(ready)
    }

    fn prewarm(&self) {
        let managed = self.clone();
        tokio::spawn(async move {
            if let Err(error) = managed.ready().await {
                tracing::warn!(error, "the daemon did not start ahead of its task; the task will try again");
            }
        });
    }
}
