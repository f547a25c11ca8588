//! The names that 2.x has for the tools of 1.x and for what they are called with.

use serde_json::{Map, Value};

use super::{Answer, Call};

const TOOLS: [(&str, &str); 2] = [("bash", "shell"), ("task", "subagent")];
const ARGUMENTS: [(&str, &str); 2] = [("filePath", "path"), ("subagent_type", "agent")];

/// Whether a request offers its tools under the names of 2.x.
pub(super) fn are_of_2(body: &Value) -> bool {
    let offered = body["tools"].as_array().into_iter().flatten().map(|tool| &tool["function"]);
    offered.into_iter().any(|tool| {
        TOOLS.iter().any(|(_, two)| tool["name"] == *two)
            || tool["parameters"]["properties"]["path"].is_object() && tool["name"] == "read"
    })
}

/// The same answer under the names of 2.x. What has none there keeps its own.
pub(super) fn of_2(answer: Answer) -> Answer {
    match answer {
        Answer::Tools { text, calls } => Answer::Tools { text, calls: calls.into_iter().map(call).collect() },
        other => other,
    }
}

fn call(call: Call) -> Call {
    let arguments = match call.arguments {
        Value::Object(arguments) => Value::Object(
            arguments.into_iter().map(|(name, value)| (of(&ARGUMENTS, name), value)).collect::<Map<_, _>>(),
        ),
        other => other,
    };
    Call { tool: of(&TOOLS, call.tool), arguments }
}

fn of(names: &[(&str, &str)], name: String) -> String {
    names.iter().find(|(one, _)| *one == name).map_or(name, |(_, two)| (*two).to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_generation_is_told_from_the_tools_that_are_offered() {
        let offer = |name: &str, argument: &str| {
            let parameters = json!({ "properties": { argument: { "type": "string" } } });
            json!({ "tools": [{ "function": { "name": name, "parameters": parameters } }] })
        };
        for (name, argument, two) in [
            ("bash", "command", false),
            ("shell", "command", true),
            ("task", "prompt", false),
            ("subagent", "prompt", true),
            ("read", "filePath", false),
            ("read", "path", true),
            ("grep", "path", false),
        ] {
            assert_eq!(are_of_2(&offer(name, argument)), two, "{name} {argument}");
        }
        assert!(!are_of_2(&json!({})));
    }

    #[test]
    fn calls_are_named_as_2_names_them() {
        for (tool, arguments, two, translated) in [
            ("bash", json!({ "command": "ls" }), "shell", json!({ "command": "ls" })),
            (
                "write",
                json!({ "filePath": "a", "content": "b" }),
                "write",
                json!({ "path": "a", "content": "b" }),
            ),
            ("task", json!({ "subagent_type": "general" }), "subagent", json!({ "agent": "general" })),
            ("question", json!({ "questions": [] }), "question", json!({ "questions": [] })),
        ] {
            let was = Call { tool: tool.into(), arguments };
            assert_eq!(call(was), Call { tool: two.into(), arguments: translated });
        }
    }
}
