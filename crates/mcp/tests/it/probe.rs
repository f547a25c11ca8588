//! A connector that does what its input says, and a host around it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use connector_contract::ask::{PermissionAsk, PermissionReply, Question, QuestionAsk, QuestionReply};
use connector_contract::{
    ActionDecl, ActionResult, AskRelay, Capability, Checkpoint, CheckpointError, CheckpointLog, Connector,
    ConnectorError, ConnectorFactory, Context, EventHandler, Manifest, OutboundHttp, Pins, Progress,
    ProgressStream, Provenance, Reference, StopCause, Subscription, Target, ToolOutcome, progress_channel,
};
use connector_mcp::extension::Configure;
use connector_mcp::{ConnectError, ConnectOptions, Extended, McpConnector, ServeError, Server};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) const ORIGIN: &str = "http://127.0.0.1:4096";

pub(crate) fn manifest() -> Manifest {
    let action = |name: &str, read_only| ActionDecl {
        name: name.to_owned(),
        description: format!("Does {name}."),
        read_only,
        input_schema: Some(json!({ "type": "object", "required": ["do"], "properties": {
                "do": { "type": "string" }, "count": { "type": "integer" }, "note": { "type": "string" } } })),
        output_schema: Some(
            json!({ "type": "object", "properties": { "did": { "type": "string" } }, "required": ["did"] }),
        ),
    };
    Manifest {
        name: "connector-probe".to_owned(),
        version: "1.2.3".to_owned(),
        author: "somebody".to_owned(),
        description: "Does what it is told.".to_owned(),
        capabilities: vec![Capability::NetworkOutbound { host: "127.0.0.1:4096".to_owned() }],
        triggers: Vec::new(),
        actions: vec![action("work", false), action("look", true)],
        data_disclosure: Vec::new(),
        signature_alg: None,
        signature: None,
    }
}

/// What happened inside the connector.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) config: Mutex<Option<Value>>,
    pub(crate) began: AtomicBool,
    pub(crate) stopped: AtomicBool,
    pub(crate) reached: Notify,
}

pub(crate) struct Probe {
    manifest: Manifest,
    seen: Arc<Seen>,
}

pub(crate) struct ProbeFactory(pub(crate) Arc<Seen>);

#[async_trait]
impl ConnectorFactory for ProbeFactory {
    fn name(&self) -> &'static str {
        "connector-probe"
    }

    fn config_key(&self) -> &'static str {
        "probe"
    }

    async fn create(&self, config: Value) -> Result<Box<dyn Connector>, ConnectorError> {
        if config["password"].is_null() {
            return Err(ConnectorError::InvalidConfig { reason: "`password`: expected a string".to_owned() });
        }
        let mut manifest = manifest();
        if let Some(host) = config["host"].as_str() {
            manifest.capabilities = vec![Capability::NetworkOutbound { host: host.to_owned() }];
        }
        *self.0.config.lock().unwrap() = Some(config);
        Ok(Box::new(Probe { manifest, seen: Arc::clone(&self.0) }))
    }
}

fn did(what: impl Into<String>) -> ActionResult {
    ActionResult { success: true, output: json!({ "did": what.into() }), message: "done so".to_owned() }
}

fn reference() -> Reference {
    Reference { session_id: Some("ses_1".to_owned()), message_id: Some("msg_1".to_owned()) }
}

pub(crate) fn permission_ask() -> PermissionAsk {
    PermissionAsk {
        id: "per_1".to_owned(),
        session_id: "ses_1".to_owned(),
        permission: "bash".to_owned(),
        patterns: vec!["rm -rf build".to_owned()],
        metadata: json!({ "exact": [1, 2.5, null] }),
        call: None,
    }
}

pub(crate) fn question_ask() -> QuestionAsk {
    let question = Question {
        question: "Which?".to_owned(),
        header: String::new(),
        options: Vec::new(),
        multiple: false,
    };
    QuestionAsk { id: "que_1".to_owned(), session_id: "ses_1".to_owned(), questions: vec![question] }
}

