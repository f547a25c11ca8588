//! One tool call, from its parameters to its result.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use connector_contract::{
    ActionResult, Checkpoint, CheckpointError, CheckpointLog, ConnectorError, Context, NoCheckpoints,
    Provenance, progress_channel,
};
use rmcp::ErrorData;
use rmcp::model::{CallToolRequestParams, CallToolResult, ContentBlock, MetaObject};
use rmcp::service::{RequestContext, RoleServer};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::asks::{AskLog, PeerAsks};
use super::updates::Updates;
use super::{Equipped, Presented, Presenter, State, lock, tasks};
use crate::extension::{self, CHECKPOINT, CallMeta, CheckpointNote, ResultMeta};
use crate::pipe::Lane;
use crate::problem::Problem;

/// How long a call may take when its client does not say. The connector's own
/// limits come first.
pub(super) const A_WEEK: Duration = Duration::from_hours(7 * 24);

/// Progress that a slow client has not taken yet.
pub(super) const UPDATES: usize = 256;

pub(super) async fn run(
    state: Arc<State>,
    request: CallToolRequestParams,
    context: RequestContext<RoleServer>,
) -> Result<CallToolResult, ErrorData> {
    *lock(&state.settled) = true;
    let meta = extension::read::<CallMeta>(&context.meta.0.0, extension::CALL)
        .map_err(|error| ErrorData::invalid_params(format!("`{}`: {error}", extension::CALL), None))?;
    // Of a server that offers none of it, nobody is a host of ours.
    let meta = meta.filter(|_| state.extended);
    if let Some(tasks) = state.tasks.as_ref().filter(|tasks| tasks::is_tool(tasks, &request.name)) {
        return tasks::call(&state, &Arc::clone(tasks), request, context).await;
    }
    if lock(&state.equipped).is_none() {
        return Ok(failure(&not_configured()));
    }
    let input = Value::Object(request.arguments.unwrap_or_default());
    let (Equipped { connector, http }, input) = prepare(&state, &request.name, input)?;
    let log = Arc::new(AskLog::default());
    let cancel = state.over.child_token();
    let _entry = Entry::new(&state, meta.as_ref(), &cancel);
    let (progress, stream) = progress_channel(UPDATES);
    let ctx = Context {
        http,
        deadline: Instant::now()
            + meta.as_ref().map_or(A_WEEK, |it| Duration::from_millis(it.deadline_ms).min(A_WEEK)),
        cancel: cancel.clone(),
        progress,
        asks: Arc::new(PeerAsks::new(
            context.peer.clone(),
            meta.as_ref().map(|it| it.call.clone()),
            Arc::clone(&log),
        )),
        checkpoints: checkpoints(&state, meta.as_ref()),
        resume: meta.as_ref().and_then(|it| it.resume.clone()),
        provenance: meta.as_ref().map_or(Provenance::Local, |it| it.provenance.clone()),
        approved: None,
    };
    let updates = Updates::new(&context, meta.as_ref().map(|it| it.call.clone()), Arc::clone(&log));
    let finished = CancellationToken::new();
    let work = async {
        let result = connector.execute(&request.name, input, &ctx).await;
        finished.cancel();
        result
    };
    let cancelled = async {
        tokio::select! {
            () = context.ct.cancelled() => cancel.cancel(),
            () = finished.cancelled() => {}
        }
    };
    let (result, (), ()) = tokio::join!(work, updates.forward(stream, &finished), cancelled);
    Ok(match meta {
        // A host of ours reads the exact output and shows the asks itself.
        None => answer(result, state.presenter.as_deref(), &log),
        Some(_) => plain(result, None),
    })
}

/// Who performs `action`, and its input as its schema spells it.
pub(super) fn prepare(state: &State, action: &str, input: Value) -> Result<(Equipped, Value), ErrorData> {
    let unknown = || ErrorData::invalid_params(format!("no tool `{action}`"), None);
    let equipped = lock(&state.equipped).clone().ok_or_else(unknown)?;
    let decl = equipped.connector.actions().iter().find(|decl| decl.name == action).ok_or_else(unknown)?;
    let input = decl.normalize(input);
    Ok((equipped, input))
}

