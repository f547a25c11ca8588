//! A connector that is declared here and performed by a process.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use connector_contract::{
    ActionResult, Checkpoint, CheckpointError, CheckpointLog, Connector, ConnectorError, Context,
    EventHandler, Grant, Manifest, Origin, Pins, Provenance, Reference, Subscription, Target, chain,
};
use connector_mcp::extension::Configure;
use connector_mcp::{ConnectError, ConnectOptions, Extended, McpConnector, Patience, Words};
use connector_sandbox::{Start, Walls};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::backoff::Backoff;
use crate::process::{Process, Program};

/// How many deaths of its process one call outlives.
const DEATHS: u32 = 2;

/// How long a process is kept for calls that nobody waits for any more to stop what they started.
const LINGER: Duration = Duration::from_secs(15);

/// How long a process may take until it is ready: for a busy machine, since nothing waits idly.
const START: Duration = Duration::from_secs(30);

/// Where certificates are that connections to other machines are checked with.
const CERTIFICATES: [&str; 5] =
    ["/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/usr/share/ca-certificates", "/usr/lib/ssl"];

/// A connector whose calls are performed by a process within walls.
///
/// Dropping it ends the process. Calls that nobody waits for any more have a bounded time to stop
/// what they started.
pub struct Confined {
    declared: Arc<dyn Connector>,
    program: Program,
    /// Its configuration, secrets included.
    config: Value,
    patience: Patience,
    running: tokio::sync::Mutex<Option<Running>>,
    /// When the future of a call was last dropped before its end.
    abandoned: Arc<Mutex<Option<Instant>>>,
    backoff: Mutex<Backoff>,
}

/// A process that is ready for calls.
struct Running {
    link: Arc<McpConnector>,
    process: Process,
    grants: Vec<Origin>,
}

impl std::fmt::Debug for Confined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Confined")
            .field("name", &self.declared.manifest().name)
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

impl Confined {
    /// A connector that is what `declared` declares, performed by `program` with `config`.
    /// `declared` is never called.
    pub fn new(declared: Arc<dyn Connector>, program: Program, config: Value) -> Self {
        Self {
            declared,
            program,
            config,
            patience: Patience { start: START, ..Patience::default() },
            running: tokio::sync::Mutex::default(),
            abandoned: Arc::default(),
            backoff: Mutex::default(),
        }
    }

    /// The same, with this patience with its process.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// The number of its process, if that runs.
    pub async fn process_id(&self) -> Option<u32> {
        self.running.lock().await.as_ref()?.process.id()
    }

    /// The process for a call with these grants, started if there is none.
    async fn link(&self, grants: &[Grant]) -> Result<Arc<McpConnector>, ConnectorError> {
        let mut running = self.running.lock().await;
        let origins: Vec<Origin> = grants.iter().map(|grant| grant.origin().clone()).collect();
        if let Some(fit) = running.as_ref().filter(|it| it.link.end().is_none() && it.grants == origins) {
            return Ok(Arc::clone(&fit.link));
        }
        if let Some(old) = running.take() {
            tokio::spawn(old.end());
        }
        let until = self.backoff().until();
        if let Some(until) = until {
            sleep_until(until).await;
        }
        match self.start(grants, origins).await {
            Ok(started) => {
                let link = Arc::clone(&started.link);
                *running = Some(started);
                Ok(link)
            }
            Err(error) => {
                self.backoff().failed(Instant::now());
                Err(error)
            }
        }
    }

