//! What a line typed at the console means; pure.

use std::str::FromStr;

use connector_contract::ask::{PermissionReply, Question, QuestionReply};
use connector_gate::ask::Asked;
use connector_gate::decision::Decision;
use connector_gate::ids::StepId;
use connector_surface::OpenAsk;

/// A line, understood.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// A decision about a card.
    Decide(Decision, Option<StepId>),
    /// A reply to a permission request; without a number, to the only one.
    Permit(PermissionReply, Option<u64>),
    /// An answer to questions: the words after the number.
    Answer(u64, String),
    /// Rejects an ask of either kind.
    Reject(Option<u64>),
    /// Aborts what runs, or one step of it.
    Abort(Option<StepId>),
    /// What runs and waits.
    Status,
    /// What can be typed.
    Help,
    /// Leave.
    Quit,
    /// A message, for the rules.
    Message(String),
    /// Nothing.
    Blank,
    /// A command with an argument that is none.
    Mistake(String),
}

/// What can be typed.
pub const HELP: &str = "\
type a message; what starts with /fix is a task, /continue … goes on in the last session
  y, n            run or refuse the card that waits (y 3.1 when there are several)
  once, session   let the agent do what it asks: now, or exactly that again in its session;
                  reject refuses
  answer N 1      answer the agent's question N with option 1
  /status         what runs and what waits
  /abort          stop what runs
  /quit           leave; what waits is shown again at the next start";

/// Reads one line.
pub fn parse(line: &str) -> Line {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let message = || Line::Message(line.to_owned());
    match word.to_ascii_lowercase().as_str() {
        "" => Line::Blank,
        "y" | "yes" => optional(rest).map_or_else(|_| message(), |id| Line::Decide(Decision::Approve, id)),
        "n" | "no" => optional(rest).map_or_else(|_| message(), |id| Line::Decide(Decision::Deny, id)),
        "once" => optional(rest).map_or_else(|_| message(), |id| Line::Permit(PermissionReply::Once, id)),
        "session" | "always" => {
            optional(rest).map_or_else(|_| message(), |id| Line::Permit(PermissionReply::Always, id))
        }
        "reject" => optional(rest).map_or_else(|_| message(), Line::Reject),
        "answer" => answer(rest),
        "/abort" => optional(rest).map_or_else(
            |_| Line::Mistake(format!("`{rest}` is no step; /abort, or /abort 3.1")),
            Line::Abort,
        ),
        "/status" => Line::Status,
        "/help" => Line::Help,
        "/quit" | "/exit" => Line::Quit,
        _ => Line::Message(line.to_owned()),
    }
}

/// The argument of a command that may go without one.
fn optional<T: FromStr>(text: &str) -> Result<Option<T>, T::Err> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

fn answer(rest: &str) -> Line {
    let (number, words) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    match (number.parse(), words.trim()) {
        (Ok(number), words) if !words.is_empty() => Line::Answer(number, words.to_owned()),
        _ => Line::Mistake("answer takes the ask's number and the answer, as in: answer 1 2".to_owned()),
    }
}

/// The answers that `words` give to the questions of `ask`: questions are
/// separated by `;`, several choices by blanks or `,`; a number picks an option.
pub fn answers(ask: &OpenAsk, words: &str) -> Result<QuestionReply, String> {
    let Asked::Question(asked) = &ask.asked else {
        return Err("it asks for permission: once, session or reject".to_owned());
    };
    let parts: Vec<&str> = words.split(';').map(str::trim).collect();
    if parts.len() != asked.questions.len() {
        return Err(format!("it has {} questions; separate the answers by `;`", asked.questions.len()));
    }
    let mut answers = Vec::new();
    for (question, part) in asked.questions.iter().zip(parts) {
        answers.push(chosen(question, part)?);
    }
    Ok(QuestionReply::Answers { answers })
}

