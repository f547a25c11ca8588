//! The ids people type: a run is `17`, its second step is `17.2`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A run, counted from 1 in its ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub i64);

/// A step of a run, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct StepId {
    /// The run it belongs to.
    pub run: RunId,
    /// Its place in the run, from 1.
    pub index: u32,
}

/// A text that names no run or step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id; a run is a number like 17, a step two like 17.1")]
pub struct IdError(String);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.run, self.index)
    }
}

impl FromStr for RunId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        match text.parse() {
            Ok(number @ 1..) => Ok(Self(number)),
            _ => Err(IdError(text.to_owned())),
        }
    }
}

impl FromStr for StepId {
    type Err = IdError;

    /// A bare run id means its first step.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let (run, index) = text.split_once('.').unwrap_or((text, "1"));
        match (run.parse(), index.parse()) {
            (Ok(run), Ok(index @ 1..)) => Ok(Self { run, index }),
            _ => Err(IdError(text.to_owned())),
        }
    }
}

impl From<StepId> for String {
    fn from(id: StepId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for StepId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl JsonSchema for RunId {
    fn schema_name() -> Cow<'static, str> {
        "RunId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "A run, such as 3.", "type": "integer", "format": "int64", "minimum": 1 })
    }
}

impl JsonSchema for StepId {
    fn schema_name() -> Cow<'static, str> {
        "StepId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "A step, such as `3.1`: the first of run 3.", "type": "string",
            "pattern": r"^[1-9][0-9]{0,17}\.[1-9][0-9]{0,8}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_what_people_type() {
        assert_eq!("17".parse::<RunId>().unwrap().to_string(), "17");
        assert_eq!("17.2".parse::<StepId>().unwrap().to_string(), "17.2");
        assert_eq!("17".parse::<StepId>().unwrap().to_string(), "17.1");
        for text in ["", "0", "-1", "x", "1.0", "1.", ".1", "1.2.3", "99999999999999999999"] {
            assert!(text.parse::<StepId>().is_err(), "{text}");
        }
    }
}