    async fn start(&self, grants: &[Grant], origins: Vec<Origin>) -> Result<Running, ConnectorError> {
        let began = Instant::now();
        let name = &self.declared.manifest().name;
        let unavailable = |reason: String| ConnectorError::Unavailable { reason, source: None };
        let pins = Pins::look_up(grants).await.map_err(|error| unavailable(chain(&error)))?;
        let walls = self.walls(&origins);
        let (mut process, (reader, writer)) = self
            .program
            .start(name, walls)
            .map_err(|error| unavailable(format!("{name} cannot be started: {error}")))?;
        let configure = Configure { config: self.config.clone(), grants: origins.clone(), pins };
        let manifest = self.declared.manifest().clone();
        let extended = match self.program.start {
            Start::BuiltIn { .. } => Extended::Connector(configure),
            Start::Program { .. } => Extended::IfOffered(configure),
        };
        let options = ConnectOptions {
            patience: self.patience,
            words: self.words(),
            ..ConnectOptions::new(manifest, extended)
        };
        match McpConnector::connect(reader, writer, options).await {
            Ok(link) if self.declared.checkpoints() && !link.checkpoints() => {
                tokio::spawn(process.end());
                let reason = format!("{name}: its process does not announce effects as it declares");
                Err(ConnectorError::CapabilityDenied { reason })
            }
            Ok(link) => {
                tracing::debug!(connector = name, pid = process.id(), took = ?began.elapsed(), "process ready");
                Ok(Running { link: Arc::new(link), process, grants: origins })
            }
            Err(error) => {
                let said = match error {
                    ConnectError::Ended(_) => process.last_words().await,
                    _ => String::new(),
                };
                tokio::spawn(process.end());
                Err(refused(name, error, &said))
            }
        }
    }

    /// Our own connector's words are ours; what somebody else's program says of its errors may hold its secrets.
    fn words(&self) -> Words {
        let Start::Program { .. } = self.program.start else { return Words::Told };
        let (name, said) = (self.declared.manifest().name.clone(), self.program.said.clone());
        Words::Withheld(Arc::new(move |text| match &said {
            Some(log) if crate::log::written(&name, log, &crate::log::plain(text.as_bytes())) => {
                format!("it gave a reason, which is in {}, for your eyes", log.path().display())
            }
            _ => "it gave a reason, which is not kept".to_owned(),
        }))
    }

    fn walls(&self, origins: &[Origin]) -> Walls {
        let ports: Vec<u16> = origins.iter().map(Origin::port).collect();
        let mut walls = match self.program.start {
            Start::BuiltIn { .. } => Walls::around_rest(ports),
            Start::Program { .. } => Walls::around_program(ports),
        };
        if origins.iter().any(Origin::is_encrypted) {
            walls.read.extend(CERTIFICATES.map(PathBuf::from));
        }
        walls
    }

    /// Lets go of a process that is at its end.
    async fn discard(&self, link: &Arc<McpConnector>) {
        let mut running = self.running.lock().await;
        // The first of its calls to notice lets go of it; to the others it is gone already.
        if running.as_ref().is_some_and(|it| Arc::ptr_eq(&it.link, link))
            && let Some(old) = running.take()
        {
            self.backoff().failed(Instant::now());
            tokio::spawn(old.end());
        }
    }

    fn backoff(&self) -> std::sync::MutexGuard<'_, Backoff> {
        self.backoff.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    async fn end(self) {
        self.link.close().await;
        self.process.end().await;
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        let Some(running) = self.running.get_mut().take() else { return };
        let abandoned = *self.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
        // Without a runtime the process is killed with its handle.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Some(at) = abandoned {
                let _ = tokio::time::timeout_at(at + LINGER, running.link.ended()).await;
            }
            running.end().await;
        });
    }
}

/// `said` is what its process left behind, if anything.
fn refused(name: &str, error: ConnectError, said: &str) -> ConnectorError {
    match error {
        ConnectError::Configuration(error) => error,
        ConnectError::Undeclared(_) => {
            ConnectorError::CapabilityDenied { reason: format!("{name}: {error}") }
        }
        error => {
            ConnectorError::Unavailable { reason: format!("{name}: {}{said}", chain(&error)), source: None }
        }
    }
}

#[async_trait]
impl Connector for Confined {
    fn manifest(&self) -> &Manifest {
        self.declared.manifest()
    }

