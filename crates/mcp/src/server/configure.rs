//! A host configures the connector over the connection.

use connector_contract::{
    Connector, ConnectorError, Grant, OutboundHttp, Provenance, Reach, SourceNote, chain,
};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{Equipped, State, lock};
use crate::extension::{Configure, Configured, Targets};
use crate::pipe::Refusal;
use crate::problem::Problem;

/// Makes the connector, once and before the first call. What failed may be tried again.
pub(super) async fn configure(state: &State, params: Value) -> Result<Value, Refusal> {
    // serde may quote what it could not read, and that may be a secret.
    let configure =
        Configure::deserialize(params).map_err(|_| Refusal::invalid("the configuration cannot be read"))?;
    let Some(factory) = &state.factory else {
        return Err(Refusal::invalid("this connector is not configured over the connection"));
    };
    if std::mem::replace(&mut *lock(&state.settled), true) {
        return Err(Refusal::invalid("it is configured already"));
    }
    let made = async {
        let http = outbound(&configure)?;
        Ok(Equipped { connector: factory.create(configure.config).await?.into(), http })
    };
    let equipped = made.await.map_err(|error| {
        *lock(&state.settled) = false;
        refusal(&error)
    })?;
    let answer = described(&*equipped.connector);
    *lock(&state.equipped) = Some(equipped);
    serde_json::to_value(answer).map_err(|_| Refusal::invalid("the manifest cannot be written"))
}

/// What may be reached was decided by the host, which granted it.
fn outbound(configure: &Configure) -> Result<OutboundHttp, ConnectorError> {
    let grant = |origin: &connector_contract::Origin| {
        Grant::new(origin.clone(), Reach::Remote)
            .map_err(|error| ConnectorError::CapabilityDenied { reason: error.to_string() })
    };
    let grants = configure.grants.iter().map(grant).collect::<Result<Vec<_>, _>>()?;
    OutboundHttp::pinned(grants, configure.pins.clone())
        .map_err(|error| ConnectorError::InvalidConfig { reason: chain(&error) })
}

fn described(connector: &dyn Connector) -> Configured {
    let chat = Provenance::Chat { surface: String::new(), rule: String::new(), note: SourceNote::Usual };
    let targets = connector.actions().iter().map(|action| {
        let target = |provenance| connector.target(&action.name, &json!({}), provenance);
        (action.name.clone(), Targets { local: target(&Provenance::Local), chat: target(&chat) })
    });
    Configured {
        manifest: connector.manifest().clone(),
        checkpoints: connector.checkpoints(),
        targets: targets.collect(),
    }
}

fn refusal(error: &ConnectorError) -> Refusal {
    let data = serde_json::to_value(Problem::from(error)).ok();
    Refusal { code: -32602, message: error.to_string(), data }
}
