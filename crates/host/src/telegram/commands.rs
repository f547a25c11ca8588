//! What the surface answers itself: `/status`, `/abort`, `/queue`, `/sessions`, `/help`.

use connector_telegram::ChatKey;
use connector_telegram::frankenstein::methods::SetMyCommandsParams;
use connector_telegram::frankenstein::types::BotCommand;
use connector_telegram::text::{MESSAGE, Styled};
use connector_telegram::update::Received;
use serde_json::Value;

use super::send::Out;
use super::{Telegram, actor, rows};
use crate::engine::CancelOutcome;
use crate::gate::state::StepState;
use crate::ledger::LedgerError;
use crate::ledger::steps::StepRow;
use crate::text::{one_line, shortened, visible};

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

    /// Carries a command out and answers it.
    pub(super) async fn command(&self, received: &Received) -> Result<(), LedgerError> {
        let key = received.chat.to_string();
        let args = received.payload.get("args").and_then(Value::as_str).unwrap_or_default().to_owned();
        let answer = match received.command.as_deref().unwrap_or_default() {
            "abort" => self.abort(received, &args).await?,
            "status" => running(&self.live(&key).await?),
            "queue" => queue(&self.live(&key).await?),
            "sessions" => self.sessions(&key).await?,
            _ => help(),
        };
        self.say(received.chat, Some(received.message_id), answer);
        Ok(())
    }

    async fn live(&self, chat: &str) -> Result<Vec<StepRow>, LedgerError> {
        let chat = chat.to_owned();
        self.engine()?.ledger().read(move |tx| rows::live_steps(tx, &chat)).await
    }

    async fn sessions(&self, chat: &str) -> Result<String, LedgerError> {
        let chat = chat.to_owned();
        let rows = self.engine()?.ledger().read(move |tx| rows::sessions(tx, &chat)).await?;
        Ok(sessions(&rows))
    }

    async fn abort(&self, received: &Received, which: &str) -> Result<String, LedgerError> {
        let all = self.live(&received.chat.to_string()).await?;
        let chosen: Vec<&StepRow> = if which.is_empty() {
            all.iter().filter(|row| row.state != StepState::Waiting).collect()
        } else {
            all.iter().filter(|row| row.id.to_string() == which || row.id.run.to_string() == which).collect()
        };
        if chosen.is_empty() {
            return Ok("nothing like that runs here".to_owned());
        }
        let mut lines = Vec::new();
        for row in chosen {
            lines.push(self.abort_step(row, received.user).await?);
        }
        Ok(lines.join("\n"))
    }

    /// Stops a step for somebody who asked for it or may approve it.
    pub(super) async fn abort_step(&self, row: &StepRow, user: u64) -> Result<String, LedgerError> {
        let by = actor(user);
        if row.requester != by && !row.approvers.contains(&by) {
            return Ok(format!("{}: only whoever asked for it, or may approve it, stops it", row.id));
        }
        Ok(match self.engine()?.cancel(row.id, &by).await? {
            CancelOutcome::Withdrawn => format!("{} is withdrawn", row.id),
            CancelOutcome::Stopping => format!("{} is told to stop", row.id),
            CancelOutcome::NothingToDo => format!("{} neither runs nor waits", row.id),
        })
    }

    /// Sends a text that is not worth a row: tried a few times, then left.
    pub(super) fn say(&self, chat: ChatKey, answers: Option<i32>, text: String) {
        let this = self.clone();
        self.0.tasks.spawn(async move {
            let styled = Styled::new().plain(&text);
            for piece in styled.split(MESSAGE) {
                for _ in 0..3 {
                    match this.send(Out { chat, text: &piece, buttons: None, answers }).await {
                        Err(error) if error.is_passing() => {}
                        Err(error) => {
                            tracing::warn!(%chat, reason = %error, "an answer was not sent");
                            break;
                        }
                        Ok(_) => break,
                    }
                }
            }
        });
    }
}

/// What `/status` is answered with.
pub fn running(rows: &[StepRow]) -> String {
    listed(rows, |_| true, "nothing runs and nothing waits here")
}

/// What `/queue` is answered with, of the rows of `/status`.
pub fn queue(rows: &[StepRow]) -> String {
    listed(rows, |row| row.state != StepState::Dispatched, "nothing waits here")
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

fn listed(rows: &[StepRow], which: impl Fn(&StepRow) -> bool, nothing: &str) -> String {
    let line = |row: &StepRow| {
        let prompt = row.input.get("prompt").and_then(Value::as_str).unwrap_or_default();
        format!("{} · {} · {}", row.id, row.state, shortened(&one_line(prompt), 80))
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
