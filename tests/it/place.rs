//! Where the connector of these tests runs: here.

use connector_contract::{Connector, ConnectorFactory as _};
use connector_opencode::{OpencodeFactory, Timing};
use serde_json::Value;

pub(crate) async fn connector(config: Value, timing: Timing) -> Box<dyn Connector> {
    OpencodeFactory { timing }.create(config).await.unwrap()
}