    async fn execute(
        &self,
        action: &str,
        input: Value,
        ctx: &Context,
    ) -> Result<ActionResult, ConnectorError> {
        let notes = Arc::new(Notes {
            inner: Arc::clone(&ctx.checkpoints),
            last: tokio::sync::Mutex::new(ctx.resume.clone()),
        });
        let mut attempt = ctx.clone();
        attempt.checkpoints = Arc::clone(&notes) as Arc<dyn CheckpointLog>;
        let mut left = Abandoned { told: Arc::clone(&self.abandoned), begun: false };
        for death in 0.. {
            // What was announced is stopped by a process, however late it is: not by none.
            let announced = attempt.resume.is_some();
            let link = tokio::select! {
                biased;
                () = ctx.cancel.cancelled(), if !announced => Err(cancelled()),
                () = sleep_until(ctx.deadline), if !announced => Err(late()),
                link = self.link(ctx.http.grants()) => link,
            };
            let link = link.map_err(|error| begun_earlier(error, attempt.resume.as_ref()))?;
            left.begun = true;
            let ended = link.execute(action, input.clone(), &attempt).await;
            left.begun = false;
            let Err(error) = ended else {
                self.backoff().succeeded();
                return ended;
            };
            let Some(end) = link.end() else {
                self.backoff().succeeded();
                return Err(error);
            };
            // What it said before its end stands.
            if !matches!(error, ConnectorError::Unavailable { .. } | ConnectorError::OutcomeUnknown { .. }) {
                return Err(error);
            }
            tracing::warn!(connector = self.declared.manifest().name, %end, "the process ended under a call");
            self.discard(&link).await;
            attempt.resume = notes.last().await;
            // Without checkpoints nobody can say what had begun.
            if !link.checkpoints() || death == DEATHS {
                return Err(error);
            }
        }
        Err(late())
    }

    fn check(&self, action: &str, input: &Value) -> Result<(), ConnectorError> {
        self.declared.check(action, input)
    }

    fn target(&self, action: &str, input: &Value, provenance: &Provenance) -> Target {
        self.declared.target(action, input, provenance)
    }

    fn checkpoints(&self) -> bool {
        self.declared.checkpoints()
    }

    async fn on_event(&self, trigger: &str, handler: EventHandler) -> Result<Subscription, ConnectorError> {
        self.declared.on_event(trigger, handler).await
    }

    async fn remove_event(&self, subscription: &Subscription) -> Result<(), ConnectorError> {
        self.declared.remove_event(subscription).await
    }
}

fn cancelled() -> ConnectorError {
    ConnectorError::Cancelled { reason: "its process was being started".to_owned() }
}

fn late() -> ConnectorError {
    let reason = "its process was not ready before the deadline".to_owned();
    ConnectorError::Unavailable { reason, source: None }
}

/// The error of a start: with an effect announced, its outcome is what is unknown.
fn begun_earlier(error: ConnectorError, announced: Option<&Checkpoint>) -> ConnectorError {
    match (announced, error) {
        (None, error) => error,
        (Some(_), error) => ConnectorError::OutcomeUnknown {
            reason: format!("the call was begun earlier and cannot be looked up now ({})", chain(&error)),
            reference: Reference::default(),
        },
    }
}

/// Says that a call's future was dropped while its process worked on it.
struct Abandoned {
    told: Arc<Mutex<Option<Instant>>>,
    begun: bool,
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        if self.begun {
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }
}

/// Passes checkpoints on and remembers the last that is durable.
struct Notes {
    inner: Arc<dyn CheckpointLog>,
    last: tokio::sync::Mutex<Option<Checkpoint>>,
}

impl Notes {
    /// Waits for one that is being recorded: a process may end meanwhile, and its successor must
    /// not announce another before that one is settled.
    async fn last(&self) -> Option<Checkpoint> {
        self.last.lock().await.clone()
    }
}

#[async_trait]
impl CheckpointLog for Notes {
    async fn record(&self, checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        let mut last = self.last.lock().await;
        self.inner.record(checkpoint.clone()).await?;
        *last = Some(checkpoint);
        Ok(())
    }
}
