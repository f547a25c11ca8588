//! What rules and chats hand in: typed, with the schema derived from the type.

use std::time::Duration;

use connector_contract::ConnectorError;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::{Settings, check_name, check_secs};
use crate::files::{self, Attached, GivenFile};
use crate::ids::SessionId;
use crate::model::ModelRef;

/// Input of `run_task`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunTask {
    /// The coding task, in plain language.
    #[schemars(length(min = 1))]
    pub prompt: String,
    /// Pictures and documents that belong to it; ten at most.
    #[schemars(length(max = 10))]
    pub files: Option<Vec<GivenFile>>,
    /// Title of the new session, for later reference.
    #[schemars(length(max = 512))]
    pub title: Option<String>,
    /// `provider/model`; overrides the configuration.
    pub model: Option<ModelRef>,
    /// The daemon's agent; overrides the configuration.
    pub agent: Option<String>,
    /// How long the task may take; overrides the configuration.
    #[schemars(range(min = 1))]
    pub deadline_secs: Option<u64>,
}

/// Input of `continue_session`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContinueSession {
    /// The session to go on with, from an earlier result.
    #[schemars(extend("pattern" = "^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$"))]
    pub session_id: String,
    /// The follow-up instruction, such as `now add tests`.
    #[schemars(length(min = 1))]
    pub prompt: String,
    /// Pictures and documents that belong to it; ten at most.
    #[schemars(length(max = 10))]
    pub files: Option<Vec<GivenFile>>,
    /// `provider/model`; overrides the configuration.
    pub model: Option<ModelRef>,
    /// The daemon's agent; overrides the configuration.
    pub agent: Option<String>,
    /// How long the turn may take; overrides the configuration.
    #[schemars(range(min = 1))]
    pub deadline_secs: Option<u64>,
}

/// Input of `describe_daemon`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Describe {
    /// The daemon's agent; overrides the configuration.
    pub agent: Option<String>,
}

/// A checked input of any action.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) session: Option<SessionId>,
    pub(crate) prompt: String,
    pub(crate) files: Vec<Attached>,
    pub(crate) title: Option<String>,
    pub(crate) model: Option<ModelRef>,
    pub(crate) agent: Option<String>,
    pub(crate) deadline: Duration,
}

/// The names of the actions.
pub(crate) const RUN_TASK: &str = "run_task";
pub(crate) const CONTINUE_SESSION: &str = "continue_session";
pub(crate) const DESCRIBE: &str = "describe_daemon";

impl Task {
    pub(crate) fn parse(action: &str, input: Value, settings: &Settings) -> Result<Self, ConnectorError> {
        let task = match action {
            RUN_TASK => Self::run(read(input)?, settings)?,
            CONTINUE_SESSION => Self::go_on(read(input)?, settings)?,
            DESCRIBE => return Self::describe(read(input)?, settings),
            other => {
                return Err(ConnectorError::UnknownAction {
                    connector: crate::NAME.to_owned(),
                    action: other.to_owned(),
                });
            }
        };
        task.check(settings)
    }

    fn run(input: RunTask, settings: &Settings) -> Result<Self, ConnectorError> {
        Ok(Self {
            session: None,
            prompt: input.prompt,
            files: files::check(input.files.unwrap_or_default(), settings.limits.files_bytes)?,
            title: input.title.filter(|title| !title.trim().is_empty()),
            model: input.model.or_else(|| settings.model.clone()),
            agent: input.agent.or_else(|| settings.agent.clone()),
            deadline: input.deadline_secs.map_or(settings.deadline, Duration::from_secs),
        })
    }

    fn go_on(input: ContinueSession, settings: &Settings) -> Result<Self, ConnectorError> {
        let session =
            SessionId::parse(&input.session_id).map_err(|error| invalid("session_id", &error.to_string()))?;
        Ok(Self {
            session: Some(session),
            prompt: input.prompt,
            files: files::check(input.files.unwrap_or_default(), settings.limits.files_bytes)?,
            title: None,
            model: input.model.or_else(|| settings.model.clone()),
            agent: input.agent.or_else(|| settings.agent.clone()),
            deadline: input.deadline_secs.map_or(settings.deadline, Duration::from_secs),
        })
    }

    /// Nothing that is sent to an agent.
    fn describe(input: Describe, settings: &Settings) -> Result<Self, ConnectorError> {
        if let Some(agent) = &input.agent {
            check_name(agent).map_err(|reason| invalid("agent", &reason))?;
        }
        Ok(Self {
            session: None,
            prompt: String::new(),
            files: Vec::new(),
            title: None,
            model: settings.model.clone(),
            agent: input.agent.or_else(|| settings.agent.clone()),
            deadline: settings.deadline,
        })
    }

    fn check(self, settings: &Settings) -> Result<Self, ConnectorError> {
        let limit = settings.limits.prompt_bytes;
        if self.prompt.trim().is_empty() {
            return Err(invalid("prompt", "it is empty"));
        }
        if self.prompt.len() > limit {
            return Err(invalid(
                "prompt",
                &format!("it has {} bytes; the limit is {limit}", self.prompt.len()),
            ));
        }
        if self.title.as_ref().is_some_and(|title| title.len() > 2048) {
            return Err(invalid("title", "it is longer than 2048 bytes"));
        }
        if let Some(agent) = &self.agent {
            check_name(agent).map_err(|reason| invalid("agent", &reason))?;
        }
        check_secs(self.deadline.as_secs()).map_err(|reason| invalid("deadline_secs", &reason))?;
        Ok(self)
    }
}

fn read<T: DeserializeOwned>(input: Value) -> Result<T, ConnectorError> {
    if !input.is_object() {
        return Err(ConnectorError::InvalidInput { reason: "expected an object".to_owned() });
    }
    connector_contract::decode(input).map_err(|reason| ConnectorError::InvalidInput { reason })
}

fn invalid(field: &str, reason: &str) -> ConnectorError {
    ConnectorError::InvalidInput { reason: format!("`{field}`: {reason}") }
}
