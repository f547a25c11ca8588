//! Calls on a pool whose daemons are stand-ins.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use connector_contract::ask::RejectAsks;
use connector_contract::{
    Checkpoint, Connector, ConnectorError, ConnectorFactory, Consequence, Context, Grant, NoCheckpoints,
    OutboundHttp, Progress, ProgressStream, Provenance, Reach, progress_channel,
};
use connector_host::managed::{Daemons, Managed};
use connector_opencode::OpencodeFactory;
use opencode_daemons::pool::{Confine, Phase, WorkspaceConfig};
use opencode_daemons::{Environment, Home, PoolConfig};
use serde_json::{Map, Value, json};
use testkit::fake::{Fake, Faults, Fixture, Generation};
use tokio_util::sync::CancellationToken;

use crate::probe::{Probe, Shared};
use crate::world::{Plan, World};

struct Factory(Arc<Shared>);

#[async_trait]
impl ConnectorFactory for Factory {
    fn name(&self) -> &'static str {
        "probe"
    }

    fn config_key(&self) -> &'static str {
        "probe"
    }

    async fn create(&self, _config: Value) -> Result<Box<dyn Connector>, ConnectorError> {
        Ok(Box::new(Probe::new(self.0.clone(), true)))
    }
}

/// Workspaces `a` and `b`, and one place.
struct Bench {
    root: tempfile::TempDir,
    daemons: Daemons,
    probe: Arc<Shared>,
    managed: Managed,
}

