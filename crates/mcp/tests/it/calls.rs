//! Calls over a pipe are calls.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use connector_contract::{
    ActionResult, Checkpoint, Connector as _, ConnectorError, Progress, Provenance, SourceNote, StopCause,
};
use serde_json::json;

use crate::probe::{Bench, pair, permission_ask, question_ask, soon};

#[tokio::test]
async fn what_a_call_returns_comes_back_as_it_was() {
    let pair = pair().await;
    let result = Bench::default().call(&pair.connector, "say no").await.unwrap();
    let expected =
        ActionResult { success: false, output: json!({ "did": "no" }), message: "done so".to_owned() };
    assert_eq!(result, expected);
}

#[tokio::test]
async fn progress_arrives_whole_and_in_order_before_the_call_returns() {
    let pair = pair().await;
    let (ctx, mut stream) = Bench::default().context();
    pair.connector.execute("work", json!({ "do": "report" }), &ctx).await.unwrap();
    drop(ctx);
    let mut seen = Vec::new();
    while let Some(update) = stream.next().await {
        seen.push(update);
    }
    assert_eq!(seen, (1..=20).map(|ahead| Progress::Queued { ahead }).collect::<Vec<_>>());
}

#[tokio::test]
async fn asks_reach_the_host_exactly_and_its_answers_the_agent() {
    let (pair, bench) = (pair().await, Bench::default());
    let permitted = bench.call(&pair.connector, "permission").await.unwrap();
    assert_eq!(permitted.output["did"], r#"{"type":"once"}"#);
    let answered = bench.call(&pair.connector, "question").await.unwrap();
    assert_eq!(answered.output["did"], r#"{"type":"answers","answers":[["this"]]}"#);
    assert_eq!(*bench.asks.asked.lock().unwrap(), [json!(permission_ask()), json!(question_ask())]);
}

#[tokio::test]
async fn an_effect_begins_only_once_its_checkpoint_is_durable() {
    let pair = pair().await;
    let bench = Arc::new(Bench::default());
    let hold = bench.log.open.acquire_many(1000).await.unwrap();
    let call = tokio::spawn({
        let (bench, connector) = (Arc::clone(&bench), Arc::clone(&pair.connector));
        async move { bench.call(&connector, "checkpoint").await }
    });
    soon(pair.seen.reached.notified()).await;
    tokio::task::yield_now().await;
    assert!(!pair.seen.began.load(Ordering::SeqCst));
    drop(hold);
    assert_eq!(soon(call).await.unwrap().unwrap().output["did"], "began");
    assert_eq!(*bench.log.kept.lock().unwrap(), [Checkpoint(json!({ "session": "ses_1" }))]);
}

#[tokio::test]
async fn nothing_begins_when_the_checkpoint_cannot_be_kept() {
    let (pair, bench) = (pair().await, Bench::default());
    bench.log.broken.store(true, Ordering::SeqCst);
    let error = bench.call(&pair.connector, "checkpoint").await.unwrap_err();
    assert!(
        matches!(&error, ConnectorError::Unavailable { reason, .. } if reason.contains("the disk is full")),
        "{error:?}"
    );
    assert!(!pair.seen.began.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_cancelled_call_stops_and_its_true_outcome_comes_back() {
    let (pair, bench) = (pair().await, Bench::default());
    let stop = async {
        pair.seen.reached.notified().await;
        bench.cancel.cancel();
    };
    let (result, ()) = soon(async { tokio::join!(bench.call(&pair.connector, "wait"), stop) }).await;
    let error = result.unwrap_err();
    assert!(
        matches!(&error, ConnectorError::Stopped { cause: StopCause::Cancelled, reason, reference }
            if reason == "aborted and confirmed" && reference.session_id.as_deref() == Some("ses_1")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_call_whose_future_is_dropped_is_stopped() {
    let (pair, bench) = (pair().await, Bench::default());
    tokio::select! {
        _ = bench.call(&pair.connector, "wait") => panic!("it waits for ever"),
        () = pair.seen.reached.notified() => {}
    }
    soon(pair.seen.reached.notified()).await;
    assert!(pair.seen.stopped.load(Ordering::SeqCst));
}

#[tokio::test]
async fn an_ask_that_nobody_answers_is_withdrawn_with_its_call() {
    let (pair, bench) = (pair().await, Bench::default());
    bench.asks.silent.store(true, Ordering::SeqCst);
    let stop = async {
        bench.asks.reached.notified().await;
        bench.cancel.cancel();
    };
    let (result, ()) = soon(async { tokio::join!(bench.call(&pair.connector, "ask and wait"), stop) }).await;
    assert_eq!(result.unwrap().output["did"], "withdrew");
}

#[tokio::test]
async fn a_call_knows_its_deadline_its_origin_and_what_it_goes_on_with() {
    let pair = pair().await;
    let bench = Bench {
        deadline: Duration::from_secs(1000),
        resume: Some(Checkpoint(json!({ "session": "ses_7" }))),
        provenance: Provenance::Chat {
            surface: "telegram".to_owned(),
            rule: "fix".to_owned(),
            note: SourceNote::Usual,
        },
        ..Bench::default()
    };
    let told = bench.call(&pair.connector, "tell").await.unwrap().output["did"].as_str().unwrap().to_owned();
    for part in ["telegram", "fix", "ses_7"] {
        assert!(told.contains(part), "{told}");
    }
    let secs: u64 = told.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((900..=1000).contains(&secs), "{told}");
}

#[tokio::test]
async fn an_error_comes_back_by_its_consequence_with_its_reference() {
    let (pair, bench) = (pair().await, Bench::default());
    let failed = bench.call(&pair.connector, "fail").await.unwrap_err();
    assert!(
        matches!(&failed, ConnectorError::Failed { reason, reference }
            if reason == "the model refused" && reference.message_id.as_deref() == Some("msg_1")),
        "{failed:?}"
    );
    let invalid = bench.call(&pair.connector, "dance").await.unwrap_err();
    assert!(
        matches!(&invalid, ConnectorError::InvalidInput { reason } if reason.contains("dance")),
        "{invalid:?}"
    );
}

#[tokio::test]
async fn an_output_that_does_not_fit_its_schema_is_a_failure() {
    let pair = pair().await;
    let error = Bench::default().call(&pair.connector, "not fit").await.unwrap_err();
    assert!(matches!(&error, ConnectorError::Failed { reason, .. } if reason.contains("`did`")), "{error:?}");
}

#[tokio::test]
async fn calls_run_side_by_side_and_each_has_its_own_answer() {
    let pair = pair().await;
    let calls = (0..50).map(|_| {
        let connector = Arc::clone(&pair.connector);
        tokio::spawn(async move { Bench::default().call(&connector, "checkpoint").await })
    });
    for call in calls.collect::<Vec<_>>() {
        assert!(soon(call).await.unwrap().unwrap().success);
    }
}

#[tokio::test]
async fn an_invalid_input_is_refused_before_it_is_sent() {
    let pair = pair().await;
    let (ctx, _stream) = Bench::default().context();
    let error = pair.connector.execute("work", json!({}), &ctx).await.unwrap_err();
    assert!(matches!(error, ConnectorError::InvalidInput { .. }), "{error:?}");
    let error = pair.connector.execute("fly", json!({}), &ctx).await.unwrap_err();
    assert!(matches!(error, ConnectorError::UnknownAction { .. }), "{error:?}");
}

#[tokio::test]
async fn the_target_is_what_the_connector_said_of_itself() {
    let pair = pair().await;
    let chat =
        Provenance::Chat { surface: "console".to_owned(), rule: "fix".to_owned(), note: SourceNote::Usual };
    let target = pair.connector.target("work", &json!({ "do": "wait" }), &chat);
    assert_eq!(target.origin.as_deref(), Some("http://127.0.0.1:4096"));
    assert_eq!(target.settings["action"], "work");
    assert_eq!(target.settings["chat"], true);
    let overridden = pair.connector.target("work", &json!({ "action": "other" }), &Provenance::Local);
    assert_eq!(overridden.settings["action"], "other");
    assert_eq!(overridden.settings["chat"], false);
}