/// What `words` choose of a question's options: `1 2` and `1, 2` are two of them, and what is no
/// number is an answer in one's own words.
fn chosen(question: &Question, words: &str) -> Result<Vec<String>, String> {
    let is_number = |word: &str| word.parse::<usize>().is_ok();
    let parts: Vec<&str> = if question.multiple { words.split(',').collect() } else { vec![words] };
    let mut chosen: Vec<&str> = Vec::new();
    for part in parts.into_iter().map(str::trim) {
        if part.split_whitespace().all(is_number) {
            chosen.extend(part.split_whitespace());
        } else {
            chosen.push(part);
        }
    }
    if chosen.len() > 1 && !question.multiple {
        return Err(format!("`{}` takes one answer", question.question));
    }
    let mut labels: Vec<String> = Vec::new();
    for choice in chosen {
        let label = match choice.parse::<usize>() {
            Err(_) => choice.to_owned(),
            Ok(place) => match place.checked_sub(1).and_then(|place| question.options.get(place)) {
                Some(option) => option.label.clone(),
                None => return Err(format!("`{}` has no option {place}", question.question)),
            },
        };
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use connector_contract::ask::{QuestionAsk, QuestionOption};

    #[test]
    fn lines_mean_what_people_expect() {
        let id = |text: &str| Some(text.parse().unwrap());
        for (line, meaning) in [
            ("y", Line::Decide(Decision::Approve, None)),
            (" YES 3.1 ", Line::Decide(Decision::Approve, id("3.1"))),
            ("n 4", Line::Decide(Decision::Deny, id("4.1"))),
            ("no way", Line::Message("no way".into())),
            ("yes, and then some", Line::Message("yes, and then some".into())),
            ("once", Line::Permit(PermissionReply::Once, None)),
            ("session 2", Line::Permit(PermissionReply::Always, Some(2))),
            ("once upon a time", Line::Message("once upon a time".into())),
            ("reject 1", Line::Reject(Some(1))),
            ("answer 1 2; own words", Line::Answer(1, "2; own words".into())),
            (
                "answer",
                Line::Mistake("answer takes the ask's number and the answer, as in: answer 1 2".into()),
            ),
            ("/abort", Line::Abort(None)),
            ("/abort 3.1", Line::Abort(id("3.1"))),
            ("/fix the login test", Line::Message("/fix the login test".into())),
            ("/fix\tthe login test", Line::Message("/fix\tthe login test".into())),
            ("/quit", Line::Quit),
            ("   ", Line::Blank),
        ] {
            assert_eq!(parse(line), meaning, "{line:?}");
        }
    }

    #[test]
    fn answers_are_labels_one_list_for_each_question() {
        let option = |label: &str| QuestionOption { label: label.into(), description: String::new() };
        let question = |multiple| Question {
            question: "which?".into(),
            header: String::new(),
            options: vec![option("A"), option("B")],
            multiple,
        };
        let asked = Asked::Question(QuestionAsk {
            id: "que_1".into(),
            session_id: "ses_1".into(),
            questions: vec![question(false), question(true)],
        });
        let ask = OpenAsk {
            number: 1,
            times: 1,
            step: "1.1".parse().unwrap(),
            asked,
            approvers: vec![],
            people: connector_gate::people::People::default(),
        };
        let lists = |words: &str| answers(&ask, words);
        assert_eq!(
            lists("2; 1, own"),
            Ok(QuestionReply::Answers { answers: vec![vec!["B".into()], vec!["A".into(), "own".into()]] })
        );
        for (words, first, second) in [
            ("1; 1 2", vec!["A"], vec!["A", "B"]),
            ("1; 2,1", vec!["A"], vec!["B", "A"]),
            ("1; 1 , 2", vec!["A"], vec!["A", "B"]),
            ("1; 2 2", vec!["A"], vec!["B"]),
            ("both 1 2; 1 2 please", vec!["both 1 2"], vec!["1 2 please"]),
            ("2; 1 2, and more", vec!["B"], vec!["A", "B", "and more"]),
        ] {
            let own = |labels: Vec<&str>| labels.into_iter().map(str::to_owned).collect::<Vec<_>>();
            let answers = vec![own(first), own(second)];
            assert_eq!(lists(words), Ok(QuestionReply::Answers { answers }), "{words}");
        }
        assert!(lists("1 2; 1").unwrap_err().contains("takes one answer"));
        assert!(lists("1; 1 3").unwrap_err().contains("no option 3"));
        assert!(lists("1").unwrap_err().contains("2 questions"));
        assert!(lists("3; 1").unwrap_err().contains("no option 3"));
        assert!(lists("0; 1").unwrap_err().contains("no option 0"));
    }
}
