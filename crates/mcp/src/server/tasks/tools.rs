//! The tools of tasks: start, status, result, cancel.

use std::sync::Arc;
use std::time::Duration;

use connector_contract::{ActionDecl, Context, NoCheckpoints, Provenance, progress_channel};
use rmcp::ErrorData;
use rmcp::model::{CallToolRequestParams, CallToolResult, ContentBlock, ProgressNotificationParam};
use rmcp::service::{RequestContext, RoleServer};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::asks::AskLog;
use super::super::call::{self, A_WEEK, UPDATES};
use super::super::updates::{QUIET, in_words};
use super::super::{Equipped, State};
use super::asks::TaskAsks;
use super::task::{Audience, Status, Task};
use super::{KEPT, Tasks};

const STATUS: &str = "task_status";
const RESULT: &str = "task_result";
const CANCEL: &str = "cancel_task";

/// The longest that one call waits for a result, in seconds.
const LONGEST: u64 = 50;

/// How long a task may take to stop until its cancelling is answered all the same.
const STOPS_WITHIN: Duration = Duration::from_secs(20);

/// The tools, as they are listed.
pub(in crate::server) fn declared(tasks: &Tasks) -> Vec<ActionDecl> {
    let task = || json!({ "type": "string", "description": "The task, such as `task-1`." });
    let wait = json!({ "type": "integer", "minimum": 0, "maximum": LONGEST,
        "description": "How long to wait for its end at most; 45 when absent." });
    let status = "What a task does, or all tasks of this server when none is named: `working`, `input_required` \
                  (an ask waits for the person at the client), `completed`, `failed` or `cancelled`.";
    let result = "What a task came to. Waits for its end less than a minute; when it says that the task still \
                  works, call it again.";
    let schema = |properties: Value, required: &[&str]| json!({ "type": "object", "additionalProperties": false, "properties": properties, "required": required });
    let decl = |name: &str, description: &str, read_only, schema| ActionDecl {
        name: name.to_owned(),
        description: description.to_owned(),
        read_only,
        input_schema: Some(schema),
        output_schema: None,
    };
    vec![
        tasks.calls.start.clone(),
        decl(STATUS, status, true, schema(json!({ "task": task() }), &[])),
        decl(RESULT, result, true, schema(json!({ "task": task(), "wait_secs": wait }), &["task"])),
        decl(CANCEL, "Stops a task.", false, schema(json!({ "task": task() }), &["task"])),
    ]
}

/// Whether a call is about tasks.
pub(in crate::server) fn is_tool(tasks: &Tasks, name: &str) -> bool {
    [&tasks.calls.start.name, STATUS, RESULT, CANCEL].contains(&name)
}

/// Answers a call of one of the tools.
pub(in crate::server) async fn call(
    state: &Arc<State>,
    tasks: &Arc<Tasks>,
    request: CallToolRequestParams,
    context: RequestContext<RoleServer>,
) -> Result<CallToolResult, ErrorData> {
    let input = Value::Object(request.arguments.unwrap_or_default());
    let tools = declared(tasks);
    let Some(decl) = tools.iter().find(|decl| decl.name == request.name) else {
        return Err(ErrorData::invalid_params(format!("no tool `{}`", request.name), None));
    };
    let input = decl.normalize(input);
    if let Err(error) = decl.validate(&input) {
        return Ok(call::invalid(error.to_string()));
    }
    let audience = Audience::new(state.number, context.peer.clone());
    if request.name == tasks.calls.start.name {
        return start(state, tasks, input, audience);
    }
    let Some(id) = input["task"].as_str() else {
        return Ok(listed(&tasks.all()));
    };
    let Some(task) = tasks.find(id) else {
        return Ok(call::invalid("there is no such task; task_status without one lists them".to_owned()));
    };
    // Who only ends it is asked nothing.
    if [STATUS, RESULT].contains(&request.name.as_ref()) {
        task.heard_by(&audience);
    }
    Ok(match request.name.as_ref() {
        STATUS => listed(&[task]),
        RESULT => {
            let seconds = input["wait_secs"].as_u64().unwrap_or(45).min(LONGEST);
            result(&task, seconds, &audience, &context).await
        }
        _ => {
            task.cancel.cancel();
            let _ = tokio::time::timeout(STOPS_WITHIN, task.ended()).await;
            listed(&[task])
        }
    })
}

