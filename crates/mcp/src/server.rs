//! Any connector as an MCP server.
//!
//! One [`Server`] serves one connection. It is configured before it serves, by
//! whoever starts it, or over the connection by a host of ours, or both: then the
//! host's configuration counts. Each call runs in a task of its own under a
//! [`Context`](connector_contract::Context) whose sinks lead back over the
//! connection. When the connection ends, every call is cancelled and has a bounded
//! time to stop what it started and to confirm that.
//!
//! Over [HTTP](http) many connections share one connector; a [task](tasks) is the process's, and no connection's.

mod asks;
mod call;
mod configure;
mod http;
mod tasks;
mod updates;

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use connector_contract::{ActionResult, Connector, ConnectorFactory, Manifest, OutboundHttp};
use rmcp::ErrorData;
use rmcp::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CustomRequest, CustomResult, ErrorCode, Implementation,
    InitializeResult, JsonObject, ListToolsResult, PaginatedRequestParams, ProtocolVersion,
    ServerCapabilities, Tool,
};
use rmcp::service::{RequestContext, RoleServer, ServerInitializeError};
use serde::Deserialize as _;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::extension::{self, Offer, StopCall, VERSION};
use crate::pipe::{End, Lane, Limits, Local, Pipe, Refusal};
use crate::tools::tool;
pub use http::{BearerToken, PATH, TokenError, loopback};
use tasks::Tasks;
pub use tasks::{LongCalls, Route};

/// How long calls may take to stop after the connection ended. The SDK waits five
/// seconds of its own before that for answers still to be written.
const STOP: Duration = Duration::from_secs(30);

/// How long the last lines may take to be written.
const FLUSH: Duration = Duration::from_secs(2);

/// The requests that a server with tools answers.
const METHODS: [&str; 4] = ["initialize", "ping", "tools/list", "tools/call"];

/// A connector, offered over one connection.
pub struct Server {
    state: State,
    limits: Limits,
    stop: CancellationToken,
}

/// What a client of somebody else's is shown of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Presented {
    /// The result in words: all that many clients hand to their model.
    pub text: String,
    /// The structured output, which has to fit the action's `output_schema`.
    pub output: Value,
}

/// How results are shown to clients that are no hosts of ours.
pub type Presenter = dyn Fn(&ActionResult) -> Presented + Send + Sync;

/// Why serving ended otherwise than by the client closing the connection.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The client broke the protocol or a limit.
    #[error("{0}")]
    Ended(End),
    /// No session came about.
    #[error("the client could not be greeted: {0}")]
    Greeting(String),
}

/// What a call needs: who performs it, and the one way out.
#[derive(Clone)]
struct Equipped {
    connector: Arc<dyn Connector>,
    http: OutboundHttp,
}

struct State {
    manifest: Manifest,
    instructions: Option<String>,
    /// Whether it offers the extension to hosts of ours.
    extended: bool,
    presenter: Option<Arc<Presenter>>,
    factory: Option<Arc<dyn ConnectorFactory>>,
    equipped: Mutex<Option<Equipped>>,
    /// Set once a host configured it or a call was made.
    settled: Mutex<bool>,
    calls: Mutex<Calls>,
    running: TaskTracker,
    /// Cancelled when the connection is at an end.
    over: CancellationToken,
    lane: std::sync::OnceLock<Lane>,
    tasks: Option<Arc<Tasks>>,
    /// The connection's own number.
    number: u64,
}

/// Calls that a host named.
#[derive(Default)]
struct Calls {
    open: HashMap<String, CancellationToken>,
    /// Stops of calls that are not open: a stop may overtake its call.
    early: VecDeque<String>,
}

impl Calls {
    /// Stops of calls that never come are forgotten beyond this many.
    const EARLY: usize = 256;

    fn open(&mut self, call: String, cancel: CancellationToken) {
        if self.early.contains(&call) {
            cancel.cancel();
        }
        self.open.insert(call, cancel);
    }

    fn stop(&mut self, call: String) {
        if let Some(cancel) = self.open.get(&call) {
            return cancel.cancel();
        }
        if self.early.len() == Self::EARLY {
            self.early.pop_front();
        }
        self.early.push_back(call);
    }
}

impl Server {
    /// A server that presents itself as `manifest` and cannot be called yet.
    pub fn new(manifest: Manifest) -> Self {
        let state = State {
            manifest,
            instructions: None,
            extended: true,
            presenter: None,
            factory: None,
            equipped: Mutex::default(),
            settled: Mutex::default(),
            calls: Mutex::default(),
            running: TaskTracker::new(),
            over: CancellationToken::new(),
            lane: std::sync::OnceLock::new(),
            tasks: None,
            number: 0,
        };
        Self { state, limits: Limits::default(), stop: CancellationToken::new() }
    }

    /// Calls go to `connector`, which reaches what `http` reaches.
    #[must_use]
    pub fn with_connector(self, connector: Arc<dyn Connector>, http: OutboundHttp) -> Self {
        *lock(&self.state.equipped) = Some(Equipped { connector, http });
        self
    }

    /// A host may configure it over the connection; `factory` then makes the connector.
    #[must_use]
    pub fn with_factory(mut self, factory: Arc<dyn ConnectorFactory>) -> Self {
        self.state.factory = Some(factory);
        self
    }

    /// What a client's model is told about the tools as a whole.
    #[must_use]
    pub fn with_instructions(mut self, instructions: impl Into<String>) -> Self {
        self.state.instructions = Some(instructions.into());
        self
    }

