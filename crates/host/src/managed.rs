//! Connectors whose daemons the host starts: a thin layer over the pool.
//!
//! A [`Managed`] is ready at once and starts nothing. Each call takes a lease of its workspace's
//! daemon, drives a connector made for where that daemon listens, and returns the lease at its
//! end. If the daemon dies meanwhile, the call waits for the pool to start it again and finds out
//! what became of the turn (`call`). Other processes of the same user ask a running host about its
//! daemons through a socket (`control`).

mod call;
pub mod config;
pub mod control;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use connector_contract::{
    Connector, ConnectorError, ConnectorFactory, Origin, OutboundHttp, Reach, Target, chain,
};
use opencode_daemons::confine::{self, Kernel};
use opencode_daemons::pool::{Address, ConfigError, Confine, Surroundings};
use opencode_daemons::{Environment, Home, Pool, PoolConfig};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use crate::instance::{Instance, Provider, Ready, grant};

/// The daemons of this host.
pub struct Daemons {
    pool: Pool,
    state: PathBuf,
    control: Option<control::Serving>,
}

impl Daemons {
    /// Makes the pool; nothing is started yet. `state` is the host's state directory.
    pub fn new(
        config: &PoolConfig,
        program: PathBuf,
        home: Home,
        environment: Environment,
        state: &Path,
    ) -> Result<Self, ConfigError> {
        let launcher = std::env::current_exe().ok();
        let state = directory(state);
        let surroundings = Surroundings { program, environment, state: state.clone(), launcher, home };
        Ok(Self { pool: Pool::new(config, &surroundings)?, state, control: None })
    }

    /// Answers the commands of other processes from now on. To be called by the one host of the
    /// state directory, once it is the one.
    pub fn answer_commands(&mut self) {
        self.control = Some(control::serve(&self.state, &self.pool));
    }

    /// The pool.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Ends the daemons, or leaves them for the next host, as configured.
    pub async fn stop(self) {
        drop(self.control);
        self.pool.shutdown().await;
    }
}

/// Where the daemons' records, logs and private files are.
pub fn directory(state: &Path) -> PathBuf {
    state.join("daemons")
}

/// What a step would touch at a daemon within the walls of `confine`.
pub fn within(target: Target, confine: Confine) -> Target {
    call::within(target, confine)
}

/// What is missing of the walls that `wanted` asks for, in words for people; nothing when they
/// hold or are not wanted.
pub fn missing_walls(wanted: Confine) -> Option<&'static str> {
    match (wanted, confine::kernel()) {
        (Confine::Off, _) => Some(
            "confine is off: the agent can reach what you can, its own daemon's password included, \
             and could answer its own asks",
        ),
        (_, Kernel::Whole) => None,
        (_, Kernel::Files) => Some(
            "this kernel confines the agent's files only: it can signal and inspect your other processes",
        ),
        (_, Kernel::None) => Some(
            "this kernel cannot confine the agent (no Landlock): it can reach what you can, \
             its own daemon's password included, and could answer its own asks",
        ),
    }
}

/// A connector to the daemon of one workspace. Clones share it.
#[derive(Clone)]
pub struct Managed(Arc<Inner>);

struct Inner {
    pool: Pool,
    /// As the pool knows it.
    workspace: String,
    confine: Confine,
    factory: Arc<dyn ConnectorFactory>,
    config: Map<String, Value>,
    /// Declares everything; is never called.
    described: Arc<dyn Connector>,
    /// Shared by the calls at one address, since turns of one directory wait for each other in it.
    connected: Mutex<Option<(Address, Ready)>>,
}

impl Managed {
    /// A connector of `factory`, configured by `config`, to the daemon of `workspace`.
    pub async fn new(
        daemons: &Daemons,
        (workspace, confine): (&str, Confine),
        factory: Arc<dyn ConnectorFactory>,
        config: Map<String, Value>,
    ) -> Result<Self, ConnectorError> {
        let described = factory.create(Value::Object(config.clone())).await?.into();
        Ok(Self(Arc::new(Inner {
            pool: daemons.pool.clone(),
            workspace: workspace.to_owned(),
            confine,
            factory,
            config,
            described,
            connected: Mutex::default(),
        })))
    }

    /// Itself as an instance: called `name`, its workspace shown as `workspace`.
    pub fn instance(self, name: &str, workspace: &str) -> Instance {
        Instance {
            name: name.to_owned(),
            workspace: Some(workspace.to_owned()),
            described: Arc::new(self.clone()),
            provider: Arc::new(self),
        }
    }

    /// The connector for the daemon at `address`, with the way out to it and nowhere else.
    async fn connect(&self, address: &Address) -> Result<Ready, ConnectorError> {
        let mut connected = self.0.connected.lock().await;
        if let Some((_, ready)) = connected.as_ref().filter(|(known, _)| known == address) {
            return Ok(ready.clone());
        }
        let mut config = self.0.config.clone();
        config.insert("base_url".to_owned(), json!(address.base_url));
        config.insert("password".to_owned(), json!(address.password.expose_secret()));
        let connector = self.0.factory.create(Value::Object(config)).await?;
        let origin: Origin = address.base_url.parse().map_err(|error| ConnectorError::InvalidConfig {
            reason: format!("the daemon's address: {}", chain(&error)),
        })?;
        let http = grant(connector.as_ref(), &origin, Reach::Loopback)?;
        let ready = Ready { connector: connector.into(), http };
        *connected = Some((address.clone(), ready.clone()));
        Ok(ready)
    }

    /// Lets go of the connector to a daemon that is gone: its event stream must not try the port
    /// again, which may be a stranger's by now.
    async fn disconnect(&self, address: &Address) {
        let mut connected = self.0.connected.lock().await;
        if connected.as_ref().is_some_and(|(known, _)| known == address) {
            *connected = None;
        }
    }
}

#[async_trait]
impl Provider for Managed {
    async fn ready(&self) -> Result<Ready, String> {
        // Each call opens its own way out, once it knows where its daemon listens.
        let http = OutboundHttp::new([]).map_err(|error| chain(&error))?;
        Ok(Ready { connector: Arc::new(self.clone()), http })
    }

    fn prewarm(&self) {
        self.0.pool.warm(&self.0.workspace);
    }
}
