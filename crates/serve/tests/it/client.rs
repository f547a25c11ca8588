//! The TypeScript SDK: installed once, at the locked version, and run by node.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::OnceCell;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_connector-opencode");
const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/client");

/// Where the SDK is installed. As with opencode itself, an install is made beside
/// its final place and renamed when it is whole.
async fn modules() -> &'static Path {
    static MODULES: OnceCell<PathBuf> = OnceCell::const_new();
    MODULES.get_or_init(|| async { tokio::task::spawn_blocking(install).await.unwrap() }).await
}

fn install() -> PathBuf {
    let lock = std::fs::read_to_string(Path::new(HERE).join("package-lock.json")).unwrap();
    let locked: Value = serde_json::from_str(&lock).unwrap();
    let version = locked["packages"]["node_modules/@modelcontextprotocol/sdk"]["version"].as_str().unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let place = target.join(format!("mcp-sdk-{version}"));
    if place.join("node_modules").is_dir() {
        return place;
    }
    let beside = tempfile::tempdir_in(target).unwrap();
    for file in ["package.json", "package-lock.json"] {
        std::fs::copy(Path::new(HERE).join(file), beside.path().join(file)).unwrap();
    }
    #[expect(clippy::disallowed_methods, reason = "npm installs the client that the program is tested with")]
    let installed = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-progress", "--loglevel=error"])
        .current_dir(beside.path())
        .stdin(Stdio::null())
        .output()
        .expect("npm runs");
    assert!(installed.status.success(), "npm ci: {}", String::from_utf8_lossy(&installed.stderr));
    // Another test process may have been faster; its install is as good.
    if let Err(error) = std::fs::rename(beside.path(), &place) {
        assert!(place.join("node_modules").is_dir(), "{error}");
    }
    place
}

/// What the client is to do. It has the program, and what `more` adds.
pub(crate) async fn drive(args: &[&str], env: Value, more: Value) -> Value {
    let mut plan = json!({ "modules": modules().await, "command": BINARY, "args": args, "env": env });
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
