//! What the console prints: pure functions from views to text.
//!
//! A card's frame is drawn to the left of every line of what it quotes, so that
//! a prompt cannot pretend to be another card.

use connector_contract::Progress;
use connector_contract::ask::{PermissionAsk, PermissionReply, QuestionAsk, QuestionReply};
use connector_gate::ask::{Answer, Asked};
use connector_gate::policy::Actor;
use connector_gate::state::StepState;
use connector_surface::text::{folded, isolated, one_line, shortened};
use connector_surface::view::{
    self, Branch, CardView, ChangedFile, Changes, Detail, Field, ResultView, Standing,
};
use connector_surface::{OpenAsk, View};

use super::prose;

/// How much of a reply is printed; all of it is in `runs show`.
const REPLY: usize = 8_000;

/// The same in lines: what is short may be laid out long.
const REPLY_LINES: usize = 400;

/// How wide a framed line is, its frame aside: a terminal of 80 columns does not
/// break it.
const COLUMNS: usize = 76;

/// The longest name of a field that its value stands beside.
const NAME: usize = 50;

/// How much of one line of progress is printed.
const LINE: usize = 160;

/// A view; a card ends with `ways` to decide it.
pub fn view(view: &View, ways: &str) -> String {
    match view {
        View::Card(card) => card_with(card, ways),
        View::Result(result) => self::result(result),
        View::Text(text) => self::text(text),
    }
}

/// The card of a waiting step.
pub fn card(card: &CardView) -> String {
    let id = card.id;
    card_with(card, &format!("y to run it, n to refuse (or: y {id}, n {id})"))
}

/// What became of a card.
pub fn standing(standing: &Standing) -> String {
    isolated(&standing.words())
}

fn card_with(card: &CardView, ways: &str) -> String {
    let mut lines = vec![format!("┌─ approval needed · {}", card.id)];
    for field in &card.fields {
        match field {
            Field::Again(why) => lines.extend(framed("again", why)),
            Field::AskedBy { by, chat } => lines.extend(framed("asked by", &format!("{by} in {chat}"))),
            Field::Named { name, value } => lines.extend(framed(name, value)),
        }
    }
    if let Some(prompt) = &card.prompt {
        lines.push("│ prompt".to_owned());
        lines.extend(folded(prompt, COLUMNS - 2).iter().map(|line| format!("│   {}", isolated(line))));
    }
    lines.push(format!("└─ {ways}"));
    lines.join("\n")
}

/// A field within the frame. A name that leaves its value no room stands above it.
fn framed(name: &str, value: &str) -> Vec<String> {
    let is_short = name.len() <= NAME;
    let above = if is_short { Vec::new() } else { folded(name, COLUMNS - 2) };
    let name = if is_short { name } else { "" };
    let beside = |(place, part): (usize, &String)| {
        let name = isolated(if place == 0 { name } else { "" });
        format!("│ {name:<11} {}", isolated(part))
    };
    let lines = folded(value, COLUMNS - 12.max(name.len() + 1));
    let above = above.iter().map(|part| format!("│ {}", isolated(part)));
    above.chain(lines.iter().enumerate().map(beside)).collect()
}

/// A reply of a rule, set off from what the host says itself.
pub fn text(text: &str) -> String {
    folded(text.trim_end(), COLUMNS).iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// The end of a step.
pub fn result(result: &ResultView) -> String {
    let mut lines = vec![headline(result)];
    if let Some(reply) = &result.reply {
        let said = prose::lines(&shortened(reply.as_str(), REPLY), COLUMNS - 2);
        let more = said.len().saturating_sub(REPLY_LINES);
        lines
            .extend(said.into_iter().take(REPLY_LINES).map(|line| format!("  {line}").trim_end().to_owned()));
        let all = format!("all of it: connector-host runs show {}", result.id.run);
        if more > 0 {
            lines.push(format!("  … {more} more lines; {all}"));
        } else if reply.as_str().chars().count() > REPLY {
            lines.push(format!("  … {all}"));
        }
        lines.extend(result.remark.iter().map(|remark| format!("  ! {remark}")));
    }
    if let Some(Changes { files, none, .. }) = &result.changes {
        lines.extend(files.iter().map(changed_file));
        lines.extend(files.is_empty().then(|| format!("  {none}")));
    }
    if let Some(Branch { name, apply, .. }) = &result.branch {
        lines.push(format!("  branch {name} · bring it in with: {apply}"));
    }
    lines.extend(result.refused.iter().map(|refused| format!("  {refused}")));
    lines.extend(
        result.session.iter().map(|session| format!("  session {session} · go on with: /continue …")),
    );
    lines.join("\n")
}

fn headline(result: &ResultView) -> String {
    // An error's text begins with the word for its kind, which the title has said already.
    let (sign, said) = match result.state {
        StepState::Succeeded => return format!("✔ {}{}", result.title, result.figures),
        StepState::Approved => return format!("⏳ {}", result.title),
        StepState::Dispatched => return format!("▶ {}", result.title),
        StepState::Denied | StepState::Expired => ("✘", ""),
        StepState::Cancelled => ("■", "stopped "),
        StepState::Unknown => ("?", "outcome unknown"),
        StepState::Failed => ("✘", "failed"),
        StepState::Skipped => ("○", ""),
        StepState::Resolved | StepState::Waiting => ("⏸", ""),
    };
    let reason = result.reason.as_deref().map(one_line).unwrap_or_default();
    let why = match reason.strip_prefix(said).unwrap_or(&reason).trim_start_matches(": ") {
        "" => String::new(),
        why if why.starts_with('(') => format!(" {why}"),
        why => format!(": {why}"),
    };
    format!("{sign} {}{why}", result.title)
}

fn changed_file(file: &ChangedFile) -> String {
    let mut line = format!("  {:<9} {}", file.status, file.path);
    if let Some((added, deleted)) = file.lines {
        line.push_str(&format!("  +{added} −{deleted}"));
    }
    line
}

/// One line of progress, or nothing for updates that only a live display can show.
pub fn progress(progress: &Progress) -> Option<String> {
    let line = view::line(progress, Detail::Full)?;
    Some(format!("  {}", shortened(&line, LINE)))
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
