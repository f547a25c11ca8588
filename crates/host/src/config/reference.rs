//! Every key of `host.toml` in words: what it is for, what it takes, and what it is without it.

use std::collections::BTreeSet;

use connector_rules::suggest;
use serde_json::{Map, Value};

use super::keys::{below, joined, resolved};
use super::schema;

/// What stands for a name that the user chooses.
const NAME: &str = "NAME";

/// What a key is, in words.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Explained {
    /// The whole key.
    pub key: String,
    /// What it takes.
    pub takes: String,
    /// What it is without it; `None` where nothing is, or where it must be given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// Whether its table needs it.
    pub required: bool,
    /// What it is for.
    pub about: String,
    /// The keys below it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
}

/// What the key `wanted` is: `gate.expiry_secs`, `workspaces.app.confine`. Any name fits where the
/// user chooses it. The error says what there is instead.
pub fn explain(wanted: &str) -> Result<Explained, String> {
    let mut here = schema();
    let mut path = String::new();
    let mut about = String::new();
    let mut required = false;
    for key in wanted.split('.').filter(|key| !key.is_empty()) {
        let shape = table(here);
        let Some(next) = shape.and_then(|shape| below(shape, key)) else {
            let known = shape.map(keys_of).unwrap_or_default();
            let help = suggest(key, known.iter().map(String::as_str)).unwrap_or_else(|| match &known[..] {
                [] => format!("`{path}` has no keys"),
                known => format!("there is {}", known.join(", ")),
            });
            return Err(format!("there is no key `{}`; {help}", joined(&path, key)));
        };
        required = shape.is_some_and(|shape| is_required(shape, key));
        path = joined(&path, key);
        about = description(next);
        here = next;
    }
    let keys = table(here).map(keys_of).unwrap_or_default();
    Ok(Explained { takes: takes(here), default: default(here), key: path, required, about, keys })
}

/// All keys as a Markdown document, `docs/configuration.md`.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    let mut tables = Vec::new();
    section(&mut tables, "", String::new(), schema());
    for (name, about, rows) in tables {
        if rows.is_empty() {
            continue;
        }
        let title = if name.is_empty() { "At the top".to_owned() } else { format!("`[{name}]`") };
        text.push_str(&format!("\n## {title}\n\n"));
        if !about.is_empty() {
            text.push_str(&format!("{about}\n\n"));
        }
        text.push_str("| key | takes | without it | is |\n|---|---|---|---|\n");
        for row in rows {
            text.push_str(&row);
        }
    }
    text
}

const HEAD: &str = "\
# Configuration

Every key of `host.toml`, as the types that read the file have it: `connector-host config reference` prints this page.
What belongs together is told in [gate](gate.md), [daemons](daemons.md), [Telegram](telegram.md), [Matrix](matrix.md) and [plugins](plugins.md).

```sh
connector-host config check            # misspelt keys with line and column, or else what of it would stop the host
connector-host config explain gate.expiry_secs
connector-host config schema > host.schema.json
connector-host rules schema > rule.schema.json
```

An editor that knows JSON Schema for TOML, such as one with Taplo, points at misspelt keys and completes the others when
the file begins with a line that names the schema:

```toml
#:schema ./host.schema.json
```

A key that nothing reads is an error, and the host says which one was probably meant. Any text may be `env:VAR` in
`[connectors.NAME]` and `[surfaces.NAME]`: it is what the variable holds, so that no secret stands in the file. In `[surfaces.NAME]` it may
also be `file:PATH`, of a file that nobody else may read.
";

/// A table's name, what it is for, and its rows; those of the tables below it follow.
type Section = (String, String, Vec<String>);

fn section(all: &mut Vec<Section>, name: &str, about: String, shape: &Value) {
    let at = all.len();
    let mut rows = Vec::new();
    let Some(keys) = table(shape) else { return };
    all.push((name.to_owned(), about, Vec::new()));
    let any = keys.get("additionalProperties").filter(|any| any.is_object());
    let named = keys.get("properties").and_then(Value::as_object).into_iter().flatten();
    for (key, about) in named {
        let whole = joined(name, key);
        if is_table(about) {
            // One of the names that the user chooses is told with the others, where it is what they are.
            let with_the_others =
                any.is_some_and(|any| std::ptr::eq(resolved(about), resolved(&resolved(any)["then"])));
            if !with_the_others {
                section(all, &whole, on_one_line(about), about);
            }
            continue;
        }
        let without = match (is_required(keys, key), default(about)) {
            (true, _) => "an error".to_owned(),
            (false, Some(default)) => format!("`{default}`"),
            (false, None) => String::new(),
        };
        rows.push(format!("| `{key}` | {} | {without} | {} |\n", takes(about), on_one_line(about)));
        if let Some(items) = resolved(about).get("items").filter(|items| is_table(items)) {
            section(all, &format!("[{whole}]"), on_one_line(items), items);
        }
    }
    if let Some(any) = any {
        let only_tables = kinds(any).len() == 1 && is_table(any);
        if !only_tables {
            rows.push(format!("| `{NAME}` | {} | | one for each name |\n", takes(any)));
        }
        if is_table(any) {
            section(all, &joined(name, NAME), on_one_line(any), any);
        }
    }
    all[at].2 = rows;
}

