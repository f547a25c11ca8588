//! `send`: a message to the host from the command line, and what comes of it.

use std::time::{Duration, Instant};

use connector_gate::policy::Actor;
use connector_ledger::Ledger;
use connector_ledger::events::{self, NewEvent};
use connector_surface::log::COMMAND_LINE;
use serde_json::json;

use super::events::Outcome;
use super::runs::LOOK;
use super::{Common, caller};
use crate::console;
use crate::exit::{Exit, Failure};

/// How long a message may lie there before its sender is told that no host takes it.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);

/// `send`
#[derive(Debug, clap::Args)]
pub(super) struct Send {
    /// The message, such as "/fix the failing test"
    text: String,
    /// The connector whose message it is, as rules name it
    #[arg(long = "as", value_name = "NAME", default_value = "connector-console")]
    connector: String,
    /// The message's own id: the same id twice is one message
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Wait until everything that the message fired has ended, and print what it came to
    #[arg(long)]
    wait: bool,
    /// Wait at most this many seconds; what runs goes on
    #[arg(long, value_name = "SECONDS", requires = "wait")]
    timeout: Option<u64>,
}

impl Send {
    pub(super) async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let id = match self.id {
            Some(id) => id,
            None => connector_engine::unique()?,
        };
        let event = message(&self.connector, id.clone(), &self.text, caller());
        let ledger = common.existing_ledger()?;
        let stored = ledger.write(move |tx| events::store(tx, &event)).await?;
        if !self.wait {
            common.print(&stored, |stored| match stored {
                Some(id) => format!("event {id}; a running host takes it from here, see `runs list`"),
                None => "that message was there already".to_owned(),
            })?;
            return Ok(Exit::Done);
        }
        let event = match stored {
            Some(event) => event,
            // Sent again, it is waited for like the first time.
            None => ledger
                .read(move |tx| events::find(tx, COMMAND_LINE, &id))
                .await?
                .ok_or_else(|| Failure::failed("that message is no longer in the ledger"))?,
        };
        wait(common, &ledger, event, self.timeout.map(Duration::from_secs)).await
    }
}

/// A message to the surface `cli`, by whom it is.
pub(super) fn message(connector: &str, id: String, text: &str, requester: Actor) -> NewEvent {
    let mut event = console::message(connector, id, text, None);
    COMMAND_LINE.clone_into(&mut event.surface);
    event.requester = requester;
    event
}

/// A message of a program that is not the user. Its `id` is its own: another program's, or one of the command
/// line's, is another message. Rules read whose it is.
pub(super) fn message_of_program(connector: &str, program: &Actor, id: &str, text: &str) -> NewEvent {
    let mut event = message(connector, format!("{program}:{id}"), text, program.clone());
    event.chat = program.to_string();
    let (account, name, payload) = (program.as_str(), program.user(), &mut event.payload);
    payload["chat_id"] = json!(account);
    payload["chat"]["id"] = json!(account);
    payload["user_id"] = json!(account);
    payload["username"] = json!(name);
    payload["from"] = json!({ "id": account, "username": name });
    event
}

/// Waits until everything of the event has ended. Ending this process changes nothing of what runs.
async fn wait(
    common: &Common,
    ledger: &Ledger,
    event: i64,
    limit: Option<Duration>,
) -> Result<Exit, Failure> {
    let began = Instant::now();
    let mut warned = false;
    loop {
        let version = ledger.data_version().await?;
        let outcome = ledger.read(move |tx| Outcome::of(tx, event)).await?;
        let Some(outcome) = outcome else {
            return Err(Failure::failed(format!("event {event} is no longer in the ledger")));
        };
        let late = limit.is_some_and(|limit| began.elapsed() >= limit);
        if outcome.has_ended() || late {
            common.print(&outcome, Outcome::describe)?;
            return Ok(if outcome.has_ended() { outcome.exit() } else { Exit::Running });
        }
        while ledger.data_version().await? == version {
            if !warned && !outcome.handled && began.elapsed() >= TAKEN_WITHIN {
                warned = true;
                eprint("no host has taken it yet; is one running with this state directory?");
            }
            if limit.is_some_and(|limit| began.elapsed() >= limit) {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn eprint(text: &str) {
    use std::io::Write as _;
    // Who closed standard error does not want to know.
    let _ = writeln!(anstream::stderr(), "{text}");
}
