//! One call to a server, followed to its end whatever the server does.

use std::time::Duration;

use connector_contract::{ActionResult, ConnectorError, Context, StopCause};
use rmcp::model::{CallToolRequest, CallToolRequestParams, ClientRequest, MetaObject, RequestMetaObject};
use rmcp::service::{PeerRequestOptions, RequestHandle, RoleClient};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::McpConnector;
use super::calls::Opened;
use super::connect::end_of;
use super::outcome::{self, Facts};
use crate::extension::{self, CallMeta, STOP, StopCall};
use crate::pipe::Lane;

pub(super) async fn execute(
    connector: &McpConnector,
    action: &str,
    input: Value,
    ctx: &Context,
) -> Result<ActionResult, ConnectorError> {
    connectable(connector, action, &input, ctx)?;
    let mut opened = connector.calls.open(ctx);
    let facts = Facts {
        connector: connector.manifest.name.clone(),
        checkpoints: connector.checkpoints,
        resumed: ctx.resume.is_some(),
    };
    let sent = tokio::select! {
        biased;
        sent = send(connector, action, input, ctx, &opened) => sent,
        // Nothing was taken from the queue, so nothing can run.
        () = sleep_until(ctx.deadline) => None,
        () = ctx.cancel.cancelled() => None,
        _ = connector.lane.wait_end() => None,
    };
    let Some(handle) = sent else {
        return Err(facts.nothing_sent(connector.lane.ended().as_ref(), ctx.cancel.is_cancelled()));
    };
    opened.listen(&json!(handle.progress_token));
    let stop = StopOnDrop { lane: &connector.lane, call: connector.extended.then(|| opened.name.clone()) };
    let result = follow(connector, ctx, handle, &opened, &facts).await;
    stop.forget();
    let schema = connector.manifest.action(action).and_then(|it| it.output_schema.as_ref());
    result.and_then(|answer| outcome::read(answer, schema, &facts))
}

fn connectable(
    connector: &McpConnector,
    action: &str,
    input: &Value,
    ctx: &Context,
) -> Result<(), ConnectorError> {
    use connector_contract::Connector as _;
    if ctx.resume.is_none() {
        connector.check(action, input)?;
        if ctx.cancel.is_cancelled() {
            return Err(ConnectorError::Cancelled { reason: "cancelled before it was sent".to_owned() });
        }
    }
    match connector.lane.ended() {
        Some(end) if ctx.resume.is_some() => Err(ConnectorError::OutcomeUnknown {
            reason: format!("the call was begun earlier and cannot be looked up now ({end})"),
            reference: connector_contract::Reference::default(),
        }),
        Some(end) => Err(ConnectorError::Unavailable {
            reason: format!("{} does not run: {end}", connector.manifest.name),
            source: None,
        }),
        None => Ok(()),
    }
}

async fn send(
    connector: &McpConnector,
    action: &str,
    input: Value,
    ctx: &Context,
    opened: &Opened,
) -> Option<RequestHandle<RoleClient>> {
    let mut params = CallToolRequestParams::new(action.to_owned());
    if let Value::Object(arguments) = input {
        params = params.with_arguments(arguments);
    }
    let mut options = PeerRequestOptions::no_options();
    if connector.extended {
        let remaining = ctx.deadline.saturating_duration_since(Instant::now());
        let meta = CallMeta {
            call: opened.name.clone(),
            deadline_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX),
            provenance: ctx.provenance.clone(),
            resume: ctx.resume.clone(),
        };
        options = options.with_meta(RequestMetaObject(MetaObject(extension::meta(extension::CALL, &meta))));
    }
    let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
    connector.peer.send_cancellable_request(request, options).await.ok()
}

/// Waits for the answer; stops the call when it is cancelled or late; gives up on
/// a server that does not even stop.
async fn follow(
    connector: &McpConnector,
    ctx: &Context,
    mut handle: RequestHandle<RoleClient>,
    opened: &Opened,
    facts: &Facts,
) -> Result<rmcp::model::CallToolResult, ConnectorError> {
    let mut stopping = None::<(StopCause, Instant)>;
    loop {
        let give_up = stopping.map_or_else(|| Instant::now() + Duration::from_hours(1), |(_, at)| at);
        let cause = tokio::select! {
            biased;
            answer = &mut handle.rx => {
                return facts.answered(answer.ok(), &end_of(&connector.lane), opened.call.recorded());
            }
            end = connector.lane.wait_end() => return Err(facts.died(&end, opened.call.recorded())),
            () = ctx.cancel.cancelled(), if stopping.is_none() => StopCause::Cancelled,
            () = sleep_until(ctx.deadline + connector.patience.grace), if stopping.is_none() => StopCause::Deadline,
            () = sleep_until(give_up), if stopping.is_some() => {
                return Err(facts.silent(connector.patience.stop));
            }
        };
        stopping = Some((cause, Instant::now() + connector.patience.stop));
        if connector.extended {
            connector.lane.notify(STOP, &json!(StopCall { call: opened.name.clone() }));
        } else {
            // MCP's own cancellation has no answer.
            let _ = handle.cancel(Some(cause.as_str().to_owned())).await;
            return Err(facts.told_to_stop(cause));
        }
    }
}

/// Stops a call whose future is dropped: an effect must not run unowned.
struct StopOnDrop<'a> {
    lane: &'a Lane,
    call: Option<String>,
}

impl StopOnDrop<'_> {
    fn forget(mut self) {
        self.call = None;
    }
}

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            self.lane.notify(STOP, &json!(StopCall { call }));
        }
    }
}
