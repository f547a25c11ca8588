//! What a permission request asks for, in the parts that a person is shown.
//!
//! There is one list for all surfaces, and a grant is a grant of that list: what
//! was not shown was not granted.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::PermissionAsk;

/// What tells most comes first.
const FIRST: [&str; 7] = ["command", "code", "url", "workdir", "filePath", "filepath", "diff"];

/// A named part of what is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AskPart {
    /// What it is, such as `command`.
    pub name: String,
    /// All of it.
    pub text: String,
}

impl PermissionAsk {
    /// Everything that is asked for: the command, the change, the address, whole.
    ///
    /// The agent's own words about a command are left out: they could say anything.
    pub fn parts(&self) -> Vec<AskPart> {
        let mut parts = Vec::new();
        let empty = Map::new();
        let metadata = self.metadata.as_object().unwrap_or(&empty);
        // A change that is shown as one need not be shown as what it is made from too.
        let input = self.input().as_object().filter(|_| !self.shows_change()).unwrap_or(&empty);
        for key in FIRST {
            [metadata, input]
                .into_iter()
                .filter_map(|from| from.get(key))
                .for_each(|it| add(&mut parts, key, it));
        }
        let commands = parts.iter().any(|part| matches!(part.name.as_str(), "command" | "code"));
        let remarked = commands && self.permission == "bash";
        for (from, is_told) in [(metadata, true), (input, false)] {
            let mut rest: Vec<(&String, &Value)> = from.iter().collect();
            rest.sort_by_key(|(key, _)| *key);
            for (key, value) in rest {
                match (key.as_str(), value) {
                    (key, _) if FIRST.contains(&key) || (remarked && key == "description") => {}
                    ("files", Value::Array(files)) if is_told => {
                        for file in files {
                            add_file(&mut parts, file);
                        }
                    }
                    (key, value) => add(&mut parts, key, value),
                }
            }
        }
        // The rules' view of a command is made of pieces of it.
        if !commands {
            let further = |pattern: &&String| !parts.iter().any(|part| part.text == **pattern);
            let patterns: Vec<&str> = self.patterns.iter().filter(further).map(String::as_str).collect();
            if !patterns.is_empty() {
                parts.insert(0, AskPart { name: "what".to_owned(), text: patterns.join("\n") });
            }
        }
        parts
    }

    /// What the tool that asks was called with; nothing where that is not known.
    pub fn input(&self) -> &Value {
        self.call.as_ref().map_or(&Value::Null, |call| &call.input)
    }

    /// Whether an edit comes with its change, as the daemon itself made it from what the tool was called with.
    pub fn shows_change(&self) -> bool {
        let told = |key: &str| match self.metadata.get(key) {
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Array(list)) => !list.is_empty(),
            _ => false,
        };
        self.permission == "edit" && (told("diff") || told("files"))
    }

    /// Whether one of the [parts](Self::parts) has this name.
    pub fn shows(&self, name: &str) -> bool {
        self.parts().iter().any(|part| part.name == name)
    }
}

