//! Rules with a trigger of type `FileWatch`: what they wait for is looked at, and what changed becomes an event.
//!
//! It is level-triggered. The system tells that something happened below a directory, and no more is relied on than
//! that: once it rests, the directory is looked through, and what differs from the look before is one event. So a file
//! that is replaced is a modified one, a burst of ten thousand is as good as one, and what the system forgot to tell
//! is seen at the next look. Where the system cannot tell, the directory is looked through every few seconds.
//!
//! What steps of the host write is theirs: what a look finds otherwise than the one before, after one worked there, is
//! no event. What others change while a run of the rule waits is held until that has ended. In memory is only what was
//! seen; what changes while no host runs is not told.
//!
//! What it never does: follow a link below what is watched, read a file, or watch the host's own state.

mod look;
mod own;
mod told;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use connector_contract::chain;
use connector_engine::{self as engine, Engine, Repeat};
use connector_files::{AbsolutePath, Base};
use connector_gate::clock::Millis;
use connector_gate::policy::Actor;
use connector_ledger::LedgerError;
use connector_rules::{FILE_WATCH, FileChange, FileWatch, Rule};
use look::Seen;
use tokio::sync::Notify;
use tokio::time::Instant;
use told::Teller;

use crate::places::real;
use crate::troubles::Troubles;

/// How often rules are compared with what is watched, and whether a directory is still the one that was.
const TICK: Duration = Duration::from_secs(1);

/// How long nothing may happen before a change is looked at.
const REST: Duration = Duration::from_millis(500);

/// After this long it is looked at whether it rests or not.
const LONGEST: Duration = Duration::from_secs(5);

/// How often a directory is looked through where the system does not tell of it.
const UNTOLD: Duration = Duration::from_secs(5);

/// How often at least, also where it tells, which it does not of what other machines write; and again after a look that failed.
const ANYWAY: Duration = Duration::from_mins(1);

/// What differs from one host to another.
#[derive(Debug, Clone)]
pub struct Places {
    /// Where relative paths start, and what `~` is.
    pub base: Base,
    /// The host's own state directory.
    pub state: PathBuf,
    /// The directories of workspaces, by their names.
    pub workspaces: HashMap<String, PathBuf>,
}

impl Places {
    /// The path that a rule means, or why it is not watched.
    pub fn resolved(&self, watch: &FileWatch) -> Result<AbsolutePath, String> {
        let written = watch.path();
        let Some(path) = self.base.resolve(written) else {
            return Err(format!("{written} starts in a home directory, and there is none"));
        };
        let (real, state) = (real(&path), real(&self.state));
        if own::overlap(&real, &state) {
            return Err(format!(
                "{} and the host's own state at {} are not apart: each event would be a change; watch another directory, \
                 or choose another state with --state",
                path.display(),
                self.state.display()
            ));
        }
        Ok(path)
    }
}

/// The rules that wait for files which cannot be watched, in words.
pub fn in_vain<'r>(rules: impl IntoIterator<Item = &'r Arc<Rule>>, places: &Places) -> Vec<String> {
    let refused = |rule: &Arc<Rule>| {
        let why = places.resolved(rule.file_watch().filter(|_| rule.enabled())?).err()?;
        Some(format!("the rule {} waits for files in vain: {why}", rule.name()))
    };
    rules.into_iter().filter_map(refused).collect()
}

/// One rule's files.
struct Watched {
    rule: Arc<Rule>,
    path: AbsolutePath,
    /// As of the last look; nothing before the first that succeeded.
    seen: Option<Seen>,
    /// When that was, by the ledger.
    seen_at: Millis,
    /// What events were made of, or was a step's own work.
    known: Seen,
    /// Whether there is more than that, which is told once no run of the rule waits.
    holds: bool,
    /// Whether the last look failed.
    failed: bool,
    teller: Teller,
    /// When the first change came that was not looked at, and the last.
    changing: Option<(Instant, Instant)>,
    looked: Instant,
    /// Not looked at again before, however much changes.
    not_before: Instant,
}

/// Watches what the rules of `engine` wait for, as long as it is polled. Dropping it stops it.
pub async fn keep(engine: Engine, places: Places, troubles: Troubles) {
    let woken = Arc::new(Notify::new());
    let mut watched: HashMap<String, Watched> = HashMap::new();
    let mut refused: Vec<String> = Vec::new();
    loop {
        if let Err(error) = pass(&engine, &places, &woken, &mut watched).await {
            tracing::error!(error = %chain(&error), "changed files wait for the ledger");
        }
        let now = in_vain(engine.rules().rules(), &places);
        if now != refused {
            if now.is_empty() {
                troubles.over("files");
            } else {
                troubles.tell("files", &now.join("; "));
            }
            refused = now;
        }
        let due = watched.values().filter_map(Watched::due).min();
        let until = due.unwrap_or(Instant::now() + TICK).min(Instant::now() + TICK);
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            () = woken.notified() => {}
        }
    }
}

async fn pass(
    engine: &Engine,
    places: &Places,
    woken: &Arc<Notify>,
    watched: &mut HashMap<String, Watched>,
) -> Result<(), LedgerError> {
    let rules = engine.rules();
    let wanted: HashMap<&str, (&Arc<Rule>, AbsolutePath)> = rules
        .rules()
        .iter()
        .filter(|rule| rule.enabled())
        .filter_map(|rule| Some((rule.name(), (rule, places.resolved(rule.file_watch()?).ok()?))))
        .collect();
    watched.retain(|name, one| {
        wanted.get(name.as_str()).is_some_and(|(rule, _)| rule.version() == one.rule.version())
    });
    for (name, (rule, path)) in wanted {
        if !watched.contains_key(name) {
            let one = Watched::begin(engine, Arc::clone(rule), path, Arc::clone(woken)).await?;
            watched.insert(name.to_owned(), one);
        }
    }
    for one in watched.values_mut() {
        one.pass(engine, places).await?;
    }
    Ok(())
}

