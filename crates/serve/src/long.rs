//! Long tasks: the tool that starts one, and which action it means.

use std::sync::Arc;

use connector_contract::{ActionDecl, Manifest};
use connector_mcp::LongCalls;
use serde_json::Value;

const SESSION: &str = "session_id";

/// `start_task`: a new session, or another turn in the one that is named.
pub(crate) fn calls(manifest: &Manifest) -> Option<LongCalls> {
    let run = manifest.action("run_task")?;
    let mut schema = run.input_schema.clone()?;
    let session = manifest.action("continue_session")?.input_schema.as_ref()?["properties"][SESSION].clone();
    schema["properties"][SESSION] = session;
    let start = ActionDecl {
        name: "start_task".to_owned(),
        description: "As `run_task`, or as `continue_session` where a session is named, without waiting for the end. \
                      Returns a task at once; `task_result` has what it came to. For whatever may take longer than \
                      a call of yours."
            .to_owned(),
        read_only: false,
        input_schema: Some(schema),
        output_schema: None,
    };
    Some(LongCalls { start, route: Arc::new(route) })
}

fn route(input: Value) -> (String, Value) {
    let action = if input.get(SESSION).is_some() { "continue_session" } else { "run_task" };
    (action.to_owned(), input)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_task_is_a_turn_in_a_new_session_or_in_the_one_that_is_named() {
        let manifest = Manifest::parse(connector_opencode::MANIFEST).unwrap();
        let start = calls(&manifest).unwrap().start;
        for (input, action) in [
            (json!({ "prompt": "fix it", "title": "a fix" }), "run_task"),
            (json!({ "prompt": "go on", "session_id": "ses_1" }), "continue_session"),
        ] {
            start.validate(&input).unwrap();
            let (routed, input) = route(input);
            assert_eq!(routed, action);
            manifest.action(action).unwrap().validate(&input).unwrap();
        }
        assert!(start.validate(&json!({ "session_id": "ses_1" })).is_err(), "a prompt is needed");
    }
}
