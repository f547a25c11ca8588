//! Where people meet the host: what a surface is shown, and what it reports.
//!
//! A surface turns platform updates into events, taps and answers, and notices
//! into messages. It decides nothing; it vouches for who acted.

use std::collections::BTreeSet;

use async_trait::async_trait;
use connector_contract::Progress;
use serde::Serialize;
use serde_json::Value;

use crate::ask::Answer;
use crate::clock::Millis;
use crate::gate::people::People;
use crate::gate::policy::Actor;
use crate::ids::StepId;
use crate::ledger::events::EventRow;
use crate::ledger::steps::StepRow;
use crate::ledger::{LedgerError, Tx};
use crate::managed::refusals;
use crate::text::one_line;

pub use crate::ask::Asked;

/// A message for a chat.
#[derive(Debug, Clone)]
pub enum Notice {
    /// A step waits for a decision. The row is everything the approver sees.
    Card(Box<StepRow>),
    /// A step ended.
    Result(Box<StepRow>),
    /// A plain text.
    Text(String),
}

/// The message was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// Not now; it will be tried again.
    #[error("not delivered: {0}")]
    Later(String),
    /// Not there: the platform says that the chat is another now. What it is still to be told goes to
    /// that one; what waits for a decision there is denied, since it was asked in a chat that is gone.
    #[error("the chat is `{to}` now")]
    Moved {
        /// The other chat.
        to: String,
    },
}

/// An ask that waits for its answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OpenAsk {
    /// What people type to answer it: the number of its row.
    pub number: u64,
    /// The step whose agent asks.
    pub step: StepId,
    /// What it asks.
    pub asked: Asked,
    /// Who may answer.
    pub approvers: Vec<Actor>,
    /// Whose accounts there are.
    #[serde(skip_serializing_if = "People::is_empty")]
    pub people: People,
}

/// One way to reach people.
#[async_trait]
pub trait Surface: Send + Sync + 'static {
    /// Its name, the first part of its users' names.
    fn name(&self) -> &str;

    /// Delivers a notice and returns the platform's own id of the message.
    /// `parcel` is its number: after an error, or the end of the host, the same
    /// one is delivered again, and that must be harmless. Nobody limits how long
    /// it takes: what could hang has a limit of its own.
    async fn deliver(&self, chat: &str, parcel: i64, notice: Notice) -> Result<String, DeliveryError>;

    /// Whether cards outlive the host on this surface, as messages of a platform do: then they are
    /// not put out again at every start.
    fn keeps_cards(&self) -> bool {
        false
    }

    /// Whether people can answer an agent's asks on it. Where they cannot, and none of them has the
    /// command line, each is refused at once.
    fn takes_answers(&self) -> bool {
        true
    }

    /// What the chat of an event is told that no rule fires on, in the transaction that finds so;
    /// most are told nothing.
    fn unanswered(&self, _tx: &Tx<'_>, _event: &EventRow) -> Result<Option<String>, LedgerError> {
        Ok(None)
    }

    /// What the chat of an event is told that is `command` alone, where one with words after it
    /// would fire a rule.
    fn asks_for_words(&self, _event: &EventRow, _command: &str) -> Option<String> {
        None
    }

    /// Until when an event may still grow, where the platform splits long messages: nothing comes of
    /// it before.
    fn grows_until(&self, _event: &EventRow) -> Option<Millis> {
        None
    }

    /// Shows progress of a running step. Must not block; may drop.
    fn progress(&self, chat: &str, step: StepId, progress: &Progress);

    /// Shows an ask. Must not block.
    fn ask(&self, chat: &str, ask: &OpenAsk);

    /// An ask was answered.
    fn ask_answered(&self, chat: &str, ask: &OpenAsk, _answer: &Answer, by: &Actor) {
        self.ask_closed(chat, ask, Some(by));
    }

    /// An ask no longer waits: it was answered (`by` somebody) or withdrawn.
    fn ask_closed(&self, chat: &str, ask: &OpenAsk, by: Option<&Actor>);
}

/// Why a tool failed, as briefly as it can be said in a chat. A rule's refusal comes with all of the
/// rules; what a command printed last may be anything, and is for those alone who see its output.
pub fn why(reason: &str) -> String {
    let reason = reason.trim();
    if let Some((code, _)) = reason.strip_prefix("exit ").and_then(|exit| exit.split_once(':'))
        && code.parse::<i64>().is_ok()
    {
        return format!("exit {code}");
    }
    if let Some(refusal) = reason.strip_prefix("The user has specified a rule which prevents you") {
        let rule =
            refusal.split("relevant rules").nth(1).and_then(last_rule).map(|rule| format!(" ({rule})"));
        return format!("refused by a permission rule{}", rule.unwrap_or_default());
    }
    if let Some(words) = reason.strip_prefix("The user rejected permission to use this specific tool call") {
        let words = words.trim_start_matches([' ', '.']);
        let words = words.strip_prefix("with the following feedback:").unwrap_or(words).trim();
        return if words.is_empty() { "rejected".to_owned() } else { format!("rejected: {words}") };
    }
    reason.to_owned()
}

/// The last of a list of rules, which is the one that counts.
fn last_rule(list: &str) -> Option<String> {
    let (from, to) = (list.find('[')?, list.rfind(']')?);
    let rules: Vec<Value> = serde_json::from_str(list.get(from..=to)?).ok()?;
    let rule = rules.last()?;
    let text = |name: &str| rule.get(name).and_then(Value::as_str);
    Some(format!("{} {}: {}", text("permission")?, text("pattern")?, text("action")?))
}