impl Watched {
    async fn begin(
        engine: &Engine,
        rule: Arc<Rule>,
        path: AbsolutePath,
        woken: Arc<Notify>,
    ) -> Result<Self, LedgerError> {
        // In this order: what changes in between is told, and seen at the next look.
        let mut teller = Teller::new(woken);
        teller.follow(&path).await;
        let seen_at = engine.now_by_ledger().await?;
        let seen = looked_through(&rule, &path).await;
        let seen = seen.inspect_err(|error| cannot_look(&rule, &path, error)).ok();
        let known = seen.clone().unwrap_or_default();
        tracing::info!(rule = rule.name(), path = %path.display(), files = known.len(), "files are watched");
        Ok(Self {
            rule,
            path,
            seen,
            seen_at,
            known,
            holds: false,
            failed: false,
            teller,
            changing: None,
            looked: Instant::now(),
            not_before: Instant::now(),
        })
    }

    /// When there is something to look at.
    fn due(&self) -> Option<Instant> {
        self.changing.map(|(first, last)| (last + REST).min(first + LONGEST).max(self.not_before))
    }

    async fn pass(&mut self, engine: &Engine, places: &Places) -> Result<(), LedgerError> {
        let now = Instant::now();
        let moved = self.teller.follow(&self.path).await;
        let every = if self.teller.is_told() && self.seen.is_some() { ANYWAY } else { UNTOLD };
        if self.teller.has_told() || moved || now >= self.looked + every {
            let first = self.changing.map_or(now, |(first, _)| first);
            self.changing = Some((first, now));
        }
        if self.changing.is_none() && now >= self.not_before {
            self.not_before = now + TICK;
            let work = own::work(engine, &self.rule, &self.path, places, self.seen_at).await?;
            // What a step did is seen before others change more.
            if !work.goes_on && (work.ended || (self.holds && !work.waits)) {
                self.changing = Some((now, now));
            }
        }
        if self.due().is_none_or(|due| now < due) {
            return Ok(());
        }
        self.not_before = now + TICK;
        if self.look(engine, places).await? {
            self.changing = None;
        }
        Ok(())
    }

    /// Looks, and tells of what changed. Says whether that was all: if not, it is looked at again.
    async fn look(&mut self, engine: &Engine, places: &Places) -> Result<bool, LedgerError> {
        let work = |since| own::work(engine, &self.rule, &self.path, places, since);
        let before = work(self.seen_at).await?;
        if before.goes_on {
            return Ok(false);
        }
        let seen_at = engine.now_by_ledger().await?;
        self.looked = Instant::now();
        let seen = match looked_through(&self.rule, &self.path).await {
            Ok(seen) => seen,
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    cannot_look(&self.rule, &self.path, &error);
                }
                self.not_before = self.looked + ANYWAY;
                return Ok(false);
            }
        };
        self.failed = false;
        // What began while it was looked at may be in it.
        if work(seen_at).await?.any() {
            return Ok(false);
        }
        let Some(last) = self.seen.replace(seen) else {
            self.known = self.seen.clone().unwrap_or_default();
            self.seen_at = seen_at;
            return Ok(true);
        };
        self.seen_at = seen_at;
        let seen = self.seen.as_ref().unwrap_or(&last);
        if before.ended {
            let theirs = look::changes(&last, seen);
            if !theirs.is_empty() {
                let (rule, files) = (self.rule.name(), theirs.len());
                tracing::info!(rule, files, "what changed is a step's own work");
            }
            look::take_over(&mut self.known, seen, &theirs);
        }
        let changes = look::changes(&self.known, seen);
        self.holds = before.waits && !changes.is_empty();
        if before.waits {
            return Ok(true);
        }
        self.tell(engine, &changes).await?;
        self.known = seen.clone();
        Ok(true)
    }

    async fn tell(&self, engine: &Engine, changes: &[FileChange]) -> Result<(), LedgerError> {
        let Some(watch) = self.rule.file_watch() else { return Ok(()) };
        let changes: Vec<FileChange> =
            changes.iter().filter(|change| watch.takes(change.event)).cloned().collect();
        let Some(event) = watch.burst(self.rule.name(), &engine::unique()?, &changes) else { return Ok(()) };
        let requester = Actor::new(FILE_WATCH, self.rule.name());
        let stored = engine.submit_from_outside(event, requester, Repeat::ById).await?;
        tracing::info!(rule = self.rule.name(), files = changes.len(), event = stored.event, "files changed");
        Ok(())
    }
}

/// What is there now.
async fn looked_through(rule: &Arc<Rule>, path: &Path) -> io::Result<Seen> {
    let (rule, path) = (Arc::clone(rule), path.to_owned());
    let looked = tokio::task::spawn_blocking(move || {
        let watch = rule.file_watch().ok_or(io::ErrorKind::Unsupported)?;
        look::through(&path, |below| watch.counts(below))
    });
    looked.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn cannot_look(rule: &Rule, path: &Path, error: &io::Error) {
    tracing::warn!(rule = rule.name(), path = %path.display(), %error, "files cannot be looked at, and nothing of them is told");
}
