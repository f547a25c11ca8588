//! What is said of a card, an ask, a result and a running step: prose, from views.
//!
//! What does not fit is cut, says so, and is there whole in a file.

use connector_gate::ask::Asked;
use connector_surface::OpenAsk;
use connector_surface::prose::{Block, Kind, Look, Prose, Run};
use connector_surface::text::{duration, isolated, one_line, shortened, visible};
use connector_surface::view::{self, CardDecision, CardView, Changes, Doing, Field, ResultView, Standing};
use serde_json::Value;

use crate::id::ChatKey;
use crate::text::{self, EVENT};

/// How many characters of each thing somebody decides about are shown, and how many where that is too much.
const SHOWN: [usize; 4] = [6_000, 1_500, 300, 60];

/// How many things are shown.
const BLOCKS: usize = 60;

/// How many files a result names.
const FILES: usize = 20;

/// How many characters of a reason a result says.
const REASON: usize = 3_000;

/// How a card is decided.
const HOW: &str = "react with ✅ to run it or ❌ to refuse it, or reply y or n";

const CUT: &str = "… cut; the whole of it is in the file above";

fn run(text: &str, bold: bool) -> Run {
    Run { text: text.to_owned(), look: Look { bold, ..Look::default() }, link: None }
}

fn line(runs: Vec<Run>) -> Block {
    let kind = Kind::Words { lead: String::new(), runs };
    Block { indent: 0, quoted: false, tight: true, kind }
}

fn said(text: &str) -> Block {
    line(vec![run(text, false)])
}

fn title(text: &str) -> Block {
    line(vec![run(text, true)])
}

fn named(name: &str, value: &str) -> Block {
    line(vec![run(&format!("{}: ", isolated(name)), true), run(&isolated(value), false)])
}

fn code(text: &str, language: Option<&str>) -> Block {
    let kind = Kind::Code { language: language.map(str::to_owned), text: text.to_owned() };
    Block { kind, ..said("") }
}

/// The content of what `blocks` makes where each thing has at most so many characters, and whether any is cut.
fn fitting(
    kind: &str,
    end: &[Block],
    blocks: impl Fn(&dyn Fn(&str) -> String) -> Vec<Block>,
) -> (Value, bool) {
    let mut fitted = Value::Null;
    for limit in SHOWN {
        let is_cut = std::cell::Cell::new(false);
        let shown = |text: &str| {
            let shown = shortened(text, limit);
            is_cut.set(is_cut.get() || shown != text);
            shown
        };
        let mut blocks = blocks(&shown);
        is_cut.set(is_cut.get() || blocks.len() > BLOCKS);
        blocks.truncate(BLOCKS);
        blocks.extend(is_cut.get().then(|| title(CUT)));
        blocks.extend_from_slice(end);
        fitted = text::content(&Prose { blocks }, kind);
        if fitted.to_string().len() <= EVENT {
            return (fitted, is_cut.get());
        }
    }
    (fitted, true)
}

/// A card, and whether all of it is to be read in a file.
pub(super) fn card(card: &CardView, chat: &ChatKey) -> (Value, bool) {
    card_with(card, chat, &[said(HOW)])
}

fn card_with(card: &CardView, chat: &ChatKey, end: &[Block]) -> (Value, bool) {
    fitting("m.text", end, |shown| {
        let again = if card.again().is_some() { " again" } else { "" };
        let mut blocks = vec![title(&format!("⏸ approval needed{again} · {}", card.id))];
        blocks.extend(card.fields.iter().map(|field| match field {
            Field::Again(why) => named("asked again", &shown(why)),
            Field::AskedBy { by, chat: asked } if *asked == chat.to_string() => named("asked by", &shown(by)),
            Field::AskedBy { by, chat } => named("asked by", &shown(&format!("{by} in {chat}"))),
            Field::Named { name, value } => named(&shown(name), &shown(value)),
        }));
        blocks.extend(card.prompt.as_ref().map(|prompt| code(&shown(prompt), None)));
        blocks
    })
}

/// A card after a vote or a decision. What is cut was in a file beside the card itself.
pub(super) fn standing(standing: &Standing, chat: &ChatKey) -> Value {
    let now = title(&standing.words());
    if !matches!(standing.decision, CardDecision::Awaited { .. }) {
        return text::content(&Prose { blocks: vec![now] }, "m.text");
    }
    card_with(&standing.card, chat, &[now, said(HOW)]).0
}

/// A line.
pub(super) fn words(words: &str) -> Value {
    text::content(&Prose { blocks: vec![title(words)] }, "m.text")
}

