//! The program started by a host of ours: in an empty environment, configured over the pipe.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use connector_contract::ask::RejectAsks;
use connector_contract::{
    Checkpoint, CheckpointError, CheckpointLog, Connector as _, Context, Manifest, OutboundHttp, Pins,
    Provenance, progress_channel,
};
use connector_mcp::extension::Configure;
use connector_mcp::{ConnectOptions, Extended, McpConnector};
use secrecy::ExposeSecret as _;
use serde_json::json;
use testkit::{RealDaemon, Script};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::BINARY;

#[derive(Default)]
struct Notes(std::sync::Mutex<Vec<Checkpoint>>);

#[async_trait::async_trait]
impl CheckpointLog for Notes {
    async fn record(&self, checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        self.0.lock().unwrap().push(checkpoint);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_configures_it_over_the_pipe_and_keeps_its_checkpoints() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    daemon.model().add(Script::default().reply("HOSTED-1", "done"));
    #[expect(clippy::disallowed_methods, reason = "the program is what is tested")]
    let mut child = tokio::process::Command::new(BINARY)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let manifest = Manifest::parse(connector_opencode::MANIFEST).unwrap();
    let config = json!({ "base_url": daemon.base_url(), "directory": directory,
        "password": daemon.password().expose_secret() });
    let grants = vec![daemon.base_url().parse().unwrap()];
    let configure = Configure { config, grants, pins: Pins::default() };
    let options = ConnectOptions::new(manifest, Extended::Connector(configure));
    let connector = McpConnector::connect(stdout, stdin, options).await.unwrap();
    assert!(connector.checkpoints());

    let notes = Arc::<Notes>::default();
    let ctx = Context {
        http: OutboundHttp::new([]).unwrap(),
        deadline: Instant::now() + Duration::from_mins(2),
        cancel: CancellationToken::new(),
        progress: progress_channel(64).0,
        asks: Arc::new(RejectAsks),
        checkpoints: Arc::clone(&notes) as Arc<dyn CheckpointLog>,
        resume: None,
        provenance: Provenance::Local,
        approved: None,
    };
    let result = connector.execute("run_task", json!({ "prompt": "HOSTED-1" }), &ctx).await.unwrap();
    assert_eq!(result.output["reply"], "done");
    let note = notes.0.lock().unwrap().last().cloned().unwrap();
    assert_eq!(note.0["session_id"], result.output["session_id"]);

    // The same effect, looked up again: the turn has ended, and nothing is sent twice.
    let asked = || daemon.model().seen().iter().filter(|it| it.prompt.contains("HOSTED-1")).count();
    let before = asked();
    let resumed = Context { resume: Some(note), ..ctx };
    let again = connector.execute("run_task", json!({ "prompt": "HOSTED-1" }), &resumed).await.unwrap();
    assert_eq!(again.output["message_id"], result.output["message_id"]);
    assert!(before > 0);
    assert_eq!(asked(), before);

    connector.close().await;
    let status = tokio::time::timeout(Duration::from_mins(1), child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn walls_that_are_required_are_not_left_to_a_host() {
    #[expect(clippy::disallowed_methods, reason = "the program is what is tested")]
    let output = tokio::process::Command::new(BINARY)
        .args(["--walls", "require"])
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--walls require") && said.contains("CONNECTOR_OPENCODE_BASE_URL"), "{said}");
}
