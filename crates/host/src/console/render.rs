//! What the console prints: pure functions from rows to text.
//!
//! A card's frame is drawn to the left of every line of what it quotes, so that
//! a prompt cannot pretend to be another card.

use connector_contract::Progress;
use connector_contract::ToolOutcome;
use connector_contract::ask::{PermissionAsk, PermissionReply, QuestionAsk, QuestionReply};
use serde_json::Value;

use super::prose;
use crate::ask::Answer;
use crate::clock::Millis;
use crate::files;
use crate::gate::policy::Actor;
use crate::gate::state::StepState;
use crate::ledger::steps::StepRow;
use crate::own_model;
use crate::powers;
use crate::surface::{Asked, OpenAsk, figures, no_files, refused};
use crate::text::{folded, isolated, one_line, shortened};
use crate::told::{self, TOLD};

/// How much of a reply is printed; all of it is in `runs show`.
const REPLY: usize = 8_000;

/// The same in lines: what is short may be laid out long.
const REPLY_LINES: usize = 400;

/// How wide a framed line is, its frame aside: a terminal of 80 columns does not
/// break it.
const COLUMNS: usize = 76;

/// How much of one line of progress is printed.
const LINE: usize = 160;

/// The card of a waiting step: exactly what will run.
pub fn card(row: &StepRow, now: Millis) -> String {
    let mut lines = vec![format!("┌─ approval needed · {}", row.id)];
    let mut field = |name: &str, value: &str| {
        for (place, part) in
            folded(&one_line(value), COLUMNS - 12.max(name.len() + 1)).into_iter().enumerate()
        {
            let name = isolated(&one_line(if place == 0 { name } else { "" }));
            lines.push(format!("│ {name:<11} {}", isolated(&part)));
        }
    };
    if let Some(reason) = &row.reason {
        field("again", reason);
    }
    field("rule", &format!("{} ({})", row.rule, row.rule_version.get(..12).unwrap_or(&row.rule_version)));
    field("asked by", &format!("{} in {}", row.people.named(&row.requester), row.chat));
    field("runs", &format!("{} · {}", row.connector, row.action));
    field("at", row.target.origin.as_deref().unwrap_or("nowhere in particular"));
    let given =
        |key: &str, default: &str| row.target.settings.get(key).map_or_else(|| default.to_owned(), plain);
    field("directory", &given("directory", "as the daemon was started"));
    field("model", &own_model::line(&row.target.settings));
    field("agent", &given("agent", "the daemon's default"));
    if let Some(words) = powers::words(&row.target.settings) {
        field("may do", &words);
    }
    for (key, value) in &row.target.settings {
        if !["directory", "agent", TOLD].contains(&key.as_str())
            && !own_model::tells(key)
            && !powers::tells(key)
        {
            field(key, &plain(value));
        }
    }
    for (key, value) in told::fields(&row.target.settings) {
        field(&key, &value);
    }
    let empty = serde_json::Map::new();
    let input = row.input.as_object().unwrap_or(&empty);
    for (key, value) in input.iter().filter(|(key, _)| *key != "prompt") {
        match files::described(key, value) {
            Some(files) => files.iter().for_each(|file| field("file", file)),
            None => field(key, &plain(value)),
        }
    }
    field("digest", row.digest.short());
    field("expires", &expiry(row, now));
    if row.approvals_needed > 1 {
        field("approvals", &format!("{} are needed", row.approvals_needed));
    }
    if let Some(prompt) = input.get("prompt") {
        lines.push("│ prompt".to_owned());
        lines
            .extend(folded(&plain(prompt), COLUMNS - 2).iter().map(|line| format!("│   {}", isolated(line))));
    }
    lines.push(format!("└─ y to run it, n to refuse (or: y {id}, n {id})", id = row.id));
    lines.join("\n")
}

fn expiry(row: &StepRow, now: Millis) -> String {
    let left = row.expires_at.map_or(row.expiry_ms, |at| at - now).max(0);
    let (minutes, seconds) = (left / 60_000, left / 1_000 % 60);
    match (minutes, seconds) {
        (0, seconds) => format!("in {seconds} s"),
        (minutes, 0) => format!("in {minutes} min"),
        (minutes, seconds) => format!("in {minutes} min {seconds} s"),
    }
}

