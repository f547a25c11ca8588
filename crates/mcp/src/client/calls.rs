//! The calls under way, and what their server says of them.
//!
//! Everything a server says of a call names the call. What names none that is under
//! way is refused: a server cannot answer, ask or record for another run.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use connector_contract::ask::{PermissionReply, QuestionReply};
use connector_contract::{AskRelay, Checkpoint, CheckpointLog, Context, Progress, ProgressSink};
use rmcp::ClientHandler;
use rmcp::ErrorData;
use rmcp::model::{
    ClientConfig, ElicitRequestParams, ElicitResult, ElicitationAction, MetaObject, ProgressNotificationParam,
};
use rmcp::service::{RequestContext, RoleClient};
use serde::Deserialize as _;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::extension::{self, Ask, AskMeta, CHECKPOINT, CheckpointNote, ProgressMeta, Reply};
use crate::pipe::{Local, Refusal};

/// Asks of one call that may be open at once; more are refused. Each is a message in a chat.
const ASKS: usize = 16;
/// The longest ask, in bytes of JSON.
const ASK_BYTES: usize = 256 << 10;
/// The longest checkpoint, in bytes of JSON. Each is a row for good.
const CHECKPOINT_BYTES: usize = 64 << 10;
/// All checkpoints of one call together.
const CHECKPOINTS_BYTES: usize = 1 << 20;

/// What one call's context offers to its server.
pub(super) struct Call {
    progress: ProgressSink,
    asks: Arc<dyn AskRelay>,
    checkpoints: Arc<dyn CheckpointLog>,
    /// Whether a checkpoint of it was made durable.
    recorded: AtomicBool,
    /// Bytes of its checkpoints so far.
    noted: AtomicUsize,
    open_asks: Semaphore,
    /// Whatever is still asked then is withdrawn, and lets go of this.
    over: CancellationToken,
}

impl Call {
    pub(super) fn recorded(&self) -> bool {
        self.recorded.load(Ordering::SeqCst)
    }

    /// Whether there is room for a checkpoint, which then is taken.
    fn notes(&self, checkpoint: &Checkpoint) -> Result<(), Refusal> {
        let bytes = length(&checkpoint.0);
        if bytes > CHECKPOINT_BYTES {
            return Err(Refusal::invalid(format!("the checkpoint has more than {CHECKPOINT_BYTES} bytes")));
        }
        if self.noted.fetch_add(bytes, Ordering::SeqCst) + bytes > CHECKPOINTS_BYTES {
            return Err(Refusal::invalid(format!(
                "the checkpoints of the call have more than {CHECKPOINTS_BYTES} bytes together"
            )));
        }
        Ok(())
    }
}

/// How many bytes of JSON it is.
pub(super) fn length(value: &Value) -> usize {
    value.to_string().len()
}

/// All calls under way, by name.
#[derive(Default)]
pub(super) struct Calls {
    next: AtomicU64,
    open: Mutex<HashMap<String, Arc<Call>>>,
    /// Calls by the token that plain servers name in their progress.
    tokens: Mutex<HashMap<String, Arc<Call>>>,
}

impl Calls {
    /// Opens a call under a name that no other call of this connection had.
    pub(super) fn open(self: &Arc<Self>, ctx: &Context) -> Opened {
        let name = format!("call-{}", self.next.fetch_add(1, Ordering::Relaxed));
        let call = Arc::new(Call {
            progress: ctx.progress.clone(),
            asks: Arc::clone(&ctx.asks),
            checkpoints: Arc::clone(&ctx.checkpoints),
            recorded: AtomicBool::new(false),
            noted: AtomicUsize::new(0),
            open_asks: Semaphore::new(ASKS),
            over: CancellationToken::new(),
        });
        lock(&self.open).insert(name.clone(), Arc::clone(&call));
        Opened { calls: Arc::clone(self), name, token: None, call }
    }

