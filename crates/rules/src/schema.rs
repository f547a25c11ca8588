//! The grammar as a JSON Schema, for editors.
//!
//! An editor shows what a validator says, and a validator says of `oneOf` that none of several
//! fits: the key that is misspelt is lost. So the schemas that are given to people have none. What
//! `type` says chooses by `if` and `then`, and a set of words is an `enum`.

use serde_json::{Map, Value, json};

use crate::rule::RuleFile;

/// The schema of a rule file, in our spelling; Springtale's spellings are not in it.
pub fn schema() -> Value {
    for_editors(schemars::schema_for!(RuleFile).to_value())
}

/// `schema`, which was made from types, without alternatives that hide what is wrong, and without
/// `null`, which TOML does not have.
pub fn for_editors(schema: Value) -> Value {
    let schema = everywhere(schema, &object);
    let definitions = schema.get("$defs").cloned().unwrap_or_default();
    everywhere(schema, &|object| by_shape(object, &definitions))
}

/// What `change` makes of each object of `schema`, the innermost first.
fn everywhere(schema: Value, change: &dyn Fn(Map<String, Value>) -> Value) -> Value {
    match schema {
        Value::Object(fields) => {
            change(fields.into_iter().map(|(key, below)| (key, everywhere(below, change))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(|item| everywhere(item, change)).collect()),
        other => other,
    }
}

/// Alternatives of different JSON types are chosen by the type.
fn by_shape(mut schema: Map<String, Value>, definitions: &Value) -> Value {
    let shape = |branch: &Value| {
        let name = branch.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/"));
        let branch = name.and_then(|name| definitions.get(name)).unwrap_or(branch);
        branch.get("type").filter(|shape| shape.is_string()).cloned()
    };
    for key in ["anyOf", "oneOf"] {
        let Some(Value::Array(branches)) = schema.get(key) else { continue };
        let shapes: Vec<Value> = branches.iter().filter_map(shape).collect();
        let distinct = shapes.iter().enumerate().all(|(at, one)| !shapes[..at].contains(one));
        if shapes.len() != branches.len() || !distinct {
            continue;
        }
        let mut branches: Vec<(Value, Value)> =
            shapes.iter().cloned().zip(branches.iter().cloned()).collect();
        let Some((_, mut chosen)) = branches.pop() else { continue };
        for (shape, branch) in branches.into_iter().rev() {
            chosen = json!({ "if": { "type": shape }, "then": branch, "else": chosen });
        }
        schema.remove(key);
        schema.insert("type".to_owned(), Value::Array(shapes));
        for (key, value) in chosen.as_object_mut().into_iter().flatten() {
            schema.insert(key.clone(), value.take());
        }
    }
    Value::Object(schema)
}

fn object(mut schema: Map<String, Value>) -> Value {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|one| one != "null");
        if let [only] = &types[..] {
            schema["type"] = only.clone();
        }
    }
    if let Some(Value::Array(words)) = schema.get_mut("enum") {
        words.retain(|one| !one.is_null());
    }
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    for key in ["anyOf", "oneOf"] {
        let Some(Value::Array(mut branches)) = schema.remove(key) else { continue };
        branches.retain(|branch| branch.get("type").is_none_or(|kind| kind != "null"));
        if let [only] = &mut branches[..] {
            for (key, value) in std::mem::take(only).as_object_mut().into_iter().flatten() {
                schema.entry(key.clone()).or_insert_with(|| value.take());
            }
        } else if let Some(words) = words_of(&branches) {
            schema.insert("type".to_owned(), json!("string"));
            schema.insert("enum".to_owned(), words);
        } else if branches.iter().all(|branch| kind_of(branch).is_some()) {
            by_type(&mut schema, branches);
        } else {
            schema.insert(key.to_owned(), Value::Array(branches));
        }
    }
    Value::Object(schema)
}

/// The words, if each branch is one or some.
fn words_of(branches: &[Value]) -> Option<Value> {
    let mut words = Vec::new();
    for branch in branches {
        match (branch.get("const"), branch.get("enum")) {
            (Some(word @ Value::String(_)), None) => words.push(word.clone()),
            (None, Some(Value::Array(some))) => words.extend(some.iter().cloned()),
            _ => return None,
        }
    }
    Some(Value::Array(words))
}

/// What `type` is in this branch.
fn kind_of(branch: &Value) -> Option<&Value> {
    branch.get("properties")?.get("type")?.get("const")
}

/// Chooses the branch by its `type`; what stands beside the branches belongs to each of them.
fn by_type(schema: &mut Map<String, Value>, branches: Vec<Value>) {
    let common = schema.remove("properties");
    schema.remove("unevaluatedProperties");
    let kinds: Vec<Value> = branches.iter().filter_map(kind_of).cloned().collect();
    let choose = |mut branch: Value| {
        let kind = kind_of(&branch).cloned();
        if let (Some(Value::Object(own)), Some(Value::Object(common))) =
            (branch.get_mut("properties"), &common)
        {
            own.extend(common.clone());
        }
        branch["additionalProperties"] = json!(false);
        json!({
            "if": { "required": ["type"], "properties": { "type": { "const": kind } } },
            "then": branch,
        })
    };
    let chosen = branches.into_iter().map(choose).collect();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), json!({ "type": { "type": "string", "enum": kinds } }));
    let required = schema.entry("required").or_insert_with(|| json!([]));
    if let Value::Array(required) = required
        && !required.contains(&json!("type"))
    {
        required.push(json!("type"));
    }
    schema.insert("allOf".to_owned(), Value::Array(chosen));
}
