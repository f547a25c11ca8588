//! What the ledger costs: a durable decision beside a bare insert, and a start on a long history.
//!
//! `cargo bench -p connector-host --bench ledger`; the figures are in `docs/gate.md`.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a measurement fails by panicking")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use connector_contract::Target;
use connector_gate::clock::Clock;
use connector_gate::decision::{Decision, Tap, Tapped};
use connector_gate::ids::{RunId, StepId};
use connector_gate::policy::{Actor, GateConfig, Terms};
use connector_host::assemble::{self, Parts};
use connector_ledger::events::{self, NewEvent};
use connector_ledger::steps::decide::decide;
use connector_ledger::steps::enter::enter;
use connector_ledger::steps::{self, NewStep};
use connector_ledger::{Ledger, LedgerError, Tx, runs};
use connector_rules::{RuleSet, SourceFile};
use connector_surface::log::LogSurface;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rusqlite::Connection;
use serde_json::json;

const RULE: &str = r#"
[rule]
name = "fix"
[trigger]
type = "ConnectorEvent"
connector = "chat"
event = "message_received"
[[conditions]]
type = "FieldContains"
field = "trigger.text"
value = "/fix"
[[actions]]
type = "RunConnector"
connector = "oc"
action = "run_task"
[actions.params]
prompt = "${trigger.text}"
"#;

const FINISHED: u32 = 100_000;
const WAITING: u32 = 10_000;

fn rules() -> RuleSet {
    RuleSet::parse([SourceFile::new("fix.toml", RULE)]).unwrap()
}

fn gate() -> GateConfig {
    GateConfig {
        approvers: vec![Actor::from_text("cli:anna")],
        max_waiting: u32::MAX,
        max_waiting_per_chat: u32::MAX,
        ..GateConfig::default()
    }
}

fn event(number: u64, text: &str) -> NewEvent {
    NewEvent {
        surface: "cli".into(),
        platform_id: format!("bench-{number}"),
        connector: "chat".into(),
        event: "message_received".into(),
        chat: "main".into(),
        requester: Actor::from_text("cli:ben"),
        payload: json!({ "text": text }),
        reply: None,
    }
}

/// One more card that waits.
fn card(tx: &Tx<'_>, number: u64) -> Result<(StepId, String), LedgerError> {
    let rules = rules();
    let rule = &rules.rules()[0];
    let id = events::store(tx, &event(number, "/fix it"))?.expect("a new event");
    let event = events::get(tx, id)?.expect("the event");
    let run = runs::create(
        tx,
        &event,
        runs::By { rule: rule.name(), version: rule.version().as_str(), definition: RULE },
        &[],
    )?
    .expect("a new run");
    events::handled(tx, id)?;
    let run = runs::get(tx, run)?.expect("the run");
    let new = NewStep {
        id: StepId { run: run.id, index: 1 },
        name: Some("step1".into()),
        connector: "oc".into(),
        action: "run_task".into(),
        read_only: false,
        input: json!({ "prompt": format!("/fix the test that fails, number {number}") }),
        target: Target { origin: Some("http://127.0.0.1:4096".into()), settings: [].into() },
        rule_now: Some(rule.version().as_str().to_owned()),
        terms: Terms::of(rule, &gate()),
        expiry_ms: 900_000,
        allowance_ms: 0,
        token: format!("token-{number}"),
    };
    enter(tx, &run, &new, &gate())?;
    let digest = new.digest(&run)?.as_str().to_owned();
    Ok((new.id, digest))
}

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("durable");
    group.sample_size(10).measurement_time(Duration::from_secs(5)).throughput(Throughput::Elements(1));

    let directory = tempfile::tempdir().unwrap();
    let bare = Connection::open(directory.path().join("bare.sqlite")).unwrap();
    bare.pragma_update(None, "journal_mode", "wal").unwrap();
    bare.pragma_update(None, "synchronous", "full").unwrap();
    bare.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT").unwrap();
    let text = "x".repeat(400);
    group.bench_function("bare insert", |bencher| {
        bencher.iter(|| {
            bare.prepare_cached("INSERT INTO t (text) VALUES (?1)").unwrap().execute([&text]).unwrap()
        });
    });

    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(directory.path(), Clock::System).unwrap();
    let mut number = 0;
    group.bench_function("decision", |bencher| {
        bencher.iter_custom(|times| {
            let cards: Vec<(StepId, String)> = ledger
                .write_now(|tx| {
                    (0..times)
                        .map(|_| {
                            number += 1;
                            card(tx, number)
                        })
                        .collect()
                })
                .unwrap();
            let began = Instant::now();
            for card in cards {
                let tap = tap(card);
                assert_eq!(ledger.write_now(|tx| decide(tx, &tap)).unwrap(), Tapped::Approved);
            }
            began.elapsed()
        });
    });
    group.finish();
}

