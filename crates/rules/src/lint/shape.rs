//! What a JSON Schema says of a field, without having a value.

use serde_json::Value;

/// Whether a schema has a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// It has.
    Yes,
    /// It has not, and allows no other.
    No(Vec<String>),
    /// It speaks of other fields and not of this one.
    Unlikely(Vec<String>),
    /// It does not say.
    Unsaid,
}

/// How far references inside a schema are followed.
const MAX_HOPS: usize = 16;

/// Whether `schema` has a field at `keys`.
pub(super) fn field(schema: &Value, keys: &[String]) -> Known {
    look(schema, schema, keys, MAX_HOPS)
}

fn look(root: &Value, schema: &Value, keys: &[String], hops: usize) -> Known {
    let (Some((key, rest)), Some(fields)) = (keys.split_first(), schema.as_object()) else {
        return if keys.is_empty() { Known::Yes } else { Known::Unsaid };
    };
    if hops == 0 {
        return Known::Unsaid;
    }
    if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
        let pointed = target.strip_prefix('#').and_then(|at| root.pointer(at));
        return pointed.map_or(Known::Unsaid, |schema| look(root, schema, keys, hops - 1));
    }
    for word in ["anyOf", "oneOf"] {
        if let Some(choices) = fields.get(word).and_then(Value::as_array) {
            return best(choices.iter().map(|one| look(root, one, keys, hops - 1)));
        }
    }
    if fields.contains_key("allOf") || fields.contains_key("patternProperties") {
        return Known::Unsaid;
    }
    if let Some(items) = fields.get("items") {
        let is_position = key.bytes().all(|byte| byte.is_ascii_digit());
        return if is_position { look(root, items, rest, hops - 1) } else { Known::No(Vec::new()) };
    }
    let Some(properties) = fields.get("properties").and_then(Value::as_object) else {
        let scalar = ["string", "number", "integer", "boolean"];
        let kind = fields.get("type").and_then(Value::as_str);
        return match kind {
            Some(kind) if scalar.contains(&kind) => Known::No(Vec::new()),
            _ => Known::Unsaid,
        };
    };
    if let Some(below) = properties.get(key) {
        return look(root, below, rest, hops - 1);
    }
    let known = properties.keys().cloned().collect();
    match fields.get("additionalProperties") {
        Some(Value::Bool(false)) => Known::No(known),
        None => Known::Unlikely(known),
        Some(_) => Known::Unsaid,
    }
}

/// Of several choices, the one that says most in favour. A choice that is null says nothing.
fn best(choices: impl Iterator<Item = Known>) -> Known {
    let rank = |known: &Known| match known {
        Known::Yes => 3,
        Known::Unsaid => 2,
        Known::Unlikely(_) => 1,
        Known::No(_) => 0,
    };
    choices.filter(|known| *known != Known::Unsaid).max_by_key(rank).unwrap_or(Known::Unsaid)
}
