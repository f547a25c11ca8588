//! `provider/model`, as people write it.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A model and its provider, split at the first `/`: a model's own name may
/// hold more of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = r"^[^/\s]+/\S+$"))]
pub struct ModelRef {
    /// `anthropic`
    #[schemars(skip)]
    pub provider: String,
    /// `claude-sonnet-4`
    #[schemars(skip)]
    pub model: String,
}

/// Why a text does not name a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`model` is written provider/model, such as anthropic/claude-sonnet-4")]
pub struct ModelError;

impl FromStr for ModelRef {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        let (provider, model) = text.split_once('/').ok_or(ModelError)?;
        let fine = |part: &str| {
            !part.is_empty()
                && part.len() <= 256
                && !part.chars().any(|c| c.is_whitespace() || c.is_control())
        };
        if fine(provider) && fine(model) {
            Ok(Self { provider: provider.to_owned(), model: model.to_owned() })
        } else {
            Err(ModelError)
        }
    }
}

impl TryFrom<String> for ModelRef {
    type Error = ModelError;

    fn try_from(text: String) -> Result<Self, ModelError> {
        text.parse()
    }
}

impl From<ModelRef> for String {
    fn from(model: ModelRef) -> Self {
        model.to_string()
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_slash_splits() {
        let model: ModelRef = "openrouter/meta/llama-3".parse().unwrap();
        assert_eq!((model.provider.as_str(), model.model.as_str()), ("openrouter", "meta/llama-3"));
        assert_eq!(model.to_string(), "openrouter/meta/llama-3");
    }

    #[test]
    fn what_is_not_provider_and_model_is_refused() {
        for bad in ["", "gpt", "/gpt", "openai/", "a b/c", "a/b c", "a/\0"] {
            assert_eq!(bad.parse::<ModelRef>(), Err(ModelError), "{bad:?}");
        }
    }
}
