//! Every recording, cut everywhere: the result is the same, or a correct error.
//!
//! For each recorded turn and each of its events, the stream, the prompt's
//! request, or both break right there; or the daemon restarts. A fault may delay
//! and may fail. It never makes a success of a failure, never changes a result,
//! and never lasts longer than the deadline.

use std::time::Duration;

use connector_contract::ask::{PermissionReply, QuestionReply};
use connector_contract::{ActionResult, ConnectorError, StopCause};
use serde_json::{Value, json};
use testkit::fake::{Faults, Fixture, Generation, PromptFault};
use tokio::time::Instant;

use crate::support::{Bench, Person, fake};
use crate::wires::on_wires;

on_wires! {
    threaded { a_cut_anywhere_never_changes_what_a_turn_came_to }
}

/// What a turn came to, without what differs from run to run.
#[derive(Debug, Clone, PartialEq)]
enum Outcome {
    Done { success: bool, reply: String, tokens: Value },
    Failed(String),
    Stopped(StopCause),
    Other(String),
}

fn outcome(result: Result<ActionResult, ConnectorError>) -> Outcome {
    match result {
        Ok(result) => Outcome::Done {
            success: result.success,
            reply: result.output["reply"].as_str().unwrap().to_owned(),
            tokens: result.output["tokens"].clone(),
        },
        Err(ConnectorError::Failed { reason, .. }) => Outcome::Failed(reason),
        Err(ConnectorError::Stopped { cause, .. }) => Outcome::Stopped(cause),
        Err(other) => Outcome::Other(other.to_string()),
    }
}

async fn play(fixture: &Fixture, faults: Faults) -> Outcome {
    let aborted = matches!(fixture.name(), "abort" | "provider-500-retry");
    let (fake, mut bench) = fake(fixture.clone(), faults, json!({})).await;
    let person = Person::default();
    person.permissions.lock().unwrap().push_back(PermissionReply::Once);
    person.questions.lock().unwrap().push_back(QuestionReply::Answers { answers: vec![vec!["A".into()]] });
    bench.relay = std::sync::Arc::new(person);
    let began = Instant::now();
    let result = if aborted { with_abort(&bench, &fake).await } else { bench.run("go").await };
    assert!(began.elapsed() < Duration::from_mins(1), "{} took {:?}", fixture.name(), began.elapsed());
    assert!(fake.tasks() <= 1, "{} ran {} times", fixture.name(), fake.tasks());
    outcome(result)
}

/// Somebody aborts the turn at the daemon once it waits for that.
async fn with_abort(bench: &Bench, fake: &testkit::fake::Fake) -> Result<ActionResult, ConnectorError> {
    let mut running = std::pin::pin!(bench.run("go"));
    loop {
        tokio::select! {
            result = &mut running => return result,
            () = tokio::time::sleep(Duration::from_millis(10)) => {
                // On 2.x a prompt that is interrupted before it begins stays where it is.
                if fake.generation() == Generation::V1 || fake.waits_for_abort() {
                    fake.abort_elsewhere();
                }
            }
        }
    }
}

/// One fault at one place.
fn variants(at: usize) -> Vec<(&'static str, Faults)> {
    let cut = Faults { stream_cut_at: Some(at), ..Faults::default() };
    vec![
        ("stream cut", cut.clone()),
        ("stream cut, slow turn", Faults { pace: Duration::from_millis(1), ..cut.clone() }),
        ("prompt cut", Faults { prompt: PromptFault::CutAt(at), ..Faults::default() }),
        ("both cut", Faults { prompt: PromptFault::CutAt(at), ..cut }),
        (
            "prompt cut, no stream",
            Faults { prompt: PromptFault::CutAt(at), no_stream: true, ..Faults::default() },
        ),
        ("restart", Faults { restart_at: Some(at), ..Faults::default() }),
    ]
}

async fn a_cut_anywhere_never_changes_what_a_turn_came_to(generation: Generation) {
    let mut cases: Vec<(Fixture, usize, &'static str, Faults)> = Vec::new();
    for name in Fixture::names_of(generation) {
        let fixture = Fixture::of(generation, name);
        for at in 0..fixture.len() {
            cases.extend(variants(at).into_iter().map(|(kind, faults)| (fixture.clone(), at, kind, faults)));
        }
    }
    let count = cases.len();
    let mut baselines = std::collections::HashMap::new();
    for name in Fixture::names_of(generation) {
        baselines.insert(name.to_owned(), play(&Fixture::of(generation, name), Faults::default()).await);
    }
    let baselines = std::sync::Arc::new(baselines);
    let slots = std::sync::Arc::new(tokio::sync::Semaphore::new(32));
    let mut running = tokio::task::JoinSet::new();
    for (fixture, at, kind, faults) in cases {
        let (baselines, slots) = (baselines.clone(), slots.clone());
        running.spawn(async move {
            let _slot = slots.acquire_owned().await.unwrap();
            let expected = &baselines[fixture.name()];
            let place = format!("{} {kind} at {at} of {}", fixture.name(), fixture.len());
            let outcome = play(&fixture, faults).await;
            match &outcome {
                same if same == expected => {}
                // The daemon lost the turn, and says so by what it recorded.
                Outcome::Failed(reason) if kind == "restart" && reason.contains("restarted") => {}
                // A rejection that ends a turn of 2.x leaves the same record.
                Outcome::Done { success: false, .. }
                    if kind == "restart" && fixture.name().starts_with("permission-reject") => {}
                other => panic!("{place}: {other:?}, not {expected:?}"),
            }
        });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
    assert!(count > 1100, "only {count} cases; without a fault: {baselines:#?}");
    let success = |name: &str| matches!(&baselines[name], Outcome::Done { success: true, reply, .. } if reply == &Fixture::of(generation, name).reply());
    for name in ["text", "write", "bash", "permission-once", "question"] {
        assert!(success(name), "{name}: {:?}", baselines[name]);
    }
    // 1.x ends the turn at a rejection; 2.x only at one without a word.
    let ended = match generation {
        Generation::V1 => "permission-reject",
        Generation::V2 => "permission-reject-silent",
    };
    assert!(matches!(&baselines[ended], Outcome::Done { success: false, .. }), "{:?}", baselines[ended]);
    assert!(
        matches!(&baselines["provider-400"], Outcome::Failed(why) if why.contains("does not take the request"))
    );
    assert_eq!(baselines["abort"], Outcome::Stopped(StopCause::AbortedElsewhere));
    assert_eq!(baselines["provider-500-retry"], Outcome::Stopped(StopCause::AbortedElsewhere));
}
