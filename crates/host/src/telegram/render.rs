//! What Telegram shows: pure functions from views to styled text.
//!
//! Everything that comes from a chat or an agent went through
//! [`connector_surface::text::visible`] and is shown as it is: styles are entities beside
//! the text, so that a prompt cannot look like another part of the card.

mod headline;
mod prose;
mod question;

use connector_contract::ask::{AskPart, PermissionAsk, PermissionReply, QuestionReply};
use connector_gate::ask::Asked;
use connector_surface::text::{isolated, one_line, shortened, visible};
use connector_surface::view::{self, CardView, Doing, Field, Retry};
use connector_telegram::text::{ENTITIES, MESSAGE, Style, Styled, head, units};

use connector_engine::Answer;

pub use headline::result;
pub(super) use prose::code;
pub use prose::{Part, parts};
pub use question::question;
pub(super) use question::{option_name, whole_questions};

/// How much of one field of a card is shown, in characters.
const FIELD: usize = 300;

/// How much of one thing that happened is shown, in characters.
const LINE: usize = 240;

/// How much of the agent's text a status shows, in UTF-16 units.
const TAIL: usize = 600;

/// How many options of a question have buttons; Telegram takes a hundred, and not all of the longest.
pub(super) const OPTIONS: usize = 40;

/// What a text that somebody decides about ends with when it is cut.
const CUT: &str = "\n… cut; the whole of it is above";

/// A message, what answers it, and what is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The message itself; it fits into one.
    pub text: Styled,
    /// What is sent in answer to it, message by message.
    pub body: Vec<Part>,
    /// A document: its name and content.
    pub attachment: Option<(String, String)>,
}

/// The card of a waiting step. What does not fit is cut, says so, and the attachment is the whole of it.
pub fn card(card: &CardView) -> Rendered {
    let mut lines = Lines::new(&format!("⏸ Approval needed · {}", card.id));
    for field in &card.fields {
        match field {
            Field::Again(why) => lines.field("again", why),
            Field::AskedBy { by, .. } => lines.field("asked by", by),
            Field::Named { name, value } => lines.field(name, value),
        }
    }
    let Lines { mut text, mut cut } = lines;
    if let Some(prompt) = &card.prompt {
        let room = MESSAGE.saturating_sub(text.units() + units("\n\n") + units(CUT) + 1);
        let shown = head(prompt, room);
        text = text.plain("\n").styled(Style::Quote, shown);
        if shown.len() < prompt.len() {
            cut = true;
            text = text.styled(Style::Italic, CUT);
        }
    }
    let attachment = cut.then(|| (format!("step-{}.txt", card.id), card.whole.clone()));
    Rendered { text, body: Vec::new(), attachment }
}

/// What the card of an earlier asking becomes.
pub(super) fn asked_again(card: &CardView) -> Styled {
    let text = Styled::new().styled(Style::Bold, &format!("⏸ {} is asked about again, below", card.id));
    match card.again() {
        Some(why) => text.plain("\n").plain(&shortened(why, FIELD)),
        None => text,
    }
}

/// The status of a step that was approved.
pub fn status(step: &str, doing: &Doing, seconds: u64) -> Styled {
    status_by(step, doing, seconds, None)
}

/// The same, with who approved it where that is not known there.
pub(super) fn status_by(step: &str, doing: &Doing, seconds: u64, approved_by: Option<&str>) -> Styled {
    let time = format!("{}:{:02}", seconds / 60, seconds % 60);
    let mut text = match doing.ahead {
        Some(ahead) => Styled::new().styled(Style::Bold, &format!("⏳ {step} waits for {ahead} before it")),
        None if doing.asks => Styled::new()
            .styled(Style::Bold, &format!("⏸ {step} waits for an answer"))
            .plain(&format!(" · {time}")),
        None if doing.retry.is_some() => {
            let title = format!("↻ {step} waits for the model's provider");
            Styled::new().styled(Style::Bold, &title).plain(&format!(" · {time}"))
        }
        None => Styled::new().styled(Style::Bold, &format!("▶ {step} runs")).plain(&format!(" · {time}")),
    };
    if let Some(by) = approved_by {
        text = text.plain("\n").styled(Style::Italic, &shortened(&format!("approved by {by}"), FIELD));
    }
    if let Some(Retry { attempt, reason, next_in, .. }) = &doing.retry {
        let next = match next_in {
            Some(0) => " now".to_owned(),
            Some(seconds) => format!(" in {}", connector_surface::text::duration(*seconds)),
            None => String::new(),
        };
        text = text.plain("\n").plain(&shortened(reason, FIELD));
        text = text.plain("\n").styled(Style::Italic, &format!("try {} comes{next}", attempt + 1));
    }
    if let Some(todo) = doing.todo {
        text = text.plain("\n").plain(&view::todo(todo));
    }
    for line in &doing.lines {
        text = text.plain("\n").plain(&shortened(line, LINE));
    }
    let words = visible(doing.words.as_str().trim());
    if !words.is_empty() {
        text = text.plain("\n").styled(Style::Quote, tail(&words));
    }
    text
}

