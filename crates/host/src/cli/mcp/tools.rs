//! The tools: what is declared, and which of them a call is.

use std::time::Instant;

use async_trait::async_trait;
use connector_contract::facts;
use connector_contract::{
    ActionDecl, ActionResult, Connector, ConnectorError, Context, EventHandler, Manifest, Reference,
    Subscription,
};
use connector_gate::policy::Actor;
use connector_ledger::Ledger;
use connector_surface::attachments::without_content;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cli::runs::LOOK;
use crate::exit::{Exit, Failure};

/// The longest that one call waits, in seconds: clients give a call up after a minute.
pub(super) const LONGEST: u64 = 50;

/// The host's tools for one client, as a connector that an MCP server offers.
pub(super) struct HostTools {
    pub(super) ledger: Ledger,
    /// Who acts.
    pub(super) client: Actor,
    /// Whose messages the client submits.
    pub(super) connector: String,
    manifest: Manifest,
}

impl HostTools {
    /// The tools of `client`; those that decide are among them only if it `decides`.
    pub(super) fn new(ledger: Ledger, client: Actor, connector: String, decides: bool) -> Self {
        Self { ledger, client, connector, manifest: manifest(decides) }
    }

    pub(super) fn manifest_of(&self) -> Manifest {
        self.manifest.clone()
    }