/// How a step ended.
pub(super) fn result(result: &ResultView) -> Value {
    let mut blocks = vec![title(&format!("{}{}", result.title, result.figures))];
    let all = [&result.reason, &result.remark, &result.refused];
    blocks.extend(all.into_iter().flatten().map(|words| said(&shortened(words, REASON))));
    blocks.extend(result.approved_by.iter().map(|by| named("approved by", by)));
    blocks.extend(result.changes.iter().flat_map(changes));
    if let Some(branch) = &result.branch {
        blocks.extend([named("branch", &branch.name), named("bring it in with", &branch.apply)]);
    }
    if result.session.is_some() {
        blocks.push(said("reply to go on in this session"));
    }
    text::content(&Prose { blocks }, "m.text")
}

/// A short patch.
pub(super) fn patch(patch: &str) -> Value {
    text::content(&Prose { blocks: vec![code(patch.trim_end(), Some("diff"))] }, "m.notice")
}

fn changes(changes: &Changes) -> Vec<Block> {
    let file = |file: &view::ChangedFile| {
        let lines = file.lines.map_or(String::new(), |(added, deleted)| format!(" +{added} −{deleted}"));
        said(&format!("{} {}{lines}", file.status, shortened(&file.path, 120)))
    };
    let mut blocks: Vec<Block> = changes.files.iter().take(FILES).map(file).collect();
    match changes.files.len().saturating_sub(FILES) as u64 + changes.left_out {
        0 if blocks.is_empty() => blocks.push(said(changes.none)),
        0 => {}
        more => blocks.push(said(&format!("… and {more} more"))),
    }
    blocks
}

/// The status of a running step.
pub(super) fn status(step: &str, doing: &Doing) -> Value {
    let now = match (doing.ahead, doing.asks) {
        (Some(ahead), _) => format!("⏳ {step} waits for {ahead} before it"),
        (None, true) => format!("⏸ {step} waits for an answer"),
        (None, false) => format!("▶ {step} runs"),
    };
    let mut blocks = vec![title(&now)];
    if let Some(retry) = &doing.retry {
        let next = retry.next_in.map_or(String::new(), |seconds| format!(" in {}", duration(seconds)));
        blocks.push(said(&format!(
            "↻ try {} comes{next}: {}",
            retry.attempt + 1,
            shortened(&retry.reason, REASON)
        )));
    }
    blocks.extend(doing.todo.map(|todo| said(&view::todo(todo))));
    blocks.extend(doing.lines.iter().map(|it| said(&shortened(it, 240))));
    text::content(&Prose { blocks }, "m.notice")
}

/// What an agent asks, and whether all of it is to be read in a file.
pub(super) fn ask(ask: &OpenAsk) -> (Value, bool) {
    let how = match &ask.asked {
        Asked::Permission(_) => {
            "react with ✅ or ❌, or reply y, n, always (for this session), or why not in your own words"
        }
        Asked::Question(ask) if ask.questions.len() > 1 => {
            "reply with a line for each question: the number of an option, or your own words; ❌ answers nothing"
        }
        Asked::Question(_) => "reply with the number of an option, or in your own words; ❌ answers nothing",
    };
    fitting("m.text", &[said(how)], |shown| asked(ask, shown))
}

/// All of what an agent asks.
pub(super) fn whole_ask(ask: &OpenAsk) -> String {
    text::plain(&Prose { blocks: asked(ask, &str::to_owned) })
}

/// What is granted is what stands here: each part in a block of its own, so that none can pass for another.
fn asked(ask: &OpenAsk, shown: &dyn Fn(&str) -> String) -> Vec<Block> {
    match &ask.asked {
        Asked::Permission(permission) => {
            let tool = shown(&one_line(&permission.permission));
            let mut blocks = vec![title(&format!("🔐 {}: may the agent use {tool}?", ask.step))];
            for part in permission.parts() {
                blocks.extend([
                    title(&format!("{}:", shown(&one_line(&part.name)))),
                    code(&shown(&part.text), None),
                ]);
            }
            blocks
        }
        Asked::Question(asked) => {
            let mut blocks = vec![title(&format!("❓ {} asks", ask.step))];
            for question in &asked.questions {
                let several = if question.multiple { " (several)" } else { "" };
                blocks.push(said(&format!("{}{several}", shown(&visible(&question.question)))));
                for (number, option) in question.options.iter().enumerate() {
                    let about = if option.description.is_empty() { "" } else { " — " };
                    let (label, description) = (one_line(&option.label), one_line(&option.description));
                    let option = format!("{}. {}{about}{}", number + 1, shown(&label), shown(&description));
                    blocks.push(Block { indent: 1, ..said(&option) });
                }
            }
            blocks
        }
    }
}