impl Bench {
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut config = PoolConfig { max_servers: 1, confine: Confine::Off, ..PoolConfig::default() };
        for name in ["a", "b"] {
            let directory = root.path().join(name);
            std::fs::create_dir(&directory).unwrap();
            let directory = connector_files::AbsolutePath::new(directory).unwrap();
            let workspace = WorkspaceConfig { directory, ..WorkspaceConfig::default() };
            config.workspaces.insert(name.into(), workspace);
        }
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../daemons/tests/it/programs/answers");
        let environment = Environment::of_this_process();
        let daemons = Daemons::new(&config, program, Home::User, environment, &root.path().join("state"));
        let (daemons, probe) = (daemons.unwrap(), Shared::open());
        let factory = Arc::new(Factory(probe.clone()));
        let managed = Managed::new(&daemons, "a", factory, Map::new()).await.unwrap();
        Self { root, daemons, probe, managed }
    }

    fn state(&self) -> PathBuf {
        self.root.path().join("host")
    }

    async fn until_ready(&self) {
        let until = Instant::now() + Duration::from_secs(30);
        while self.daemons.pool().list().await.unwrap()[0].phase != Phase::Ready {
            assert!(Instant::now() < until, "the daemon does not run");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn context(resume: Option<Checkpoint>) -> (Context, ProgressStream) {
    let (progress, updates) = progress_channel(16);
    let context = Context {
        http: OutboundHttp::new([]).unwrap(),
        deadline: tokio::time::Instant::now() + Duration::from_mins(5),
        cancel: CancellationToken::new(),
        progress,
        asks: Arc::new(RejectAsks),
        checkpoints: Arc::new(NoCheckpoints),
        resume,
        provenance: Provenance::Local,
        approved: None,
    };
    (context, updates)
}

/// A pool must not start what no call can use.
#[tokio::test]
async fn what_the_pool_starts_the_connector_speaks_to_and_nothing_else() {
    for (version, spoken) in [
        ("1.0.215", false),
        ("1.1.6", false),
        ("1.1.7", true),
        (opencode_daemons::version::PINNED, true),
        ("2.0.0-rc.1", false),
        ("2.0.5", false),
        ("2.0.6-rc.1", false),
        ("2.0.6", true),
        ("2.9.0", true),
        ("3.0.0-rc.1", false),
        ("3.0.0", false),
    ] {
        assert_eq!(opencode_daemons::version::check(version).is_ok(), spoken, "{version}: the pool");
        let generation = if version.starts_with("1.") { Generation::V1 } else { Generation::V2 };
        let faults = Faults { version: Some(version.to_owned()), ..Faults::default() };
        let fake = Fake::start(Fixture::of(generation, "text"), faults).await.unwrap();
        let config = json!({
            "base_url": fake.base_url(), "password": fake.password(), "directory": "/code",
        });
        let connector = OpencodeFactory::default().create(config).await.unwrap();
        let (mut context, _updates) = context(None);
        let grant = Grant::new(fake.base_url().parse().unwrap(), Reach::Loopback).unwrap();
        context.http = OutboundHttp::new([grant]).unwrap();
        let ended = connector.execute("run_task", json!({ "prompt": "x" }), &context).await;
        let refused = matches!(ended, Err(ConnectorError::UnsupportedVersion { .. }));
        assert_eq!(ended.is_ok(), spoken, "{version}: {ended:?}");
        assert_eq!(refused, !spoken, "{version}: {ended:?}");
    }
}

#[tokio::test]
async fn a_card_starts_its_daemon_before_any_tap() {
    let bench = Bench::new().await;
    let instance = Some(bench.managed.clone().instance("oc", "a"));
    let world = World::start(&bench.state(), 1_000, Plan { instance, ..Plan::default() });
    world.say("m1", "/fix it").await;
    world.card().await;
    bench.until_ready().await;
    assert_eq!(bench.probe.calls(), []);
    world.stop().await;
    bench.daemons.stop().await;
}

#[tokio::test]
async fn a_call_that_waits_says_for_what_and_ends_at_its_deadline() {
    let bench = Bench::new().await;
    let lease = bench.daemons.pool().lease("b", |_| {}).await.unwrap();
    for (resume, consequence) in
        [(None, Consequence::NothingStarted), (Some(Checkpoint(json!({}))), Consequence::Unknown)]
    {
        let (mut context, mut updates) = context(resume);
        context.deadline = tokio::time::Instant::now() + Duration::from_millis(50);
        let error = bench.managed.execute("run_task", json!({ "prompt": "x" }), &context).await.unwrap_err();
        assert_eq!(error.consequence(), consequence, "{error}");
        assert!(error.to_string().contains("its time passed"), "{error}");
        let told = updates.next().await;
        assert!(
            matches!(&told, Some(Progress::Waiting { reason }) if reason.contains("all daemons work")),
            "{told:?}"
        );
    }
    drop(lease);
    bench.daemons.stop().await;
}

#[tokio::test]
async fn a_turn_begun_earlier_is_not_called_stopped_before_anybody_has_stopped_it() {
    let bench = Bench::new().await;
    let lease = bench.daemons.pool().lease("b", |_| {}).await.unwrap();
    let begun = json!({ "session_id": "ses_1", "message_id": "msg_1" });
    let (context, mut updates) = context(Some(Checkpoint(begun.clone())));
    context.cancel.cancel();
    let mut call = std::pin::pin!(bench.managed.execute("run_task", json!({ "prompt": "x" }), &context));
    tokio::select! {
        ended = &mut call => panic!("nobody has spoken to the daemon: {ended:?}"),
        told = updates.next() => assert!(matches!(told, Some(Progress::Waiting { .. })), "{told:?}"),
    }
    drop(lease);
    let _ = call.await;
    assert_eq!(bench.probe.calls()[0].resumed, Some(begun), "whoever knows the turn stops it");
    bench.daemons.stop().await;
}

#[tokio::test]
async fn a_turn_begun_earlier_is_left_to_the_next_host_when_the_pool_ends() {
    let bench = Bench::new().await;
    let lease = bench.daemons.pool().lease("b", |_| {}).await.unwrap();
    let (context, mut updates) = context(Some(Checkpoint(json!({}))));
    context.cancel.cancel();
    let mut call = std::pin::pin!(bench.managed.execute("run_task", json!({ "prompt": "x" }), &context));
    tokio::select! {
        ended = &mut call => panic!("nobody has spoken to the daemon: {ended:?}"),
        told = updates.next() => assert!(matches!(told, Some(Progress::Waiting { .. })), "{told:?}"),
    }
    bench.daemons.pool().shutdown().await;
    tokio::select! {
        biased;
        ended = &mut call => panic!("this would be recorded as its end: {ended:?}"),
        () = std::future::ready(()) => {}
    }
    drop(lease);
}
