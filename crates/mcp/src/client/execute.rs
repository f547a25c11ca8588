//! One call to a server, followed to its end whatever the server does.

use std::time::Duration;

use connector_contract::{ActionResult, ConnectorError, Context, StopCause};
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientRequest, MetaObject, RequestId, RequestMetaObject,
};
use rmcp::service::{PeerRequestOptions, RequestHandle, RoleClient};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::McpConnector;
use super::calls::Opened;
use super::connect::end_of;
use super::outcome::{self, Facts};
use crate::extension::{self, CallMeta, STOP, StopCall};
use crate::pipe::{End, Lane};

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
        words: connector.words.clone(),
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
    let mut stop = Stop {
        lane: &connector.lane,
        call: connector.extended.then_some(&opened.name),
        request: &handle.id.clone(),
        needed: true,
    };
    let result = follow(connector, ctx, handle, &opened, &facts, &mut stop).await;
    stop.needed = false;
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
    if ctx.resume.is_some() && !connector.extended {
        return Err(ConnectorError::OutcomeUnknown {
            reason: "the call was begun earlier, and a plain server cannot go on with it".to_owned(),
            reference: connector_contract::Reference::default(),
        });
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

/// Waits for the answer; stops the call when it is cancelled or late; ends the connection
/// of a server that does not even stop, so that nobody takes what goes on there for over.
async fn follow(
    connector: &McpConnector,
    ctx: &Context,
    mut handle: RequestHandle<RoleClient>,
    opened: &Opened,
    facts: &Facts,
    stop: &mut Stop<'_>,
) -> Result<rmcp::model::CallToolResult, ConnectorError> {
    let mut stopping = None::<(StopCause, Instant)>;
    // MCP's own cancellation is rarely answered.
    let patience = if connector.extended { connector.patience.stop } else { connector.patience.exit };
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
                connector.lane.end(End::Violation("did not end a call that it was told to stop".to_owned()));
                connector.lane.close();
                return Err(facts.silent(patience));
            }
        };
        stopping = Some((cause, Instant::now() + patience));
        stop.say(cause.as_str());
    }
}

/// Tells the server to stop a call, also when the call's future is dropped: an effect must
/// not run unowned. Never waits for a server that does not read.
struct Stop<'a> {
    lane: &'a Lane,
    /// Its name, if the server knows it.
    call: Option<&'a String>,
    request: &'a RequestId,
    needed: bool,
}

impl Stop<'_> {
    fn say(&mut self, reason: &str) {
        self.needed = false;
        match self.call {
            Some(call) => self.lane.notify(STOP, &json!(StopCall { call: call.clone() })),
            None => self
                .lane
                .notify("notifications/cancelled", &json!({ "requestId": self.request, "reason": reason })),
        }
    }
}

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        if self.needed {
            self.say("nobody waits for it any more");
        }
    }
}
