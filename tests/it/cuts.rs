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
use testkit::fake::{Faults, Fixture, PromptFault};
use tokio::time::Instant;

use crate::support::{Bench, Person, fake};

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
    assert!(began.elapsed() < Duration::from_secs(20), "{} took {:?}", fixture.name(), began.elapsed());
    assert!(fake.tasks() <= 1, "{} ran {} times", fixture.name(), fake.tasks());
    outcome(result)
}

/// Somebody aborts the turn at the daemon once it waits for that.
async fn with_abort(bench: &Bench, fake: &testkit::fake::Fake) -> Result<ActionResult, ConnectorError> {
    let mut running = std::pin::pin!(bench.run("go"));
    loop {
        tokio::select! {
            result = &mut running => return result,
            () = tokio::time::sleep(Duration::from_millis(10)) => fake.abort_elsewhere(),
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_anywhere_never_changes_what_a_turn_came_to() {
    let mut cases: Vec<(Fixture, usize, &'static str, Faults)> = Vec::new();
    for name in Fixture::names() {
        let fixture = Fixture::recorded(name);
        for at in 0..fixture.len() {
            cases.extend(variants(at).into_iter().map(|(kind, faults)| (fixture.clone(), at, kind, faults)));
        }
    }
    let count = cases.len();
    let began = Instant::now();
    let mut baselines = std::collections::HashMap::new();
    for name in Fixture::names() {
        baselines.insert(name.to_owned(), play(&Fixture::recorded(name), Faults::default()).await);
    }
    let baselines = std::sync::Arc::new(baselines);
    let slots = std::sync::Arc::new(tokio::sync::Semaphore::new(64));
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
                other => panic!("{place}: {other:?}, not {expected:?}"),
            }
        });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
    println!("{count} cases in {:?}; without a fault: {baselines:#?}", began.elapsed());
    assert!(count > 1500, "{count}");
    let success = |name: &str| matches!(&baselines[name], Outcome::Done { success: true, reply, .. } if reply == &Fixture::recorded(name).reply());
    for name in ["text", "write", "bash", "permission-once", "question"] {
        assert!(success(name), "{name}: {:?}", baselines[name]);
    }
    assert!(matches!(&baselines["permission-reject"], Outcome::Done { success: false, .. }));
    assert!(
        matches!(&baselines["provider-400"], Outcome::Failed(why) if why.contains("bad request from provider"))
    );
    assert_eq!(baselines["abort"], Outcome::Stopped(StopCause::AbortedElsewhere));
    assert_eq!(baselines["provider-500-retry"], Outcome::Stopped(StopCause::AbortedElsewhere));
}
