//! The JSON Schema of `host.toml`: made from the types that read it.
//!
//! What stands beside the host's own keys in `[connectors.NAME]` and `[surfaces.telegram]` is of
//! the connector, whose own type is asked. What a package takes only the package knows.

use std::sync::LazyLock;

use connector_rules::for_editors;
use schemars::JsonSchema;
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
    let telegram = inline::<connector_telegram::Config>(&mut generator);
    let mut schema = generator.into_root_schema_for::<HostConfig>().to_value();
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("host.toml");
    let definitions = &mut schema["$defs"];
    definitions["TelegramSurface"] = beside(definitions["TelegramSurface"].take(), &telegram);
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

/// The schema of `T` itself; what it refers to is among the definitions of `generator`.
fn inline<T: JsonSchema>(generator: &mut schemars::SchemaGenerator) -> Value {
    T::json_schema(generator).to_value()
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
