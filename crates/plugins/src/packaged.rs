//! A package that was admitted, as a connector: declared by its manifest, performed by its
//! executable in a process within walls.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use connector_contract::{
    ActionResult, Capability, Connector, ConnectorError, Context, EventHandler, Manifest, Origin, Provenance,
    Subscription, Target,
};
use connector_files::Log;
use connector_sandbox::Start;
use serde_json::{Map, Value, json};

use crate::confined::Confined;
use crate::package::Granted;
use crate::process::Program;

/// A connector of a package. Nothing of it runs until its first call.
#[derive(Debug)]
pub struct Packaged {
    /// The connector.
    pub connector: Confined,
    /// The origins that it may speak to: all that it asks for.
    pub origins: Vec<Origin>,
}

/// What a package asks for and no process within walls is given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it asks for {0}, which is given to no process within walls; only NetworkOutbound is")]
pub struct NotGiven(pub Capability);

impl Packaged {
    /// The connector of `package` with `config`, its section of the host's configuration, secrets
    /// included. `launcher` is a binary that calls [`connector_sandbox::launch::within`]. What its process
    /// says is kept in `said`.
    ///
    /// Its process starts only where the kernel holds every wall. An origin of this machine is
    /// `http`, any other `https`: a capability names no scheme.
    pub fn new(
        package: &Granted,
        config: Map<String, Value>,
        launcher: impl Into<PathBuf>,
        said: Option<Log>,
    ) -> Result<Self, NotGiven> {
        let origins = package.capabilities().iter().map(origin).collect::<Result<Vec<_>, _>>()?;
        let sha256 = package.executable().sha256().to_string();
        let declared = Declared {
            target: target(package.manifest(), &sha256, &origins, &config),
            manifest: package.manifest().clone(),
        };
        let start = Start::Program { path: package.executable().path().to_owned(), sha256 };
        let program = Program { launcher: launcher.into(), start, required: true, said };
        let connector = Confined::new(Arc::new(declared), program, Value::Object(config));
        Ok(Self { connector, origins })
    }
}

fn origin(capability: &Capability) -> Result<Origin, NotGiven> {
    let not_given = || NotGiven(capability.clone());
    let Capability::NetworkOutbound { host } = capability else { return Err(not_given()) };
    let plain: Origin = format!("http://{host}").parse().map_err(|_| not_given())?;
    if plain.is_loopback() {
        return Ok(plain);
    }
    format!("https://{host}").parse().map_err(|_| not_given())
}

/// What each of its actions would touch. The values of its settings are not shown: which of them
/// are secrets is known to the package alone.
fn target(manifest: &Manifest, sha256: &str, origins: &[Origin], config: &Map<String, Value>) -> Target {
    let mut target = Target::default();
    match origins {
        [] => {}
        [one] => target.origin = Some(one.to_string()),
        many => {
            target.settings.insert("origins".to_owned(), json!(many));
        }
    }
    let package = format!("{} {}", manifest.name, manifest.version);
    target.settings.insert("package".to_owned(), json!(package));
    target.settings.insert("sha256".to_owned(), json!(sha256));
    if !config.is_empty() {
        let names: Vec<&String> = config.keys().collect();
        target.settings.insert("settings".to_owned(), json!(names));
    }
    target
}

/// What a manifest declares. It is never called.
struct Declared {
    manifest: Manifest,
    target: Target,
}

impl Declared {
    fn not_here(&self) -> ConnectorError {
        let reason = format!("{} is performed by a process of its own", self.manifest.name);
        ConnectorError::Unavailable { reason, source: None }
    }
}

#[async_trait]
impl Connector for Declared {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    async fn execute(&self, _: &str, _: Value, _: &Context) -> Result<ActionResult, ConnectorError> {
        Err(self.not_here())
    }

    fn target(&self, _action: &str, _input: &Value, _provenance: &Provenance) -> Target {
        self.target.clone()
    }

    async fn on_event(&self, _: &str, _: EventHandler) -> Result<Subscription, ConnectorError> {
        Err(self.not_here())
    }

    async fn remove_event(&self, _: &Subscription) -> Result<(), ConnectorError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_this_machine_is_http_and_the_rest_is_encrypted() {
        for (capability, expected) in [
            ("NetworkOutbound(127.0.0.1:4096)", Some("http://127.0.0.1:4096")),
            ("NetworkOutbound([::1]:4096)", Some("http://[::1]:4096")),
            ("NetworkOutbound(api.example.org:443)", Some("https://api.example.org:443")),
            ("FilesystemRead(/a)", None),
            ("ShellExec", None),
        ] {
            let made = origin(&capability.parse().unwrap()).ok().map(|it| it.to_string());
            assert_eq!(made.as_deref(), expected, "{capability}");
        }
    }

    #[test]
    fn a_target_names_settings_and_shows_no_value() {
        let text = "name = \"connector-x\"\nversion = \"1.0.0\"\nauthor = \"a\"\ndescription = \"d\"\n";
        let config = Map::from_iter([("token".to_owned(), json!("hunter2"))]);
        let shown = json!(target(&Manifest::parse(text).unwrap(), "00", &[], &config));
        assert_eq!(shown["settings"]["settings"], json!(["token"]));
        assert!(!shown.to_string().contains("hunter2"), "{shown}");
    }
}