    /// It is no plugin: no host of ours configures it or keeps its checkpoints.
    #[must_use]
    pub fn without_extension(mut self) -> Self {
        self.state.extended = false;
        self
    }

    /// How results are shown to clients that are no hosts of ours: by default their message, and the
    /// output as it is.
    #[must_use]
    pub fn presented_by(mut self, presenter: Arc<Presenter>) -> Self {
        self.state.presenter = Some(presenter);
        self
    }

    /// Calls that take long are offered as tasks too, which no client's limit ends.
    #[must_use]
    pub fn with_tasks(mut self, calls: LongCalls) -> Self {
        self.state.tasks = Some(Arc::new(Tasks::new(calls, self.state.over.clone())));
        self
    }

    /// How much a client may say.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Cancelling `stop` ends the connection from this side, in order.
    #[must_use]
    pub fn stopped_by(mut self, stop: CancellationToken) -> Self {
        self.stop = stop;
        self
    }

    /// Serves until the connection ends; returns once every call has stopped, or its
    /// time to do so is over. Dropping the future ends the connection and leaves
    /// the calls to stop by themselves.
    pub async fn serve(
        self,
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Result<(), ServeError> {
        let state = Arc::new(self.state);
        let _over = state.over.clone().drop_guard();
        let local = Arc::new(Session(Arc::clone(&state)));
        let (pipe, lane, writing) = Pipe::open(reader, writer, self.limits, local);
        // It was made just now, so nobody has set it.
        let _ = state.lane.set(lane.clone());
        let ending = tokio::spawn({
            let (lane, over, stop) = (lane.clone(), state.over.clone(), self.stop.clone());
            async move {
                tokio::select! {
                    _ = lane.wait_end() => {}
                    () = stop.cancelled() => {}
                }
                over.cancel();
            }
        });
        let session = Session(Arc::clone(&state));
        let greeted = rmcp::service::serve_server_with_ct(session, pipe, self.stop).await;
        let greeting = match greeted {
            Ok(running) => {
                let _ = running.waiting().await;
                None
            }
            Err(ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled) => None,
            Err(error) => Some(ServeError::Greeting(connector_contract::chain(&error))),
        };
        let end = lane.ended();
        lane.close();
        state.running.close();
        if tokio::time::timeout(STOP, state.running.wait()).await.is_err() {
            tracing::error!(calls = state.running.len(), "calls did not stop in time");
        }
        let _ = tokio::time::timeout(FLUSH, writing).await;
        let _ = ending.await;
        match (end, greeting) {
            (Some(end @ (End::Violation(_) | End::Unreadable(_))), _) => Err(ServeError::Ended(end)),
            (_, Some(greeting)) => Err(greeting),
            _ => Ok(()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection, as the SDK and as the lane see it.
#[derive(Clone)]
struct Session(Arc<State>);

impl Session {
    fn tools(&self) -> Vec<Tool> {
        let mut tools: Vec<Tool> = match &*lock(&self.0.equipped) {
            Some(equipped) => equipped.connector.actions().iter().map(tool).collect(),
            None => self.0.manifest.actions.iter().map(tool).collect(),
        };
        tools.extend(self.0.tasks.iter().flat_map(|tasks| tasks::declared(tasks)).map(|decl| tool(&decl)));
        tools
    }
}

impl ServerHandler for Session {
    fn get_info(&self) -> InitializeResult {
        let manifest = &self.0.manifest;
        let mut capabilities = ServerCapabilities::builder().enable_tools().build();
        if self.0.extended {
            let offer = extension::meta(extension::CAPABILITY, &Offer { version: VERSION });
            let settings = offer.into_iter().filter_map(|(key, value)| Some((key, object(value)?)));
            capabilities.experimental = Some(settings.collect());
        }
        let mut info = InitializeResult::new(capabilities)
            .with_protocol_version(crate::NEWEST_PROTOCOL)
            .with_server_info(
                Implementation::new(manifest.name.clone(), manifest.version.clone())
                    .with_description(manifest.description.clone()),
            );
        info.instructions.clone_from(&self.0.instructions);
        info
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(ProtocolVersion::known_up_to(&crate::NEWEST_PROTOCOL))
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools()))
    }

    /// What no request of the protocol reads as: one of them with wrong params, or none of them.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let method: String = request.method.chars().filter(|c| !c.is_control()).take(64).collect();
        Err(if METHODS.contains(&request.method.as_str()) {
            ErrorData::invalid_params(format!("the params of `{method}` are not what it takes"), None)
        } else {
            ErrorData::new(ErrorCode::METHOD_NOT_FOUND, format!("there is no method `{method}`"), None)
        })
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let state = Arc::clone(&self.0);
        let running = self.0.running.clone();
        running.track_future(call::run(state, request, context)).await.map(CallToolResponse::Complete)
    }
}

#[async_trait]
impl Local for Session {
    async fn request(&self, method: &str, params: Value) -> Result<Value, Refusal> {
        match method {
            extension::CONFIGURE => configure::configure(&self.0, params).await,
            _ => Err(Refusal::unknown(method)),
        }
    }

    fn notification(&self, method: &str, params: &RawValue) -> bool {
        if method != extension::STOP {
            return false;
        }
        if let Ok(stop) = StopCall::deserialize(params) {
            lock(&self.0.calls).stop(stop.call);
        }
        true
    }
}

fn object(value: Value) -> Option<JsonObject> {
    match value {
        Value::Object(map) => Some(map),
        _ => None,
    }
}
