//! A connector that records what it is asked to do, and does it when told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use connector_contract::ask::{PermissionAsk, Question, QuestionAsk, QuestionOption};
use connector_contract::{
    ActionDecl, ActionResult, Checkpoint, Connector, ConnectorError, Context, EventHandler, Manifest,
    Progress, Provenance, Reference, StopCause, Subscription, Target,
};
use connector_gate::ask::Asked;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// One call of `execute`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) action: String,
    pub(crate) input: Value,
    pub(crate) resumed: Option<Value>,
}

/// What the test and the connector share.
pub(crate) struct Shared {
    pub(crate) calls: Mutex<Vec<Call>>,
    /// How each call was to be made: where it comes from, and how long it may take.
    pub(crate) terms: Mutex<Vec<(Provenance, Duration)>>,
    pub(crate) target: Mutex<Target>,
    /// A call ends when it gets a permit.
    pub(crate) gate: Semaphore,
    /// What each call reports as soon as it began.
    pub(crate) progress: Mutex<Vec<Progress>>,
    /// What each call asks then.
    pub(crate) asks: Mutex<Vec<Asked>>,
    /// How that was answered.
    pub(crate) answers: Mutex<Vec<Value>>,
    /// What it returns besides its session.
    pub(crate) output: Mutex<Value>,
}

pub(crate) struct Probe {
    shared: Arc<Shared>,
    manifest: Manifest,
    checkpoints: bool,
}

impl Shared {
    /// Calls end at once.
    pub(crate) fn open() -> Arc<Self> {
        let shared = Self::closed();
        shared.gate.add_permits(1_000);
        shared
    }

    /// Calls wait until the test lets them end.
    pub(crate) fn closed() -> Arc<Self> {
        let target = Target { origin: Some("http://127.0.0.1:1".into()), settings: [].into() };
        Arc::new(Self {
            calls: Mutex::default(),
            terms: Mutex::default(),
            target: Mutex::new(target),
            gate: Semaphore::new(0),
            progress: Mutex::default(),
            asks: Mutex::default(),
            answers: Mutex::default(),
            output: Mutex::default(),
        })
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

impl Probe {
    pub(crate) fn new(shared: Arc<Shared>, checkpoints: bool) -> Self {
        let action = |name: &str, required: Value| ActionDecl {
            name: name.into(),
            description: String::new(),
            read_only: false,
            input_schema: Some(json!({
                "type": "object",
                "properties": { "prompt": { "type": "string", "minLength": 1 }, "session_id": { "type": "string" }, "title": {} },
                "required": required,
                "additionalProperties": false,
            })),
            output_schema: None,
        };
        let mut manifest =
            Manifest::parse("name = \"probe\"\nversion = \"1.0.0\"\nauthor = \"a\"\ndescription = \"d\"")
                .unwrap();
        manifest.actions = vec![
            action("run_task", json!(["prompt"])),
            action("continue_session", json!(["session_id", "prompt"])),
        ];
        Self { shared, manifest, checkpoints }
    }
}

fn may_i() -> PermissionAsk {
    let (id, session_id) = ("per_1".into(), "ses_1".into());
    let patterns = vec!["make".into()];
    PermissionAsk { id, session_id, permission: "bash".into(), patterns, metadata: json!({}), call: None }
}

/// One question that takes several options, and two that take words.
fn which() -> QuestionAsk {
    let option = |label: &str| QuestionOption { label: label.into(), description: String::new() };
    let question = |question: &str, options: Vec<QuestionOption>, multiple| Question {
        question: question.into(),
        header: String::new(),
        options,
        multiple,
    };
    let questions = vec![
        question("Which?", vec![option("Tabs"), option("Spaces")], true),
        question("Why?", Vec::new(), false),
        question("How?", Vec::new(), false),
    ];
    QuestionAsk { id: "que_1".into(), session_id: "ses_1".into(), questions }
}

fn answered(session: &str, reply: &Value) -> ActionResult {
    let output = json!({ "session_id": session, "reply": format!("answered: {reply}"), "files": [] });
    ActionResult { success: true, output, message: String::new() }
}

#[async_trait]
impl Connector for Probe {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    async fn execute(
        &self,
        action: &str,
        input: Value,
        ctx: &Context,
    ) -> Result<ActionResult, ConnectorError> {
        let resumed = ctx.resume.as_ref().map(|checkpoint| checkpoint.0.clone());
        let left = ctx.deadline.saturating_duration_since(tokio::time::Instant::now());
        self.shared.terms.lock().unwrap().push((ctx.provenance.clone(), left));
        let number = {
            let mut calls = self.shared.calls.lock().unwrap();
            calls.push(Call { action: action.to_owned(), input: input.clone(), resumed: resumed.clone() });
            calls.len()
        };
        let session = format!("ses_{number}");
        if self.checkpoints && resumed.is_none() {
            let note = Checkpoint(json!({ "session_id": session, "message_id": "msg_1" }));
            ctx.checkpoints.record(note).await.unwrap();
        }
        let progress = self.shared.progress.lock().unwrap().clone();
        for update in progress {
            ctx.progress.report(update);
        }
        let asks = self.shared.asks.lock().unwrap().clone();
        for ask in asks {
            let answer = async {
                match ask {
                    Asked::Permission(ask) => json!(ctx.asks.permission(ask).await),
                    Asked::Question(ask) => json!(ctx.asks.question(ask).await),
                }
            };
            tokio::select! {
                answer = answer => self.shared.answers.lock().unwrap().push(answer),
                () = ctx.cancel.cancelled() => break,
            }
        }
        tokio::select! {
            biased;
            () = ctx.cancel.cancelled() => {
                let reference = Reference { session_id: Some(session), message_id: None };
                return Err(ConnectorError::Stopped { cause: StopCause::Cancelled, reason: "told to".into(), reference });
            }
            permit = self.shared.gate.acquire() => permit.unwrap().forget(),
        }
        let prompt = input["prompt"].as_str().unwrap_or_default();
        if prompt.contains("MAY I") {
            let reply = ctx.asks.permission(may_i()).await;
            return Ok(answered(&session, &json!(reply)));
        }
        if prompt.contains("WHICH") {
            let reply = ctx.asks.question(which()).await;
            return Ok(answered(&session, &json!(reply)));
        }
        if prompt.contains("FAIL") {
            let reference = Reference { session_id: Some(session), message_id: None };
            return Err(ConnectorError::Failed { reason: "as asked".into(), reference });
        }
        let mut output = json!({ "session_id": session, "reply": format!("did: {prompt}"), "files": [] });
        let more = self.shared.output.lock().unwrap().clone();
        output.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        Ok(ActionResult { success: true, output, message: String::new() })
    }

    fn target(&self, _action: &str, _input: &Value, _provenance: &Provenance) -> Target {
        self.shared.target.lock().unwrap().clone()
    }

    fn checkpoints(&self) -> bool {
        self.checkpoints
    }

    async fn on_event(&self, trigger: &str, _handler: EventHandler) -> Result<Subscription, ConnectorError> {
        Ok(Subscription { trigger: trigger.to_owned(), id: 0 })
    }

    async fn remove_event(&self, _subscription: &Subscription) -> Result<(), ConnectorError> {
        Ok(())
    }
}
