//! How a turn ends that is not left to end by itself.

use serde_json::{Value, json};

use crate::fake::fixture::Fixture;
use crate::fake::play;
use crate::fake::state::{Finish, Shared};

/// What the server does when a turn is interrupted: it cleans up, and then says
/// so. A tool that ran has failed, and so has the step, unless it waits for its provider.
/// After a `shutdown`, which is also how an ask that is denied without a word ends, no row
/// marks the end; after a `user`'s interrupt one does.
pub(in crate::fake) async fn interrupted(shared: &Shared, fixture: &Fixture, reason: &str) -> Finish {
    tokio::time::sleep(shared.faults.cleanup).await;
    let step = {
        let state = shared.state();
        let rows = state.sessions.get(&fixture.session).map(|it| it.record.rows.clone()).unwrap_or_default();
        rows.into_iter().rfind(|row| row["type"] == "assistant" && row["time"]["completed"].is_null())
    };
    let mut number = 0;
    let mut tell = |kind: &str, mut data: Value| {
        number += 1;
        data["sessionID"] = json!(fixture.session);
        if let (Some(step), false) = (&step, kind.starts_with("session.execution.")) {
            data["assistantMessageID"] = step["id"].clone();
        }
        play::emit(
            shared,
            &json!({
                "id": fixture.late_event(number), "created": 1_795_300_000_000_u64,
                "type": kind, "data": data, "durable": { "version": 1 },
            }),
        );
    };
    let shutdown = reason == "shutdown";
    if let Some(step) = &step {
        let words = if shutdown { "The user declined this tool call" } else { "Tool execution interrupted" };
        let parts = step["content"].as_array().into_iter().flatten();
        for part in parts.filter(|part| part["state"]["status"] == "running") {
            let error = json!({ "type": "aborted", "message": words });
            tell("session.tool.failed", json!({ "id": part["id"], "error": error, "executed": false }));
        }
        if step["retry"].is_null() {
            let error = json!({ "type": "aborted", "message": "Step interrupted" });
            tell("session.step.failed", json!({ "error": error }));
        }
    }
    tell("session.execution.interrupted", json!({ "reason": reason }));
    Finish::Answer(Value::Null)
}
