//! A turn's result as words for the model at an MCP client, and as data within bounds.

use connector_contract::ActionResult;
use connector_mcp::Presented;
use connector_opencode::TurnOutput;
use serde_json::{Value, json};

/// The most bytes of the daemon's own last message that a client gets as data.
const RESPONSE: usize = 16 << 10;
/// The most files that the words name.
const FILES: usize = 50;

/// What a client is shown: the agent's reply first, then what it changed and how to go on. The
/// daemon's own message is in the data alone, and there only where it is short.
pub(crate) fn present(result: &ActionResult) -> Presented {
    let mut output = result.output.clone();
    let bytes = output.get("response").map_or(0, |response| response.to_string().len());
    if bytes > RESPONSE {
        output["response"] = json!({ "truncated": true, "bytes": bytes });
    }
    let text = if let Ok(turn) = serde_json::from_value::<TurnOutput>(result.output.clone()) {
        words(&result.message, &turn)
    } else {
        let output = without_response(result.output.clone());
        format!("{}\n{output}", result.message).trim_start().to_owned()
    };
    Presented { text, output }
}

fn words(message: &str, turn: &TurnOutput) -> String {
    let mut text = turn.reply.trim_end().to_owned();
    if text.is_empty() {
        "(the agent said nothing)".clone_into(&mut text);
    }
    text.push_str(&format!("\n\n---\n{message}"));
    for file in turn.files.iter().take(FILES) {
        let lines = match (file.additions, file.deletions) {
            (Some(added), Some(deleted)) => format!(" (+{added} -{deleted})"),
            _ => String::new(),
        };
        text.push_str(&format!("\n{} {}{lines}", file.status, file.path));
    }
    let more = turn.files.len().saturating_sub(FILES) + turn.files_left_out;
    if more > 0 {
        text.push_str(&format!("\nand {more} more"));
    }
    text.push_str(&format!("\nsession {} (continue_session goes on in it)", turn.session_id));
    text
}

fn without_response(mut output: Value) -> Value {
    if let Some(map) = output.as_object_mut() {
        map.remove("response");
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(reply: &str, files: usize, response: &Value) -> ActionResult {
        let file = |n| json!({ "path": format!("src/{n}.rs"), "additions": 2, "deletions": 1, "status": "modified" });
        ActionResult {
            success: true,
            message: "done".to_owned(),
            output: json!({
                "session_id": "ses_1", "reply": reply, "response": response, "message_id": "msg_1",
                "files": (0..files).map(file).collect::<Vec<_>>(), "cost": 0.0, "tokens": {}, "duration_ms": 5,
            }),
        }
    }

    #[test]
    fn the_reply_comes_first_and_the_response_not_at_all() {
        let shown = present(&turn("All is well.\n", 2, &json!({ "info": "INTERNAL" })));
        assert_eq!(
            shown.text,
            "All is well.\n\n---\ndone\nmodified src/0.rs (+2 -1)\nmodified src/1.rs (+2 -1)\n\
             session ses_1 (continue_session goes on in it)"
        );
        assert_eq!(shown.output["response"]["info"], "INTERNAL", "what is short stays in the data");
    }

    #[test]
    fn a_long_response_is_left_out_of_the_data_and_long_lists_out_of_the_words() {
        let shown = present(&turn("", 60, &json!({ "parts": "x".repeat(RESPONSE) })));
        assert_eq!(shown.output["response"]["truncated"], true);
        assert!(shown.output.to_string().len() < RESPONSE);
        assert!(shown.text.starts_with("(the agent said nothing)") && shown.text.contains("and 10 more"));
    }
}
