//! A host of one's own: one rule, a connector of the registry, and a surface where each line is a note, which is posted to
//! `/notes` when `y` approves its card: `cargo run -p connector-host --example own_host -- http://127.0.0.1:8080 STATE`
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "that is where people look here")]
use std::{error::Error, path::Path, sync::Arc, time::Duration};

use connector_host::prelude::*;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader, stdin};
use tokio::sync::Mutex;

const RULE: &str = "rule.name = 'note'
trigger = { type = 'ConnectorEvent', connector = 'lines', event = 'message_received' }
actions = [{ type = 'RunConnector', connector = 'notes', action = 'request',
             params = { method = 'POST', path = '/notes', body = { text = '${trigger.text}' } } }]";

/// What is typed, and the card that was shown last.
struct Lines(Mutex<Input>, Mutex<Option<Box<CardView>>>);
pub(crate) type Input = tokio::io::Lines<Box<dyn AsyncBufRead + Send + Unpin>>;

#[async_trait]
impl Surface for Lines {
    fn name(&self) -> &'static str {
        "lines"
    }
    async fn run(&self, inbox: Inbox, stop: CancellationToken) -> Result<(), SurfaceError> {
        let (mut lines, me) = (self.0.lock().await, ("main", "me"));
        while let Some(Ok(Some(line))) = stop.run_until_cancelled(lines.next_line()).await {
            let mut shown = self.1.lock().await;
            match &*shown {
                _ if line != "y" => {
                    let id = unique().map_err(|error| SurfaceError::of(&error))?;
                    inbox.message(me, &id, &line).await?;
                }
                None => println!("no card waits"),
                Some(card) => {
                    let answer = inbox.decide(me, (card.id, card.digest.as_str()), Decision::Approve).await?;
                    println!("{}", decided(card.id, &answer));
                    *shown = None;
                }
            }
        }
        Ok(())
    }
    async fn deliver(&self, _chat: &str, _number: i64, view: View) -> Result<String, DeliveryError> {
        println!("{}", render::view(&view, "y to post it"));
        if let View::Card(card) = view {
            *self.1.lock().await = Some(card);
        }
        Ok(String::new())
    }
}

/// Runs the host until `input` ends.
pub(crate) async fn run(base_url: &str, state: &Path, input: Input) -> Result<(), Box<dyn Error>> {
    let parts = Parts {
        rules: RuleSet::parse([SourceFile::new("note.toml", RULE)]).map_err(|wrong| wrong.render(false))?,
        instances: vec![HTTP.instance("notes", base_url).await?],
        surfaces: vec![Arc::new(Lines(Mutex::new(input), Mutex::default()))],
        gate: GateConfig { approvers: vec![Actor::new("lines", "me")], ..GateConfig::default() },
        ..Parts::default()
    };
    let engine = assemble::engine(state, Clock::System, parts)?;
    let (stop, grace) = (CancellationToken::new(), Duration::from_secs(5));
    Ok(engine.serve((&stop, grace), |name, error| eprintln!("{name}: {error}")).await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let given: Vec<String> = std::env::args().collect();
    let [_, base_url, state] = &given[..] else {
        return Err("say the server's origin and a directory".into());
    };
    let input: Box<dyn AsyncBufRead + Send + Unpin> = Box::new(BufReader::new(stdin()));
    run(base_url, Path::new(state), input.lines()).await
}
