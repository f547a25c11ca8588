//! The grammar as a JSON Schema, for editors.

use serde_json::Value;

use crate::rule::RuleFile;

/// The schema of a rule file, in our spelling; Springtale's spellings are not in it.
pub fn schema() -> Value {
    schemars::schema_for!(RuleFile).to_value()
}
