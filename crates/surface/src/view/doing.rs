//! What a running step is doing: each update as a line, and all of them as a status.

use connector_contract::{Progress, TodoItem, ToolOutcome};
use serde_json::Value;

use super::Verbatim;
use crate::text::{one_line, shortened};

/// How many things that happened a status keeps.
const LINES: usize = 6;

/// How much of what a failed tool was about stands before why it failed, in a brief line.
const TITLE: usize = 80;

/// The status of a running step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Doing {
    /// How many go first, while it is queued.
    pub ahead: Option<usize>,
    /// Whether the agent waits for somebody's answer.
    pub asks: bool,
    /// What the model's provider complained of last, while it is asked again.
    pub retry: Option<Retry>,
    /// The last things that happened.
    pub lines: Vec<String>,
    /// How many entries of the agent's list are done, of how many.
    pub todo: Option<(usize, usize)>,
    /// The agent's words so far.
    pub words: Verbatim,
}

/// The model's provider is asked again after a while.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retry {
    /// How often it was asked.
    pub attempt: u64,
    /// What it complained of.
    pub reason: String,
    /// When it is asked again.
    pub next_at_ms: Option<u64>,
    /// How many seconds that is from now.
    pub next_in: Option<u64>,
}

/// How much a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Everything, for whoever sees the commands' output anyway.
    Full,
    /// What may be read in a chat.
    Brief,
}

impl Doing {
    /// Adds an update; whether there is something new to show.
    pub fn note(&mut self, progress: &Progress) -> bool {
        let before = self.ahead.take();
        if !matches!(progress, Progress::Connection { .. } | Progress::Waiting { .. }) {
            self.retry = None;
        }
        match progress {
            Progress::Queued { ahead } => {
                self.ahead = Some(*ahead);
                return before != self.ahead;
            }
            Progress::Started { .. } => {}
            Progress::Todo { items } => self.todo = Some(done(items)),
            Progress::Text { so_far } => self.words = so_far.as_str().into(),
            Progress::Retry { attempt, reason, next_at_ms } => {
                let (attempt, reason) = (*attempt, one_line(reason));
                self.retry = Some(Retry { attempt, reason, next_at_ms: *next_at_ms, next_in: None });
            }
            Progress::Connection { live: true } => return false,
            Progress::Waiting { .. }
            | Progress::ToolStarted { .. }
            | Progress::ToolFinished { .. }
            | Progress::SubAgentStarted { .. }
            | Progress::Connection { live: false } => self.add(progress),
        }
        true
    }

    /// Adds a line; a tool's end takes the place of its beginning.
    fn add(&mut self, progress: &Progress) {
        let Some(line) = line(progress, Detail::Brief) else { return };
        if let Progress::ToolFinished { tool, title, .. } = progress {
            // It may have begun before anybody knew what it was about.
            let begun = [begun(tool, title), begun(tool, "")].map(|line| one_line(&line));
            if let Some(at) = self.lines.iter().rposition(|line| begun.contains(line)) {
                self.lines[at] = line;
                return;
            }
        }
        self.lines.push(line);
        if self.lines.len() > LINES {
            self.lines.remove(0);
        }
    }
}

/// An update in a line; nothing for those that only a status can show.
pub fn line(progress: &Progress, detail: Detail) -> Option<String> {
    let line = match progress {
        Progress::Queued { ahead } => format!("… waits for {ahead} before it"),
        Progress::Waiting { reason } => format!("… {reason}"),
        Progress::Started { session_id } => format!("▶ session {session_id}"),
        Progress::ToolStarted { tool, title, .. } => begun(tool, title),
        Progress::ToolFinished { tool, title, outcome, .. } => ended((tool, title), outcome, detail),
        Progress::Todo { items } => todo(done(items)),
        Progress::Retry { attempt, reason, .. } => format!("↻ try {attempt}: {reason}"),
        Progress::SubAgentStarted { title, .. } => format!("▷ sub-agent: {title}"),
        Progress::Connection { live: false } => "~ progress is late; the work goes on".to_owned(),
        Progress::Connection { live: true } => "~ progress is live again".to_owned(),
        Progress::Text { .. } => return None,
    };
    Some(one_line(&line))
}

/// The line of an agent's list.
pub fn todo((done, all): (usize, usize)) -> String {
    format!("☰ {done} of {all} done")
}

fn done(items: &[TodoItem]) -> (usize, usize) {
    (items.iter().filter(|item| item.status == "completed").count(), items.len())
}

fn begun(tool: &str, title: &str) -> String {
    format!("· {tool} {title}")
}

fn ended((tool, title): (&str, &str), outcome: &ToolOutcome, detail: Detail) -> String {
    match (outcome, detail) {
        (ToolOutcome::Completed, _) => format!("✓ {tool} {title}"),
        (ToolOutcome::Failed { reason }, Detail::Full) => format!("✗ {tool} {title}: {reason}"),
        (ToolOutcome::Failed { reason }, Detail::Brief) => {
            format!("✗ {tool} {}: {}", shortened(title, TITLE), why(reason))
        }
        (ToolOutcome::Refused { by }, _) => format!("✗ {tool} {title}: refused by {by}"),
    }
}

/// Why a tool failed, as briefly as it can be said in a chat. A rule's refusal comes with all of the
/// rules; what a command printed last may be anything, and is for those alone who see its output.
fn why(reason: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