/// How a decision is written.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// In a transaction of its own, one after another.
    Alone,
    /// In one with whatever else is to be written.
    Together,
}

async fn decided(ledger: Ledger, tap: Tap, way: Way) {
    let tapped = match way {
        Way::Together => ledger.write(move |tx| decide(tx, &tap)).await,
        Way::Alone => {
            let alone = move || ledger.write_now(|tx| decide(tx, &tap));
            tokio::task::spawn_blocking(alone).await.unwrap()
        }
    };
    assert_eq!(tapped.unwrap(), Tapped::Approved);
}

/// One and 64 people who decide at once.
fn decisions_at_once(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut group = criterion.benchmark_group("decisions at once");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    let mut number = 0;
    for (writers, way) in [(1, Way::Alone), (1, Way::Together), (64, Way::Alone), (64, Way::Together)] {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(directory.path(), Clock::System).unwrap();
        group.throughput(Throughput::Elements(writers));
        group.bench_function(format!("{writers}, {way:?}"), |bencher| {
            bencher.iter_custom(|times| {
                let mut took = Duration::ZERO;
                for _ in 0..times {
                    let cards = |tx: &Tx<'_>| {
                        let cards = (0..writers).map(|_| {
                            number += 1;
                            card(tx, number)
                        });
                        cards.collect::<Result<Vec<_>, _>>()
                    };
                    let taps: Vec<Tap> = ledger.write_now(cards).unwrap().into_iter().map(tap).collect();
                    let began = Instant::now();
                    runtime.block_on(async {
                        let all = taps.into_iter().map(|tap| tokio::spawn(decided(ledger.clone(), tap, way)));
                        for one in all.collect::<Vec<_>>() {
                            one.await.unwrap();
                        }
                    });
                    took += began.elapsed();
                }
                took
            });
        });
    }
    group.finish();
}

fn tap((step, digest): (StepId, String)) -> Tap {
    let approver = Actor::from_text("cli:anna");
    Tap { step, digest, approver, chat: None, decision: Decision::Approve }
}

