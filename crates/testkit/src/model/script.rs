//! What the model says, as data. Load it from TOML or JSON, or build it.
//!
//! Tools and their arguments are named as 1.x names them. An agent of 2.x, which the tools that it
//! offers tell, is answered with its own names for the same, so one script fits both.
//!
//! ```toml
//! [[turn]]
//! prompt = "failing test"     # in the latest user prompt; absent: any
//! tools_done = 0              # tool results since that prompt; absent: any
//! answer = { kind = "tools", calls = [{ tool = "bash", arguments = { command = "ls", description = "List" } }] }
//!
//! [[turn]]
//! prompt = "failing test"
//! answer = { kind = "text", chunks = ["All ", "done."], delay_ms = 5 }
//! ```

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// An ordered list of turns; the first that fits answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The turns.
    #[serde(default, rename = "turn")]
    pub turns: Vec<Turn>,
}

/// When to say what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Fits when the latest user prompt contains this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Fits after this many tool results since that prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools_done: Option<usize>,
    /// Fits this often, then no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// The answer.
    pub answer: Answer,
}

/// One answer of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// Text, in as many pieces as there are chunks.
    Text {
        /// The pieces.
        chunks: Vec<String>,
        /// The wait before each piece but the first, in milliseconds.
        #[serde(default)]
        delay_ms: u64,
    },
    /// Thoughts and a text, either of which may be empty, and how it ends.
    Ended {
        /// What it thinks.
        #[serde(default)]
        reasoning: String,
        /// What it says.
        #[serde(default)]
        text: String,
        /// The reason for its end, such as `length`.
        finish: String,
    },
    /// Tool calls, all in one answer.
    Tools {
        /// Said before the calls.
        #[serde(default)]
        text: String,
        /// The calls.
        calls: Vec<Call>,
    },
    /// A failure of the provider.
    Error {
        /// The HTTP status.
        status: u16,
        /// The body.
        #[serde(default)]
        body: Value,
    },
    /// Nothing at all, not even headers, until released; then this text.
    Hang {
        /// What is said at last.
        #[serde(default)]
        text: String,
    },
}

/// One call of a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The tool's name, such as `bash` or `edit`.
    pub tool: String,
    /// Its arguments.
    pub arguments: Value,
}

/// Why a script is none.
#[derive(Debug, thiserror::Error)]
#[error("the model's script cannot be read")]
pub struct ScriptError(#[from] toml::de::Error);

impl Script {
    /// Reads a script from TOML.
    pub fn from_toml(text: &str) -> Result<Self, ScriptError> {
        Ok(toml::from_str(text)?)
    }

    /// A script that answers every prompt with one text.
    pub fn saying(text: &str) -> Self {
        Self::default().reply("", text)
    }

    /// The same with a turn that answers prompts containing `prompt` with a text.
    #[must_use]
    pub fn reply(self, prompt: &str, text: &str) -> Self {
        self.turn(Turn {
            prompt: Some(prompt.into()),
            tools_done: None,
            times: None,
            answer: Answer::text(text),
        })
    }

    /// The same with a turn that calls one tool after `tools_done` tool results.
    #[must_use]
    pub fn call(self, prompt: &str, tools_done: usize, tool: &str, arguments: Value) -> Self {
        let calls = vec![Call { tool: tool.into(), arguments }];
        let answer = Answer::Tools { text: String::new(), calls };
        self.turn(Turn { prompt: Some(prompt.into()), tools_done: Some(tools_done), times: None, answer })
    }

    /// The same with a turn that gives any answer to prompts containing `prompt`.
    #[must_use]
    pub fn answer(self, prompt: &str, answer: Answer) -> Self {
        self.turn(Turn { prompt: Some(prompt.into()), tools_done: None, times: None, answer })
    }

    /// The same with one more turn.
    #[must_use]
    pub fn turn(mut self, turn: Turn) -> Self {
        self.turns.push(turn);
        self
    }
}

impl Answer {
    /// A text in one piece.
    pub fn text(text: &str) -> Self {
        Self::Text { chunks: vec![text.into()], delay_ms: 0 }
    }

    /// A failure with a message, in the form that OpenAI-compatible servers use.
    pub fn error(status: u16, message: &str) -> Self {
        Self::Error { status, body: json!({ "error": { "message": message } }) }
    }
}

impl Turn {
    pub(super) fn fits(&self, asked: &Asked, used: u32) -> bool {
        self.prompt.as_ref().is_none_or(|prompt| asked.prompt.contains(prompt))
            && self.tools_done.is_none_or(|done| asked.tools_done == done)
            && self.times.is_none_or(|times| used < times)
    }
}

/// What a request asks, as far as a script looks at it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) prompt: String,
    pub(super) tools_done: usize,
    pub(super) title: bool,
}

impl Asked {
    pub(super) fn read(body: &Value) -> Self {
        let empty = Vec::new();
        let messages = body["messages"].as_array().unwrap_or(&empty);
        let last_user = messages.iter().rposition(|message| message["role"] == "user");
        let since = last_user.map_or(&[][..], |at| &messages[at + 1..]);
        Self {
            prompt: last_user.map(|at| content(&messages[at]["content"])).unwrap_or_default(),
            tools_done: since.iter().filter(|message| message["role"] == "tool").count(),
            title: body["tools"].as_array().is_none_or(Vec::is_empty),
        }
    }
}

/// The text of a message, whose content is a string or a list of parts.
fn content(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

pub(super) fn nothing_fits(asked: &Asked) -> Answer {
    Answer::text(&format!(
        "The scripted model has no turn for this prompt after {} tool results: {}",
        asked.tools_done, asked.prompt
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_script_parses_and_prints_to_itself() {
        let text = r#"
            [[turn]]
            prompt = "failing test"
            tools_done = 0
            answer = { kind = "tools", calls = [{ tool = "bash", arguments = { command = "ls" } }] }
            [[turn]]
            answer = { kind = "hang" }
            [[turn]]
            times = 2
            answer = { kind = "error", status = 429, body = { error = "slow" } }
        "#;
        let script = Script::from_toml(text).unwrap();
        assert_eq!(script.turns.len(), 3);
        let printed = toml::to_string(&Script { turns: script.turns[..1].to_vec() }).unwrap();
        assert_eq!(Script::from_toml(&printed).unwrap().turns[..], script.turns[..1]);
        let json = serde_json::to_string(&script).unwrap();
        assert_eq!(serde_json::from_str::<Script>(&json).unwrap(), script);
    }

    #[test]
    fn unknown_keys_are_errors() {
        for text in [
            "turns = []",
            "[[turn]]\nwhen = 1\nanswer = { kind = \"hang\" }",
            "[[turn]]\nanswer = { kind = \"no\" }",
        ] {
            assert!(Script::from_toml(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_request_is_read_from_its_latest_user_message_on() {
        let body = json!({ "tools": [{}], "messages": [
            { "role": "user", "content": "first" },
            { "role": "tool", "content": "x" },
            { "role": "user", "content": [{ "type": "text", "text": "second" }] },
            { "role": "assistant", "content": "" },
            { "role": "tool", "content": "y" },
        ] });
        assert_eq!(Asked::read(&body), Asked { prompt: "second".into(), tools_done: 1, title: false });
        assert!(Asked::read(&json!({ "messages": [] })).title);
    }
}
