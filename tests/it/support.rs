//! What the tests share: a connector, a context, and people who answer asks.
//!
//! Where the connector runs is the test binary's to say, as `crate::place`: the host's runs some of
//! these files in confined processes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use connector_contract::ask::{PermissionAsk, PermissionReply, QuestionAsk, QuestionReply, RejectAsks};
use connector_contract::{
    ActionResult, AskRelay, Checkpoint, CheckpointError, CheckpointLog, Connector, ConnectorError, Context,
    Grant, OutboundHttp, Progress, ProgressStream, Provenance, Reach, progress_channel,
};
use connector_opencode::Timing;
use serde_json::{Value, json};
use testkit::fake::{Fake, Faults, Fixture, Generation};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Waits short enough for tests against the fake.
pub(crate) fn impatient() -> Timing {
    let ms = Duration::from_millis;
    Timing {
        request: ms(20_000),
        stream_open: ms(300),
        stream_silence: ms(5000),
        reconnect_min: ms(1),
        reconnect_max: ms(20),
        poll_calm: ms(100),
        poll_min: ms(3),
        poll_max: ms(25),
        reason: ms(2000),
        give_up: ms(400),
        stop: ms(1500),
    }
}

/// A connector and everything around it.
pub(crate) struct Bench {
    pub(crate) connector: Box<dyn Connector>,
    pub(crate) http: OutboundHttp,
    pub(crate) relay: Arc<dyn AskRelay>,
    pub(crate) notes: Arc<Notes>,
    pub(crate) cancel: CancellationToken,
    pub(crate) resume: Option<Checkpoint>,
    pub(crate) provenance: Provenance,
    pub(crate) deadline: Duration,
}

impl Bench {
    pub(crate) async fn new(base_url: &str, config: Value) -> Self {
        Self::with_timing(base_url, config, impatient()).await
    }

    pub(crate) async fn with_timing(base_url: &str, mut config: Value, timing: Timing) -> Self {
        config["base_url"] = json!(base_url);
        let connector = crate::place::connector(config, timing).await;
        let grant = Grant::new(base_url.parse().unwrap(), Reach::Loopback).unwrap();
        Self {
            connector,
            http: OutboundHttp::new([grant]).unwrap(),
            relay: Arc::new(RejectAsks),
            notes: Arc::default(),
            cancel: CancellationToken::new(),
            resume: None,
            provenance: Provenance::Local,
            deadline: Duration::from_mins(1),
        }
    }

    /// A bench at a fake, with the password that its generation wants.
    pub(crate) async fn at(fake: &Fake, config: Value) -> Self {
        Self::at_with_timing(fake, config, impatient()).await
    }

    pub(crate) async fn at_with_timing(fake: &Fake, mut config: Value, timing: Timing) -> Self {
        if let (None, Some(password)) = (config.get("password"), fake.generation().password()) {
            config["password"] = json!(password);
        }
        if fake.generation() == Generation::V2 && config.get("directory").is_none() {
            config["directory"] = json!("/code/app");
        }
        Self::with_timing(&fake.base_url(), config, timing).await
    }

    pub(crate) fn context(&self) -> (Context, ProgressStream) {
        let (progress, stream) = progress_channel(1024);
        let ctx = Context {
            http: self.http.clone(),
            deadline: Instant::now() + self.deadline,
            cancel: self.cancel.clone(),
            progress,
            asks: Arc::clone(&self.relay),
            checkpoints: Arc::clone(&self.notes) as Arc<dyn CheckpointLog>,
            resume: self.resume.clone(),
            provenance: self.provenance.clone(),
            approved: None,
        };
        (ctx, stream)
    }

    pub(crate) async fn execute(&self, action: &str, input: Value) -> Result<ActionResult, ConnectorError> {
        let (ctx, _stream) = self.context();
        self.connector.execute(action, input, &ctx).await
    }

    pub(crate) async fn run(&self, prompt: &str) -> Result<ActionResult, ConnectorError> {
        self.execute("run_task", json!({ "prompt": prompt })).await
    }

