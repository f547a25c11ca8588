//! What the host's own steps write.

use std::path::Path;

use connector_engine::Engine;
use connector_files::AbsolutePath;
use connector_gate::clock::Millis;
use connector_ledger::steps::{self, Worked};
use connector_ledger::{LedgerError, Tx, runs};
use connector_rules::Rule;
use serde_json::Value;

use super::Places;
use crate::places::real;

/// What of the host's own work there was since a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Work {
    /// A step works there.
    pub(super) goes_on: bool,
    /// One that worked there has ended.
    pub(super) ended: bool,
    /// A run of the rule has not ended.
    pub(super) waits: bool,
}

impl Work {
    /// Whether a step worked there.
    pub(super) fn any(self) -> bool {
        self.goes_on || self.ended
    }
}

/// What work there was since `since`, at `path` or of `rule` itself.
pub(super) async fn work(
    engine: &Engine,
    rule: &Rule,
    path: &AbsolutePath,
    places: &Places,
    since: Millis,
) -> Result<Work, LedgerError> {
    let name = rule.name().to_owned();
    let (worked, waits) = engine
        .ledger()
        .read(move |tx: &Tx<'_>| Ok((steps::worked_since(tx, since)?, runs::is_under_way(tx, &name)?)))
        .await?;
    let path = real(path);
    let theirs = |step: &&Worked| step.rule == rule.name() || works_at(&path, step, places);
    let mut here = worked.iter().filter(theirs);
    let goes_on = here.clone().any(|step| step.ended_at.is_none());
    Ok(Work { goes_on, ended: here.any(|step| step.ended_at.is_some()), waits })
}

/// Whether a step works where `path` is: by what its connector said that it would touch, and by its workspace.
fn works_at(path: &Path, step: &Worked, places: &Places) -> bool {
    let named = step.target.settings.get("directory").and_then(Value::as_str).map(Path::new);
    let origin = step.target.origin.as_deref().and_then(|origin| origin.strip_prefix("workspace:"));
    let workspace = origin.and_then(|name| places.workspaces.get(name)).map(std::path::PathBuf::as_path);
    named.into_iter().chain(workspace).any(|directory| overlap(path, &real(directory)))
}

/// Whether one is in the other, or they are the same.
pub(super) fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}
