//! Spellings of one value that JSON's writers differ in.

use serde_json::{Map, Number, Value};

/// The largest whole number that a float holds exactly: 2 to the power of 53.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// `input` as `schema` spells it: a `null` for an optional property that takes no `null` is left
/// out, and a whole float (`60.0`) is an integer where one is wanted. JSON Schema takes both numbers
/// for the same value, and clients whose language has one kind of number send either.
pub(super) fn normalize(schema: &Value, input: Value) -> Value {
    match input {
        Value::Object(map) => Value::Object(object(schema, map)),
        Value::Array(items) => match schema.get("items") {
            Some(item) => items.into_iter().map(|value| normalize(item, value)).collect(),
            None => Value::Array(items),
        },
        Value::Number(number) if takes(schema, "integer") && !takes(schema, "number") => {
            whole(&number).map_or(Value::Number(number), Value::Number)
        }
        other => other,
    }
}

fn object(schema: &Value, map: Map<String, Value>) -> Map<String, Value> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return map };
    let required = |key: &str| {
        let listed = schema.get("required").and_then(Value::as_array);
        listed.is_some_and(|listed| listed.iter().any(|name| name == key))
    };
    let kept = map.into_iter().filter_map(|(key, value)| {
        let Some(property) = properties.get(&key) else { return Some((key, value)) };
        if value.is_null() && !required(&key) && !may_be_null(property) {
            return None;
        }
        let value = normalize(property, value);
        Some((key, value))
    });
    kept.collect()
}

/// Whether `schema` names `kind` among its types.
fn takes(schema: &Value, kind: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(one)) => one == kind,
        Some(Value::Array(several)) => several.iter().any(|one| one == kind),
        _ => false,
    }
}

/// Whether `schema` could have `null` in mind. What says nothing of types could.
fn may_be_null(schema: &Value) -> bool {
    schema.get("type").is_none() || takes(schema, "null")
}

#[expect(clippy::cast_possible_truncation, reason = "it is whole, and within what a float holds exactly")]
fn whole(number: &Number) -> Option<Number> {
    let float = number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0)?;
    (float.abs() <= EXACT).then(|| (float as i64).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Value {
        json!({
            "type": "object",
            "required": ["must"],
            "properties": {
                "must": { "type": "string" },
                "may": { "type": "string" },
                "either": { "type": ["string", "null"] },
                "any": { "description": "anything" },
                "count": { "type": "integer" },
                "ratio": { "type": "number" },
                "mixed": { "type": ["integer", "number"] },
                "list": { "type": "array", "items": { "type": "object", "properties": {
                    "n": { "type": "integer" }, "s": { "type": "string" } } } },
            },
        })
    }

    #[test]
    fn one_value_has_one_spelling() {
        for (given, wanted) in [
            (json!({ "may": null }), json!({})),
            (json!({ "count": null, "list": null }), json!({})),
            (json!({ "count": 60.0 }), json!({ "count": 60 })),
            (json!({ "count": 6e1 }), json!({ "count": 60 })),
            (json!({ "count": -0.0 }), json!({ "count": 0 })),
            (json!({ "list": [{ "n": 3.0, "s": null }] }), json!({ "list": [{ "n": 3 }] })),
            // A null that means something, and one that is wrong, stay.
            (json!({ "either": null }), json!({ "either": null })),
            (json!({ "any": null }), json!({ "any": null })),
            (json!({ "must": null }), json!({ "must": null })),
            (json!({ "unknown": null }), json!({ "unknown": null })),
            // So does what is no whole number, or not wanted as one.
            (json!({ "count": 60.5 }), json!({ "count": 60.5 })),
            (json!({ "count": 1e300 }), json!({ "count": 1e300 })),
            (json!({ "count": "60" }), json!({ "count": "60" })),
            (json!({ "ratio": 60.0 }), json!({ "ratio": 60.0 })),
            (json!({ "mixed": 60.0 }), json!({ "mixed": 60.0 })),
            (json!([]), json!([])),
            (json!(null), json!(null)),
        ] {
            // Compared as text: `60` and `60.0` are told apart there.
            assert_eq!(normalize(&schema(), given.clone()).to_string(), wanted.to_string(), "{given}");
        }
    }
}
