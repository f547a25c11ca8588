//! Errors as data: what a caller must assume after them, over a pipe too.

use connector_contract::{ConnectorError, Consequence, Reference, StopCause, chain};
use serde::{Deserialize, Serialize};

/// The longest id that a reference holds.
const ID_BYTES: usize = 256;

/// A [`ConnectorError`] as it is written into a tool's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What the caller must assume.
    pub consequence: Consequence,
    /// Which error it is: `invalid_input`, `unavailable`, `failed`, …
    pub kind: String,
    /// Why, in words; for `unknown_action` the action's name.
    pub reason: String,
    /// Why it was stopped, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<StopCause>,
    /// Where the work can be found again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
}

impl Problem {
    /// One or two sentences for a person or a model who called the tool.
    pub fn for_people(&self) -> String {
        let assume = match self.consequence {
            Consequence::NothingStarted => "Nothing was started.",
            Consequence::Failed => "It ran and failed; what it changed until then remains.",
            Consequence::Stopped => "It was stopped before its end; what it changed until then remains.",
            Consequence::Unknown => "Nobody knows whether it ran to its end; look before you call again.",
        };
        let kind = self.kind.replace('_', " ");
        let session = self.reference.as_ref().and_then(|it| it.session_id.as_deref());
        let place = session.map(|id| format!(" Session {id}.")).unwrap_or_default();
        format!("{kind}: {}. {assume}{place}", self.reason.trim_end_matches('.'))
    }

    /// The error it stands for. A kind that is not known here is taken by its consequence; words
    /// are shortened, and an id that is too long for one is none.
    pub fn into_error(self, connector: &str) -> ConnectorError {
        use ConnectorError as E;
        let Self { consequence, kind, reason, cause, reference } = self;
        let reason = shortened(&reason);
        let id = |id: Option<String>| id.filter(|id| id.len() <= ID_BYTES);
        let Reference { session_id, message_id } = reference.unwrap_or_default();
        let reference = Reference { session_id: id(session_id), message_id: id(message_id) };
        match (kind.as_str(), consequence) {
            ("unknown_action", Consequence::NothingStarted) => {
                E::UnknownAction { connector: connector.to_owned(), action: reason }
            }
            ("invalid_input", Consequence::NothingStarted) => E::InvalidInput { reason },
            ("invalid_config", Consequence::NothingStarted) => E::InvalidConfig { reason },
            ("capability_denied", Consequence::NothingStarted) => E::CapabilityDenied { reason },
            ("unauthorized", Consequence::NothingStarted) => E::Unauthorized { reason },
            ("unavailable", Consequence::NothingStarted) => E::Unavailable { reason, source: None },
            ("unsupported_version", Consequence::NothingStarted) => E::UnsupportedVersion { reason },
            ("cancelled", Consequence::NothingStarted) => E::Cancelled { reason },
            (_, Consequence::NothingStarted) => E::Refused { reason },
            (_, Consequence::Failed) => E::Failed { reason, reference },
            (_, Consequence::Stopped) => {
                E::Stopped { cause: cause.unwrap_or(StopCause::AbortedElsewhere), reason, reference }
            }
            (_, Consequence::Unknown) => E::OutcomeUnknown { reason, reference },
        }
    }
}

/// A peer's words, short enough for a chat.
pub(crate) fn shortened(text: &str) -> String {
    const LONGEST: usize = 2000;
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

impl From<&ConnectorError> for Problem {
    fn from(error: &ConnectorError) -> Self {
        use ConnectorError as E;
        let (kind, reason, cause) = match error {
            E::UnknownAction { action, .. } => ("unknown_action", action.clone(), None),
            E::InvalidInput { reason } => ("invalid_input", reason.clone(), None),
            E::InvalidConfig { reason } => ("invalid_config", reason.clone(), None),
            E::CapabilityDenied { reason } => ("capability_denied", reason.clone(), None),
            E::Unauthorized { reason } => ("unauthorized", reason.clone(), None),
            E::Unavailable { reason, source } => {
                let cause = source.as_ref().map(|it| format!(": {}", chain(it))).unwrap_or_default();
                ("unavailable", format!("{reason}{cause}"), None)
            }
            E::UnsupportedVersion { reason } => ("unsupported_version", reason.clone(), None),
            E::Refused { reason } => ("refused", reason.clone(), None),
            E::Cancelled { reason } => ("cancelled", reason.clone(), None),
            E::Failed { reason, .. } => ("failed", reason.clone(), None),
            E::Stopped { cause, reason, .. } => ("stopped", reason.clone(), Some(*cause)),
            E::OutcomeUnknown { reason, .. } => ("outcome_unknown", reason.clone(), None),
        };
        Self {
            consequence: error.consequence(),
            kind: kind.to_owned(),
            reason,
            cause,
            reference: error.reference().cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ConnectorError as E;

    fn all() -> Vec<E> {
        let reason = || "why".to_owned();
        let reference =
            || Reference { session_id: Some("ses_1".to_owned()), message_id: Some("msg_1".to_owned()) };
        vec![
            E::UnknownAction { connector: "connector-x".to_owned(), action: "fly".to_owned() },
            E::InvalidInput { reason: reason() },
            E::InvalidConfig { reason: reason() },
            E::CapabilityDenied { reason: reason() },
            E::Unauthorized { reason: reason() },
            E::Unavailable { reason: reason(), source: None },
            E::UnsupportedVersion { reason: reason() },
            E::Refused { reason: reason() },
            E::Cancelled { reason: reason() },
            E::Failed { reason: reason(), reference: reference() },
            E::Stopped { cause: StopCause::NoProgress, reason: reason(), reference: reference() },
            E::OutcomeUnknown { reason: reason(), reference: reference() },
        ]
    }

    #[test]
    fn every_error_comes_back_as_itself() {
        for error in all() {
            let text = serde_json::to_string(&Problem::from(&error)).unwrap();
            let back: Problem = serde_json::from_str(&text).unwrap();
            assert_eq!(format!("{:?}", back.into_error("connector-x")), format!("{error:?}"));
        }
    }

    #[test]
    fn what_is_not_known_here_is_taken_by_its_consequence() {
        let problem = |consequence| Problem {
            consequence,
            kind: "on_fire".to_owned(),
            reason: "why".to_owned(),
            cause: None,
            reference: None,
        };
        for consequence in
            [Consequence::NothingStarted, Consequence::Failed, Consequence::Stopped, Consequence::Unknown]
        {
            assert_eq!(problem(consequence).into_error("x").consequence(), consequence);
        }
    }

    #[test]
    fn a_kind_cannot_belittle_its_consequence() {
        let problem = Problem {
            consequence: Consequence::Unknown,
            kind: "invalid_input".to_owned(),
            reason: "why".to_owned(),
            cause: None,
            reference: None,
        };
        assert_eq!(problem.into_error("x").consequence(), Consequence::Unknown);
    }
}
