//! A host of one's own: one rule, a connector of the registry, and a surface.
//!
//! `cargo run -p connector-host --example own_host -- http://127.0.0.1:8080 STATE` takes each line as a note, and posts
//! it to `/notes` once a line `y` has approved its card.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "that is where people look here")]

use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connector_host::assemble::{self, DEADLINE, Parts};
use connector_host::build::{Attached, registry::HTTP};
use connector_host::engine::Inbox;
use connector_host::gate::policy::{Actor, GateConfig};
use connector_host::ledger::steps::decide::{Decision, Tap};
use connector_host::surface::{DeliveryError, Notice, Surface, SurfaceError};
use connector_host::{clock::Clock, isolation::ConnectorIsolation, view::CardView};
use connector_rules::{RuleSet, SourceFile};
use serde_json::Map;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio_util::sync::CancellationToken;

const RULE: &str = "rule.name = 'note'
trigger = { type = 'ConnectorEvent', connector = 'lines', event = 'message_received' }
actions = [{ type = 'RunConnector', connector = 'notes', action = 'request',
             params = { method = 'POST', path = '/notes', body = { text = '${trigger.text}' } } }]";

/// Where each line of `R` is a message, and the card that was shown last.
struct Lines<R>(tokio::sync::Mutex<BufReader<R>>, Mutex<Option<CardView>>);

#[async_trait::async_trait]
impl<R: AsyncRead + Send + Unpin + 'static> Surface for Lines<R> {
    fn name(&self) -> &'static str {
        "lines"
    }
    async fn run(&self, inbox: Inbox, stop: CancellationToken) -> Result<(), SurfaceError> {
        let (mut input, me) = (self.0.lock().await, Actor::new("lines", "me"));
        loop {
            let mut text = String::new();
            tokio::select! {
                read = input.read_line(&mut text) => if !read.is_ok_and(|read| read > 0) { break },
                () = stop.cancelled() => break,
            }
            let card = (text.trim() == "y").then(|| self.1.lock().ok()?.take()).flatten();
            let reported = if let Some(CardView { id, digest, .. }) = card {
                let (digest, approver) = (digest.to_string(), me.clone());
                let tap = Tap { step: id, digest, approver, chat: None, decision: Decision::Approve };
                inbox.decide(tap).await.map(drop)
            } else {
                let id = connector_host::engine::unique();
                let id = id.map_err(|error| SurfaceError { reason: error.to_string() })?;
                inbox.message(("lines", "main"), (&id, &me), text.trim()).await.map(drop)
            };
            reported.map_err(|error| SurfaceError { reason: error.to_string() })?;
        }
        Ok(())
    }
    async fn deliver(&self, _chat: &str, _number: i64, notice: Notice) -> Result<String, DeliveryError> {
        println!("{notice:?}");
        if let (Notice::Card(card), Ok(mut last)) = (notice, self.1.lock()) {
            *last = Some(*card);
        }
        Ok(String::new())
    }
}

/// Runs the host until `input` ends.
pub(crate) async fn run<R>(base_url: &str, state: &Path, input: R) -> Result<(), Box<dyn Error>>
where
    R: AsyncRead + Send + Unpin + 'static,
{
    let notes = Attached::new(&HTTP, Map::new(), base_url, (false, ConnectorIsolation::InProcess))?;
    let ready = notes.ready(None).await?;
    let parts = Parts {
        rules: RuleSet::parse([SourceFile::new("note.toml", RULE)]).map_err(|wrong| wrong.render(false))?,
        instances: vec![notes.instance("notes", ready)],
        surfaces: vec![Arc::new(Lines(tokio::sync::Mutex::new(BufReader::new(input)), Mutex::default()))],
        gate: GateConfig { approvers: vec![Actor::new("lines", "me")], ..GateConfig::default() },
        deadline: DEADLINE,
        max_running: 1,
        secrets: Vec::new(),
    };
    let engine = assemble::engine(state, Clock::System, parts)?;
    let (stop, grace) = (CancellationToken::new(), Duration::from_secs(5));
    let running = tokio::spawn({
        let engine = engine.clone();
        async move { engine.run().await }
    });
    engine.run_surfaces((&stop, grace), |name, error| eprintln!("{name}: {error}")).await;
    engine.stop(grace).await;
    Ok(running.await??)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let given: Vec<String> = std::env::args().collect();
    let [_, base_url, state] = &given[..] else {
        return Err("say the server's origin and a directory".into());
    };
    run(base_url, Path::new(state), tokio::io::stdin()).await
}