/// What a call came to, for a client that is no host of ours: with what was refused in it.
pub(super) fn answer(
    result: Result<ActionResult, ConnectorError>,
    presenter: Option<&Presenter>,
    log: &AskLog,
) -> CallToolResult {
    let mut answer = plain(result, presenter);
    answer.content.extend(refusals(&log.refused()));
    answer
}

fn plain(result: Result<ActionResult, ConnectorError>, presenter: Option<&Presenter>) -> CallToolResult {
    match result {
        Ok(result) => success(result, presenter),
        Err(error) => failure(&error),
    }
}

/// The input is not what a tool takes.
pub(super) fn invalid(reason: String) -> CallToolResult {
    failure(&ConnectorError::InvalidInput { reason })
}

/// What was refused, and what would allow it: without that, an agent that got nowhere looks as if it
/// had not tried.
fn refusals(refused: &[String]) -> Option<ContentBlock> {
    (!refused.is_empty()).then(|| {
        ContentBlock::text(format!(
            "Refused to the agent in this call:\n- {}\nTo allow it, answer the form that your client shows, or \
             let the connector's configuration allow it (`asks`, or `[permissions]` for one kind).",
            refused.join("\n- ")
        ))
    })
}

fn not_configured() -> ConnectorError {
    ConnectorError::InvalidConfig { reason: "the connector is not configured yet".to_owned() }
}

/// The output as structured content, and as text for clients and models that read no other.
fn success(result: ActionResult, presenter: Option<&Presenter>) -> CallToolResult {
    let shown = match presenter {
        Some(presenter) => presenter(&result),
        None => Presented::of(&result),
    };
    let blocks = vec![ContentBlock::text(shown.text)];
    let ActionResult { success, message, .. } = result;
    let mut answer = if success { CallToolResult::success(blocks) } else { CallToolResult::error(blocks) };
    answer.structured_content = shown.output.is_object().then_some(shown.output);
    answer.with_meta(Some(MetaObject(extension::meta(extension::RESULT, &ResultMeta { success, message }))))
}

impl Presented {
    /// Of any connector's result: its message, and the output as JSON where there is more to say.
    fn of(result: &ActionResult) -> Self {
        let text = if result.message.is_empty() { result.output.to_string() } else { result.message.clone() };
        Self { text, output: result.output.clone() }
    }
}

/// What to assume, in words and as data. The data is in `_meta`: structured content
/// has to be in the shape of the tool's output, and clients hold an error to that too.
pub(super) fn failure(error: &ConnectorError) -> CallToolResult {
    let problem = Problem::from(error);
    CallToolResult::error(vec![ContentBlock::text(problem.for_people())])
        .with_meta(Some(MetaObject(extension::meta(extension::ERROR, &problem))))
}

/// The call's name, known for as long as it runs.
struct Entry<'a> {
    state: &'a State,
    call: Option<String>,
}

impl<'a> Entry<'a> {
    fn new(state: &'a State, meta: Option<&CallMeta>, cancel: &CancellationToken) -> Self {
        let call = meta.map(|it| it.call.clone());
        if let Some(call) = &call {
            lock(&state.calls).open(call.clone(), cancel.clone());
        }
        Self { state, call }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Some(call) = &self.call {
            lock(&self.state.calls).open.remove(call);
        }
    }
}

/// Only a host that named the call keeps checkpoints of it.
fn checkpoints(state: &State, meta: Option<&CallMeta>) -> Arc<dyn CheckpointLog> {
    match (meta, state.lane.get()) {
        (Some(meta), Some(lane)) => Arc::new(HostLog { lane: lane.clone(), call: meta.call.clone() }),
        _ => Arc::new(NoCheckpoints),
    }
}

struct HostLog {
    lane: Lane,
    call: String,
}

#[async_trait]
impl CheckpointLog for HostLog {
    async fn record(&self, checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        let note = CheckpointNote { call: self.call.clone(), checkpoint };
        let answer = self.lane.request(CHECKPOINT, json!(note)).await;
        answer.map(|_| ()).map_err(|error| CheckpointError { reason: error.to_string() })
    }
}
