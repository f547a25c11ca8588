//! What the surface looks up in the ledger.

use crate::ledger::events::{Change, EventRow, ReplyTo};
use crate::ledger::steps::{self, StepRow};
use crate::ledger::{LedgerError, Tx, messages, outbox, runs};

/// How many steps of a chat are looked at that wait or run.
const MOST_LIVE: u32 = 50;

/// How many sessions of a chat are offered.
const MOST_SESSIONS: u32 = 10;

/// The session that a reply to `message` goes on in.
pub(super) fn session_of(tx: &Tx<'_>, chat: &str, message: i32) -> Result<Option<ReplyTo>, LedgerError> {
    let Some(step) = messages::step_of(tx, super::NAME, chat, &message.to_string())? else {
        return Ok(None);
    };
    Ok(steps::get(tx, step)?.and_then(reply_to))
}

/// What answers the result of a step.
pub(super) fn reply_to(row: StepRow) -> Option<ReplyTo> {
    let origin = row.target.origin.unwrap_or_default();
    let workspace = origin.strip_prefix("workspace:").unwrap_or_default().to_owned();
    let change = row.output.as_ref().and_then(Change::of);
    Some(ReplyTo { session_id: row.session_id?, run_id: row.id.run.to_string(), workspace, change })
}

/// Whether a message that fires no rule is answered all the same: as the command it is, or by a
/// line that still waits to be sent, so that many such messages are told it once.
pub(super) fn is_answered(tx: &Tx<'_>, event: &EventRow, line: &str) -> Result<bool, LedgerError> {
    Ok(runs::any_of_companion(tx, event.id, " command_received")?
        || outbox::is_to_tell(tx, &event.surface, &event.chat, line)?)
}

/// The steps of a chat that wait or run, oldest first.
pub(super) fn live_steps(tx: &Tx<'_>, chat: &str) -> Result<Vec<StepRow>, LedgerError> {
    steps::live_in(tx, super::NAME, chat, MOST_LIVE)
}

/// The last steps of a chat that ended with a session, newest first.
pub(super) fn sessions(tx: &Tx<'_>, chat: &str) -> Result<Vec<StepRow>, LedgerError> {
    steps::sessions_in(tx, super::NAME, chat, MOST_SESSIONS)
}
