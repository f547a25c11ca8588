//! What types of the connector contract are as JSON: for the schemas of what the host prints.
//!
//! The contract itself knows no schemas; a test compares values of each kind with these, field by field.

#![expect(dead_code, reason = "a shape is described and never made")]

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;

/// What an action would touch.
#[derive(JsonSchema)]
pub struct Target {
    /// Where it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    /// Named settings in effect, such as `directory` and `model`.
    settings: BTreeMap<String, Value>,
}

/// What is to be assumed after a failure.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Consequence {
    /// Nothing was started.
    NothingStarted,
    /// It ran and ended in failure; effects may remain.
    Failed,
    /// It was stopped before its end; effects may remain.
    Stopped,
    /// Nobody knows.
    Unknown,
}

/// What an agent asks.
#[derive(JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Asked {
    /// It wants to use a tool.
    Permission {
        /// The daemon's own id of it.
        id: String,
        /// The session that asks.
        session_id: String,
        /// The kind, such as `bash`.
        permission: String,
        /// What its rules are matched with.
        patterns: Vec<String>,
        /// Whatever else the agent says about it.
        metadata: Value,
        /// The call of a tool that asks.
        #[serde(skip_serializing_if = "Option::is_none")]
        call: Option<Value>,
    },
    /// It has questions.
    Question {
        /// The daemon's own id of it.
        id: String,
        /// The session that asks.
        session_id: String,
        /// In order; an answer has one list for each.
        questions: Vec<Question>,
    },
}

/// A question with its options.
#[derive(JsonSchema)]
#[expect(clippy::struct_field_names, reason = "it is what the JSON has")]
pub struct Question {
    /// The question.
    question: String,
    /// A few words for a heading.
    header: String,
    /// What may be answered, by label; other words may be, too.
    options: Vec<QuestionOption>,
    /// Whether several may be chosen.
    multiple: bool,
}

/// An option of a question.
#[derive(JsonSchema)]
pub struct QuestionOption {
    /// What the answer names.
    label: String,
    /// What it means.
    description: String,
}

/// An answer to an ask.
#[derive(JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Answer {
    /// A permission, this once.
    Once,
    /// A permission for this session.
    Always,
    /// No.
    Reject {
        /// Why, for the agent; to a permission alone.
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// What was answered to questions.
    Answers {
        /// One list for each question.
        answers: Vec<Vec<String>>,
    },
}

#[cfg(test)]
mod tests {
    use connector_contract::ask;
    use connector_contract::ask::{PermissionAsk, PermissionReply, QuestionAsk, QuestionReply, ToolCall};
    use connector_gate::ask::{Answer, Asked};
    use schemars::transform::{RecursiveTransform, Transform as _};
    use schemars::{JsonSchema, Schema, schema_for};
    use serde_json::{Value, json};

    /// A field that is not described is wrong here.
    fn closed(schema: &mut Schema) {
        if schema.get("properties").is_some() {
            schema.insert("additionalProperties".into(), false.into());
        }
    }

    fn compared<S: JsonSchema>(values: impl IntoIterator<Item = Value>) {
        let mut schema = schema_for!(S);
        RecursiveTransform(closed).transform(&mut schema);
        let schema = schema.to_value();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for value in values {
            let wrong: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
            assert_eq!(wrong, [""; 0], "{value}");
        }
    }

    #[test]
    fn values_of_the_contract_are_as_they_are_described() {
        use connector_contract::{Consequence, Target};
        let all =
            [Consequence::NothingStarted, Consequence::Failed, Consequence::Stopped, Consequence::Unknown];
        compared::<super::Consequence>(all.map(|one| json!(one)));
        let settings = [("model".to_owned(), json!("a/b"))].into();
        let targets =
            [Target { origin: None, settings }, Target { origin: Some("x".into()), settings: [].into() }];
        compared::<super::Target>(targets.map(|one| json!(one)));
        let call =
            ToolCall { message_id: "m".into(), call_id: "c".into(), input: json!({ "command": "ls" }) };
        let may = |call: Option<ToolCall>| {
            let (id, session_id, permission) = ("p".into(), "s".into(), "bash".into());
            let patterns = vec!["ls".into()];
            let call = call.map(Box::new);
            Asked::Permission(PermissionAsk {
                id,
                session_id,
                permission,
                patterns,
                metadata: json!({}),
                call,
            })
        };
        let option = ask::QuestionOption { label: "a".into(), description: "b".into() };
        let (question, header) = ("Which?".into(), "h".into());
        let questions = vec![ask::Question { question, header, options: vec![option], multiple: true }];
        let which = Asked::Question(QuestionAsk { id: "q".into(), session_id: "s".into(), questions });
        compared::<super::Asked>([may(None), may(Some(call)), which].map(|one| json!(one)));
        let answers = [
            Answer::Permission(PermissionReply::Once),
            Answer::Permission(PermissionReply::Always),
            Answer::Permission(PermissionReply::Reject { message: "no".into() }),
            Answer::Question(QuestionReply::Answers { answers: vec![vec!["a".into()], vec![]] }),
            Answer::Question(QuestionReply::Reject),
        ];
        compared::<super::Answer>(answers.map(|one| json!(one)));
    }
}
