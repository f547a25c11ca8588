//! Schemas, derived from the types that read what they describe.

use connector_contract::{ActionDecl, Capability, DataDisclosure, Manifest};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::config::Config;
use crate::input::{CONTINUE_SESSION, ContinueSession, DESCRIBE, Describe, RUN_TASK, RunTask};
use crate::output::{Description, TurnOutput};

/// Of the configuration.
pub fn config() -> Value {
    of::<Config>()
}

/// Of `run_task`'s input.
pub fn run_task() -> Value {
    without_null(of::<RunTask>())
}

/// Of `continue_session`'s input.
pub fn continue_session() -> Value {
    without_null(of::<ContinueSession>())
}

/// Of `describe_daemon`'s input.
pub fn describe() -> Value {
    without_null(of::<Describe>())
}

/// Of the output of both actions that hand something to an agent.
pub fn output() -> Value {
    of::<TurnOutput>()
}

/// Of `describe_daemon`'s output.
pub fn description() -> Value {
    of::<Description>()
}

/// Self-contained, and without the names of our types.
fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|it| {
        it.inline_subschemas = true;
        it.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("title");
    }
    schema
}

/// A schema in which what is optional is only that: some models' clients refuse a tool, and with it
/// every request, whose input has a union of types. What reads an input leaves a `null` out beforehand
/// ([`ActionDecl::normalize`]).
fn without_null(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(map) => {
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".to_owned(), only);
                }
            }
            map.values_mut().for_each(|value| *value = without_null(value.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| *value = without_null(value.take())),
        _ => {}
    }
    schema
}

/// The manifest that the types make: `connector.toml` is this, printed.
pub fn manifest() -> Manifest {
    let action = |name: &str, description: &str, input| ActionDecl {
        name: name.to_owned(),
        description: description.to_owned(),
        read_only: false,
        input_schema: Some(input),
        output_schema: Some(output()),
    };
    let disclosed = |data_type: &str, purpose: &str| DataDisclosure {
        data_type: data_type.to_owned(),
        purpose: purpose.to_owned(),
        destination: "the daemon at `base_url`, and through it the provider of the model".to_owned(),
    };
    Manifest {
        name: crate::NAME.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        author: "connector-opencode contributors".to_owned(),
        description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        capabilities: vec![Capability::NetworkOutbound { host: "127.0.0.1:4096".to_owned() }],
        triggers: Vec::new(),
        actions: vec![
            action(
                RUN_TASK,
                "Hands a coding task to an agent in a new session, and returns its reply. The agent edits files and runs commands.",
                run_task(),
            ),
            action(
                CONTINUE_SESSION,
                "Gives a follow-up instruction to the agent in the session of an earlier task, and returns its reply.",
                continue_session(),
            ),
            ActionDecl {
                name: DESCRIBE.to_owned(),
                description: "Says on what terms a task would run at the daemon now: its model, what was granted for good, and what other sessions may do. Sends nothing to an agent.".to_owned(),
                read_only: true,
                input_schema: Some(describe()),
                output_schema: Some(description()),
            },
        ],
        data_disclosure: vec![
            disclosed(
                "the prompt and its files, the title, and the name of the rule and chat it came from",
                "to do the task",
            ),
            disclosed("files and command output of the directory that the agent works in", "to do the task"),
        ],
        signature_alg: None,
        signature: None,
    }
}
