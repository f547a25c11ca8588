//! The plugin in a process of its own, behind every wall, at a fake daemon.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use connector_contract::ask::RejectAsks;
use connector_contract::{
    ActionResult, Checkpoint, CheckpointError, CheckpointLog, Connector, ConnectorError,
    ConnectorFactory as _, Context, EventHandler, Grant, Manifest, OutboundHttp, Provenance, Reach,
    StopCause, Subscription, progress_channel,
};
use connector_files::Log;
use connector_opencode::OpencodeFactory;
use connector_plugins::{Confined, Patience, Program};
use connector_sandbox::Start;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use testkit::fake::{Fake, Faults, Fixture};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The last checkpoint.
#[derive(Default)]
struct Last(Mutex<Option<Checkpoint>>);

#[async_trait]
impl CheckpointLog for Last {
    async fn record(&self, checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        *self.0.lock().unwrap() = Some(checkpoint);
        Ok(())
    }
}

/// A connector whose manifest is all that is known of it, as a package's.
struct Declared(Manifest);

#[async_trait]
impl Connector for Declared {
    fn manifest(&self) -> &Manifest {
        &self.0
    }

    async fn execute(&self, _: &str, _: Value, _: &Context) -> Result<ActionResult, ConnectorError> {
        panic!("it is performed by its process")
    }

    async fn on_event(&self, _: &str, _: EventHandler) -> Result<Subscription, ConnectorError> {
        panic!("it is declared only")
    }

    async fn remove_event(&self, _: &Subscription) -> Result<(), ConnectorError> {
        Ok(())
    }
}

struct Bench {
    fake: Fake,
    connector: Confined,
    notes: Arc<Last>,
    cancel: CancellationToken,
    said: tempfile::TempDir,
}

impl Bench {
    async fn new(faults: Faults) -> Self {
        Self::of(OpencodeFactory::default().name(), "text", faults).await
    }

    /// At a daemon whose turn ends when it is aborted.
    async fn endless() -> Self {
        Self::of(OpencodeFactory::default().name(), "abort", Faults::default()).await
    }

    /// Its process is asked to be this connector.
    async fn of(name: &str, fixture: &str, faults: Faults) -> Self {
        let fake = Fake::start(Fixture::recorded(fixture), faults).await.unwrap();
        let config = json!({ "base_url": fake.base_url(), "directory": "/code/app" });
        let factory = OpencodeFactory::default();
        let declared = factory.create(config.clone()).await.unwrap();
        let declared = Arc::new(Declared(declared.manifest().clone()));
        let start = Start::BuiltIn { name: name.to_owned() };
        let launcher = env!("CARGO_BIN_EXE_connector-host").into();
        let directory = tempfile::tempdir().unwrap();
        let said = Some(Log::at(directory.path().join("said.log")));
        let program = Program { launcher, start, required: true, said };
        // Long enough for a daemon that answers at once.
        let (start, stop) = (Duration::from_secs(30), Duration::from_secs(4));
        let patience = Patience { start, stop, ..Patience::default() };
        let connector = Confined::new(declared, program, config).with_patience(patience);
        let (notes, cancel) = (Arc::default(), CancellationToken::new());
        Self { fake, connector, notes, cancel, said: directory }
    }

    async fn run(&self) -> Result<ActionResult, ConnectorError> {
        let grant = Grant::new(self.fake.base_url().parse().unwrap(), Reach::Loopback).unwrap();
        let (progress, _stream) = progress_channel(64);
        let ctx = Context {
            http: OutboundHttp::new([grant]).unwrap(),
            deadline: Instant::now() + Duration::from_mins(2),
            cancel: self.cancel.clone(),
            progress,
            asks: Arc::new(RejectAsks),
            checkpoints: Arc::clone(&self.notes) as Arc<dyn CheckpointLog>,
            resume: None,
            provenance: Provenance::Local,
            approved: None,
        };
        self.connector.execute("run_task", json!({ "prompt": "do it" }), &ctx).await
    }