fn start(
    state: &Arc<State>,
    tasks: &Arc<Tasks>,
    input: Value,
    audience: Audience,
) -> Result<CallToolResult, ErrorData> {
    let (action, input) = (tasks.calls.route)(input);
    let (Equipped { connector, http }, input) = call::prepare(state, &action, input)?;
    // What would be refused at once is refused here.
    if let Err(error) = connector.check(&action, &input) {
        return Ok(call::failure(&error));
    }
    let log = Arc::new(AskLog::default());
    let begun = tasks.begin(|id, cancel| Task::new(id, cancel, Arc::clone(&log), audience));
    let Some(task) = begun else {
        return Ok(call::invalid(format!("{KEPT} tasks go on; wait until one has ended, or cancel one")));
    };
    let (progress, mut stream) = progress_channel(UPDATES);
    let ctx = Context {
        http,
        deadline: Instant::now() + A_WEEK,
        cancel: task.cancel.clone(),
        progress,
        asks: Arc::new(TaskAsks::new(task.audience(), Arc::clone(&log))),
        checkpoints: Arc::new(NoCheckpoints),
        resume: None,
        provenance: Provenance::Local,
        approved: None,
    };
    let (running, presenter) = (Arc::clone(&task), state.presenter.clone());
    state.running.spawn(async move {
        let watching = async {
            while let Some(update) = stream.next().await {
                running.log.note(&update);
                running.says(in_words(&update));
            }
        };
        let work = connector.execute(&action, input, &ctx);
        let watching = async {
            watching.await;
            std::future::pending::<std::convert::Infallible>().await
        };
        let result = tokio::select! {
            result = work => result,
            never = watching => match never {},
        };
        running.ends(call::answer(result, presenter.as_deref(), &running.log));
    });
    let words = format!(
        "{} has started. Call {RESULT} with it: that waits for its end, up to {LONGEST} s a call.",
        task.id
    );
    Ok(said(words, json!({ "task": task.id, "status": task.status().as_str() })))
}

/// What the task came to, or that it still works.
async fn result(
    task: &Task,
    seconds: u64,
    audience: &Audience,
    context: &RequestContext<RoleServer>,
) -> CallToolResult {
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut quiet = tokio::time::interval_at(Instant::now() + QUIET, QUIET);
    let mut count = 0;
    loop {
        tokio::select! {
            () = task.ended() => break,
            () = tokio::time::sleep_until(until) => break,
            () = context.ct.cancelled() => break,
            _ = quiet.tick() => task.heard_by(audience),
        }
        let Some(token) = context.meta.get_progress_token() else { continue };
        count += 1;
        let update = ProgressNotificationParam::new(token, f64::from(count)).with_message(task.describe());
        // A client that is gone needs no progress.
        let _ = context.peer.notify_progress(update).await;
    }
    if let Some(result) = task.result() {
        return result;
    }
    let words = format!("{} has not ended: {}. Call {RESULT} again.", task.id, task.describe());
    said(words, json!({ "task": task.id, "status": task.status().as_str() }))
}

fn listed(tasks: &[Arc<Task>]) -> CallToolResult {
    let line = |task: &Arc<Task>| format!("{} {}: {}", task.id, task.status().as_str(), task.describe());
    let words: Vec<String> = tasks.iter().map(line).collect();
    let words = if words.is_empty() { "no task was started".to_owned() } else { words.join("\n") };
    let data = |task: &Arc<Task>| {
        let ended = !matches!(task.status(), Status::Working | Status::InputRequired);
        json!({ "task": task.id, "status": task.status().as_str(), "ended": ended, "message": task.describe(),
            "seconds": task.elapsed().as_secs() })
    };
    said(words, json!({ "tasks": tasks.iter().map(data).collect::<Vec<_>>() }))
}

fn said(words: String, data: Value) -> CallToolResult {
    let mut result = CallToolResult::success(vec![ContentBlock::text(words)]);
    result.structured_content = Some(data);
    result
}
