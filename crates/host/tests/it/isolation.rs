//! The plugin in a process of its own, behind every wall, at a fake daemon.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use connector_contract::ask::RejectAsks;
use connector_contract::{
    ActionResult, Checkpoint, CheckpointError, CheckpointLog, Connector, ConnectorError,
    ConnectorFactory as _, Context, Grant, OutboundHttp, Provenance, Reach, progress_channel,
};
use connector_opencode::OpencodeFactory;
use connector_plugins::{Confined, Program};
use connector_sandbox::Start;
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

struct Bench {
    fake: Fake,
    connector: Confined,
    notes: Arc<Last>,
}

impl Bench {
    async fn new(faults: Faults) -> Self {
        let fake = Fake::start(Fixture::recorded("text"), faults).await.unwrap();
        let config = json!({ "base_url": fake.base_url(), "directory": "/code/app" });
        let factory = OpencodeFactory::default();
        let declared = factory.create(config.clone()).await.unwrap().into();
        let launcher = env!("CARGO_BIN_EXE_connector-host").into();
        let start = Start::BuiltIn { name: factory.name().to_owned() };
        let connector = Confined::new(declared, Program { launcher, start, required: true }, config);
        Self { fake, connector, notes: Arc::default() }
    }

    async fn run(&self) -> Result<ActionResult, ConnectorError> {
        let grant = Grant::new(self.fake.base_url().parse().unwrap(), Reach::Loopback).unwrap();
        let (progress, _stream) = progress_channel(64);
        let ctx = Context {
            http: OutboundHttp::new([grant]).unwrap(),
            deadline: Instant::now() + Duration::from_mins(2),
            cancel: CancellationToken::new(),
            progress,
            asks: Arc::new(RejectAsks),
            checkpoints: Arc::clone(&self.notes) as Arc<dyn CheckpointLog>,
            resume: None,
            provenance: Provenance::Local,
        };
        self.connector.execute("run_task", json!({ "prompt": "do it" }), &ctx).await
    }

    /// Kills the process once the daemon works.
    async fn kill_at_work(&self) {
        let limit = Instant::now() + Duration::from_mins(1);
        while self.fake.running() == 0 {
            assert!(Instant::now() < limit, "no turn began");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let id = i32::try_from(self.connector.process_id().await.unwrap()).unwrap();
        let process = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
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
    let (result, ()) = tokio::join!(bench.run(), bench.kill_at_work());
    assert!(reply(&result).is_string());
    assert_eq!(bench.fake.tasks(), 1);
}
