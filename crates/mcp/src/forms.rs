//! Asks as forms for people at an MCP client, and what they filled in as replies.
//!
//! A form is flat: every field is a string, an enumeration or a yes-or-no, which
//! is all that clients of every revision can show. What does not read as one of
//! the answers offered is a rejection: silence is never consent, and neither is
//! a misunderstanding.

use connector_contract::ask::{PermissionAsk, PermissionReply, Question, QuestionAsk, QuestionReply};
use serde_json::{Map, Value, json};

/// What a client shows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Form {
    /// The ask in words, whole.
    pub(crate) message: String,
    /// JSON Schema of what is to be filled in.
    pub(crate) schema: Value,
}

/// The form for a permission request.
pub(crate) fn permission(ask: &PermissionAsk) -> Form {
    let what: Vec<String> = ask
        .parts()
        .iter()
        .map(|part| format!("{}:\n{}", shown(&part.name).replace('\n', "\\n"), indented(&part.text)))
        .collect();
    let message = format!("The agent asks for permission: {}\n{}", shown(&ask.permission), what.join("\n"));
    let schema = json!({
        "type": "object",
        "properties": {
            "decision": {
                "type": "string",
                "title": "Decision",
                "description": "`session` allows exactly this, to the byte, again in this task.",
                "enum": ["once", "session", "reject"],
                "enumNames": ["Allow this once", "Allow exactly this for the task", "Reject"],
            },
            "reason": {
                "type": "string",
                "title": "Reason",
                "description": "For the agent, when rejected.",
                "maxLength": 1000,
            },
        },
        "required": ["decision"],
    });
    Form { message, schema }
}

/// What was decided.
pub(crate) fn permission_reply(content: Option<&Value>) -> PermissionReply {
    let field = |key| content.and_then(|it| it.get(key)).and_then(Value::as_str);
    match field("decision") {
        Some("once") => PermissionReply::Once,
        Some("session") => PermissionReply::Always,
        Some("reject") => reject(field("reason").filter(|it| !it.trim().is_empty()).unwrap_or("rejected")),
        _ => reject("the answer was none of those offered"),
    }
}

/// A rejection that tells the agent why.
pub(crate) fn reject(why: &str) -> PermissionReply {
    PermissionReply::Reject { message: why.to_owned() }
}

/// The form for a set of questions.
pub(crate) fn questions(ask: &QuestionAsk) -> Form {
    let (mut properties, mut required, mut words) = (Map::new(), Vec::new(), Vec::new());
    for (index, question) in ask.questions.iter().enumerate() {
        words.push(in_words(question));
        for field in fields(index, question) {
            if field.required {
                required.push(Value::from(field.key.clone()));
            }
            properties.insert(field.key, field.schema);
        }
    }
    let message = format!("The agent asks:\n{}", words.join("\n"));
    Form { message, schema: json!({ "type": "object", "properties": properties, "required": required }) }
}

/// What was answered; [`QuestionReply::Reject`] when it is not an answer to each.
pub(crate) fn question_reply(ask: &QuestionAsk, content: Option<&Value>) -> QuestionReply {
    let answers = ask.questions.iter().enumerate().map(|(index, question)| answer(index, question, content?));
    match answers.collect() {
        Some(answers) => QuestionReply::Answers { answers },
        None => QuestionReply::Reject,
    }
}

struct Field {
    key: String,
    schema: Value,
    required: bool,
}

/// One field for a question, or one for each option where several may be chosen.
fn fields(index: usize, question: &Question) -> Vec<Field> {
    let title = shown(if question.header.is_empty() { &question.question } else { &question.header });
    let about = shown(&question.question);
    if question.multiple && !question.options.is_empty() {
        let option = |(at, option): (usize, &connector_contract::ask::QuestionOption)| Field {
            key: option_key(index, at),
            schema: json!({ "type": "boolean", "title": shown(&option.label), "description": about, "default": false }),
            required: false,
        };
        return question.options.iter().enumerate().map(option).collect();
    }
    let labels: Vec<&str> = question.options.iter().map(|option| option.label.as_str()).collect();
    let schema = if labels.is_empty() {
        json!({ "type": "string", "title": title, "description": about })
    } else {
        json!({ "type": "string", "title": title, "description": about, "enum": labels })
    };
    vec![Field { key: key(index), schema, required: true }]
}

fn answer(index: usize, question: &Question, content: &Value) -> Option<Vec<String>> {
    if question.multiple && !question.options.is_empty() {
        let chosen = |at| content.get(option_key(index, at)).and_then(Value::as_bool).unwrap_or(false);
        let options = question.options.iter().enumerate();
        return Some(options.filter(|(at, _)| chosen(*at)).map(|(_, it)| it.label.clone()).collect());
    }
    let text = content.get(key(index)).and_then(Value::as_str)?;
    let offered = question.options.is_empty() || question.options.iter().any(|it| it.label == text);
    offered.then(|| vec![text.to_owned()])
}

