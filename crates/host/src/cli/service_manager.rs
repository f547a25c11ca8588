//! Notifications of the service manager: ready, what goes on, still alive, stopping (`sd_notify(3)`).
//!
//! Without a service manager (no `NOTIFY_SOCKET`) all of it does nothing.

use std::time::Duration;

use connector_gate::state::StepState;
use connector_ledger::{LedgerError, Tx, steps};
use sd_notify::NotifyState;

use connector_engine::Engine;

/// How often what goes on is told, unless the manager wants to hear more often that the host lives.
const EACH: Duration = Duration::from_secs(10);

/// Says that the host is ready, and from then on what it does, until dropped. A watchdog is told only
/// after the ledger has answered: a host that hangs is started again.
pub(super) async fn tell(engine: Engine) {
    notify(&[NotifyState::Ready]);
    let watchdog = sd_notify::watchdog_enabled();
    // Half of the limit, as the manual advises.
    let each = watchdog.map_or(EACH, |limit| (limit / 2).min(EACH));
    let mut told = String::new();
    loop {
        match engine.ledger().read(standing).await {
            Ok(now) => {
                if watchdog.is_some() {
                    notify(&[NotifyState::Watchdog]);
                }
                if now != told {
                    notify(&[NotifyState::Status(&now)]);
                    told = now;
                }
            }
            Err(error) => tracing::warn!(%error, "the ledger does not answer; no service manager is told"),
        }
        tokio::time::sleep(each).await;
    }
}

/// Says that the host ends.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager is not told");
    }
}

/// What goes on, in a line.
fn standing(tx: &Tx<'_>) -> Result<String, LedgerError> {
    let counts = [
        (steps::count(tx, StepState::Dispatched)?, "running"),
        (steps::count(tx, StepState::Approved)?, "queued"),
        (steps::count(tx, StepState::Waiting)?, "waiting for approval"),
    ];
    let told: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    Ok(if told.is_empty() { "nothing to do".to_owned() } else { told.join(", ") })
}