/// A ledger with a long history and many waiting cards.
fn history(directory: &Path) {
    let ledger = Ledger::open(directory, Clock::System).unwrap();
    let rules = rules();
    let version = rules.rules()[0].version().as_str().to_owned();
    let now = ledger.read_now(|tx| Ok(tx.now)).unwrap();
    let mut file = Connection::open(ledger.path()).unwrap();
    let tx = file.transaction().unwrap();
    tx.execute("INSERT INTO rule_versions VALUES (?1, 'fix', ?2)", [&version, RULE]).unwrap();
    for (from, to, state, ended) in
        [(1, FINISHED, "succeeded", true), (FINISHED + 1, FINISHED + WAITING, "waiting", false)]
    {
        let numbers =
            format!("WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {to})");
        let (run_state, due) = if ended { ("succeeded", "1") } else { ("active", "NULL") };
        let far = now + 86_400_000;
        tx.execute_batch(&format!(
                    "{numbers} INSERT INTO events SELECT i, 'cli', 'old-' || i, 'chat', 'message_received', 'chat-' || (i % 500),
                       'cli:ben', '{{\"text\":\"/fix it\"}}', NULL, i, i FROM n;
                     {numbers} INSERT INTO runs SELECT i, i, 'fix', '{version}', 'cli', 'chat-' || (i % 500), 'cli:ben', '{run_state}', 0,
                       NULL, NULL, i, {due} FROM n;
                     {numbers} INSERT INTO steps (run_id, idx, name, surface, chat, connector, action, read_only, input, target, lane,
                       asked, rule_now, digest, state, approvals_needed, approvers, other_approver, token, expiry_ms, allowance_ms,
                       created_at, expires_at, ended_at, session_id)
                       SELECT i, 1, 'step1', 'cli', 'chat-' || (i % 500), 'oc', 'run_task', 0, '{{\"prompt\":\"fix the flaky login test\"}}',
                       '{{\"settings\":{{}}}}', 'oc ', 1, '{version}', hex(randomblob(32)), '{state}', 1, '[\"cli:anna\"]', 0,
                       'token-' || i, 900000, 0, i, {far}, {due}, 'ses_' || i FROM n;
                     {numbers} INSERT INTO outbox (surface, chat, kind, run_id, idx, created_at, since, delivered_at)
                       SELECT 'cli', 'chat-' || (i % 500), 'card', i, 1, i, i, i FROM n;
                     {numbers} INSERT INTO audit SELECT i, i, 'approved', i, 1, 'cli:anna', hex(randomblob(32)), '{{}}', hex(randomblob(32)) FROM n;"
                )).unwrap();
    }
    tx.commit().unwrap();
    file.execute_batch("ANALYZE").unwrap();
}

async fn until_ready(state: &Path, number: u64) -> Duration {
    let began = Instant::now();
    let parts = Parts {
        rules: rules(),
        instances: Vec::new(),
        surfaces: vec![Arc::new(LogSurface)],
        gate: gate(),
        deadline: Duration::from_secs(1),
        max_running: 4,
        ..Parts::default()
    };
    let engine = assemble::engine(state, Clock::System, parts).unwrap();
    let running = tokio::spawn({
        let engine = engine.clone();
        async move { engine.run().await }
    });
    // Ready is when a message is taken in.
    let id = engine.submit(event(number, "hello")).await.unwrap().unwrap();
    loop {
        if engine.ledger().read(move |tx| events::is_handled(tx, id)).await.unwrap() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = began.elapsed();
    engine.stop(Duration::from_secs(1)).await;
    running.await.unwrap().unwrap();
    took
}

fn long_history(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    history(directory.path());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut group = criterion.benchmark_group("100,000 finished runs and 10,000 waiting cards");
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    let mut number = 1_000_000_000;
    group.bench_function("start until a message is taken in", |bencher| {
        bencher.iter_custom(|times| {
            let once = |number| runtime.block_on(until_ready(directory.path(), number));
            (0..times)
                .map(|_| {
                    number += 1;
                    once(number)
                })
                .sum()
        });
    });
    group.bench_function("runs list, ledger opened each time", |bencher| {
        bencher.iter(|| {
            let ledger = Ledger::open_existing(directory.path(), Clock::System).unwrap();
            black_box(ledger.read_now(|tx| runs::latest(tx, 20)).unwrap())
        });
    });
    let ledger = Ledger::open_existing(directory.path(), Clock::System).unwrap();
    group.bench_function("runs show", |bencher| {
        bencher.iter(|| black_box(ledger.read_now(|tx| steps::of_run(tx, RunId(77_777))).unwrap()));
    });
    group.bench_function("an idle pass's look", |bencher| {
        bencher.iter(|| {
            ledger
                .read_now(|tx| {
                    black_box(steps::to_cancel(tx)?);
                    black_box(steps::next_expiry(tx)?);
                    black_box(events::any_unhandled(tx)?);
                    black_box(runs::idle(tx, 64)?);
                    black_box(steps::next_in_lanes(tx, 64)?);
                    black_box(steps::queued(tx, 64)?);
                    black_box(connector_ledger::outbox::due(tx, 64)?);
                    black_box(connector_ledger::outbox::next_retry(tx)?);
                    Ok(())
                })
                .unwrap();
        });
    });
    group.finish();
}

criterion_group!(benches, decisions, decisions_at_once, long_history);
criterion_main!(benches);