#[async_trait]
impl Connector for Probe {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    async fn execute(
        &self,
        _action: &str,
        input: Value,
        ctx: &Context,
    ) -> Result<ActionResult, ConnectorError> {
        match input["do"].as_str().unwrap_or_default() {
            "report" => {
                for ahead in 1..=20 {
                    ctx.progress.report(Progress::Queued { ahead });
                }
                Ok(did("reported"))
            }
            "permission" => {
                let reply = ctx.asks.permission(permission_ask()).await;
                Ok(did(serde_json::to_string(&reply).unwrap()))
            }
            "permission for a moment" => {
                let asking = ctx.asks.permission(permission_ask());
                let answered = tokio::time::timeout(std::time::Duration::from_millis(50), asking).await;
                Ok(did(format!("{answered:?}")))
            }
            "a tool that is refused" => {
                let (call_id, tool, title) = ("c".to_owned(), "bash".to_owned(), "rm -rf build".to_owned());
                let outcome = ToolOutcome::Refused { by: "the connector".into() };
                ctx.progress.report(Progress::ToolFinished { call_id, tool, title, outcome });
                Ok(did("went on"))
            }
            "question" => {
                let reply = ctx.asks.question(question_ask()).await;
                Ok(did(serde_json::to_string(&reply).unwrap()))
            }
            "checkpoint" => {
                self.seen.reached.notify_one();
                let note = Checkpoint(json!({ "session": "ses_1" }));
                ctx.checkpoints.record(note).await.map_err(|error| ConnectorError::Unavailable {
                    reason: error.to_string(),
                    source: None,
                })?;
                self.seen.began.store(true, Ordering::SeqCst);
                Ok(did("began"))
            }
            "checkpoint and wait" => {
                ctx.checkpoints.record(Checkpoint(json!(1))).await.unwrap();
                self.wait(ctx).await
            }
            "wait" => self.wait(ctx).await,
            "echo" => Ok(did(input.to_string())),
            "ask and wait" => {
                tokio::select! {
                    _ = ctx.asks.permission(permission_ask()) => Ok(did("answered")),
                    () = ctx.cancel.cancelled() => Ok(did("withdrew")),
                }
            }
            "tell" => Ok(did(format!(
                "{:?} {:?} {}",
                ctx.provenance,
                ctx.resume,
                ctx.deadline.saturating_duration_since(Instant::now()).as_secs()
            ))),
            "fail" => {
                Err(ConnectorError::Failed { reason: "the model refused".to_owned(), reference: reference() })
            }
            "not fit" => {
                Ok(ActionResult { success: true, output: json!({ "did": 7 }), message: String::new() })
            }
            "say no" => Ok(ActionResult { success: false, ..did("no") }),
            other => Err(ConnectorError::InvalidInput { reason: format!("cannot do `{other}`") }),
        }
    }

    fn target(&self, action: &str, _input: &Value, provenance: &Provenance) -> Target {
        let chat = matches!(provenance, Provenance::Chat { .. });
        let settings = [("action".to_owned(), json!(action)), ("chat".to_owned(), json!(chat))];
        Target { origin: Some(ORIGIN.to_owned()), settings: settings.into_iter().collect() }
    }

    fn checkpoints(&self) -> bool {
        true
    }

    async fn on_event(&self, _: &str, _: EventHandler) -> Result<Subscription, ConnectorError> {
        Err(ConnectorError::InvalidInput { reason: "no triggers".to_owned() })
    }

    async fn remove_event(&self, _: &Subscription) -> Result<(), ConnectorError> {
        Ok(())
    }
}

impl Probe {
    async fn wait(&self, ctx: &Context) -> Result<ActionResult, ConnectorError> {
        self.seen.reached.notify_one();
        let cause = tokio::select! {
            () = ctx.cancel.cancelled() => StopCause::Cancelled,
            () = tokio::time::sleep_until(ctx.deadline) => StopCause::Deadline,
        };
        self.seen.stopped.store(true, Ordering::SeqCst);
        self.seen.reached.notify_one();
        Err(ConnectorError::Stopped {
            cause,
            reason: "aborted and confirmed".to_owned(),
            reference: reference(),
        })
    }
}

/// A served probe and the connector at the other end.
pub(crate) struct Pair {
    pub(crate) connector: Arc<McpConnector>,
    pub(crate) seen: Arc<Seen>,
    pub(crate) served: JoinHandle<Result<(), ServeError>>,
}