    /// Sends the process a signal once the daemon works.
    async fn signal_at_work(&self, signal: Signal) -> Pid {
        until("a turn is under way", || self.fake.running() > 0).await;
        let process = self.process().await;
        kill_process(process, signal).unwrap();
        process
    }

    async fn process(&self) -> Pid {
        let id = self.connector.process_id().await.unwrap();
        Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
    }

    fn aborts(&self) -> usize {
        self.fake.lines(self.fake.generation().abort()).len()
    }
}

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_mins(1);
    while !is() {
        assert!(Instant::now() < limit, "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn reply(result: &Result<ActionResult, ConnectorError>) -> &Value {
    match result {
        Ok(result) => &result.output["reply"],
        Err(error) => panic!("{}", connector_contract::chain(error)),
    }
}

#[tokio::test]
async fn a_task_runs_behind_every_wall_in_one_process_for_all_calls() {
    let bench = Bench::new(Faults::default()).await;
    assert!(reply(&bench.run().await).is_string());
    let first = bench.connector.process_id().await.unwrap();
    assert!(bench.notes.0.lock().unwrap().is_some(), "the checkpoint crossed the pipe");
    assert!(reply(&bench.run().await).is_string());
    assert_eq!(bench.connector.process_id().await, Some(first));
    assert_eq!(bench.fake.tasks(), 2);
}

#[tokio::test]
async fn a_call_outlives_its_process_and_its_task_runs_once() {
    let bench = Bench::new(Faults { pace: Duration::from_millis(100), ..Faults::default() }).await;
    let (result, _) = tokio::join!(bench.run(), bench.signal_at_work(Signal::KILL));
    assert!(reply(&result).is_string());
    assert_eq!(bench.fake.tasks(), 1);
}

fn assert_stopped(result: &Result<ActionResult, ConnectorError>) {
    assert!(matches!(result, Err(ConnectorError::Stopped { cause: StopCause::Cancelled, .. })), "{result:?}");
}

#[tokio::test]
async fn a_call_that_is_cancelled_while_its_process_is_gone_ends_its_turn() {
    let bench = Bench::endless().await;
    let end = async {
        until("the turn waits for an abort", || bench.fake.waits_for_abort()).await;
        let process = bench.signal_at_work(Signal::KILL).await;
        bench.cancel.cancel();
        process
    };
    let (result, gone) = tokio::join!(bench.run(), end);
    assert_stopped(&result);
    assert_ne!(bench.process().await, gone);
    assert_eq!((bench.fake.tasks(), bench.aborts(), bench.fake.running()), (1, 1, 0));
}

/// The old one does not even leave when it is asked to.
#[tokio::test]
async fn a_process_that_hangs_is_replaced_by_one_that_ends_its_turn_and_is_killed() {
    let bench = Bench::endless().await;
    let end = async {
        until("the turn waits for an abort", || bench.fake.waits_for_abort()).await;
        let process = bench.signal_at_work(Signal::STOP).await;
        bench.cancel.cancel();
        process
    };
    let (result, hung) = tokio::join!(bench.run(), end);
    assert_stopped(&result);
    assert_ne!(bench.process().await, hung);
    assert_eq!((bench.fake.tasks(), bench.aborts(), bench.fake.running()), (1, 1, 0));
    until("the process that hung is gone", || test_kill_process(hung).is_err()).await;
}

#[tokio::test]
async fn of_a_process_that_does_not_start_it_is_told_each_time_how_it_left_and_where_its_words_are() {
    let bench = Bench::of("connector-nowhere", "text", Faults::default()).await;
    for _ in 0..2 {
        let error = bench.run().await.unwrap_err();
        let said = error.to_string();
        assert!(said.contains("exit status: 2") && said.contains("said.log"), "{said}");
        assert!(!said.contains("no such connector"), "{said}");
        let kept = std::fs::read_to_string(bench.said.path().join("said.log")).unwrap();
        assert!(kept.contains("no such connector"), "{kept}");
    }
}