/// A reply of a rule, set off from what the host says itself.
pub fn text(text: &str) -> String {
    folded(text.trim_end(), COLUMNS).iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// The end of a step.
pub fn result(row: &StepRow) -> String {
    let mut lines = vec![headline(row)];
    let output = row.output.as_ref();
    if let Some(reply) = output.and_then(|output| output.get("reply")).and_then(Value::as_str) {
        let said = prose::lines(&shortened(reply.trim(), REPLY), COLUMNS - 2);
        let more = said.len().saturating_sub(REPLY_LINES);
        lines
            .extend(said.into_iter().take(REPLY_LINES).map(|line| format!("  {line}").trim_end().to_owned()));
        if more > 0 {
            lines.push(format!("  … {more} more lines; all of it: connector-host runs show {}", row.id.run));
        }
        let remark = output.and_then(|output| output.get("remark")).and_then(Value::as_str);
        let silent = reply.trim().is_empty().then_some("the agent said nothing");
        if let Some(remark) = remark.or(silent) {
            lines.push(format!("  ! {}", one_line(remark)));
        }
    }
    let files = output.and_then(|output| output.get("files")).and_then(Value::as_array);
    for file in files.into_iter().flatten() {
        lines.push(changed_file(file));
    }
    if files.is_some_and(Vec::is_empty) {
        lines.push(format!("  {}", no_files(output)));
    }
    if let Some(branch) = output.and_then(|output| output.get("branch")).and_then(Value::as_str) {
        let apply = format!("connector-host runs apply {}", row.id.run);
        lines.push(format!("  branch {} · bring it in with: {apply}", one_line(branch)));
    }
    if let Some(refused) = output.and_then(refused) {
        lines.push(format!("  {refused}"));
    }
    if let Some(session) = &row.session_id {
        lines.push(format!("  session {} · go on with: /continue …", one_line(session)));
    }
    lines.join("\n")
}

fn headline(row: &StepRow) -> String {
    let id = row.id;
    let reason = row.reason.as_deref().map(one_line).unwrap_or_default();
    // An error's text begins with the word for its kind, which the headline has said already.
    let why = |said: &str| match reason.strip_prefix(said).unwrap_or(&reason).trim_start_matches(": ") {
        "" => String::new(),
        why if why.starts_with('(') => format!(" {why}"),
        why => format!(": {why}"),
    };
    match row.state {
        StepState::Succeeded => format!("✔ {id} done{}", figures(row)),
        StepState::Denied | StepState::Expired => format!("✘ {id} was not run{}", why("")),
        StepState::Cancelled => format!("■ {id} stopped{}", why("stopped ")),
        StepState::Unknown => format!("? {id}: nobody knows what became of it{}", why("outcome unknown")),
        StepState::Failed => format!("✘ {id} failed{}", why("failed")),
        StepState::Skipped => format!("○ {id} was left out{}", why("")),
        StepState::Resolved | StepState::Waiting => format!("⏸ {id} waits for a decision{}", why("")),
        StepState::Approved => format!("⏳ {id} waits for its turn"),
        StepState::Dispatched => format!("▶ {id} runs"),
    }
}

fn changed_file(file: &Value) -> String {
    let text = |name: &str| file.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| file.get(name).and_then(Value::as_u64);
    let mut line = format!("  {:<9} {}", one_line(text("status")), one_line(text("path")));
    // Of a file without lines, or whose lines nobody counted, nothing is said.
    if let (Some(added), Some(deleted)) = (number("additions"), number("deletions")) {
        line.push_str(&format!("  +{added} −{deleted}"));
    }
    line
}

/// One line of progress, or nothing for updates that only a live display can show.
pub fn progress(progress: &Progress) -> Option<String> {
    let line = match progress {
        Progress::Queued { ahead } => format!("… waits for {ahead} before it"),
        Progress::Waiting { reason } => format!("… {reason}"),
        Progress::Started { session_id } => format!("▶ session {session_id}"),
        Progress::ToolStarted { tool, title, .. } => format!("· {tool} {title}"),
        Progress::ToolFinished { tool, title, outcome: ToolOutcome::Completed, .. } => {
            format!("✓ {tool} {title}")
        }
        Progress::ToolFinished { tool, title, outcome: ToolOutcome::Failed { reason }, .. } => {
            format!("✗ {tool} {title}: {reason}")
        }
        Progress::ToolFinished { tool, title, outcome: ToolOutcome::Refused { by }, .. } => {
            format!("✗ {tool} {title}: refused by {by}")
        }
        Progress::Todo { items } => {
            let done = items.iter().filter(|item| item.status == "completed").count();
            format!("☰ {done} of {} done", items.len())
        }
        Progress::Retry { attempt, reason, .. } => format!("↻ try {attempt}: {reason}"),
        Progress::SubAgentStarted { title, .. } => format!("▷ sub-agent: {title}"),
        Progress::Connection { live: false } => "~ progress is late; the work goes on".to_owned(),
        Progress::Connection { live: true } => "~ progress is live again".to_owned(),
        Progress::Text { .. } => return None,
    };
    Some(format!("  {}", shortened(&one_line(&line), LINE)))
}

/// An ask with the words that answer it.
pub fn ask(ask: &OpenAsk) -> String {
    let number = ask.number;
    let ways = match &ask.asked {
        Asked::Permission(_) => {
            format!("once {number}, session {number} (this and nothing else), or reject {number}")
        }
        Asked::Question(asked) => {
            let example = example(asked);
            format!("answer {number} {example} (numbers or your own words), or reject {number}")
        }
    };
    ask_with(ask, &ways)
}

/// An ask with `ways` to answer it as its last line.
pub fn ask_with(ask: &OpenAsk, ways: &str) -> String {
    let mut lines = match &ask.asked {
        Asked::Permission(asked) => permission(ask.number, asked),
        Asked::Question(asked) => question(ask.number, asked),
    };
    lines.push(format!("└─ {ways}"));
    lines.join("\n")
}

/// An ask that was answered elsewhere.
pub fn ask_answered(ask: &OpenAsk, answer: &Answer, by: &Actor) -> String {
    let said = match answer {
        Answer::Question(QuestionReply::Answers { answers }) => {
            let answers: Vec<String> = answers.iter().map(|chosen| chosen.join(", ")).collect();
            format!("answered: {}", answers.join("; "))
        }
        Answer::Permission(PermissionReply::Reject { message }) if !message.is_empty() => {
            format!("rejected: {message}")
        }
        answer => answer.words().to_owned(),
    };
    let (number, by) = (ask.number, one_line(&ask.people.named(by)));
    format!("  what the agent asks ({number}) is {}, by {by}", shortened(&one_line(&said), LINE))
}

/// Every part of what is asked, whole: a grant is a grant of what stands here.
fn permission(number: u64, ask: &PermissionAsk) -> Vec<String> {
    let mut lines = vec![format!("┌─ the agent asks ({number}): may it use {}?", one_line(&ask.permission))];
    let parts = ask.parts();
    for part in &parts {
        if parts.len() > 1 {
            lines.extend(folded(&one_line(&part.name), COLUMNS).iter().map(|line| format!("│ {line}")));
        }
        lines.extend(folded(&part.text, COLUMNS - 2).iter().map(|line| format!("│   {}", isolated(line))));
    }
    lines
}

fn question(number: u64, ask: &QuestionAsk) -> Vec<String> {
    let mut lines = vec![format!("┌─ the agent asks ({number})")];
    for (place, question) in ask.questions.iter().enumerate() {
        let several = if question.multiple { " (several)" } else { "" };
        lines.push(format!("│ {}. {}{several}", place + 1, one_line(&question.question)));
        for (option, choice) in question.options.iter().enumerate() {
            let about = if choice.description.is_empty() {
                String::new()
            } else {
                format!(" — {}", one_line(&choice.description))
            };
            lines.push(format!("│    {} {}{about}", option + 1, one_line(&choice.label)));
        }
    }
    lines
}

/// How an answer is typed.
pub fn example(ask: &QuestionAsk) -> String {
    let example: Vec<&str> =
        ask.questions.iter().map(|question| if question.multiple { "1 2" } else { "1" }).collect();
    example.join("; ")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
