//! The JSON Schema of `host.toml`: made from the types that read it.
//!
//! What stands beside the host's own keys in `[connectors.NAME]` and `[surfaces.NAME]` is of
//! the connector, whose own type is asked. What a package takes only the package knows.

use std::sync::LazyLock;

use connector_rules::for_editors;
use serde_json::{Map, Value, json};

use super::HostConfig;
use crate::build::registry::STANDARD;

static SCHEMA: LazyLock<Value> = LazyLock::new(make);

/// The schema, as JSON Schema of draft 7 is read.
pub fn schema() -> &'static Value {
    &SCHEMA
}

fn make() -> Value {
    let mut generator = schemars::SchemaGenerator::default();
    let connectors = STANDARD.connectors.iter().map(|entry| (entry, (entry.keys)(&mut generator)));
    let connectors: Vec<_> = connectors.collect();
    let surfaces: Vec<_> =
        STANDARD.surfaces.iter().map(|entry| (entry, (entry.keys)(&mut generator))).collect();
    let mut schema = generator.into_root_schema_for::<HostConfig>().to_value();
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("host.toml");
    let definitions = &mut schema["$defs"];
    let section = definitions["SurfaceSection"].take();
    let mut known = Map::new();
    let sections = surfaces.iter().map(|(entry, keys)| {
        let mut own = beside(section.clone(), keys);
        own["properties"]["connector"]["default"] = json!(entry.connector);
        own["description"] = json!(format!("{} as a surface, and as the connector behind it.", entry.title));
        known.insert(
            entry.name.to_owned(),
            json!({ "description": format!("{}.", entry.title), "$ref": format!("#/$defs/{}", entry.definition) }),
        );
        (entry.definition.to_owned(), own)
    });
    replace(definitions, "SurfaceSection", sections.collect());
    definitions["Surfaces"] = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": known,
        "description": "The surfaces of a host without a terminal.",
    });
    let instance = definitions["Instance"].take();
    // A package's keys only the package knows.
    let mut chosen = json!({ "type": "object", "properties": instance["properties"] });
    let mut named = Map::new();
    for (entry, keys) in connectors.iter().rev() {
        definitions[entry.definition] = beside(instance.clone(), keys);
        let definition = json!({ "$ref": format!("#/$defs/{}", entry.definition) });
        chosen = json!({
            "if": { "required": ["use"], "properties": { "use": { "const": entry.name } } },
            "then": definition.clone(),
            "else": chosen,
        });
        named.insert(entry.name.to_owned(), definition);
    }
    chosen["type"] = json!("object");
    chosen["description"] = json!(
        "A connector and its configuration. The keys after `isolation` are those of the connector for opencode; \
         another connector and a package have their own."
    );
    definitions["Instance"] = chosen;
    // Which connector it is, its own name says where nothing else does.
    schema["properties"]["connectors"]["properties"] = Value::Object(named);
    // The binary's path alone will do.
    schema["$defs"]["PoolConfig"]["type"] = json!(["object", "string"]);
    for_editors(schema)
}

/// Puts `others` where the definition `name` is.
fn replace(definitions: &mut Value, name: &str, others: Vec<(String, Value)>) {
    let all = definitions.as_object_mut().map(std::mem::take).unwrap_or_default();
    let mut others = Some(others);
    let placed = all.into_iter().flat_map(|(key, definition)| match others.take_if(|_| key == name) {
        Some(others) => others,
        None => vec![(key, definition)],
    });
    *definitions = Value::Object(placed.collect());
}

/// `own` with the keys that are of the connector, and no others.
fn beside(mut own: Value, connector: &Value) -> Value {
    let keys = connector["properties"].as_object().cloned().unwrap_or_default();
    let mut all: Map<String, Value> = own["properties"].as_object().cloned().unwrap_or_default();
    for (key, about) in keys {
        all.entry(key).or_insert(about);
    }
    own["properties"] = Value::Object(all);
    own["additionalProperties"] = json!(false);
    own
}
