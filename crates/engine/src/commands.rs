//! Chat commands: what the host answers itself wherever it is written, such as `/status` and `/abort`.

use connector_contract::facts;
use connector_gate::ids::StepId;
use connector_gate::policy::Actor;
use connector_gate::state::StepState;
use connector_ledger::steps::{self, StepRow};
use connector_ledger::{LedgerError, Tx};
use connector_surface::OpenAsk;
use connector_surface::text::{one_line, shortened, visible};

use super::CancelOutcome;

/// How many steps of a chat are looked at that wait or run.
const MOST_LIVE: u32 = 50;

/// How many sessions of a chat are offered.
const MOST_SESSIONS: u32 = 10;

/// The commands and what they do, as a menu shows them.
pub const MENU: [(&str, &str); 5] = [
    ("status", "what runs and what waits here"),
    ("abort", "stop what runs here, or one step: /abort 3.1"),
    ("queue", "what waits its turn here"),
    ("sessions", "the last sessions of this chat"),
    ("help", "what can be written here"),
];

/// Whether the host answers this command itself.
pub fn is_own(command: &str) -> bool {
    command == "start" || MENU.iter().any(|(name, _)| *name == command)
}

/// A command of the host's own as somebody wrote it.
pub struct Command<'a> {
    /// Its name, without the slash.
    pub name: &'a str,
    /// What is written after it.
    pub args: &'a str,
    /// Where: a chat of a surface.
    pub at: (&'a str, &'a str),
    /// Who wrote it.
    pub by: &'a Actor,
}

/// Carries a command out, in the transaction that stores it; what it is answered with. `asks` are all that wait.
pub fn carry_out(tx: &Tx<'_>, command: &Command<'_>, asks: &[OpenAsk]) -> Result<String, LedgerError> {
    let (surface, chat) = command.at;
    let live = |tx: &Tx<'_>| steps::live_in(tx, surface, chat, MOST_LIVE);
    Ok(match command.name {
        "abort" => abort(&live(tx)?, command.args, command.by, tx)?,
        "status" => running_and_asking(&live(tx)?, asks),
        "queue" => queue(&live(tx)?),
        "sessions" => sessions(&steps::sessions_in(tx, surface, chat, MOST_SESSIONS)?),
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
            None => stopped(row.id, super::cancel(tx, row.id, by)?),
        });
    }
    if lines.is_empty() {
        return Ok("nothing like that runs here".to_owned());
    }
    Ok(lines.join("\n"))
}

/// What somebody is told who neither asked for a step nor may approve it.
pub fn not_theirs(row: &StepRow, by: &Actor) -> Option<String> {
    (!is_theirs(row, by))
        .then(|| format!("{}: only whoever asked for it, or may approve it, stops it", row.id))
}

/// Whether somebody asked for a step, or may approve it.
pub fn is_theirs(row: &StepRow, by: &Actor) -> bool {
    row.people.are_one(&row.requester, by) || row.approvers.contains(by)
}

/// What came of stopping a step, in words.
pub fn stopped(step: StepId, outcome: CancelOutcome) -> String {
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
        let mut text = format!(
            "{} · {state} · {}",
            row.id,
            shortened(&one_line(facts::prompt(&row.input).unwrap_or_default()), 80)
        );
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
    for (name, does) in MENU {
        text.push_str(&format!("\n/{name} — {does}"));
    }
    text
}
