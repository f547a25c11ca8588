//! What a daemon says itself of the terms of a task, for whoever decides about it.
//!
//! It is shown on the card and is no part of what is approved: it is the daemon's word at that time,
//! and nothing that the host decides.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use connector_contract::ask::RejectAsks;
use connector_contract::{Context, NoCheckpoints, Provenance, Target, chain, progress_channel};
use connector_engine::instance::{Provider, Ready};
use connector_gate::digest::TOLD;
use connector_opencode::Description;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::own_model::{self, By, Named};

/// The action that is asked; it changes nothing.
const DESCRIBE: &str = "describe_daemon";

/// How long a daemon may take to say something of itself: a card waits for it.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long one that said nothing is left alone.
const SILENCE: Duration = Duration::from_secs(30);

/// What sessions of others may do at a daemon without the denial that a managed one has.
pub const RUNS_CODE: &str = "sessions of its other clients may run code in the server itself, which goes around every \
    permission rule and has its password within reach; deny `execute` in its configuration";

/// A daemon that somebody else runs.
pub struct Attached {
    ready: Ready,
    silent: Mutex<Option<Instant>>,
}

impl Attached {
    /// The connector to it.
    pub fn new(ready: Ready) -> Self {
        Self { ready, silent: Mutex::default() }
    }

    fn silent(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Provider for Attached {
    async fn ready(&self) -> Result<Ready, String> {
        Ok(self.ready.clone())
    }

    async fn told(&self, target: &Target, input: &Value, provenance: &Provenance) -> Map<String, Value> {
        let silent = self.silent().is_some_and(|since| since.elapsed() < SILENCE);
        let agent = target.settings.get("agent").and_then(Value::as_str);
        let description = if silent {
            Err("it does not answer".to_owned())
        } else {
            describe(&self.ready, agent, provenance, PATIENCE).await
        };
        if description.is_ok() {
            *self.silent() = None;
        } else if !silent {
            *self.silent() = Some(Instant::now());
        }
        of(description.ok().as_ref(), target, input)
    }
}

/// Asks the daemon on what terms a task for `agent` would run now; words for people where it does not say.
pub async fn describe(
    ready: &Ready,
    agent: Option<&str>,
    provenance: &Provenance,
    patience: Duration,
) -> Result<Description, String> {
    let (progress, _updates) = progress_channel(1);
    let context = Context {
        http: ready.http.clone(),
        deadline: Instant::now() + patience,
        cancel: CancellationToken::new(),
        progress,
        asks: Arc::new(RejectAsks),
        checkpoints: Arc::new(NoCheckpoints),
        resume: None,
        provenance: provenance.clone(),
        approved: None,
    };
    let input = agent.map_or_else(|| json!({}), |agent| json!({ "agent": agent }));
    let asked = ready.connector.execute(DESCRIBE, input, &context);
    match tokio::time::timeout(patience, asked).await {
        Ok(Ok(result)) => serde_json::from_value(result.output)
            .map_err(|_| "it describes itself in another shape".to_owned()),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err("it does not answer".to_owned()),
    }
}

/// What a card says of a daemon that described itself so, or did not.
fn of(description: Option<&Description>, target: &Target, input: &Value) -> Map<String, Value> {
    let mut told = Map::new();
    if !target.settings.contains_key(own_model::MODEL) {
        let told_model = match description {
            Some(description) => named(description).told(own_model::goes_on(input)),
            None => {
                (None, Some("not known, since its daemon does not say; it may be one in a cloud".to_owned()))
            }
        };
        told.extend(told_model.0.map(|model| (own_model::MODEL.to_owned(), json!(model))));
        told.extend(told_model.1.map(|from| (own_model::FROM.to_owned(), json!(from))));
    }
    let Some(description) = description else { return told };
    if description.runs_code {
        told.insert("beware".to_owned(), json!(RUNS_CODE));
    }
    told.extend(saved(description).map(|saved| ("saved".to_owned(), json!(saved))));
    told
}

/// The model that a daemon says its configuration names.
pub fn named(description: &Description) -> Named {
    match &description.model {
        Some(model) if description.model_of_agent => {
            Named::Model { model: model.clone(), by: By::Agent(String::new()) }
        }
        Some(model) => Named::Model { model: model.clone(), by: By::Daemon },
        None => Named::None,
    }
}

/// What was granted for good and would pass without an ask, in words; nothing if there is nothing.
pub fn saved(description: &Description) -> Option<String> {
    let saved = description.saved.as_ref().filter(|saved| !saved.is_empty())?.join(", ");
    Some(if description.refused {
        format!("granted for good in the project, so that the task is refused: {saved}")
    } else {
        format!("granted for good in the project, and not asked about: {saved}")
    })
}

/// What is told of a target besides its model, as the fields of a card.
pub fn fields(settings: &BTreeMap<String, Value>) -> Vec<(String, String)> {
    let told = settings.get(TOLD).and_then(Value::as_object);
    let shown = told.into_iter().flatten().filter(|(key, _)| !own_model::tells(key));
    shown.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> Description {
        Description {
            generation: "2.x".into(),
            model: Some("a/b".into()),
            model_of_agent: false,
            runs_code: false,
            saved: None,
            refused: false,
        }
    }

    fn card(description: Option<&Description>, input: &Value) -> (String, Vec<(String, String)>) {
        let told = Value::Object(of(description, &Target::default(), input));
        let settings = [(TOLD.to_owned(), told)].into();
        (own_model::line(&settings), fields(&settings))
    }

    #[test]
    fn a_card_says_what_the_daemon_says_of_itself() {
        let fresh = json!({ "prompt": "x" });
        let (model, rest) = card(Some(&description()), &fresh);
        assert_eq!((model.as_str(), rest.len()), ("a/b (opencode's configuration)", 0));
        let own = Description { model_of_agent: true, ..description() };
        assert_eq!(card(Some(&own), &fresh).0, "a/b (the agent's own)");
        let (model, _) = card(Some(&description()), &json!({ "session_id": "ses_1" }));
        assert_eq!(model, "its session's, or else a/b (opencode's configuration)");
        let (model, _) = card(Some(&Description { model: None, ..description() }), &fresh);
        assert!(model.starts_with("none configured: ") && model.contains("in a cloud"), "{model}");
        let (model, _) = card(None, &fresh);
        assert!(model.contains("its daemon does not say"), "{model}");
    }

    #[test]
    fn a_card_warns_of_what_goes_around_its_rules() {
        let wild = Description {
            runs_code: true,
            saved: Some(vec!["shell `git *`".into(), "edit `*`".into()]),
            ..description()
        };
        let (_, fields) = card(Some(&wild), &json!({}));
        assert!(fields.contains(&("beware".to_owned(), RUNS_CODE.to_owned())), "{fields:?}");
        assert!(
            fields.iter().any(|(_, it)| it.ends_with("and not asked about: shell `git *`, edit `*`")),
            "{fields:?}"
        );
        let (_, fields) = card(Some(&Description { refused: true, ..wild }), &json!({}));
        assert!(fields.iter().any(|(_, it)| it.contains("so that the task is refused: shell")), "{fields:?}");
    }
}
