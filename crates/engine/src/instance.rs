//! Connector instances: a connector with its configuration, and how it gets
//! ready for a call.

use std::sync::Arc;

use async_trait::async_trait;
use connector_contract::{
    ActionDecl, Capability, Connector, ConnectorError, Grant, Origin, OutboundHttp, Provenance, Reach, Target,
};
use serde_json::{Map, Value};

/// A connector that can be called now.
#[derive(Clone)]
pub struct Ready {
    /// The connector.
    pub connector: Arc<dyn Connector>,
    /// The way out that it was granted.
    pub http: OutboundHttp,
}

/// Makes an instance ready: at once, or by starting what it needs.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// Returns once the connector can be called. The text of an error is for
    /// people: it names what is missing and what to do.
    async fn ready(&self) -> Result<Ready, String>;

    /// Called when a card is posted, so that it is warm at the tap.
    fn prewarm(&self) {}

    /// What the other side says itself of the terms of a call, for the card; it takes a few seconds at
    /// most, and begins nothing.
    async fn told(&self, _target: &Target, _input: &Value, _provenance: &Provenance) -> Map<String, Value> {
        Map::new()
    }
}

/// A connector instance under the name rules use.
#[derive(Clone)]
pub struct Instance {
    /// The name.
    pub name: String,
    /// The workspace whose daemon it drives, if the host manages that.
    pub workspace: Option<String>,
    /// Declares actions and targets without anything running.
    pub described: Arc<dyn Connector>,
    /// Makes it ready.
    pub provider: Arc<dyn Provider>,
}

impl Instance {
    /// The declaration of `action`.
    pub fn action(&self, action: &str) -> Option<&ActionDecl> {
        self.described.actions().iter().find(|decl| decl.name == action)
    }

    /// What a step would touch. A managed workspace is named instead of its
    /// daemon's port, which may change between the card and the tap.
    pub fn target(&self, action: &str, input: &Value, provenance: &Provenance) -> Target {
        let mut target = self.described.target(action, input, provenance);
        if let Some(workspace) = &self.workspace {
            target.origin = Some(format!("workspace:{workspace}"));
        }
        target
    }
}

/// A connector at a fixed origin.
pub struct Fixed(pub Ready);

#[async_trait]
impl Provider for Fixed {
    async fn ready(&self) -> Result<Ready, String> {
        Ok(self.0.clone())
    }
}

/// The way out for what `connector`'s manifest declares, as far as `reach`
/// allows. `origin` says which scheme belongs to the declared host.
pub fn grant(
    connector: &dyn Connector,
    origin: &Origin,
    reach: Reach,
) -> Result<OutboundHttp, ConnectorError> {
    let denied = |reason: String| ConnectorError::CapabilityDenied { reason };
    let wanted = Capability::outbound_to(origin);
    for capability in &connector.manifest().capabilities {
        if *capability != wanted {
            return Err(denied(format!(
                "{} asks for {capability}, which is not granted",
                connector.manifest().name
            )));
        }
    }
    let grant = Grant::new(origin.clone(), reach).map_err(|error| denied(error.to_string()))?;
    OutboundHttp::new([grant]).map_err(|source| ConnectorError::Unavailable {
        reason: "no way out".to_owned(),
        source: Some(source),
    })
}
