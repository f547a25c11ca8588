//! Instances that declare and target as those of a running host would, and cannot be called.

use std::sync::Arc;

use async_trait::async_trait;
use connector_contract::{
    ActionDecl, ActionResult, Connector, ConnectorError, Context, EventHandler, Manifest, Provenance,
    Subscription, Target, TriggerDecl,
};
use connector_engine::instance::{Instance, Provider, Ready};
use opencode_daemons::pool::WorkspaceConfig;
use opencode_daemons::{Environment, PoolConfig};
use serde_json::{Map, Value};

use crate::own_model::Source;
use crate::{managed, powers};

/// Why a connector does nothing here.
const NOT_CALLED: &str = "nothing is called to look at rules";

/// Provider of an instance that cannot be called.
struct NotCalled;

#[async_trait]
impl Provider for NotCalled {
    async fn ready(&self) -> Result<Ready, String> {
        Err(NOT_CALLED.to_owned())
    }
}

/// `instance`, except that it cannot be called.
pub(in crate::build) fn not_called(instance: Instance) -> Instance {
    Instance { provider: Arc::new(NotCalled), ..instance }
}

/// Connector that declares what another does, and does nothing.
pub(in crate::build) struct Described {
    connector: Arc<dyn Connector>,
    daemon: Option<Daemon>,
}

/// The daemon of a workspace, which the host starts.
struct Daemon {
    /// On what terms its tasks run.
    terms: Map<String, Value>,
    /// Its permission rules.
    rules: Map<String, Value>,
    /// Where it finds the model of a prompt that names none.
    own_model: Source,
}

impl Described {
    /// What `connector` declares and targets.
    pub(in crate::build) fn plain(connector: Arc<dyn Connector>) -> Self {
        Self { connector, daemon: None }
    }

    /// What `connector` declares and targets at the daemon of `workspace`.
    pub(in crate::build) fn of_workspace(
        connector: Arc<dyn Connector>,
        (pool, workspace): (&PoolConfig, &WorkspaceConfig),
        environment: Environment,
    ) -> Self {
        let daemon = Daemon {
            terms: pool.terms(workspace),
            rules: pool.permission_rules(workspace),
            own_model: Source::of(environment, pool, Some(workspace)),
        };
        Self { connector, daemon: Some(daemon) }
    }

    /// An instance of it, which cannot be called.
    pub(in crate::build) fn instance(self, name: &str, workspace: Option<String>) -> Instance {
        let (name, described) = (name.to_owned(), Arc::new(self));
        Instance { name, workspace, described, provider: Arc::new(NotCalled) }
    }
}

#[async_trait]
impl Connector for Described {
    fn triggers(&self) -> &[TriggerDecl] {
        self.connector.triggers()
    }

    fn actions(&self) -> &[ActionDecl] {
        self.connector.actions()
    }

    fn manifest(&self) -> &Manifest {
        self.connector.manifest()
    }

    async fn execute(&self, _: &str, _: Value, _: &Context) -> Result<ActionResult, ConnectorError> {
        Err(ConnectorError::Unavailable { reason: NOT_CALLED.to_owned(), source: None })
    }

    fn check(&self, action: &str, input: &Value) -> Result<(), ConnectorError> {
        self.connector.check(action, input)
    }

    fn target(&self, action: &str, input: &Value, provenance: &Provenance) -> Target {
        let target = self.connector.target(action, input, provenance);
        let Some(daemon) = &self.daemon else { return target };
        let target = daemon.own_model.tell(target, input);
        powers::under(managed::within(target, &daemon.terms), &daemon.rules)
    }

    async fn on_event(&self, _: &str, _: EventHandler) -> Result<Subscription, ConnectorError> {
        Err(ConnectorError::Unavailable { reason: NOT_CALLED.to_owned(), source: None })
    }

    async fn remove_event(&self, _: &Subscription) -> Result<(), ConnectorError> {
        Ok(())
    }
}
