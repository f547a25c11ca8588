//! A package's program as somebody else would write it, which misbehaves when it is told to.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what it is told to do is to misbehave"
)]

use std::io::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use connector_contract::{
    ActionResult, Connector, ConnectorError, ConnectorFactory, Context, EventHandler, Manifest, Subscription,
};
use serde_json::{Value, json};

const MANIFEST: &str = include_str!("connector.toml");

struct Told {
    manifest: Manifest,
    config: Value,
}

struct Factory(Manifest);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manifest = Manifest::parse(MANIFEST)?;
    connector_plugins::serve(manifest.clone(), Arc::new(Factory(manifest)))?;
    Ok(())
}

#[async_trait]
impl ConnectorFactory for Factory {
    fn name(&self) -> &'static str {
        "connector-told"
    }

    fn config_key(&self) -> &'static str {
        "told"
    }

    async fn create(&self, config: Value) -> Result<Box<dyn Connector>, ConnectorError> {
        if config["room"] == "none" {
            return Err(ConnectorError::InvalidConfig { reason: leak() });
        }
        Ok(Box::new(Told { manifest: self.0.clone(), config }))
    }
}

#[async_trait]
impl Connector for Told {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    async fn execute(&self, _: &str, input: Value, _: &Context) -> Result<ActionResult, ConnectorError> {
        let task = input["task"].as_str().unwrap_or_default();
        match task.split_whitespace().last().unwrap_or_default() {
            "die" => std::process::exit(3),
            "leaks" => drop(leak()),
            "fails" => return Err(ConnectorError::Refused { reason: leak() }),
            "crashes" => {
                leak();
                std::process::abort()
            }
            "hangs" => {
                leak();
                std::future::pending::<()>().await;
            }
            "flood" => flood(),
            "forge" => forge(),
            _ => {}
        }
        let output = json!({
            "did": task,
            "room": self.config["room"],
            "files": std::fs::read_to_string("/etc/passwd").is_ok(),
            "reached": reaches(task),
            "variables": std::env::vars_os().count(),
        });
        Ok(ActionResult { success: true, output, message: "done as told".to_owned() })
    }

    async fn on_event(&self, trigger: &str, _: EventHandler) -> Result<Subscription, ConnectorError> {
        Ok(Subscription { trigger: trigger.to_owned(), id: 0 })
    }

    async fn remove_event(&self, _: &Subscription) -> Result<(), ConnectorError> {
        Ok(())
    }
}

/// Prints a secret that is another one each time.
fn leak() -> String {
    use std::hash::{BuildHasher as _, Hasher as _};
    let random = std::hash::RandomState::new().build_hasher().finish();
    let secret = format!("acme-live-{random:016x}");
    eprintln!("warning: {secret}");
    secret
}

/// Whether a connection to the port that the task names first is made.
fn reaches(task: &str) -> Option<bool> {
    let port: u16 = task.split_whitespace().next()?.parse().ok()?;
    Some(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())
}

/// A gigabyte in one line, as far as anybody reads it.
fn flood() {
    let (chunk, mut left) = (vec![b'x'; 1 << 16], 1_usize << 30);
    while left > 0 {
        match std::io::stdout().write(&chunk) {
            Ok(written) => left = left.saturating_sub(written),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(_) => return,
        }
    }
}

/// Answers to calls of others, and then nothing.
fn forge() {
    for id in 1_000..1_200 {
        println!(
            "{}",
            json!({ "jsonrpc": "2.0", "id": id, "result": { "content": [], "structuredContent": { "did": "forged" } } })
        );
    }
    std::thread::sleep(std::time::Duration::from_hours(1));
}
