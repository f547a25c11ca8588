//! What a call came to, by consequence.

use std::time::Duration;

use connector_contract::{ActionDecl, ActionResult, ConnectorError, Reference};
use rmcp::model::{CallToolResult, ContentBlock, ErrorCode, ServerResult};
use rmcp::service::ServiceError;
use serde_json::{Value, json};

use super::calls::length;
use crate::extension::{self, ResultMeta};
use crate::pipe::End;
use crate::problem::{Problem, shortened};
use crate::words::Words;

/// The longest output that is kept, in bytes of JSON: it becomes a row.
const OUTPUT_BYTES: usize = 4 << 20;

/// What decides what an ending means.
pub(super) struct Facts {
    pub(super) connector: String,
    /// Whether it reports every effect before it begins.
    pub(super) checkpoints: bool,
    /// Whether the effect was begun by an earlier call.
    pub(super) resumed: bool,
    /// Who hears its own words about errors.
    pub(super) words: Words,
}

impl Facts {
    /// An ending without an outcome: nothing began if the connector would have said so.
    fn without_outcome(&self, reason: String, recorded: bool) -> ConnectorError {
        if self.checkpoints && !recorded && !self.resumed {
            return ConnectorError::Unavailable { reason, source: None };
        }
        unknown(reason)
    }

    /// The call never left.
    pub(super) fn nothing_sent(&self, end: Option<&End>, cancelled: bool) -> ConnectorError {
        let reason = match end {
            Some(end) => format!("{} does not run: {end}", self.connector),
            None => format!("{} does not take calls", self.connector),
        };
        match (self.resumed, cancelled && end.is_none()) {
            (true, _) => unknown(reason),
            (false, true) => ConnectorError::Cancelled { reason: "cancelled before it was sent".to_owned() },
            (false, false) => ConnectorError::Unavailable { reason, source: None },
        }
    }

    /// The connection ended during the call.
    pub(super) fn died(&self, end: &End, recorded: bool) -> ConnectorError {
        self.without_outcome(format!("{} ended during the call: {end}", self.connector), recorded)
    }

    /// It was told to stop, and said nothing more.
    pub(super) fn silent(&self, limit: Duration) -> ConnectorError {
        unknown(format!("{} was told to stop and gave no outcome within {limit:?}", self.connector))
    }

    /// The SDK's answer, if there is one.
    pub(super) fn answered(
        &self,
        answer: Option<Result<ServerResult, ServiceError>>,
        end: &End,
        recorded: bool,
    ) -> Result<CallToolResult, ConnectorError> {
        match answer {
            Some(Ok(ServerResult::CallToolResult(result))) => Ok(result),
            Some(Ok(_)) => Err(unknown(format!("{} answered with no tool's result", self.connector))),
            Some(Err(ServiceError::McpError(error))) => {
                Err(self.refused(error.code, &error.message, recorded))
            }
            Some(Err(_)) | None => Err(self.died(end, recorded)),
        }
    }

    /// A protocol error: the server did not take the call as such.
    fn refused(&self, code: ErrorCode, message: &str, recorded: bool) -> ConnectorError {
        let reason = format!("{}: {}", self.connector, self.words.of(message));
        let early = [ErrorCode::INVALID_PARAMS, ErrorCode::METHOD_NOT_FOUND, ErrorCode::INVALID_REQUEST]
            .contains(&code);
        // Only a connector that reports every effect can be believed that there was none.
        if early && self.checkpoints && !recorded && !self.resumed {
            ConnectorError::Refused { reason }
        } else if self.resumed || recorded {
            unknown(reason)
        } else {
            ConnectorError::Failed { reason, reference: Reference::default() }
        }
    }
}

fn unknown(reason: String) -> ConnectorError {
    ConnectorError::OutcomeUnknown { reason, reference: Reference::default() }
}

/// A tool's result as the action's.
pub(super) fn read(
    result: CallToolResult,
    schema: Option<&Value>,
    facts: &Facts,
) -> Result<ActionResult, ConnectorError> {
    let meta = result.meta.unwrap_or_default().0;
    let text = text(&result.content);
    if result.is_error == Some(true) {
        match extension::read::<Problem>(&meta, extension::ERROR) {
            Ok(Some(problem)) => return Err(facts.words.in_problem(problem).into_error(&facts.connector)),
            Ok(None) if meta.contains_key(extension::RESULT) => {}
            _ if text.is_empty() => return Err(failed("no reason given")),
            _ => return Err(failed(&facts.words.of(&text))),
        }
    }
    let about = extension::read::<ResultMeta>(&meta, extension::RESULT).ok().flatten();
    let output = result.structured_content.unwrap_or_else(|| json!({ "text": text }));
    if length(&output) > OUTPUT_BYTES {
        return Err(failed(&format!("its result has more than {OUTPUT_BYTES} bytes, and is not kept")));
    }
    if let Some(schema) = schema {
        fits(&output, schema)?;
    }
    let (success, message) = match about {
        Some(about) => (about.success && result.is_error != Some(true), shortened(&about.message)),
        None => (true, text.lines().next().map(shortened).unwrap_or_default()),
    };
    Ok(ActionResult { success, output, message })
}

