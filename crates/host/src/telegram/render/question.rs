//! The agent's questions, with their options.

use connector_contract::ask::{Question, QuestionAsk};
use connector_surface::text::{one_line, visible};
use connector_telegram::text::{ENTITIES, MESSAGE, Style, Styled};

use super::{CUT, OPTIONS, Rendered, fitting};

/// One of the questions of an ask, counted from 0, with the options chosen so far. What does not fit is
/// cut, says so, and the attachment is the whole of it.
pub fn question(step: &str, question: &Question, place: (usize, usize), chosen: &[usize]) -> Rendered {
    let count = of_several(place);
    let asked = visible(&question.question);
    let shown = fitting(&asked, 1_500);
    let mut cut = shown != asked;
    let mut text =
        Styled::new().styled(Style::Bold, &format!("❓ {step} asks{count}")).plain("\n").plain(&shown);
    for (number, option) in question.options.iter().enumerate() {
        let mark = if chosen.contains(&number) { "☑" } else { "•" };
        let name = option_name(number, &option.label, 100);
        cut |= name != whole_name(number, &option.label);
        text = text.plain(&format!("\n{mark} ")).styled(Style::Bold, &name);
        if !option.description.is_empty() {
            let description = one_line(&option.description);
            let shown = fitting(&description, 150);
            cut |= shown != description;
            text = text.plain(&format!(" — {shown}"));
        }
        // Room for one more option and all of what follows.
        if text.units() > MESSAGE - 700 || text.styles() + 5 > ENTITIES {
            if number + 1 < question.options.len() {
                cut = true;
                text = text.styled(Style::Italic, "\n… there are more options");
            }
            break;
        }
    }
    if cut {
        text = text.styled(Style::Italic, CUT);
    }
    if question.options.len() > OPTIONS {
        text = text.styled(Style::Italic, &format!("\nonly the first {OPTIONS} have buttons"));
    }
    let hint = if question.multiple { "several may be chosen; or" } else { "or" };
    let text =
        text.styled(Style::Italic, &format!("\n{hint} answer in your own words by replying to this message"));
    let whole = || (format!("ask-{step}.txt"), whole_question(step, question, &count));
    Rendered { text, body: Vec::new(), attachment: cut.then(whole) }
}

/// Which of several questions it is.
fn of_several((index, all): (usize, usize)) -> String {
    if all > 1 { format!(" ({} of {all})", index + 1) } else { String::new() }
}

/// All of a question and its options, for reading.
fn whole_question(step: &str, question: &Question, count: &str) -> String {
    let mut text = format!("{step} asks{count}\n\n{}\n", visible(&question.question));
    for (number, option) in question.options.iter().enumerate() {
        let description = visible(&option.description);
        let before = if description.is_empty() { "" } else { " — " };
        text.push_str(&format!("\n• {}{before}{description}", whole_name(number, &option.label)));
    }
    text.push('\n');
    text
}

/// The name and content of all questions of an ask, where one of them has to be cut.
pub(in crate::telegram) fn whole_questions(step: &str, ask: &QuestionAsk) -> Option<(String, String)> {
    let all = ask.questions.len();
    let shown = ask.questions.iter().enumerate().map(|(at, one)| question(step, one, (at, all), &[]));
    let (name, _) = shown.into_iter().find_map(|shown| shown.attachment)?;
    let whole = |(at, one)| whole_question(step, one, &of_several((at, all)));
    let texts = ask.questions.iter().enumerate().map(whole);
    Some((name, texts.collect::<Vec<_>>().join("\n")))
}

/// An option's label, in one line; never blank.
fn whole_name(number: usize, label: &str) -> String {
    if label.trim().is_empty() { format!("option {}", number + 1) } else { one_line(label) }
}

/// An option's label, in at most about `limit` units; never blank.
pub(in crate::telegram) fn option_name(number: usize, label: &str, limit: usize) -> String {
    fitting(&whole_name(number, label), limit)
}