    fn named(&self, name: &str) -> Option<Arc<Call>> {
        lock(&self.open).get(name).cloned()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A call that is under way for as long as this lives. Dropping it withdraws its asks.
pub(super) struct Opened {
    calls: Arc<Calls>,
    pub(super) name: String,
    token: Option<String>,
    pub(super) call: Arc<Call>,
}

impl Opened {
    /// Takes the progress that names `token` for this call.
    pub(super) fn listen(&mut self, token: &Value) {
        let token = token.to_string();
        lock(&self.calls.tokens).insert(token.clone(), Arc::clone(&self.call));
        self.token = Some(token);
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        lock(&self.calls.open).remove(&self.name);
        if let Some(token) = &self.token {
            lock(&self.calls.tokens).remove(token);
        }
        self.call.over.cancel();
    }
}

/// What this side answers to a server.
#[derive(Clone)]
pub(super) struct Relay(Arc<Calls>);

impl Relay {
    pub(super) fn new(calls: Arc<Calls>) -> Self {
        Self(calls)
    }

    fn progress(&self, params: &RawValue) -> Option<()> {
        let params: ProgressNotificationParam = serde_json::from_str(params.get()).ok()?;
        let exact = params.meta.as_ref().and_then(|it| it.0.0.get(extension::PROGRESS));
        if let Some(meta) = exact {
            let meta = ProgressMeta::deserialize(meta).ok()?;
            self.0.named(&meta.call?)?.progress.report(meta.update);
        } else {
            let token = serde_json::to_string(&params.progress_token).ok()?;
            let call = lock(&self.0.tokens).get(&token).cloned()?;
            call.progress.report(Progress::Text { so_far: params.message? });
        }
        Some(())
    }

    async fn checkpoint(&self, params: Value) -> Result<Value, Refusal> {
        let note = CheckpointNote::deserialize(params)
            .map_err(|error| Refusal::invalid(format!("the checkpoint cannot be read: {error}")))?;
        let call = self.0.named(&note.call).ok_or_else(|| {
            tracing::warn!("a server sent a checkpoint for a call that is not under way");
            Refusal::invalid("no such call is under way")
        })?;
        call.notes(&note.checkpoint)?;
        // Before it is: whoever gives the call up meanwhile must assume that it was.
        call.recorded.store(true, Ordering::SeqCst);
        let recorded = call.checkpoints.record(note.checkpoint).await;
        recorded.map_err(|error| Refusal { code: -32000, message: error.reason, data: None })?;
        // Nobody may begin what the call that was given up announced.
        match self.0.named(&note.call) {
            Some(_) => Ok(json!({})),
            None => Err(Refusal::invalid("no such call is under way any more")),
        }
    }
}

#[async_trait]
impl Local for Relay {
    async fn request(&self, method: &str, params: Value) -> Result<Value, Refusal> {
        match method {
            CHECKPOINT => self.checkpoint(params).await,
            _ => Err(Refusal::unknown(method)),
        }
    }

    fn notification(&self, method: &str, params: &RawValue) -> bool {
        if method != "notifications/progress" {
            return false;
        }
        if self.progress(params).is_none() {
            tracing::debug!("a server reported progress of no call that is under way");
        }
        true
    }
}

impl ClientHandler for Relay {
    fn get_info(&self) -> ClientConfig {
        super::connect::offer()
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let _ = request;
        let meta: Option<AskMeta> = extension::read(&context.meta.0.0, extension::ASK)
            .map_err(|error| ErrorData::invalid_params(format!("`{}`: {error}", extension::ASK), None))?;
        // A form of another server's making has no ask that the host could show.
        let Some(AskMeta { call, ask }) = meta else {
            return Ok(ElicitResult::new(ElicitationAction::Decline));
        };
        let permission = matches!(ask, Ask::Permission(_));
        let call = call.and_then(|name| self.0.named(&name)).ok_or_else(|| {
            tracing::warn!("a server asked for a call that is not under way");
            ErrorData::invalid_params("no such call is under way", None)
        })?;
        let ask = match bounded(ask) {
            Err(_) if permission => return Ok(answer(&Reply::Permission(too_long()))),
            bounded => bounded?,
        };
        let Ok(_open) = call.open_asks.try_acquire() else {
            tracing::warn!("a server asks too much at once");
            return Err(ErrorData::invalid_request(format!("more than {ASKS} asks at once"), None));
        };
        tokio::select! {
            reply = relay(&call, ask) => Ok(reply),
            () = call.over.cancelled() => Ok(ElicitResult::new(ElicitationAction::Cancel)),
            () = context.ct.cancelled() => Ok(ElicitResult::new(ElicitationAction::Cancel)),
        }
    }
}

/// The ask if it is short enough to be shown whole: nobody decides about a part of one.
fn bounded(ask: Ask) -> Result<Ask, ErrorData> {
    if length(&json!(ask)) > ASK_BYTES {
        let reason = format!("the ask has more than {ASK_BYTES} bytes");
        return Err(ErrorData::invalid_params(reason, None));
    }
    Ok(ask)
}

/// The agent is told, so that it can ask for less.
fn too_long() -> PermissionReply {
    let message = "what this asks for is too long to be shown to a person whole; do it in smaller parts";
    PermissionReply::Reject { message: message.to_owned() }
}

/// Asks the person.
async fn relay(call: &Call, ask: Ask) -> ElicitResult {
    answer(&match ask {
        Ask::Permission(ask) => Reply::Permission(call.asks.permission(ask).await),
        Ask::Question(ask) => Reply::Question(call.asks.question(ask).await),
    })
}

/// Writes a reply as a form, and exactly.
fn answer(reply: &Reply) -> ElicitResult {
    let (action, content) = match reply {
        Reply::Permission(PermissionReply::Once) => {
            (ElicitationAction::Accept, json!({ "decision": "once" }))
        }
        Reply::Permission(PermissionReply::Always) => {
            (ElicitationAction::Accept, json!({ "decision": "session" }))
        }
        Reply::Permission(PermissionReply::Reject { message }) => {
            (ElicitationAction::Accept, json!({ "decision": "reject", "reason": message }))
        }
        Reply::Question(QuestionReply::Reject) => (ElicitationAction::Decline, json!({})),
        Reply::Question(_) => (ElicitationAction::Accept, json!({})),
    };
    let meta = MetaObject(extension::meta(extension::REPLY, reply));
    ElicitResult::new(action).with_content(content).with_meta(meta)
}
