//! Where the connector of the plugin's own tests runs here: in a confined process.

use connector_contract::{Connector, ConnectorFactory as _};
use connector_opencode::{OpencodeFactory, Timing};
use connector_plugins::{Confined, Program};
use connector_sandbox::Start;
use serde_json::Value;

#[path = "../impatient/times.rs"]
mod times;

pub(crate) async fn connector(config: Value, mut timing: Timing) -> Box<dyn Connector> {
    let declared = OpencodeFactory { timing }.create(config.clone()).await.unwrap().into();
    let words = times::times(&mut timing).map(|time| time.as_millis().to_string());
    let launcher = env!("CARGO_BIN_EXE_connector-impatient").into();
    let program =
        Program { launcher, start: Start::BuiltIn { name: words.join(" ") }, required: true, said: None };
    Box::new(Confined::new(declared, program, config))
}
