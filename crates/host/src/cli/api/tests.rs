use std::sync::Arc;

use axum::extract::{Path, Query, State};
use connector_gate::clock::Clock;
use connector_gate::ids::RunId;
use connector_gate::policy::GateConfig;
use connector_ledger::{events, runs};
use connector_rules::RuleSet;

use super::*;
use crate::assemble::{self, Parts};
use crate::console;

/// The API of a host whose engine makes no pass, as the user has it.
pub(super) fn api(state: &std::path::Path) -> Api {
    let parts = Parts {
        rules: RuleSet::parse(std::iter::empty::<connector_rules::SourceFile>()).unwrap(),
        instances: Vec::new(),
        surfaces: Vec::new(),
        gate: GateConfig::default(),
        deadline: Duration::from_mins(1),
        max_running: 1,
        ..Parts::default()
    };
    let engine = assemble::engine(state, Clock::System, parts).unwrap();
    let shared = Shared {
        ledger: Ledger::open_existing(state, Clock::System).unwrap(),
        engine,
        connector: "connector-console".to_owned(),
        address: None,
        stop: CancellationToken::new(),
    };
    Api { shared: Arc::new(shared), client: Client::User(Actor::from_text("cli:anna")) }
}

/// A run of a message with this id.
pub(super) fn run(api: &Api, id: &str) -> RunId {
    let written = api.written().write_now(|tx| {
        let event = events::store(tx, &console::message("c", id.to_owned(), "hi", None))?.unwrap();
        let event = events::get(tx, event)?.unwrap();
        runs::create(tx, &event, runs::By { rule: "rule", version: "v", definition: "" }, &[])
    });
    written.unwrap().unwrap()
}

#[tokio::test]
async fn one_who_waits_sees_what_another_client_of_the_api_writes() {
    let state = tempfile::tempdir().unwrap();
    let api = api(state.path());
    let version = api.ledger().data_version().await.unwrap();
    let message = serde_json::from_value(serde_json::json!({ "text": "hi" })).unwrap();
    write::submit(State(api.clone()), Ok(axum::Json(message))).await.unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    assert!(api.changes(version, Some(until)).await.unwrap(), "its message is a change");
}

#[tokio::test]
async fn of_a_run_that_goes_on_when_the_host_stops_what_is_followed_breaks_off_and_has_no_end() {
    let state = tempfile::tempdir().unwrap();
    let api = api(state.path());
    let run = run(&api, "1");
    let followed = async |follow: bool| {
        let query = serde_json::from_value(serde_json::json!({ "follow": follow })).unwrap();
        let path = Ok(Path(run.to_string()));
        let response = follow::events(State(api.clone()), path, Ok(Query(query))).await.unwrap();
        axum::body::to_bytes(response.into_body(), 1 << 20).await
    };
    assert!(followed(false).await.is_ok(), "what is there is all that was asked for");
    api.shared.stop.cancel();
    assert!(followed(true).await.is_err(), "the run has not ended");
}
