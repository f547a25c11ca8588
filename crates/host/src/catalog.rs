//! What the linter of rules should know of this host: its connectors, their
//! actions and events, and what runs without approval.

use connector_contract::{ActionDecl, Connector, TriggerDecl};
use connector_gate::policy::{GateConfig, Policy};
use connector_rules::{CatalogAction, CatalogConnector, CatalogTrigger, Exemption, LintPolicy};
use serde_json::{Value, json};

/// The connector name of lines typed at the console.
pub const CONSOLE: &str = "connector-console";

/// Whether anybody on a platform can cause a connector's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The host admits only people it was told of.
    Admitted,
    /// Anybody, as far as is known here.
    Anybody,
}

/// What a connector declares, as the linter sees it.
pub fn of(connector: &dyn Connector, reach: Reach) -> CatalogConnector {
    declared(connector.actions(), connector.triggers(), reach)
}

/// As [`of`], from the declarations alone.
pub fn declared(actions: &[ActionDecl], triggers: &[TriggerDecl], reach: Reach) -> CatalogConnector {
    let schema = |schema: &Option<Value>| schema.clone().unwrap_or_default();
    let action = |decl: &ActionDecl| CatalogAction {
        name: decl.name.clone(),
        read_only: decl.read_only,
        input_schema: schema(&decl.input_schema),
        output_schema: schema(&decl.output_schema),
    };
    let trigger = |decl: &TriggerDecl| CatalogTrigger {
        name: decl.name.clone(),
        payload_schema: schema(&decl.schema),
        open: reach == Reach::Anybody,
    };
    CatalogConnector {
        actions: actions.iter().map(action).collect(),
        triggers: triggers.iter().map(trigger).collect(),
    }
}

/// A chat whose messages are events: nothing to call, one event to wait for.
pub fn chat(reach: Reach) -> CatalogConnector {
    let trigger = CatalogTrigger {
        name: "message_received".to_owned(),
        payload_schema: message(),
        open: reach == Reach::Anybody,
    };
    CatalogConnector { actions: Vec::new(), triggers: vec![trigger] }
}

/// What the gate lets pass without asking.
pub fn policy(gate: &GateConfig) -> LintPolicy {
    let exempted = gate.policy.iter().filter(|entry| entry.policy == Policy::Allow);
    let exemptions = exempted.map(|entry| Exemption {
        connector: entry.connector.clone(),
        action: Some(entry.action.clone()),
        rule: Some(entry.rule.clone()),
    });
    LintPolicy { exemptions: exemptions.collect(), ..LintPolicy::default() }
}

/// The payload of a message: the flat fields, and the nested ones of the Bot API.
pub(crate) fn message() -> Value {
    let (text, yes_or_no) = (json!({ "type": "string" }), json!({ "type": "boolean" }));
    let (number, id) = (json!({ "type": "integer" }), json!({ "type": ["integer", "string"] }));
    let object = |properties: Value| json!({ "type": "object", "properties": properties });
    object(json!({
        "text": text, "command": text, "args": text, "date": number,
        "is_forwarded": yes_or_no, "is_edited": yes_or_no,
        "chat_id": id, "chat_type": text, "topic_id": number,
        "user_id": id, "username": text, "first_name": text,
        "message_id": number, "reply_to_message_id": number,
        "message": object(json!({ "message_id": number, "text": text, "date": number })),
        "chat": object(json!({ "id": id, "type": text, "title": text, "username": text })),
        "from": object(json!({
            "id": id, "is_bot": yes_or_no, "username": text, "first_name": text, "last_name": text,
            "language_code": text,
        })),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console;

    #[test]
    fn every_field_of_a_typed_line_is_in_the_schema_of_messages() {
        let event = console::message(CONSOLE, "1".into(), "/fix it", None);
        let schema = message();
        for (name, value) in event.payload.as_object().unwrap() {
            let declared = &schema["properties"][name];
            assert!(declared.is_object(), "{name}");
            for nested in value.as_object().into_iter().flatten() {
                assert!(declared["properties"][nested.0].is_object(), "{name}.{}", nested.0);
            }
        }
    }
}