/// It ran, and what it says of it cannot be used.
fn fits(output: &Value, schema: &Value) -> Result<(), ConnectorError> {
    let output_schema = ActionDecl {
        name: "output".to_owned(),
        description: String::new(),
        read_only: true,
        input_schema: Some(schema.clone()),
        output_schema: None,
    };
    output_schema.validate(output).map_err(|error| {
        failed(&format!("its result does not fit the declared schema: {}", error.problems.join("; ")))
    })
}

fn failed(reason: &str) -> ConnectorError {
    ConnectorError::Failed { reason: shortened(reason), reference: Reference::default() }
}

fn text(blocks: &[ContentBlock]) -> String {
    let texts = blocks.iter().filter_map(|block| block.as_text()).map(|block| block.text.as_str());
    texts.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use connector_contract::Consequence;

    use super::*;

    fn facts(checkpoints: bool) -> Facts {
        Facts { connector: "connector-x".to_owned(), checkpoints, resumed: false, words: Words::Told }
    }

    #[test]
    fn what_a_server_says_of_a_call_has_a_limit() {
        let long = "x".repeat(5 << 20);
        let structured = |value: Value| {
            let mut result = CallToolResult::success(Vec::new());
            result.structured_content = Some(value);
            result
        };
        let error = read(structured(json!({ "long": long })), None, &facts(true)).unwrap_err();
        assert_eq!(error.consequence(), Consequence::Failed, "{error}");
        assert!(error.to_string().contains("more than 4194304 bytes"), "{error}");

        let meta = ResultMeta { success: true, message: long.clone() };
        let mut wordy = structured(json!({}));
        wordy.meta = Some(rmcp::model::MetaObject(extension::meta(extension::RESULT, &meta)));
        assert!(read(wordy, None, &facts(true)).unwrap().message.len() < 8192);

        let reference = Reference { session_id: Some(long.clone()), message_id: Some("msg_1".to_owned()) };
        let error = ConnectorError::Failed { reason: long, reference };
        let mut failed = CallToolResult::error(Vec::new());
        let meta = extension::meta(extension::ERROR, &Problem::from(&error));
        failed.meta = Some(rmcp::model::MetaObject(meta));
        let error = read(failed, None, &facts(true)).unwrap_err();
        assert!(error.to_string().len() < 8192);
        let reference = error.reference().unwrap();
        assert_eq!((&reference.session_id, reference.message_id.as_deref()), (&None, Some("msg_1")));
    }

    #[test]
    fn a_servers_own_words_about_an_error_are_withheld_where_that_is_asked_for() {
        let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let keep = std::sync::Arc::clone(&heard);
        let words = Words::Withheld(std::sync::Arc::new(move |said: &str| {
            keep.lock().unwrap().push(said.to_owned());
            "it gave a reason".to_owned()
        }));
        let facts = Facts { words, ..facts(true) };
        let mut problem = CallToolResult::error(Vec::new());
        let error = ConnectorError::Failed { reason: "hunter2".to_owned(), reference: Reference::default() };
        problem.meta =
            Some(rmcp::model::MetaObject(extension::meta(extension::ERROR, &Problem::from(&error))));
        let plain = CallToolResult::error(vec![ContentBlock::text("hunter2")]);
        for error in [
            read(problem, None, &facts).unwrap_err(),
            read(plain, None, &facts).unwrap_err(),
            facts.refused(ErrorCode::INTERNAL_ERROR, "hunter2", true),
        ] {
            assert!(error.to_string().contains("it gave a reason"), "{error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
        assert_eq!(*heard.lock().unwrap(), ["hunter2"; 3]);
    }

    #[test]
    fn only_who_announces_effects_is_believed_that_there_was_none() {
        for (checkpoints, recorded, consequence) in [
            (true, false, Consequence::NothingStarted),
            (true, true, Consequence::Unknown),
            (false, false, Consequence::Failed),
        ] {
            let error = facts(checkpoints).refused(ErrorCode::INVALID_PARAMS, "no", recorded);
            assert_eq!(error.consequence(), consequence, "{checkpoints} {recorded}: {error}");
            let died = facts(checkpoints).without_outcome("gone".to_owned(), recorded);
            let gone = if consequence == Consequence::Failed { Consequence::Unknown } else { consequence };
            assert_eq!(died.consequence(), gone, "{checkpoints} {recorded}: {died}");
        }
    }
}