    /// Waits until another process has written since `version`; `false` once it is late, or nobody waits.
    pub(super) async fn changes(&self, version: i64, until: Instant, ctx: &Context) -> Result<bool, Failure> {
        while self.ledger.data_version().await? == version {
            if Instant::now() >= until || ctx.cancel.is_cancelled() {
                return Ok(false);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(true)
    }
}

#[async_trait]
impl Connector for HostTools {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    async fn execute(
        &self,
        action: &str,
        input: Value,
        ctx: &Context,
    ) -> Result<ActionResult, ConnectorError> {
        // A tool that is not offered is not there: the declaration is what decides.
        self.check(action, &input)?;
        let done = match action {
            "submit_message" => self.submit(read(input)?, ctx).await,
            "show_message" => self.message(read(input)?).await,
            "list_cards" => self.cards().await,
            "show_card" => self.card(read(input)?).await,
            "list_runs" => self.runs(read(input)?).await,
            "show_run" => self.run(read(input)?).await,
            "follow_run" => self.follow(read(input)?, ctx).await,
            "cancel_run" => self.cancel(read(input)?).await,
            "approve_card" => self.approve(read(input)?).await,
            "deny_card" => self.deny(read(input)?).await,
            _ => {
                let connector = self.manifest.name.clone();
                return Err(ConnectorError::UnknownAction { connector, action: action.to_owned() });
            }
        };
        done.map_err(problem)
    }

    async fn on_event(&self, trigger: &str, _: EventHandler) -> Result<Subscription, ConnectorError> {
        Err(ConnectorError::Refused { reason: format!("there is no trigger `{trigger}`") })
    }

    async fn remove_event(&self, _: &Subscription) -> Result<(), ConnectorError> {
        Ok(())
    }
}

/// A result: the same in words and as data.
pub(super) fn shown(message: String, output: Value) -> ActionResult {
    ActionResult { success: true, output: lean(output), message }
}

fn read<T: DeserializeOwned>(input: Value) -> Result<T, ConnectorError> {
    connector_contract::decode(input).map_err(|reason| ConnectorError::InvalidInput { reason })
}

fn problem(failure: Failure) -> ConnectorError {
    let reason = failure.text;
    match failure.exit {
        Exit::Usage => ConnectorError::InvalidInput { reason },
        _ => ConnectorError::Failed { reason, reference: Reference::default() },
    }
}

/// The data without what a model cannot use: the content of files, and a daemon's own messages.
fn lean(mut value: Value) -> Value {
    match &mut value {
        Value::Object(map) => {
            let is_step = map.contains_key("digest");
            for (key, field) in map.iter_mut() {
                *field = match key.as_str() {
                    "input" if is_step => without_content(field),
                    _ => lean(field.take()),
                };
            }
            if let Some(output) = map.get_mut("output").filter(|_| is_step).and_then(Value::as_object_mut) {
                facts::strip_response(output);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = lean(item.take())),
        _ => {}
    }
    value
}

fn manifest(decides: bool) -> Manifest {
    let mut actions = declared();
    if decides {
        actions.extend(deciding());
    }
    Manifest {
        name: "connector-host".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        author: "connector-opencode contributors".to_owned(),
        description: "A host that runs what messages ask for, once somebody approved exactly what will run"
            .to_owned(),
        capabilities: Vec::new(),
        triggers: Vec::new(),
        actions,
        data_disclosure: Vec::new(),
        signature_alg: None,
        signature: None,
    }
}

fn declared() -> Vec<ActionDecl> {
    let run = || json!({ "run": number("The run, such as 3.") });
    let text = json!({ "type": "string", "minLength": 1, "maxLength": 65_536,
        "description": "The message, such as `/fix the failing test`." });
    let id = json!({ "type": "string", "minLength": 1, "maxLength": 200,
        "description": "The message's own id: the same id twice is one message, and returns what came of it." });
    let after = json!({ "type": "integer", "minimum": 0,
        "description": "Only what happened after this: `next` of the call before. Absent: from the beginning." });
    let wait = json!({ "type": "integer", "minimum": 0, "maximum": LONGEST,
        "description": "How long to wait for news at most; 20 when absent." });
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": 200,
        "description": "How many, newest first; 20 when absent." });
    vec![
        action(
            "submit_message",
            "Submits a message to the host, which looks for rules that fire on it. Returns its number, and the runs \
             that it fired as far as they are known after a few seconds. What runs waits for approval.",
            false,
            &json!({ "text": text, "id": id }),
            &["text"],
        ),
        action(
            "show_message",
            "What came of a message: its runs, their steps and results.",
            true,
            &json!({ "event": number("The message's number, from `submit_message`.") }),
            &["event"],
        ),
        action("list_cards", "The cards that wait for a decision, oldest first.", true, &json!({}), &[]),
        action(
            "show_card",
            "One card in full: all that will run and where, who may approve it, and its digest.",
            true,
            &json!({ "step": step() }),
            &["step"],
        ),
        action("list_runs", "The latest runs.", true, &json!({ "limit": limit }), &[]),
        action("show_run", "One run: its message, its steps, what they returned.", true, &run(), &["run"]),
        action(
            "follow_run",
            "What happened to a run since the call before. Returns as soon as there is news or the run has ended, and \
             when the time to wait is over; the run goes on then.",
            true,
            &json!({ "run": number("The run, such as 3."), "after": after, "wait_secs": wait }),
            &["run"],
        ),
        action(
            "cancel_run",
            "Stops a run that this client's own message fired, in whatever state it is.",
            false,
            &run(),
            &["run"],
        ),
    ]
}

fn deciding() -> Vec<ActionDecl> {
    let digest = json!({ "type": "string", "pattern": "^[0-9A-Fa-f]{12,64}$",
        "description": "The digest that `show_card` shows: what it showed is what is decided." });
    let choice = json!({ "step": step(), "digest": digest });
    vec![
        action(
            "approve_card",
            "Approves a step: exactly what `show_card` showed with this digest may run.",
            false,
            &choice,
            &["step", "digest"],
        ),
        action("deny_card", "Refuses a step, which then does not run.", false, &choice, &["step", "digest"]),
    ]
}

fn action(
    name: &str,
    description: &str,
    read_only: bool,
    properties: &Value,
    required: &[&str],
) -> ActionDecl {
    let schema = json!({ "type": "object", "additionalProperties": false, "properties": properties,
        "required": required });
    ActionDecl {
        name: name.to_owned(),
        description: description.to_owned(),
        read_only,
        input_schema: Some(schema),
        output_schema: None,
    }
}

fn number(description: &str) -> Value {
    json!({ "type": "integer", "minimum": 1, "description": description })
}

fn step() -> Value {
    json!({ "type": "string", "pattern": r"^[0-9]+\.[0-9]+$", "description": "The step, such as `3.1`." })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deciding_is_offered_to_who_decides_alone() {
        let names = |decides| manifest(decides).actions.into_iter().map(|it| it.name).collect::<Vec<_>>();
        let (all, fewer) = (names(true), names(false));
        assert_eq!(&all[fewer.len()..], ["approve_card", "deny_card"]);
        assert!(!fewer.iter().any(|name| name.contains("approve") || name.contains("deny")), "{fewer:?}");
    }

    #[test]
    fn what_changes_something_says_so() {
        let changes: Vec<String> =
            manifest(true).actions.into_iter().filter(|it| !it.read_only).map(|it| it.name).collect();
        assert_eq!(changes, ["submit_message", "cancel_run", "approve_card", "deny_card"]);
    }

    #[test]
    fn data_has_no_files_content_and_no_daemons_message() {
        let step = json!({ "digest": "d", "output": { "reply": "r", "response": { "big": 1 } },
            "input": { "prompt": "p", "files": [{ "name": "a.png", "mime": "image/png", "data": "aGk=" }] } });
        let lean = lean(json!({ "runs": [{ "steps": [step] }] })).to_string();
        assert!(lean.contains("a.png") && lean.contains("reply"), "{lean}");
        assert!(!lean.contains("aGk=") && !lean.contains("big"), "{lean}");
    }
}
