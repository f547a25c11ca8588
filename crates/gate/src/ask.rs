//! Asks: what an agent wants to know while it works, and what people say to it.
//!
//! Pure values: the ledger keeps them, the engine carries answers back.

use connector_contract::ask::{PermissionAsk, PermissionReply, Question, QuestionAsk, QuestionReply};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// What an agent wants to know while it works.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Asked {
    /// May it?
    Permission(PermissionAsk),
    /// Which one?
    Question(QuestionAsk),
}

/// An answer to an ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// To a permission request.
    Permission(PermissionReply),
    /// To questions.
    Question(QuestionReply),
}

/// How an answer is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// It was passed on.
    PassedOn,
    /// Somebody was faster, or the agent no longer asks.
    NotOpen,
    /// This person may not answer.
    NotAllowed,
    /// It does not fit the ask.
    DoesNotFit(String),
}

impl Asked {
    /// The daemon's own id of it, which stays when it is asked again.
    pub fn id(&self) -> &str {
        match self {
            Self::Permission(ask) => &ask.id,
            Self::Question(ask) => &ask.id,
        }
    }

    /// The SHA-256 of all that a person is shown of it, in hexadecimal digits: an answer to one is an
    /// answer to another of the same digest, and to nothing else.
    pub fn shown(&self) -> String {
        match self {
            Self::Permission(ask) => {
                fingerprint(&("permission", &ask.session_id, &ask.permission, ask.parts()))
            }
            Self::Question(ask) => fingerprint(&("question", &ask.session_id, &ask.questions)),
        }
    }

    /// What it asks, without what may be answered. May be long, and have line breaks.
    pub fn in_a_line(&self) -> String {
        match self {
            Self::Permission(ask) => {
                format!("🔐 may the agent use {}? {}", ask.permission, ask.patterns.join(" · "))
            }
            Self::Question(ask) => {
                let questions: Vec<&str> = ask.questions.iter().map(|one| one.question.as_str()).collect();
                format!("❓ {}", questions.join(" · "))
            }
        }
    }

    /// What the audit keeps of it: all of its question, and nothing that the agent adds, which may
    /// quote a file. The digest of all that was shown, [`shown`](Self::shown), stands for the rest.
    pub fn record(&self) -> Value {
        match self {
            Self::Permission(ask) => {
                let (id, shown) = (&ask.id, self.shown());
                json!({ "id": id, "permission": ask.permission, "patterns": ask.patterns, "shown": shown })
            }
            Self::Question(ask) => {
                let questions: Vec<&str> = ask.questions.iter().map(|one| one.question.as_str()).collect();
                json!({ "id": ask.id, "questions": questions, "shown": self.shown() })
            }
        }
    }

    /// Reads what the audit keeps of an ask: all of its question, and none of its options.
    pub fn from_record(record: &Value) -> Option<Self> {
        let text = |name: &str| record.get(name)?.as_str().map(str::to_owned);
        let texts = |name: &str| -> Option<Vec<String>> {
            Some(record.get(name)?.as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        };
        let id = text("id")?;
        if let Some(permission) = text("permission") {
            let (patterns, metadata) = (texts("patterns")?, Value::Null);
            let (session_id, call) = (String::new(), None);
            let ask = PermissionAsk { id, session_id, permission, patterns, metadata, call };
            return Some(Self::Permission(ask));
        }
        let question =
            |question| Question { question, header: String::new(), options: Vec::new(), multiple: false };
        let questions = texts("questions")?.into_iter().map(question).collect();
        Some(Self::Question(QuestionAsk { id, session_id: String::new(), questions }))
    }

    /// The tool's call that asks, by the name that progress has for it.
    pub fn call(&self) -> Option<String> {
        match self {
            Self::Permission(ask) => {
                ask.call.as_ref().map(|call| format!("{}/{}", call.message_id, call.call_id))
            }
            Self::Question(_) => None,
        }
    }

    /// Whether an answer fits: a permission takes a permission's reply, and questions one list each.
    pub fn fits(&self, answer: &Answer) -> Result<(), String> {
        match (self, answer) {
            (Self::Permission(_), Answer::Permission(_))
            | (Self::Question(_), Answer::Question(QuestionReply::Reject)) => Ok(()),
            (Self::Question(ask), Answer::Question(QuestionReply::Answers { answers })) => {
                let wanted = ask.questions.len();
                if answers.len() != wanted {
                    let got = answers.len();
                    return Err(format!("{wanted} answers are needed, one for each question; got {got}"));
                }
                for (question, chosen) in ask.questions.iter().zip(answers) {
                    if chosen.is_empty() || (chosen.len() > 1 && !question.multiple) {
                        return Err(format!("`{}` takes one answer", question.question));
                    }
                }
                Ok(())
            }
            _ => Err("that is not the kind of answer it takes".to_owned()),
        }
    }

    /// The rejection of an ask that nobody can be asked.
    pub fn rejection(&self, message: &str) -> Answer {
        match self {
            Self::Permission(_) => {
                Answer::Permission(PermissionReply::Reject { message: message.to_owned() })
            }
            Self::Question(_) => Answer::Question(QuestionReply::Reject),
        }
    }
}

/// The SHA-256 of a value in its canonical form, in hexadecimal digits.
pub fn fingerprint(value: &impl Serialize) -> String {
    // Texts and lists of them always have one.
    let canonical = serde_json_canonicalizer::to_vec(value).unwrap_or_default();
    HEXLOWER.encode(&Sha256::digest(canonical))
}

impl Answer {
    /// Whether it turns the ask down.
    pub fn is_rejection(&self) -> bool {
        matches!(
            self,
            Self::Permission(PermissionReply::Reject { .. }) | Self::Question(QuestionReply::Reject)
        )
    }

    /// What was said, in words: not by whom.
    pub fn words(&self) -> &'static str {
        match self {
            Self::Permission(PermissionReply::Once) => "allowed once",
            Self::Permission(PermissionReply::Always) => "allowed for this session",
            Self::Permission(PermissionReply::Reject { .. }) | Self::Question(QuestionReply::Reject) => {
                "rejected"
            }
            Self::Question(QuestionReply::Answers { .. }) => "answered",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let reject = |message: &str| PermissionReply::Reject { message: message.to_owned() };
        for answer in [
            Answer::Permission(PermissionReply::Once),
            Answer::Permission(PermissionReply::Always),
            Answer::Permission(reject("not now")),
            Answer::Permission(reject("")),
            Answer::Question(QuestionReply::Reject),
            Answer::Question(QuestionReply::Answers { answers: vec![vec!["A".into()], vec![]] }),
        ] {
            let written = serde_json::to_string(&answer).unwrap();
            assert_eq!(serde_json::from_str::<Answer>(&written).unwrap(), answer, "{written}");
        }
    }
}
