//! What the surface answers itself: `/status`, `/abort`, `/queue`, `/sessions`, `/help`.

use std::time::Duration;

use connector_gate::ids::StepId;
use connector_gate::policy::Actor;
use connector_gate::state::StepState;
use connector_telegram::ChatKey;
use connector_telegram::frankenstein::methods::SetMyCommandsParams;
use connector_telegram::frankenstein::types::BotCommand;
use connector_telegram::text::{MESSAGE, Styled};
use connector_telegram::update::Received;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::send::Out;
use super::{Telegram, actor, rows};
use crate::engine::{self, CancelOutcome};
use crate::ledger::steps::StepRow;
use crate::ledger::{LedgerError, Tx};
use crate::surface::OpenAsk;
use crate::text::{one_line, shortened, visible};
use crate::view::prompt_line;

/// How often an answer is tried.
const TRIES: u32 = 3;

/// How long until an answer is tried again, the first time.
const AGAIN: Duration = Duration::from_secs(1);

/// The commands and what they do, as Telegram's menu shows them.
const COMMANDS: [(&str, &str); 5] = [
    ("status", "what runs and what waits here"),
    ("abort", "stop what runs here, or one step: /abort 3.1"),
    ("queue", "what waits its turn here"),
    ("sessions", "the last sessions of this chat"),
    ("help", "what can be written here"),
];

/// Whether the surface answers this command itself.
pub(super) fn is_ours(command: &str) -> bool {
    command == "start" || COMMANDS.iter().any(|(name, _)| *name == command)
}

impl Telegram {
    /// Puts the commands into Telegram's menu.
    pub(super) async fn register_commands(&self) {
        let commands = COMMANDS
            .map(|(name, does)| BotCommand::builder().command(name).description(does).build())
            .to_vec();
        if let Err(error) = self.0.api.call(&SetMyCommandsParams::builder().commands(commands).build()).await
        {
            tracing::warn!(reason = %error, "the menu of commands was not set");
        }
    }

    /// Stops a step whose button was tapped.
    pub(super) async fn abort_step(&self, row: &StepRow, user: u64) -> Result<String, LedgerError> {
        let by = actor(user);
        Ok(match not_theirs(row, &by) {
            Some(refusal) => refusal,
            None => stopped(row.id, self.engine()?.cancel(row.id, &by).await?),
        })
    }

    /// Sends a text that is not worth a row: tried a few times, with pauses, then left. The handle is of
    /// the task that does; dropping it changes nothing.
    pub(super) fn say(&self, chat: ChatKey, answers: Option<i32>, text: String) -> JoinHandle<()> {
        let this = self.clone();
        self.0.tasks.spawn(async move {
            let styled = Styled::new().plain(&text);
            for piece in styled.split(MESSAGE) {
                for tries in 1..=TRIES {
                    match this.send(Out { chat, text: &piece, buttons: None, answers }).await {
                        Ok(_) => break,
                        Err(error) if error.is_passing() && tries < TRIES => {
                            tokio::time::sleep(AGAIN * tries).await;
                        }
                        Err(error) => {
                            tracing::warn!(%chat, reason = %error, "an answer was not sent");
                            break;
                        }
                    }
                }
            }
        })
    }
}

/// Carries a command out, in the transaction that stores it; what it is answered with.
pub(super) fn carry_out(tx: &Tx<'_>, received: &Received, asks: &[OpenAsk]) -> Result<String, LedgerError> {
    let chat = received.chat.to_string();
    let args = received.payload.get("args").and_then(Value::as_str).unwrap_or_default();
    Ok(match received.command.as_deref().unwrap_or_default() {
        "abort" => abort(&rows::live_steps(tx, &chat)?, args, &actor(received.user), tx)?,
        "status" => running_and_asking(&rows::live_steps(tx, &chat)?, asks),
        "queue" => queue(&rows::live_steps(tx, &chat)?),
        "sessions" => sessions(&rows::sessions(tx, &chat)?),
        _ => help(),
    })
}

fn abort(live: &[StepRow], which: &str, by: &Actor, tx: &Tx<'_>) -> Result<String, LedgerError> {
    let meant = |row: &&StepRow| match which {
        "" => row.state != StepState::Waiting,
        which => row.id.to_string() == which || row.id.run.to_string() == which,
    };
    let mut lines = Vec::new();
    for row in live.iter().filter(meant) {
        lines.push(match not_theirs(row, by) {
            Some(refusal) => refusal,
            None => stopped(row.id, engine::cancel(tx, row.id, by)?),
        });
    }
    if lines.is_empty() {
        return Ok("nothing like that runs here".to_owned());
    }
    Ok(lines.join("\n"))
}

/// What somebody is told who neither asked for a step nor may approve it.
fn not_theirs(row: &StepRow, by: &Actor) -> Option<String> {
    let theirs = row.people.are_one(&row.requester, by) || row.approvers.contains(by);
    (!theirs).then(|| format!("{}: only whoever asked for it, or may approve it, stops it", row.id))
}

fn stopped(step: StepId, outcome: CancelOutcome) -> String {
    match outcome {
        CancelOutcome::Withdrawn => format!("{step} is withdrawn"),
        CancelOutcome::Stopping => format!("{step} is told to stop"),
        CancelOutcome::NothingToDo => format!("{step} neither runs nor waits"),
    }
}

/// What `/status` is answered with.
pub fn running(rows: &[StepRow]) -> String {
    running_and_asking(rows, &[])
}

/// The same, with what the agents of these steps ask.
pub fn running_and_asking(rows: &[StepRow], asks: &[OpenAsk]) -> String {
    listed(rows, asks, |_| true, "nothing runs and nothing waits here")
}

/// What `/queue` is answered with, of the rows of `/status`.
pub fn queue(rows: &[StepRow]) -> String {
    listed(rows, &[], |row| row.state != StepState::Dispatched, "nothing waits here")
}

/// What `/sessions` is answered with.
pub fn sessions(rows: &[StepRow]) -> String {
    if rows.is_empty() {
        return "there is no session here yet; start one with /fix".to_owned();
    }
    let mut text = "the last sessions; reply to a result to go on in it".to_owned();
    for row in rows {
        let session = row.session_id.as_deref().unwrap_or_default();
        text.push_str(&format!("\n{} · {} · {}", row.id, row.state, one_line(session)));
    }
    text
}

fn listed(rows: &[StepRow], asks: &[OpenAsk], which: impl Fn(&StepRow) -> bool, nothing: &str) -> String {
    let line = |row: &StepRow| {
        let open: Vec<&OpenAsk> = asks.iter().filter(|ask| ask.step == row.id).collect();
        let state = match row.state {
            StepState::Dispatched if !open.is_empty() => "waits for your answer",
            StepState::Dispatched if row.wake_at.is_some() => "waits for its time",
            StepState::Dispatched => "running",
            state => state.as_str(),
        };
        let mut text = format!("{} · {state} · {}", row.id, shortened(&prompt_line(row), 80));
        for ask in open {
            text.push_str(&format!("\n  {}", shortened(&one_line(&ask.asked.in_a_line()), 300)));
        }
        text
    };
    let lines: Vec<String> = rows.iter().filter(|row| which(row)).map(line).collect();
    if lines.is_empty() { nothing.to_owned() } else { visible(&lines.join("\n")) }
}

/// What `/help` is answered with.
pub fn help() -> String {
    let mut text = "write what is to be done, beginning with /fix. somebody who may approves the card; \
        then the agent works, and you see it here. reply to a result to go on.\n"
        .to_owned();
    for (name, does) in COMMANDS {
        text.push_str(&format!("\n/{name} — {does}"));
    }
    text
}
