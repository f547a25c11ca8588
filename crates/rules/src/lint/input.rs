//! Whether an action's schema can take a step's input, as far as it is known before an event.
//!
//! What a reference brings in is not known: it stands as a placeholder, and what the schema says
//! about a placeholder counts only where every value would be refused alike.

use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value};

use super::{CatalogAction, Lint, below};
use crate::diagnostic::Code;
use crate::rule::{Param, Params};
use crate::template::{Filter, Template};

/// What is known of a value that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unknown {
    /// Some text.
    Text,
    /// Anything.
    Anything,
}

impl Lint<'_> {
    pub(super) fn check_input(&mut self, path: &[String], declared: &CatalogAction, params: &Params) {
        let schema = &declared.input_schema;
        let Some(validator) = schema.is_object().then(|| jsonschema::validator_for(schema).ok()).flatten()
        else {
            return;
        };
        let mut unknown = Vec::new();
        let input = Value::Object(table(params, &mut Vec::new(), &mut unknown));
        for error in validator.iter_errors(&input) {
            let at: Vec<String> = error
                .instance_path()
                .as_str()
                .split('/')
                .skip(1)
                .map(|key| key.replace("~1", "/").replace("~0", "~"))
                .collect();
            let hit = unknown.iter().find(|(place, _)| at.starts_with(place));
            let counts = match hit {
                None => true,
                Some((_, Unknown::Text)) => matches!(error.kind(), ValidationErrorKind::Type { .. }),
                Some((_, Unknown::Anything)) => false,
            };
            if counts {
                let field = at.join(".");
                let what = error.masked_with("this").to_string();
                let name = &declared.name;
                let message = match (error.kind(), field.as_str()) {
                    (ValidationErrorKind::AdditionalProperties { unexpected }, _) => {
                        format!("`{name}` takes no `{}`", unexpected.join("`, `"))
                    }
                    (ValidationErrorKind::Required { property }, "") => {
                        format!("`{name}` needs `{}`", property.as_str().unwrap_or_default())
                    }
                    (_, "") => format!("`{name}` refuses this input: {what}"),
                    (_, field) => format!("`{name}` refuses `{field}`: {what}"),
                };
                let mut keys: Vec<&str> = vec!["params"];
                keys.extend(at.iter().map(String::as_str));
                if let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind() {
                    keys.extend(unexpected.first().map(String::as_str));
                }
                self.error(Code::RefusedInput, &below(path, &keys), message, None);
            }
        }
        self.check_undeclared(path, declared, params);
    }

    /// A schema that says nothing of further keys lets them through; they are still a mistake.
    fn check_undeclared(&mut self, path: &[String], declared: &CatalogAction, params: &Params) {
        let schema = &declared.input_schema;
        let Some(known) = schema.get("properties").and_then(Value::as_object) else {
            return;
        };
        if schema.get("additionalProperties").is_some() {
            return;
        }
        for key in params.keys().filter(|key| !known.contains_key(*key)) {
            let message = format!("`{}` does not speak of an input `{key}`", declared.name);
            let help = crate::read::suggest(key, known.keys().map(String::as_str));
            let path = below(path, &["params", key]);
            self.warn(Code::RefusedInput, &path, message, help);
        }
    }
}

type Places = Vec<(Vec<String>, Unknown)>;

fn table(params: &Params, at: &mut Vec<String>, unknown: &mut Places) -> Map<String, Value> {
    params
        .iter()
        .map(|(key, param)| {
            at.push(key.clone());
            let value = stand_in(param, at, unknown);
            at.pop();
            (key.clone(), value)
        })
        .collect()
}

fn stand_in(param: &Param, at: &mut Vec<String>, unknown: &mut Places) -> Value {
    match param {
        Param::Plain(value) => value.clone(),
        Param::Table(fields) => Value::Object(table(fields, at, unknown)),
        Param::List(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                at.push(index.to_string());
                let value = stand_in(item, at, unknown);
                at.pop();
                value
            })
            .collect(),
        Param::Template(template) => {
            if let Some(kind) = unknown_of(template) {
                unknown.push((at.clone(), kind));
            }
            Value::String(template.as_literal().unwrap_or("…").to_owned())
        }
    }
}

/// What is not known of a template's value; `None` when it is fixed text.
fn unknown_of(template: &Template) -> Option<Unknown> {
    if template.as_literal().is_some() {
        return None;
    }
    Some(match template.as_reference() {
        // A default keeps the type of a value that is there.
        Some(reference) => {
            let texts = |filter: &Filter| !matches!(filter, Filter::Default(_));
            if reference.filters.iter().any(texts) { Unknown::Text } else { Unknown::Anything }
        }
        None => Unknown::Text,
    })
}
