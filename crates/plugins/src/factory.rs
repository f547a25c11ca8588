//! A connector that this binary contains, performed by another process of the same binary.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use connector_contract::{ActionDecl, Connector, ConnectorError, ConnectorFactory, TriggerDecl};
use connector_files::Log;
use connector_sandbox::Start;
use serde_json::Value;

use crate::confined::Confined;
use crate::process::Program;

/// Makes the connectors of another factory, and performs their calls in processes within walls.
pub struct InProcesses {
    inner: Arc<dyn ConnectorFactory>,
    launcher: PathBuf,
    required: bool,
    said: Option<Log>,
}

impl InProcesses {
    /// `launcher` is a binary that [serves](crate::serve()) `inner`'s connector once its walls are
    /// up. With `required`, nothing runs where the kernel cannot hold every wall.
    pub fn new(inner: Arc<dyn ConnectorFactory>, launcher: impl Into<PathBuf>, required: bool) -> Self {
        Self { inner, launcher: launcher.into(), required, said: None }
    }

    /// The same, with what their processes say kept in `said`, for the owner's eyes.
    #[must_use]
    pub fn with_log(self, said: Option<Log>) -> Self {
        Self { said, ..self }
    }
}

#[async_trait]
impl ConnectorFactory for InProcesses {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn config_key(&self) -> &'static str {
        self.inner.config_key()
    }

    fn requires_config(&self) -> bool {
        self.inner.requires_config()
    }

    fn config_schema(&self) -> Option<Value> {
        self.inner.config_schema()
    }

    fn trigger_declarations(&self) -> Vec<TriggerDecl> {
        self.inner.trigger_declarations()
    }

    fn action_declarations(&self) -> Vec<ActionDecl> {
        self.inner.action_declarations()
    }

    /// Checks the configuration here, where a mistake is told before anything runs. The process is
    /// started by the first call.
    async fn create(&self, config: Value) -> Result<Box<dyn Connector>, ConnectorError> {
        let declared = self.inner.create(config.clone()).await?.into();
        let start = Start::BuiltIn { name: self.inner.name().to_owned() };
        let program = Program {
            launcher: self.launcher.clone(),
            start,
            required: self.required,
            said: self.said.clone(),
        };
        Ok(Box::new(Confined::new(declared, program, config)))
    }
}
