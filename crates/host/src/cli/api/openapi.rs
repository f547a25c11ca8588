//! The OpenAPI document, made of the operations and the types that they read and answer with.

use connector_gate::ids::{RunId, StepId};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::operations::{self, Answers, Operation};
use super::problem::Problem;

/// Where the document keeps the schemas of types.
const SCHEMAS: &str = "/components/schemas";

const ABOUT: &str = "\
What programs of this machine can read of a running host, submit to it and decide: the JSON of its command line. It is \
at the Unix socket `api.sock` in the host's state directory, for processes of the host's own user, and on request at a \
port of this machine, for whoever carries its token. docs/api.md says who may do what.";

/// The document, of OpenAPI 3.1.
pub(super) fn document() -> Value {
    let settings = |settings: SchemaSettings| {
        let mut settings = settings;
        settings.definitions_path = SCHEMAS.into();
        settings.meta_schema = None;
        settings.into_generator()
    };
    // A field that may be left out of a request is there in each answer.
    let mut read = settings(SchemaSettings::draft2020_12().for_deserialize());
    let mut written = settings(SchemaSettings::draft2020_12().for_serialize());
    let problem = written.subschema_for::<Problem>();
    let mut paths = Map::new();
    for operation in operations::all() {
        let described = described(&operation, (&mut read, &mut written), &json!(problem));
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str()] = described;
    }
    let mut schemas = written.take_definitions(true);
    for (name, schema) in read.take_definitions(true) {
        schemas.entry(name).or_insert(schema);
    }
    schemas.sort_keys();
    json!({
        "openapi": "3.1.0",
        "info": { "title": "connector-host", "version": "1", "description": ABOUT },
        "servers": [{ "url": "http://localhost" }],
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer",
                "description": "At the port; the socket takes none." } },
            "schemas": schemas,
        },
    })
}

fn described(
    operation: &Operation,
    (read, written): (&mut SchemaGenerator, &mut SchemaGenerator),
    problem: &Value,
) -> Value {
    let mut described = json!({ "operationId": operation.id, "summary": operation.summary });
    let parameters = parameters(operation, read);
    if !parameters.is_empty() {
        described["parameters"] = json!(parameters);
    }
    if let Some(body) = operation.body {
        let schema = body(read);
        described["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    }
    let mut responses = Map::new();
    for answers in &operation.answers {
        responses.insert(answers.status.to_string(), response(answers, written));
    }
    let content = json!({ "application/problem+json": { "schema": problem } });
    for (status, about) in [("4XX", "Why not."), ("5XX", "Why not now.")] {
        responses.insert(status.to_owned(), json!({ "description": about, "content": content }));
    }
    described["responses"] = Value::Object(responses);
    described
}

fn response(answers: &Answers, written: &mut SchemaGenerator) -> Value {
    let shape = (answers.shape)(written);
    let content = if answers.lines {
        let lines = json!({ "type": "string", "description": "Lines, each a JSON object as `x-line` says." });
        json!({ "application/x-ndjson": { "schema": lines, "x-line": shape } })
    } else {
        json!({ "application/json": { "schema": shape } })
    };
    json!({ "description": answers.about, "content": content })
}

/// Those in the path by their names, and those behind the `?` as the type has them.
fn parameters(operation: &Operation, read: &mut SchemaGenerator) -> Vec<Value> {
    let mut parameters = Vec::new();
    for name in operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        let schema = match name {
            "run" => json!(read.subschema_for::<RunId>()),
            "step" => json!(read.subschema_for::<StepId>()),
            _ => json!({ "type": "integer", "format": "int64", "minimum": 1 }),
        };
        parameters.push(json!({ "name": name, "in": "path", "required": true, "schema": schema }));
    }
    let query = operation.query.map(|query| query(read).to_value());
    let fields = query.as_ref().and_then(|query| query["properties"].as_object()).into_iter().flatten();
    for (name, schema) in fields {
        let mut schema = schema.clone();
        let about = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        // There is no null in a query.
        if let Some(kind) =
            schema["type"].as_array().and_then(|kinds| kinds.iter().find(|kind| *kind != "null"))
        {
            schema["type"] = kind.clone();
        }
        parameters.push(json!({ "name": name, "in": "query", "description": about, "schema": schema }));
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_the_one_that_is_published() {
        let place = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let published = std::fs::read_to_string(place).unwrap();
        let made = serde_json::to_string_pretty(&document()).unwrap() + "\n";
        assert!(published == made, "regenerate it: connector-host api openapi > docs/openapi.json");
    }

    #[test]
    fn whatever_is_referred_to_is_there() {
        fn walk(value: &Value, document: &Value, seen: &mut usize) {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(to)) = fields.get("$ref") {
                        *seen += 1;
                        let pointer = to.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{to}");
                    }
                    fields.values().for_each(|field| walk(field, document, seen));
                }
                Value::Array(items) => items.iter().for_each(|item| walk(item, document, seen)),
                _ => {}
            }
        }
        let (document, mut seen) = (document(), 0);
        walk(&document, &document, &mut seen);
        assert!(seen > 20, "{seen}");
    }

    #[test]
    fn what_reads_is_a_get_and_takes_no_body() {
        for operation in operations::all() {
            let reads = operation.method == operations::Method::Get;
            assert!(!(reads && operation.body.is_some()), "{}", operation.path);
            let changes =
                ["submit", "decide", "answer", "cancel"].iter().any(|verb| operation.id.starts_with(verb));
            assert_eq!(reads, !changes, "{}", operation.id);
        }
    }
}
