//! What all readers share.

use super::Undecodable;

/// Why a JSON text does not fit, without quoting it.
pub(super) fn undecodable(what: &'static str) -> impl Fn(serde_json::Error) -> Undecodable {
    move |error| {
        let kind = match error.classify() {
            serde_json::error::Category::Data => "a field is missing or of another type",
            _ => "not JSON",
        };
        Undecodable { what, why: format!("{kind}, at byte {} of line {}", error.column(), error.line()) }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and counts are small"
)]
pub(super) fn whole(number: f64) -> u64 {
    number as u64
}

/// The name of a tool's call: a provider may use its own again in another message.
pub(crate) fn call_id(message: &str, call: &str) -> String {
    format!("{message}/{call}")
}

/// What a rejection says: without words it would end the turn.
pub(super) fn rejection(message: &str) -> &str {
    if message.trim().is_empty() { "a person said no" } else { message }
}

/// Why a command failed, which is a tool that did what it should: its exit code, and what it said
/// last.
pub(super) fn failed_command(exit: Option<i64>, output: &str) -> Option<String> {
    let exit = exit.filter(|code| *code != 0)?;
    // What a daemon adds itself: of 1.x where nothing was printed, of 2.x always.
    let is_daemons = |line: &str| line == "(no output)" || line.starts_with("Exited with code ");
    let last = output.lines().rfind(|line| !line.trim().is_empty() && !is_daemons(line.trim()));
    let said = last.map(|line| format!(": {}", shorten(line.trim(), 200))).unwrap_or_default();
    Some(format!("exit {exit}{said}"))
}

pub(super) fn shorten(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some((cut, _)) => format!("{}…", &text[..cut]),
    }
}