    /// Runs a task and returns all its progress too.
    pub(crate) async fn watch(&self, prompt: &str) -> (Result<ActionResult, ConnectorError>, Vec<Progress>) {
        let (ctx, mut stream) = self.context();
        let result = self.connector.execute("run_task", json!({ "prompt": prompt }), &ctx).await;
        drop(ctx);
        let mut seen = Vec::new();
        while let Some(progress) = stream.next().await {
            seen.push(progress);
        }
        (result, seen)
    }
}

/// A fake and a bench at it that knows its generation's password.
pub(crate) async fn fake(fixture: Fixture, faults: Faults, config: Value) -> (Fake, Bench) {
    let fake = Fake::start(fixture, faults).await.unwrap();
    let bench = Bench::at(&fake, config).await;
    (fake, bench)
}

/// The prompts that a fake was sent, whatever it made of them.
pub(crate) fn prompts(fake: &Fake) -> Vec<Value> {
    fake.bodies(fake.generation().prompt())
}

/// The id that a prompt is sent under.
pub(crate) fn id_of(prompt: &Value) -> &str {
    prompt["messageID"].as_str().or(prompt["id"].as_str()).unwrap()
}

/// The text of a prompt; nothing else may be said in the user's name.
pub(crate) fn text_of(prompt: &Value) -> &str {
    match prompt["parts"].as_array() {
        Some(parts) => {
            assert_eq!((parts.len(), &parts[0]["type"]), (1, &json!("text")), "{prompt}");
            parts[0]["text"].as_str().unwrap()
        }
        None => prompt["text"].as_str().unwrap(),
    }
}

/// What is said beside the prompts, one for each.
pub(crate) fn notes(fake: &Fake) -> Vec<Value> {
    match fake.generation() {
        Generation::V1 => {
            prompts(fake).iter().map(|it| it.get("system").cloned().unwrap_or_default()).collect()
        }
        Generation::V2 => fake
            .bodies("PUT /api/experimental/session/*/instructions/entries/")
            .iter()
            .map(|it| it["value"].clone())
            .collect(),
    }
}

/// Keeps checkpoints.
#[derive(Default)]
pub(crate) struct Notes(pub(crate) Mutex<Vec<Checkpoint>>);

impl Notes {
    pub(crate) fn last(&self) -> Option<Checkpoint> {
        self.0.lock().unwrap().last().cloned()
    }
}

#[async_trait]
impl CheckpointLog for Notes {
    async fn record(&self, checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        self.0.lock().unwrap().push(checkpoint);
        Ok(())
    }
}

/// A person with prepared answers; waits for ever when there are none left.
#[derive(Default)]
pub(crate) struct Person {
    pub(crate) permissions: Mutex<VecDeque<PermissionReply>>,
    pub(crate) questions: Mutex<VecDeque<QuestionReply>>,
    pub(crate) asked: Mutex<Vec<Value>>,
}

impl Person {
    pub(crate) fn who_says(replies: impl IntoIterator<Item = PermissionReply>) -> Arc<Self> {
        let person = Self::default();
        person.permissions.lock().unwrap().extend(replies);
        Arc::new(person)
    }

    pub(crate) fn who_answers(replies: impl IntoIterator<Item = QuestionReply>) -> Arc<Self> {
        let person = Self::default();
        person.questions.lock().unwrap().extend(replies);
        Arc::new(person)
    }

    pub(crate) fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl AskRelay for Person {
    async fn permission(&self, ask: PermissionAsk) -> PermissionReply {
        self.asked.lock().unwrap().push(serde_json::to_value(ask).unwrap());
        let reply = self.permissions.lock().unwrap().pop_front();
        match reply {
            Some(reply) => reply,
            None => std::future::pending().await,
        }
    }

    async fn question(&self, ask: QuestionAsk) -> QuestionReply {
        self.asked.lock().unwrap().push(serde_json::to_value(ask).unwrap());
        let reply = self.questions.lock().unwrap().pop_front();
        match reply {
            Some(reply) => reply,
            None => std::future::pending().await,
        }
    }
}

/// Waits until `condition` holds, and says what was waited for when it does not.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(Instant::now() < limit, "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