/// A number as people read it: one that nothing real has is not written out.
fn sane(number: f64, digits: usize) -> String {
    const MOST: f64 = 999_999_999.0;
    match number {
        number if !number.is_finite() => "an absurd number".to_owned(),
        number if number.abs() > MOST => "over 999999999".to_owned(),
        number => format!("{number:.digits$}"),
    }
}

/// How long a step took and what it cost, to stand after its headline; empty where nothing is known.
pub fn figures(row: &StepRow) -> String {
    let Some(output) = &row.output else { return String::new() };
    let mut text = String::new();
    if let Some(ms) = output.get("duration_ms").and_then(Value::as_u64) {
        text.push_str(&match ms / 1_000 {
            ..=999_999_999 => format!(" in {}.{} s", ms / 1_000, ms / 100 % 10),
            _ => " in over 999999999 s".to_owned(),
        });
    }
    if let Some(cost) = output.get("cost").and_then(Value::as_f64) {
        text.push_str(&format!(" · cost ${}", sane(cost, 4)));
    }
    if let Some(tokens) = output.get("tokens").and_then(total_tokens) {
        text.push_str(&match tokens {
            ..=999_999_999 => format!(" · {tokens} tokens"),
            _ => " · over 999999999 tokens".to_owned(),
        });
    }
    text
}

fn total_tokens(tokens: &Value) -> Option<u64> {
    let direct = tokens.as_u64().or_else(|| tokens.get("total").and_then(Value::as_u64));
    direct.or_else(|| {
        let part = |name: &str| tokens.get(name).and_then(Value::as_u64);
        Some(part("input")?.saturating_add(part("output")?).saturating_add(part("reasoning").unwrap_or(0)))
    })
}

/// The key of an output that says that its list of files is of all that changed: then an empty one
/// means that nothing did.
pub(crate) const WHOLE: &str = "files_are_all";

/// What the walls refused while a step ran, of the network and of paths, a line each; nothing when it was nothing.
pub(crate) fn refused(output: &Value) -> Option<String> {
    let named = |key: &str| -> Vec<String> {
        let all = output.get(key).and_then(Value::as_array).into_iter().flatten();
        all.filter_map(Value::as_str).map(one_line).collect()
    };
    let (hosts, paths) = (named(refusals::KEY), named(refusals::PATHS));
    let of_network = (!hosts.is_empty())
        .then(|| format!("network: refused {} · `hosts` of the workspace opens it", hosts.join(", ")));
    let told: Vec<_> = of_network.into_iter().chain(refused_paths(&paths)).collect();
    (!told.is_empty()).then(|| told.join("\n"))
}

/// How many refused paths are named.
const PATHS_NAMED: usize = 3;

fn refused_paths(paths: &[String]) -> Option<String> {
    let distinct: BTreeSet<_> = paths.iter().map(String::as_str).collect();
    let more = if distinct.len() > PATHS_NAMED { " …" } else { "" };
    let named = distinct.into_iter().take(PATHS_NAMED).collect::<Vec<_>>().join(", ");
    let refusals = match paths.len() {
        0 => return None,
        1 => "a closed path".to_owned(),
        many => format!("closed paths {many} times"),
    };
    Some(format!(
        "walls: the output named {refusals} ({named}{more}) · `read` or `write` of the workspace opens them"
    ))
}

/// What is said of an empty list of files.
pub(crate) fn no_files(output: Option<&Value>) -> &'static str {
    let whole = output.and_then(|output| output.get(WHOLE)).and_then(Value::as_bool);
    if whole == Some(true) {
        "no files changed"
    } else {
        "no file is known to have changed (large or ignored files, and directories without git, are not compared)"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_walls_refused_is_told_a_line_each() {
        for (output, told) in [
            (serde_json::json!({}), None),
            (serde_json::json!({ "network_refused": [], "paths_refused": [] }), None),
            (
                serde_json::json!({ "paths_refused": ["~/.npm"] }),
                Some(
                    "walls: the output named a closed path (~/.npm) · `read` or `write` of the workspace opens them",
                ),
            ),
            (
                serde_json::json!({ "network_refused": ["h:443"], "paths_refused": ["~/.npm", "~/.npm", "/a\nb", "~/c", "~/d"] }),
                Some(
                    "network: refused h:443 · `hosts` of the workspace opens it\n\
                     walls: the output named closed paths 5 times (/a\\nb, ~/.npm, ~/c …) · `read` or `write` of the workspace opens them",
                ),
            ),
        ] {
            assert_eq!(refused(&output).as_deref(), told);
        }
    }

    #[test]
    fn what_a_command_printed_is_not_told_in_a_chat() {
        for (reason, told) in [
            ("exit 1: token=hunter2", "exit 1"),
            ("exit -1", "exit -1"),
            ("exit code: unknown", "exit code: unknown"),
            ("File not found: a.txt", "File not found: a.txt"),
        ] {
            assert_eq!(why(reason), told);
        }
    }

    #[test]
    fn absurd_numbers_are_shortened() {
        for (number, shown) in [
            (0.01234, "0.0123"),
            (999_999_999.0, "999999999.0000"),
            (1e300, "over 999999999"),
            (-1e300, "over 999999999"),
            (f64::NAN, "an absurd number"),
        ] {
            assert_eq!(sane(number, 4), shown);
        }
    }
}