/// The end of a text that is too long to be shown whole.
fn tail(words: &str) -> &str {
    let mut at = 0;
    while units(&words[at..]) > TAIL {
        let rest = &words[at..];
        at +=
            head(rest, (units(rest) - TAIL).max(1)).len().max(rest.chars().next().map_or(1, char::len_utf8));
    }
    &words[at..]
}

/// A permission request: every part of it, each in a block of its own, so that none can pass for
/// another. What does not fit is cut, says so, and the attachment is the whole of it.
pub fn permission(step: &str, ask: &PermissionAsk) -> Rendered {
    let name = one_line(&ask.permission);
    let title = fitting(&name, FIELD);
    let mut text = Styled::new().styled(Style::Bold, &format!("🔐 {step}: may the agent use {title}?"));
    let parts = ask.parts();
    let mut cut = title != name;
    for part in &parts {
        if parts.len() > 1 {
            text = text.plain("\n").styled(Style::Bold, &format!("{}:", fitting(&one_line(&part.name), 100)));
        }
        text = text.plain("\n");
        let content = visible(&part.text);
        let shown = head(&content, MESSAGE.saturating_sub(text.units() + units(CUT)));
        text = text.styled(Style::Pre, shown);
        cut |= shown.len() < content.len();
        // Room for the name of one more.
        if text.units() + units(CUT) + 160 > MESSAGE || text.styles() + 4 > ENTITIES {
            cut |= parts.last() != Some(part);
            break;
        }
    }
    if cut {
        text = text.styled(Style::Italic, CUT);
    }
    let whole = || (format!("ask-{step}.txt"), format!("{step}: {name}\n\n{}\n", in_words(&parts)));
    Rendered { text, body: Vec::new(), attachment: cut.then(whole) }
}

/// What an ask that is over becomes: what was asked, how it was answered, and by whom.
pub fn ask_over(step: &str, asked: &Asked, answered: Option<(&Answer, &str)>) -> Styled {
    let (sign, how) = match answered {
        None => {
            let sign = if matches!(asked, Asked::Permission(_)) { "🔐" } else { "❓" };
            (sign, "no longer asked".to_owned())
        }
        Some((answer, by)) if answer.is_rejection() => ("❌", format!("rejected · answered by {by}")),
        Some((answer, by)) if matches!(answer, Answer::Permission(_)) => {
            ("✅", format!("{} · answered by {by}", answer.words()))
        }
        Some((_, by)) => ("✅", format!("answered by {by}")),
    };
    let how = format!(" · {}", one_line(&how));
    match asked {
        Asked::Permission(ask) => {
            let title = format!("{sign} {step}: {}", fitting(&one_line(&ask.permission), FIELD));
            let parts = fitting(&in_words(&ask.parts()), 1_000);
            let text = Styled::new().styled(Style::Bold, &title).plain(&how).plain("\n");
            let text = text.styled(Style::Pre, &parts);
            match answered {
                Some((Answer::Permission(PermissionReply::Reject { message }), _)) if !message.is_empty() => {
                    text.plain("\n").styled(Style::Quote, &fitting(&visible(message), 1_000))
                }
                _ => text,
            }
        }
        Asked::Question(ask) => {
            let given = match answered {
                Some((Answer::Question(QuestionReply::Answers { answers }), _)) => answers.as_slice(),
                _ => &[],
            };
            let room = 1_600 / ask.questions.len().max(1);
            let mut text = Styled::new().styled(Style::Bold, &format!("{sign} {step}")).plain(&how);
            for (place, question) in ask.questions.iter().enumerate() {
                text = text.plain("\n").plain(&fitting(&visible(&question.question), room));
                if let Some(answer) = given.get(place) {
                    let answer = fitting(&visible(&answer.join(", ")), room);
                    text = text.plain("\n→ ").styled(Style::Bold, &answer);
                }
            }
            text.split(MESSAGE).into_iter().next().unwrap_or_default()
        }
    }
}

/// The parts of an ask as plain text.
fn in_words(parts: &[AskPart]) -> String {
    match parts {
        [only] => visible(&only.text),
        parts => {
            let named = |part: &AskPart| format!("── {} ──\n{}", one_line(&part.name), visible(&part.text));
            parts.iter().map(named).collect::<Vec<_>>().join("\n")
        }
    }
}

/// The head of `text` with at most `limit` UTF-16 units, and how much was cut.
pub(super) fn fitting(text: &str, limit: usize) -> String {
    let shown = head(text, limit);
    if shown.len() == text.len() {
        return text.to_owned();
    }
    format!("{shown}… ({} more characters)", text[shown.len()..].chars().count())
}

/// Named lines, one below the other.
struct Lines {
    text: Styled,
    cut: bool,
}

impl Lines {
    fn new(title: &str) -> Self {
        Self { text: Styled::new().styled(Style::Bold, title), cut: false }
    }

    fn field(&mut self, name: &str, value: &str) {
        let shown = shortened(value, FIELD);
        self.cut |= shown != value;
        // Many fields must leave room for the prompt's head, and for its style.
        if self.text.units() > MESSAGE / 2 || self.text.styles() + 4 > ENTITIES {
            self.cut = true;
            return;
        }
        let text = std::mem::take(&mut self.text);
        self.text =
            text.plain("\n").styled(Style::Bold, &format!("{}: ", isolated(name))).plain(&isolated(&shown));
    }
}
