//! `cooldown` and `max_concurrent`: how often a rule may fire.
//!
//! What counts is what the ledger has, so a restart changes nothing. A limit
//! can only keep a run from beginning; the run is recorded as denied, with the
//! reason, and its chat is told.

use std::time::Duration;

use connector_gate::ids::RunId;
use connector_rules::{FILE_WATCH, Rule, WEBHOOK};

use connector_ledger::events::EventRow;
use connector_ledger::outbox::{self, Parcel};
use connector_ledger::runs::{self, RunState};
use connector_ledger::{LedgerError, Tx};

/// Why `rule` may not begin another run now.
pub(super) fn held_back(tx: &Tx<'_>, rule: &Rule) -> Result<Option<String>, LedgerError> {
    if let Some(most) = rule.max_concurrent() {
        let active = runs::under_way(tx, rule.name())?;
        if active >= most.get() {
            let runs = if active == 1 { "1 run is".to_owned() } else { format!("{active} runs are") };
            return Ok(Some(format!("{runs} under way, and the rule allows {most} at once")));
        }
    }
    if let (Some(cooldown), Some(last)) = (rule.cooldown(), runs::last_begun(tx, rule.name())?) {
        let passed = Duration::from_millis(u64::try_from(tx.now - last).unwrap_or(0));
        if passed < cooldown {
            let left = in_words(cooldown.saturating_sub(passed));
            return Ok(Some(format!("the rule ran {} ago; it may again in {left}", in_words(passed))));
        }
    }
    Ok(None)
}

/// Records that a run of the rule was held back, and tells its chat. What nobody asked for in it is counted in one
/// line: anybody outside may send so many that a card would wait behind them.
pub(super) fn deny(
    tx: &Tx<'_>,
    event: &EventRow,
    rule: &Rule,
    run: RunId,
    reason: &str,
) -> Result<(), LedgerError> {
    runs::end(tx, run, RunState::Denied, Some(reason))?;
    if [WEBHOOK, FILE_WATCH].contains(&event.connector.as_str()) {
        let what = format!(
            "held back by `cooldown` or `max_concurrent` of the rule {}: `connector-host runs list` has each",
            rule.name()
        );
        return outbox::count_up(tx, &event.surface, &event.chat, run, &what);
    }
    let body = format!("run {run} is {}: {reason}", RunState::Denied.as_str());
    outbox::put(tx, &event.surface, &event.chat, &Parcel::Text { run: Some(run), body })
}

/// A length of time by its two greatest parts, rounded up to whole seconds.
fn in_words(length: Duration) -> String {
    let seconds = length.as_millis().div_ceil(1_000);
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let mut parts = parts.into_iter().skip_while(|(count, _)| *count == 0);
    let (Some(first), second) = (parts.next(), parts.next()) else { return "0 s".to_owned() };
    let shown = second.filter(|(count, _)| *count > 0).map(|(count, unit)| format!(" {count} {unit}"));
    format!("{} {}{}", first.0, first.1, shown.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_at_most_two_parts() {
        for (millis, words) in [
            (0, "0 s"),
            (1, "1 s"),
            (59_000, "59 s"),
            (60_000, "1 min"),
            (61_500, "1 min 2 s"),
            (3_600_000, "1 h"),
            (3_605_000, "1 h"),
            (90_061_000, "1 d 1 h"),
        ] {
            assert_eq!(in_words(Duration::from_millis(millis)), words);
        }
    }
}
