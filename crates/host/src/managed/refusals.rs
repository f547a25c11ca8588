//! What the walls of a workspace's daemon refused while a call ran: hosts, which the egress proxy tells of as it happens, and paths,
//! of which commands that failed are told. Both are in the result.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use connector_contract::{Progress, ProgressSink, ToolOutcome};
use opencode_daemons::{EgressRecord, Environment, offered_paths, refused_paths};

/// How often it is looked.
const LOOKS_EVERY: Duration = Duration::from_secs(1);
/// How many destinations a result names.
const NAMED: usize = 10;

/// How many refusals of paths a result has.
const MOST_PATHS: usize = 100;

/// The refusals of one call. Calls that run at the same time on one daemon share theirs.
pub(super) struct Refusals {
    record: PathBuf,
    seen: BTreeMap<String, u64>,
    refused: BTreeSet<String>,
    paths: PathBuf,
    /// How many paths were on record before.
    earlier: usize,
}

impl Refusals {
    /// Of what is refused from now on.
    pub(super) fn from_now(record: PathBuf, paths: PathBuf) -> Self {
        let earlier = refused_paths(&paths).len();
        let mut refusals = Self { record, seen: BTreeMap::new(), refused: BTreeSet::new(), paths, earlier };
        refusals.look();
        refusals.refused.clear();
        refusals
    }

    /// Tells each destination once, as a tool that was refused. Never returns; dropping it loses nothing.
    pub(super) async fn tell(&mut self, progress: &ProgressSink) -> Infallible {
        loop {
            tokio::time::sleep(LOOKS_EVERY).await;
            for destination in self.look() {
                report(progress, &destination);
            }
        }
    }

    /// The paths that outputs of commands in `tree` named, as far as a user may want to open them, as often as they were. A record with fewer than there were is another daemon's.
    pub(super) fn paths(&self, tree: Option<&Path>, environment: &Environment) -> Vec<String> {
        let mut all = refused_paths(&self.paths);
        let earlier = if self.earlier <= all.len() { self.earlier } else { 0 };
        all.drain(..earlier);
        let mut offered = offered_paths(&all, &self.paths, tree, environment);
        offered.truncate(MOST_PATHS);
        offered
    }

    /// All destinations, at most ten by name.
    pub(super) fn all(mut self) -> Vec<String> {
        self.look();
        let more = self.refused.len().saturating_sub(NAMED);
        let more = (more > 0).then(|| format!("{more} more"));
        self.refused.into_iter().take(NAMED).chain(more).collect()
    }

    /// Those that are new. A record that cannot be read says nothing.
    fn look(&mut self) -> Vec<String> {
        let Ok(record) = EgressRecord::read(&self.record) else { return Vec::new() };
        let mut new = Vec::new();
        for (destination, refused) in record.refusals {
            let seen = self.seen.insert(destination.clone(), refused.times).unwrap_or_default();
            if refused.times > seen && self.refused.insert(destination.clone()) {
                new.push(destination);
            }
        }
        new
    }
}

fn report(progress: &ProgressSink, destination: &str) {
    let (call_id, tool, title) =
        (format!("network {destination}"), "network".to_owned(), destination.to_owned());
    progress.report(Progress::ToolStarted {
        call_id: call_id.clone(),
        tool: tool.clone(),
        title: title.clone(),
    });
    let outcome = ToolOutcome::Refused { by: "the walls".to_owned() };
    progress.report(Progress::ToolFinished { call_id, tool, title, outcome });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_before_is_not_told_and_each_destination_once() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("record.json");
        let write = |refused: &[(&str, u64)]| {
            let entry = |(name, times): &(&str, u64)| {
                ((*name).to_owned(), serde_json::json!({ "times": times, "why": "" }))
            };
            let all: serde_json::Map<_, _> = refused.iter().map(entry).collect();
            std::fs::write(&file, serde_json::json!({ "refusals": all }).to_string()).unwrap();
        };
        write(&[("old.example:443", 3), ("again.example:443", 1)]);
        let mut refusals = Refusals::from_now(file.clone(), "/no/record".into());
        assert!(refusals.look().is_empty());
        write(&[("old.example:443", 3), ("again.example:443", 2), ("new.example:80", 1)]);
        assert_eq!(refusals.look(), ["again.example:443", "new.example:80"]);
        write(&[("old.example:443", 3), ("again.example:443", 9), ("new.example:80", 1)]);
        assert!(refusals.look().is_empty());
        assert_eq!(refusals.all(), ["again.example:443", "new.example:80"]);
    }

    #[test]
    fn paths_that_were_refused_before_are_not_told_unless_another_daemon_has_the_record() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state/daemons/w.daemon-tmp/refused");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        for there in [".old", ".older", ".npm", ".new"] {
            std::fs::create_dir(directory.path().join(there)).unwrap();
        }
        let environment = Environment::from_iter([("HOME", directory.path())]);
        std::fs::write(&file, "\t~/.old\n\t~/.older\n").unwrap();
        let refusals = Refusals::from_now("/no/record".into(), file.clone());
        let paths = || refusals.paths(None, &environment);
        assert_eq!(paths(), [""; 0]);
        std::fs::write(&file, "\t~/.old\n\t~/.older\n\t~/.npm\nother\t~/.new\n\t~/.npm\n\t~/.gone\n")
            .unwrap();
        assert_eq!(paths(), ["~/.npm", "~/.npm"]);
        assert_eq!(refusals.paths(Some(Path::new("/trees/other")), &environment), ["~/.new"]);
        std::fs::write(&file, "\t~/.new\n").unwrap();
        assert_eq!(paths(), ["~/.new"]);
    }

    #[test]
    fn of_many_destinations_ten_are_named() {
        let mut refusals = Refusals::from_now("/no/record".into(), "/no/record".into());
        refusals.refused.extend((0..12).map(|n| format!("{n}.example:443")));
        let all = refusals.all();
        assert_eq!((all.len(), all.last().map(String::as_str)), (11, Some("2 more")));
    }
}
