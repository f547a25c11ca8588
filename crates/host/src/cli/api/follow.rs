//! What happens to a run, as it happens: a line of JSON each, as `runs follow --json` prints them.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use connector_contract::chain;
use connector_gate::ids::RunId;
use connector_ledger::LedgerError;
use connector_ledger::changes::{Change, Changes};
use connector_ledger::runs::RunState;
use futures_util::stream;
use schemars::JsonSchema;
use serde::Deserialize;

use super::problem::Problem;
use super::read::{no_run, run_id};
use super::{Answer, Api, dress};
use crate::cli::runs;

/// Which of it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Follow {
    /// Only what was recorded after the line with this `seq`.
    #[schemars(range(min = 0))]
    after: Option<i64>,
    /// Whether lines follow until the run has ended; `true` when absent. Otherwise those that are there are all.
    follow: Option<bool>,
}

/// The least time between two looks of one stream: many changes in a short time are one.
const PAUSE: Duration = Duration::from_millis(50);

/// One stream: a run, and how far it was told.
struct Following {
    api: Api,
    run: RunId,
    changes: Changes,
    seen: i64,
    follow: bool,
    over: bool,
}

/// Why an answer breaks off before its run has ended.
#[derive(Debug, thiserror::Error)]
enum BrokenOff {
    /// The host stops, and the run may go on with the next.
    #[error("the host stops")]
    Stopping,
    /// What happens cannot be read.
    #[error("the ledger cannot be read")]
    Ledger(#[from] LedgerError),
}

pub(super) async fn events(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<Follow>, QueryRejection>,
) -> Answer {
    let run = run_id(path)?;
    let Query(Follow { after, follow }) = query?;
    let seen = after.unwrap_or(0);
    if seen < 0 {
        return Err(Problem::invalid("`after` takes the `seq` of a line, or 0"));
    }
    let known = api.ledger().read(move |tx| connector_ledger::runs::get(tx, run)).await?;
    known.ok_or_else(|| no_run(run))?;
    let changes = api.shared.engine.subscribe();
    let following = Following { api, run, changes, seen, follow: follow.unwrap_or(true), over: false };
    let lines = stream::unfold(following, |mut following| async {
        let lines = following.next().await?;
        Some((lines.map(Bytes::from), following))
    });
    let mut response: Response = Body::from_stream(lines).into_response();
    dress(&mut response, "application/x-ndjson");
    Ok(response)
}

impl Following {
    /// The next lines; nothing once there will be none. After an error, which breaks the answer off, there are none.
    async fn next(&mut self) -> Option<Result<String, BrokenOff>> {
        let news = self.news().await.transpose()?;
        if let Err(error) = &news {
            self.over = true;
            tracing::warn!(run = %self.run, error = %chain(error), "a run is not followed any further");
        }
        Some(news)
    }

    async fn news(&mut self) -> Result<Option<String>, BrokenOff> {
        while !self.over {
            let (run, seen) = (self.run, self.seen);
            let (rows, last, state) =
                self.api.ledger().read(move |tx| runs::news(tx, Some(run), seen)).await?;
            self.seen = last.max(seen);
            self.over = !self.follow || state != Some(RunState::Active);
            if !rows.is_empty() {
                let mut lines = String::new();
                for row in &rows {
                    let line = serde_json::to_string(row).map_err(LedgerError::from)?;
                    lines.push_str(&connector_surface::text::escaped_json(&line));
                    lines.push('\n');
                }
                return Ok(Some(lines));
            }
            if !self.over && !self.changed().await {
                return Err(BrokenOff::Stopping);
            }
        }
        Ok(None)
    }

    /// Waits until something of the run may be another; `false` once the host stops.
    async fn changed(&mut self) -> bool {
        let stop = self.api.shared.stop.clone();
        let heard = async {
            while let Some(change) = self.changes.next().await {
                if change == Change::Run(self.run) || change == Change::Unknown {
                    return true;
                }
            }
            false
        };
        let is_heard = tokio::select! {
            () = stop.cancelled() => false,
            is_heard = heard => is_heard,
        };
        if is_heard {
            tokio::time::sleep(PAUSE).await;
            self.changes.clear();
        }
        is_heard
    }
}

#[cfg(test)]
mod tests {
    use connector_ledger::audit;

    use super::super::tests::{api, run};
    use super::*;

    #[tokio::test]
    async fn a_stream_looks_again_for_its_own_run_and_for_no_other() {
        let state = tempfile::tempdir().unwrap();
        let api = api(state.path());
        let (own, other) = (run(&api, "1"), run(&api, "2"));
        let changes = api.shared.engine.subscribe();
        let mut following =
            Following { api: api.clone(), run: own, changes, seen: 0, follow: true, over: false };
        let change = |run| {
            let step = connector_gate::ids::StepId { run, index: 1 };
            let entry = audit::of_step(step, "test", audit::host(), None, serde_json::Value::Null);
            api.written().write_now(|tx| audit::append(tx, entry)).unwrap();
        };
        change(other);
        change(own);
        assert!(following.changed().await);
        change(other);
        api.shared.stop.cancel();
        assert!(!following.changed().await, "nothing but the stop ends the wait");
    }
}
