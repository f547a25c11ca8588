//! The TypeScript SDK, run by node.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::install;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_connector-opencode");
const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/client");

/// What the client is to do. It has the program, and what `more` adds.
pub(crate) async fn drive(args: &[&str], env: Value, more: Value) -> Value {
    let mut plan =
        json!({ "modules": install::typescript().await, "command": BINARY, "args": args, "env": env });
    plan.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    #[expect(clippy::disallowed_methods, reason = "node runs the client that the program is tested with")]
    let mut client = tokio::process::Command::new("node")
        .arg(Path::new(HERE).join("client.cjs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("node runs");
    client.stdin.take().unwrap().write_all(plan.to_string().as_bytes()).await.unwrap();
    let output = client.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