fn key(index: usize) -> String {
    format!("answer_{}", index + 1)
}

fn option_key(index: usize, option: usize) -> String {
    format!("answer_{}_{}", index + 1, option + 1)
}

fn in_words(question: &Question) -> String {
    let mut text = shown(&question.question);
    for option in &question.options {
        text.push_str(&format!("\n  - {}", shown(&option.label)));
        if !option.description.is_empty() {
            text.push_str(&format!(": {}", shown(&option.description)));
        }
    }
    text
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {}", shown(line))).collect::<Vec<_>>().join("\n")
}

/// Text from an agent with nothing in it that hides or reorders the rest.
fn shown(text: &str) -> String {
    let odd = |c: char| c != '\n' && c != '\t' && connector_contract::deceptive::is_deceptive(c);
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if odd(c) { safe.extend(c.escape_unicode()) } else { safe.push(c) }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use connector_contract::ask::QuestionOption;

    fn ask(patterns: &[&str]) -> PermissionAsk {
        PermissionAsk {
            id: "per_1".to_owned(),
            session_id: "ses_1".to_owned(),
            permission: "bash".to_owned(),
            patterns: patterns.iter().map(|&it| it.to_owned()).collect(),
            metadata: Value::Null,
            call: None,
        }
    }

    fn question(options: &[&str], multiple: bool) -> Question {
        let option = |label: &&str| QuestionOption {
            label: (*label).to_owned(),
            description: "what it means".to_owned(),
        };
        Question {
            question: "Which one?".to_owned(),
            header: "Choice".to_owned(),
            options: options.iter().map(option).collect(),
            multiple,
        }
    }

    fn set(questions: Vec<Question>) -> QuestionAsk {
        QuestionAsk { id: "que_1".to_owned(), session_id: "ses_1".to_owned(), questions }
    }

    #[test]
    fn the_whole_command_is_shown_and_nothing_in_it_hides() {
        let long = format!("echo {}; rm -rf /", "x".repeat(5000));
        let form = permission(&ask(&[&long, "git \u{202e}hsup\u{1b}[2K\nsecond line"]));
        assert!(form.message.contains(&long));
        assert!(
            form.message.contains(r"git \u{202e}hsup\u{1b}[2K") && form.message.contains("  second line")
        );
        assert!(!form.message.contains('\u{202e}') && !form.message.contains('\u{1b}'));
    }

    #[test]
    fn only_an_offered_decision_permits() {
        let reply = |content: Value| permission_reply(Some(&content));
        assert_eq!(reply(json!({ "decision": "once" })), PermissionReply::Once);
        assert_eq!(reply(json!({ "decision": "session" })), PermissionReply::Always);
        assert_eq!(reply(json!({ "decision": "reject", "reason": "not here" })), reject("not here"));
        for odd in
            [json!({}), json!({ "decision": "yes" }), json!({ "decision": true }), json!("once"), json!(null)]
        {
            assert!(matches!(reply(odd.clone()), PermissionReply::Reject { .. }), "{odd}");
        }
        assert!(matches!(permission_reply(None), PermissionReply::Reject { .. }));
    }

    #[test]
    fn each_question_has_its_fields_and_each_field_its_answer() {
        let ask = set(vec![question(&["A", "B"], false), question(&["C", "D"], true), question(&[], false)]);
        let form = questions(&ask);
        let fields: Vec<&String> = form.schema["properties"].as_object().unwrap().keys().collect();
        assert_eq!(fields, ["answer_1", "answer_2_1", "answer_2_2", "answer_3"]);
        assert_eq!(form.schema["required"], json!(["answer_1", "answer_3"]));
        let content = json!({ "answer_1": "B", "answer_2_2": true, "answer_3": "free" });
        let answers = vec![vec!["B".to_owned()], vec!["D".to_owned()], vec!["free".to_owned()]];
        assert_eq!(question_reply(&ask, Some(&content)), QuestionReply::Answers { answers });
    }

    #[test]
    fn an_answer_that_was_not_offered_is_a_rejection() {
        let ask = set(vec![question(&["A"], false)]);
        for odd in [json!({}), json!({ "answer_1": "Z" }), json!({ "answer_1": 1 }), json!([])] {
            assert_eq!(question_reply(&ask, Some(&odd)), QuestionReply::Reject, "{odd}");
        }
        assert_eq!(question_reply(&ask, None), QuestionReply::Reject);
    }

    #[test]
    fn every_form_is_one_that_the_sdk_knows() {
        let forms = [
            permission(&ask(&["ls"])),
            questions(&set(vec![question(&["A"], false), question(&["B"], true)])),
        ];
        for form in forms {
            serde_json::from_value::<rmcp::model::ElicitationSchema>(form.schema).unwrap();
        }
    }
}