fn add(parts: &mut Vec<AskPart>, name: &str, value: &Value) {
    let text = match value {
        Value::Null => return,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if !text.is_empty() && !parts.iter().any(|part| part.name == name && part.text == text) {
        parts.push(AskPart { name: name.to_owned(), text });
    }
}

/// A changed file: its patch to be read as one.
fn add_file(parts: &mut Vec<AskPart>, file: &Value) {
    let told = |key: &str| file.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    match (told("file"), told("patch")) {
        (Some(of), Some(change)) => add(parts, &format!("change of {of}"), &change.into()),
        // A deletion, or a file that is no text.
        _ => add(parts, "files", file),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ToolCall;
    use super::*;
    use serde_json::json;

    fn ask(permission: &str, patterns: &[&str], metadata: Value, input: Value) -> PermissionAsk {
        PermissionAsk {
            id: "per_1".into(),
            session_id: "ses_1".into(),
            permission: permission.into(),
            patterns: patterns.iter().map(|it| (*it).to_owned()).collect(),
            metadata,
            call: Some(Box::new(ToolCall { message_id: String::new(), call_id: String::new(), input })),
        }
    }

    fn listed(of: &PermissionAsk) -> Vec<(String, String)> {
        of.parts().into_iter().map(|part| (part.name, part.text)).collect()
    }

    #[test]
    fn what_is_asked_is_whole_and_never_its_patterns_alone() {
        let patch = "@@ -0,0 +1 @@\n+hello\n";
        for (asked, expected) in [
            (
                ask("bash", &["ls *"], json!({ "command": "cd .git && ls *" }), Value::Null),
                vec![("command", "cd .git && ls *")],
            ),
            // 2.x tells the pieces alone; the command is in what the tool was called with.
            (
                ask(
                    "bash",
                    &["ls"],
                    Value::Null,
                    json!({ "command": "D=/etc; ls $D", "description": "harmless" }),
                ),
                vec![("command", "D=/etc; ls $D")],
            ),
            (
                ask(
                    "bash",
                    &["rm *"],
                    json!({ "command": "rm *" }),
                    json!({ "command": "rm *", "workdir": "/code/b" }),
                ),
                vec![("command", "rm *"), ("workdir", "/code/b")],
            ),
            (
                ask("bash", &["ls"], json!({ "command": "ls" }), json!({ "command": "ls; id" })),
                vec![("command", "ls"), ("command", "ls; id")],
            ),
            (
                ask(
                    "edit",
                    &["a.txt"],
                    json!({ "filepath": "/w/a.txt", "diff": patch }),
                    json!({ "content": "hello" }),
                ),
                vec![("what", "a.txt"), ("filepath", "/w/a.txt"), ("diff", patch)],
            ),
            (
                ask(
                    "edit",
                    &["a.txt"],
                    json!({ "files": [{ "file": "a.txt", "patch": patch }] }),
                    Value::Null,
                ),
                vec![("what", "a.txt"), ("change of a.txt", patch)],
            ),
            (
                ask(
                    "webfetch",
                    &["http://h/p?q"],
                    json!({ "url": "http://h/p?q", "format": "text" }),
                    Value::Null,
                ),
                vec![("url", "http://h/p?q"), ("format", "text")],
            ),
            (
                ask("mcp_send", &["*"], json!({}), json!({ "to": "x", "count": 3 })),
                vec![("what", "*"), ("count", "3"), ("to", "x")],
            ),
            // No key of a tool's own hides the others, whatever it is called.
            (
                ask("mcp_push", &["*"], json!({}), json!({ "branch": "main", "files": [{ "path": "a" }] })),
                vec![("what", "*"), ("branch", "main"), ("files", r#"[{"path":"a"}]"#)],
            ),
            (
                ask("mcp_patch", &["*"], Value::Null, json!({ "diff": patch, "to": "x" })),
                vec![("what", "*"), ("diff", patch), ("to", "x")],
            ),
            (
                ask("mcp_run", &["*"], Value::Null, json!({ "command": "id", "description": "d" })),
                vec![("command", "id"), ("description", "d")],
            ),
            (
                ask(
                    "edit",
                    &["a.txt"],
                    json!({ "diff": "" }),
                    json!({ "filePath": "a.txt", "content": "b" }),
                ),
                vec![("filePath", "a.txt"), ("content", "b")],
            ),
            (
                ask(
                    "edit",
                    &["a.txt"],
                    json!({ "files": [{ "file": "a.txt", "patch": "" }] }),
                    json!({ "x": 1 }),
                ),
                vec![("what", "a.txt"), ("files", r#"{"file":"a.txt","patch":""}"#)],
            ),
        ] {
            let expected: Vec<(String, String)> =
                expected.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
            assert_eq!(listed(&asked), expected);
        }
    }
}
