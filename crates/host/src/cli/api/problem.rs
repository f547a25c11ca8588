//! Why a request has no answer, as problem details (RFC 9457): a code for programs and a sentence for people.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::response::{IntoResponse, Response};
use connector_contract::chain;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use connector_ledger::LedgerError;

/// Why there is no answer.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct Problem {
    /// The status of the response.
    status: u16,
    /// What kind of problem it is, for programs.
    code: Code,
    /// The same in words.
    title: &'static str,
    /// What it is about, and what to do.
    detail: String,
    /// What a decision came to that was not taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Value>,
}

/// The kinds of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum Code {
    /// The request is not what is taken.
    InvalidRequest,
    /// It does not carry what shows whose it is: no token or signature, or another.
    Unauthorized,
    /// The account may not do that.
    NotAllowed,
    /// There is no such thing.
    NotFound,
    /// The path takes another method.
    MethodNotAllowed,
    /// The body did not come in time, or the answer did not: what was asked for may be done.
    Timeout,
    /// It was decided, answered or changed meanwhile, or its id is another's.
    Conflict,
    /// The body is too long.
    TooLarge,
    /// The body is not JSON by its content type.
    UnsupportedMediaType,
    /// The ledger holds what it should not.
    Broken,
    /// The ledger cannot be used now; asking again may help.
    Unavailable,
}

impl Code {
    const fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotAllowed => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Broken => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::InvalidRequest => "the request is not what is taken",
            Self::Unauthorized => "the request does not show whose it is",
            Self::NotAllowed => "this account may not do that",
            Self::NotFound => "there is no such thing",
            Self::MethodNotAllowed => "the path takes another method",
            Self::Timeout => "the request took too long",
            Self::Conflict => "it was decided, answered or changed meanwhile, or its id is another's",
            Self::TooLarge => "the body is too long",
            Self::UnsupportedMediaType => "the body is not application/json",
            Self::Broken => "the ledger holds what it should not",
            Self::Unavailable => "the ledger cannot be used now",
        }
    }
}

impl Problem {
    pub(in crate::cli) fn new(code: Code, detail: impl Into<String>) -> Self {
        let status = code.status().as_u16();
        Self { status, code, title: code.title(), detail: detail.into(), answer: None }
    }

    pub(in crate::cli) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, detail)
    }

    pub(in crate::cli) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Code::NotFound, detail)
    }

    /// What kind of problem it is.
    pub(in crate::cli) fn code(&self) -> Code {
        self.code
    }

    /// The same with what a decision came to.
    pub(super) fn with_answer(mut self, answer: Value) -> Self {
        self.answer = Some(answer);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        super::encoded(status, "application/problem+json", &self)
            .unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        let code = match error {
            LedgerError::Busy(_) | LedgerError::Full(_) | LedgerError::ReadOnly(_) | LedgerError::Lost(_) => {
                Code::Unavailable
            }
            _ => Code::Broken,
        };
        tracing::warn!(error = %chain(&error), "a request has no answer");
        Self::new(code, chain(&error))
    }
}

impl From<serde_json::Error> for Problem {
    fn from(error: serde_json::Error) -> Self {
        Self::new(Code::Broken, chain(&error))
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::invalid(rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::invalid(rejection.body_text())
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        let code = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::UnsupportedMediaType,
            _ => Code::InvalidRequest,
        };
        Self::new(code, rejection.body_text())
    }
}
