//! What a turn hands back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Output of both actions that hand something to an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TurnOutput {
    /// The session, to continue it.
    pub session_id: String,
    /// All that the agent said in this turn; cut, with a marker, when too long.
    pub reply: String,
    /// What is to be known of the reply: that the agent said nothing, or was cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
    /// The daemon's `{info, parts}` of the last message, unchanged; when it is
    /// too long, `{truncated: true, bytes, info}`.
    pub response: Value,
    /// The message that started the turn.
    pub message_id: String,
    /// The files the turn changed.
    pub files: Vec<FileChange>,
    /// How many more it changed, which would make the list too long.
    #[serde(default, skip_serializing_if = "is_none_left_out")]
    pub files_left_out: usize,
    /// The turn as a unified diff; cut at a line, with a marker, when too long.
    #[serde(default)]
    pub patch: String,
    /// In US dollars, over all steps of the turn.
    pub cost: f64,
    /// Over all steps of the turn.
    pub tokens: Tokens,
    /// Wall time.
    pub duration_ms: u64,
}

/// Output of `describe_daemon`: on what terms a task would run at the daemon now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Description {
    /// The generation of opencode's API that it speaks, such as `1.x`.
    pub generation: String,
    /// The model that its configuration names for the agent, as `provider/model`; null when it names
    /// none, and the daemon would take a default of its own.
    pub model: Option<String>,
    /// Whether that is the agent's own, which goes before what a session had last.
    pub model_of_agent: bool,
    /// Whether the daemon lets sessions that were not made here run code in the server itself, which
    /// goes around every permission rule (2.x).
    pub runs_code: bool,
    /// What somebody granted for good in the project and would pass without an ask although a rule
    /// asks about it; null where the daemon does not tell.
    pub saved: Option<Vec<String>>,
    /// Whether a task is refused because of what was granted so.
    pub refused: bool,
}

/// One changed file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileChange {
    /// Relative to the directory.
    pub path: String,
    /// Lines added; null when the daemon keeps no history of the directory.
    pub additions: Option<u64>,
    /// Lines deleted; null when the daemon keeps no history of the directory.
    pub deletions: Option<u64>,
    /// `added`, `modified` or `deleted`.
    pub status: String,
}

/// Tokens used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Tokens {
    /// Read by the model.
    pub input: u64,
    /// Written by the model.
    pub output: u64,
    /// Spent on thinking.
    pub reasoning: u64,
    /// Through the provider's cache.
    pub cache: CacheTokens,
}

/// Tokens that went through the provider's cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CacheTokens {
    /// Read from it.
    pub read: u64,
    /// Written to it.
    pub write: u64,
}

impl std::ops::AddAssign for Tokens {
    fn add_assign(&mut self, other: Self) {
        self.input += other.input;
        self.output += other.output;
        self.reasoning += other.reasoning;
        self.cache.read += other.cache.read;
        self.cache.write += other.cache.write;
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_none_left_out(count: &usize) -> bool {
    *count == 0
}

/// The first of `files` that take no more than `limit` bytes of JSON, and how many are
/// left out.
pub(crate) fn cap_files(mut files: Vec<FileChange>, limit: usize) -> (Vec<FileChange>, usize) {
    let mut bytes = 0;
    let fit = files.iter().take_while(|file| {
        bytes += json!(file).to_string().len() + 1;
        bytes <= limit
    });
    let (fit, all) = (fit.count(), files.len());
    files.truncate(fit);
    (files, all - fit)
}

/// `response` under its cap: whole, or with the parts left out.
pub(crate) fn cap_response(response: Value, limit: usize) -> Value {
    let bytes = response.to_string().len();
    if bytes <= limit {
        return response;
    }
    let info = response.get("info").filter(|info| info.to_string().len() <= limit).cloned();
    json!({ "truncated": true, "bytes": bytes, "info": info })
}

/// `reply` under its cap, cut at a character.
pub(crate) fn cap_reply(mut reply: String, limit: usize) -> String {
    if reply.len() <= limit {
        return reply;
    }
    let bytes = reply.len();
    let cut = reply.floor_char_boundary(limit);
    reply.truncate(cut);
    reply.push_str(&format!("\n[cut: {} of {bytes} bytes left out]\n", bytes - cut));
    reply
}

/// `patch` under its cap, cut at a line.
pub(crate) fn cap_patch(mut patch: String, limit: usize) -> String {
    if patch.len() <= limit {
        return patch;
    }
    let bytes = patch.len();
    let cut = patch.as_bytes()[..limit].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    patch.truncate(cut);
    patch.push_str(&format!("[cut: {} of {bytes} bytes left out]\n", bytes - cut));
    patch
}

#[cfg(test)]
mod tests {
    use connector_contract::facts::{ChangedFile, Facts, Usage};

    use super::*;

    #[test]
    fn all_that_a_turn_hands_back_is_read_as_facts() {
        let file = FileChange {
            path: "a".into(),
            additions: Some(1),
            deletions: Some(2),
            status: "modified".into(),
        };
        let tokens = Tokens { input: 3, output: 4, reasoning: 5, cache: CacheTokens { read: 6, write: 7 } };
        let output = json!(TurnOutput {
            session_id: "ses_1".into(),
            reply: "done".into(),
            remark: Some("cut off".into()),
            response: json!({ "info": {} }),
            message_id: "msg_1".into(),
            files: vec![file],
            files_left_out: 8,
            patch: "+x\n".into(),
            cost: 0.5,
            tokens,
            duration_ms: 9,
        });
        let facts = Facts::of(&output);
        assert_eq!(
            (facts.session(), facts.reply(), facts.remark()),
            (Some("ses_1"), Some("done"), Some("cut off"))
        );
        let changes = facts.changes().unwrap();
        let file = ChangedFile { status: "modified", path: "a", lines: Some((1, 2)) };
        assert_eq!((changes.files, changes.left_out, changes.are_all), (vec![file], 8, false));
        assert_eq!(facts.patch(), Some("+x\n"));
        assert_eq!(facts.usage(), Usage { duration_ms: Some(9), cost: Some(0.5), tokens: Some(12) });
    }

    #[test]
    fn what_is_cut_says_so() {
        let long = json!({ "info": { "id": "msg_a" }, "parts": ["x".repeat(500)] });
        assert_eq!(cap_response(long.clone(), 1000), long);
        let cut = cap_response(long, 100);
        assert_eq!((&cut["truncated"], &cut["info"]["id"]), (&json!(true), &json!("msg_a")));

        assert_eq!(cap_reply("é".into(), 2), "é");
        assert_eq!(cap_reply("aé".into(), 2), "a\n[cut: 2 of 3 bytes left out]\n");

        let file = |path: &str| FileChange {
            path: path.to_owned(),
            additions: Some(1),
            deletions: None,
            status: "added".to_owned(),
        };
        let files = vec![file("a"), file("b"), file("c")];
        let two = json!(files[..2]).to_string().len();
        assert_eq!(cap_files(files.clone(), two), (files[..2].to_vec(), 1));
        assert_eq!(cap_files(files[..2].to_vec(), two), (files[..2].to_vec(), 0));

        assert_eq!(cap_patch("+a\n+b\n".into(), 6), "+a\n+b\n");
        assert_eq!(cap_patch("+a\n+é\n+c\n".into(), 5), "+a\n[cut: 7 of 10 bytes left out]\n");
    }
}
