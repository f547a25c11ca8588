//! Actions as tools, and whether what a server lists is what its manifest declares.

use std::sync::Arc;

use connector_contract::ActionDecl;
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};

/// The tool for an action. Its annotations are as honest as the declaration: what
/// is not read-only may destroy, and every connector reaches something outside.
pub(crate) fn tool(action: &ActionDecl) -> Tool {
    let input = action.input_schema.as_ref().map_or_else(any_object, plain);
    let annotations = ToolAnnotations::new()
        .read_only(action.read_only)
        .destructive(!action.read_only)
        .idempotent(false)
        .open_world(true);
    let tool = Tool::new(action.name.clone(), action.description.clone(), Arc::new(input))
        .with_title(title(&action.name))
        .with_annotations(annotations);
    match action.output_schema.as_ref().map(plain) {
        Some(schema) => tool.with_raw_output_schema(Arc::new(schema)),
        None => tool,
    }
}

/// `run_task` as people read it: `Run task`.
fn title(name: &str) -> String {
    let words = name.replace(['_', '-'], " ");
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// What differs between what is declared and what a server lists: one fragment
/// for each, empty when they are the same.
pub(crate) fn differences(declared: &[ActionDecl], listed: &[Tool]) -> Vec<String> {
    let mut found = Vec::new();
    for action in declared {
        match listed.iter().filter(|tool| tool.name == action.name).collect::<Vec<_>>().as_slice() {
            [] => found.push(format!("`{}` is declared and not offered", action.name)),
            [one] => found.extend(difference(&tool(action), one)),
            _ => found.push(format!("`{}` is offered twice", action.name)),
        }
    }
    for tool in listed {
        if !declared.iter().any(|action| action.name == tool.name) {
            found.push(format!("`{}` is offered and not declared", shorten(&tool.name)));
        }
    }
    found
}

fn difference(declared: &Tool, listed: &Tool) -> Option<String> {
    let name = &declared.name;
    let read_only = |tool: &Tool| tool.annotations.as_ref().and_then(|it| it.read_only_hint) == Some(true);
    let same = |one: &JsonObject, other: &JsonObject| plain_map(one) == plain_map(other);
    if !same(&declared.input_schema, &listed.input_schema) {
        return Some(format!("`{name}` takes another input than declared"));
    }
    let outputs_agree = match (&declared.output_schema, &listed.output_schema) {
        (Some(one), Some(other)) => same(one, other),
        (None, None) => true,
        _ => false,
    };
    if !outputs_agree {
        return Some(format!("`{name}` returns another output than declared"));
    }
    if read_only(declared) != read_only(listed) {
        return Some(format!("`{name}` is read-only in one place and not in the other"));
    }
    (declared.description != listed.description)
        .then(|| format!("`{name}` is described otherwise than declared"))
}

fn any_object() -> JsonObject {
    JsonObject::from_iter([("type".to_owned(), json!("object"))])
}

/// A schema without the formats that JSON Schema does not know (`uint64`), about
/// which other validators complain for every call.
fn plain(schema: &Value) -> JsonObject {
    match schema {
        Value::Object(map) => plain_map(map),
        // A schema that is no object says nothing that MCP could carry.
        _ => any_object(),
    }
}

fn plain_map(map: &JsonObject) -> JsonObject {
    let strange =
        |key: &str, value: &Value| key == "format" && value.as_str().is_some_and(|it| FORMATS.contains(&it));
    map.iter()
        .filter(|(key, value)| !strange(key, value))
        .map(|(key, value)| (key.clone(), plain_value(value)))
        .collect()
}

fn plain_value(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(plain_map(map)),
        Value::Array(items) => Value::Array(items.iter().map(plain_value).collect()),
        other => other.clone(),
    }
}

/// Formats that describe Rust's numbers.
const FORMATS: [&str; 8] = ["uint8", "uint16", "uint32", "uint64", "uint", "int64", "double", "float"];

/// A name from outside, for a message.
fn shorten(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(name: &str) -> ActionDecl {
        ActionDecl {
            name: name.to_owned(),
            description: "Does it.".to_owned(),
            read_only: false,
            input_schema: Some(
                json!({ "type": "object", "properties": { "n": { "type": "integer", "format": "uint64" } } }),
            ),
            output_schema: Some(json!({ "type": "object" })),
        }
    }

    #[test]
    fn annotations_are_as_honest_as_the_declaration() {
        for read_only in [true, false] {
            let annotations = tool(&ActionDecl { read_only, ..action("a") }).annotations.unwrap();
            assert_eq!(annotations.read_only_hint, Some(read_only));
            assert_eq!(annotations.destructive_hint, Some(!read_only));
            assert_eq!(annotations.open_world_hint, Some(true));
        }
    }

    #[test]
    fn formats_that_only_rust_knows_are_left_out() {
        let schema = Value::Object((*tool(&action("a")).input_schema).clone());
        assert_eq!(schema, json!({ "type": "object", "properties": { "n": { "type": "integer" } } }));
    }

    #[test]
    fn what_is_listed_as_declared_does_not_differ() {
        assert!(
            differences(&[action("a"), action("b")], &[tool(&action("b")), tool(&action("a"))]).is_empty()
        );
    }

    #[test]
    fn every_difference_is_named() {
        let other_input = ActionDecl { input_schema: Some(json!({ "type": "object" })), ..action("a") };
        let no_output = ActionDecl { output_schema: None, ..action("a") };
        let harmless = ActionDecl { read_only: true, ..action("a") };
        let renamed = ActionDecl { description: "Does more.".to_owned(), ..action("a") };
        for (listed, says) in [
            (vec![], "declared and not offered"),
            (vec![tool(&action("a")), tool(&action("a"))], "twice"),
            (vec![tool(&action("a")), tool(&action("b"))], "`b` is offered and not declared"),
            (vec![tool(&other_input)], "another input"),
            (vec![tool(&no_output)], "another output"),
            (vec![tool(&harmless)], "read-only"),
            (vec![tool(&renamed)], "described otherwise"),
        ] {
            let found = differences(&[action("a")], &listed);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(says), "{found:?}");
        }
    }
}