fn on_one_line(shape: &Value) -> String {
    description(shape).replace('\n', " ").replace('|', "\\|")
}

/// Whether it is a table whose keys are known, or named by the user.
fn is_table(shape: &Value) -> bool {
    table(shape).is_some_and(|keys| {
        keys.contains_key("properties") || keys.get("additionalProperties").is_some_and(Value::is_object)
    })
}

/// The table that a shape is, with the keys of the connector that is built in.
fn table(shape: &Value) -> Option<&Map<String, Value>> {
    let shape = resolved(shape);
    let shape = match shape.get("if") {
        Some(condition) if condition.get("type").is_none_or(|kind| kind == "object") => {
            resolved(&shape["then"])
        }
        Some(_) => resolved(&shape["else"]),
        None => shape,
    };
    shape.as_object().filter(|_| kinds(shape).contains("object"))
}

fn keys_of(shape: &Map<String, Value>) -> Vec<String> {
    let named = shape.get("properties").and_then(Value::as_object).into_iter().flatten();
    let any = shape.get("additionalProperties").is_some_and(Value::is_object);
    named.map(|(key, _)| key.clone()).chain(any.then(|| NAME.to_owned())).collect()
}

fn is_required(shape: &Map<String, Value>, key: &str) -> bool {
    shape.get("required").and_then(Value::as_array).is_some_and(|keys| keys.iter().any(|one| one == key))
}

/// What the key says of itself, or else its type.
fn description(shape: &Value) -> String {
    let told = |shape: &Value| shape.get("description").and_then(Value::as_str).map(str::to_owned);
    told(shape).or_else(|| told(resolved(shape))).unwrap_or_default()
}

/// A default that says something: a text, a number, a boolean, or a list with something in it.
fn default(shape: &Value) -> Option<Value> {
    let default = shape.get("default").or_else(|| resolved(shape).get("default"))?;
    let empty = default.as_object().is_some() || default.as_array().is_some_and(Vec::is_empty);
    (!empty && default != "").then(|| default.clone())
}

fn kinds(shape: &Value) -> BTreeSet<&str> {
    match resolved(shape).get("type") {
        Some(Value::String(one)) => BTreeSet::from([one.as_str()]),
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => BTreeSet::new(),
    }
}

/// What a key takes, in words.
fn takes(shape: &Value) -> String {
    let inner = resolved(shape);
    if let (Some(then), Some(or_else)) = (inner.get("then"), inner.get("else"))
        && inner["if"].get("type").is_some()
    {
        return format!("{}, or {}", takes(then), takes(or_else));
    }
    if let Some(words) = inner.get("enum").and_then(Value::as_array) {
        let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        return words.join(", ");
    }
    let words: Vec<String> = kinds(shape)
        .into_iter()
        .map(|kind| match kind {
            "string" => "a text".to_owned(),
            "integer" => range(inner, "a whole number"),
            "number" => range(inner, "a number"),
            "boolean" => "`true`, `false`".to_owned(),
            "array" => match inner.get("items") {
                Some(items) if is_table(items) => "tables".to_owned(),
                Some(items) if kinds(items).contains("string") => "a list of texts".to_owned(),
                Some(items) if kinds(items).contains("integer") => "a list of whole numbers".to_owned(),
                Some(_) | None => "a list".to_owned(),
            },
            _ => "a table".to_owned(),
        })
        .collect();
    if words.is_empty() { "anything".to_owned() } else { words.join(", or ") }
}

fn range(shape: &Value, kind: &str) -> String {
    let bound = |key| shape.get(key).filter(|bound| **bound != 0);
    match (bound("minimum"), bound("maximum")) {
        (Some(least), Some(most)) => format!("{kind} from {least} to {most}"),
        (Some(least), None) => format!("{kind} from {least}"),
        (None, Some(most)) => format!("{kind} up to {most}"),
        (None, None) => kind.to_owned(),
    }
}