pub(crate) fn configure(config: Value) -> Extended {
    Extended::Connector(Configure { config, grants: vec![ORIGIN.parse().unwrap()], pins: Pins::default() })
}

pub(crate) async fn try_pair(manifest: Manifest, extended: Extended) -> Result<Pair, ConnectError> {
    let seen = Arc::<Seen>::default();
    let (near, far) = tokio::io::duplex(1 << 16);
    let (reader, writer) = tokio::io::split(far);
    let probe = Server::new(self::manifest()).with_factory(Arc::new(ProbeFactory(Arc::clone(&seen))));
    let served = tokio::spawn(probe.serve(reader, writer));
    let (reader, writer) = tokio::io::split(near);
    let connector = McpConnector::connect(reader, writer, ConnectOptions::new(manifest, extended)).await?;
    Ok(Pair { connector: Arc::new(connector), seen, served })
}

pub(crate) async fn pair() -> Pair {
    try_pair(manifest(), configure(json!({ "password": "hunter2" }))).await.unwrap()
}

/// A host's side of one call.
pub(crate) struct Bench {
    pub(crate) cancel: CancellationToken,
    pub(crate) log: Arc<Log>,
    pub(crate) asks: Arc<Person>,
    pub(crate) deadline: Duration,
    pub(crate) resume: Option<Checkpoint>,
    pub(crate) provenance: Provenance,
}

impl Default for Bench {
    fn default() -> Self {
        Self {
            cancel: CancellationToken::new(),
            log: Arc::default(),
            asks: Arc::default(),
            deadline: Duration::from_mins(1),
            resume: None,
            provenance: Provenance::Local,
        }
    }
}

impl Bench {
    pub(crate) fn context(&self) -> (Context, ProgressStream) {
        let (progress, stream) = progress_channel(1024);
        let ctx = Context {
            http: OutboundHttp::new([]).unwrap(),
            deadline: Instant::now() + self.deadline,
            cancel: self.cancel.clone(),
            progress,
            asks: Arc::clone(&self.asks) as Arc<dyn AskRelay>,
            checkpoints: Arc::clone(&self.log) as Arc<dyn CheckpointLog>,
            resume: self.resume.clone(),
            provenance: self.provenance.clone(),
            approved: None,
        };
        (ctx, stream)
    }

    pub(crate) async fn call(
        &self,
        connector: &McpConnector,
        what: &str,
    ) -> Result<ActionResult, ConnectorError> {
        let (ctx, _stream) = self.context();
        connector.execute("work", json!({ "do": what }), &ctx).await
    }
}

/// Keeps checkpoints once it is let.
pub(crate) struct Log {
    pub(crate) kept: Mutex<Vec<Checkpoint>>,
    pub(crate) open: tokio::sync::Semaphore,
    pub(crate) broken: AtomicBool,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            open: tokio::sync::Semaphore::new(1000),
            broken: AtomicBool::new(false),
        }
    }
}

#[async_trait]
impl CheckpointLog for Log {
    async fn record(&self, checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        let _permit = self.open.acquire().await.unwrap();
        if self.broken.load(Ordering::SeqCst) {
            return Err(CheckpointError { reason: "the disk is full".to_owned() });
        }
        self.kept.lock().unwrap().push(checkpoint);
        Ok(())
    }
}

/// Permits once, answers "this", and keeps what it was asked; or never answers.
#[derive(Default)]
pub(crate) struct Person {
    pub(crate) asked: Mutex<Vec<Value>>,
    pub(crate) silent: AtomicBool,
    pub(crate) reached: Notify,
}

impl Person {
    async fn hears(&self, ask: Value) {
        self.asked.lock().unwrap().push(ask);
        self.reached.notify_one();
        if self.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl AskRelay for Person {
    async fn permission(&self, ask: PermissionAsk) -> PermissionReply {
        self.hears(json!(ask)).await;
        PermissionReply::Once
    }

    async fn question(&self, ask: QuestionAsk) -> QuestionReply {
        self.hears(json!(ask)).await;
        QuestionReply::Answers { answers: vec![vec!["this".to_owned()]] }
    }
}

/// Waits for what must come; a test that waits longer has failed.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), what).await.unwrap()
}
