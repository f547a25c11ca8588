//! What went through the proxies: tokens by model, and refusals by destination.
//!
//! The record is one small file, replaced whole, and bounded whatever a client does: what does not
//! find room is counted without its name. A process that starts on an earlier record goes on with it.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// How many models, and how many destinations, are told apart.
const MOST: usize = 200;
/// What the rest is counted under.
const REST: &str = "others";
/// How long changes are gathered before they are written.
const GATHERS: Duration = Duration::from_millis(200);
/// Names longer than this are cut: a client chooses them.
const LONGEST: usize = 200;

/// What went through.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Tokens by `provider/model`.
    #[serde(default)]
    pub usage: BTreeMap<String, Usage>,
    /// How often a destination was refused, by `host:port`, or by method and path at the model proxy, and why.
    #[serde(default)]
    pub refusals: BTreeMap<String, Refused>,
}

/// What one model used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Requests that were answered.
    pub requests: u64,
    /// Tokens that went in, cached ones included.
    pub input: u64,
    /// Tokens that came out, reasoning included.
    pub output: u64,
    /// Tokens of the input that were read from the provider's cache.
    pub cached: u64,
    /// How many of the requests were not told of, so that their tokens are an estimate: answers that were
    /// broken off, and those of providers that do not say.
    #[serde(default)]
    pub estimated: u64,
}

/// A destination that was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// How often.
    pub times: u64,
    /// Why, the first time.
    pub why: String,
}

impl Record {
    /// The record in `file`; an empty one where there is none.
    pub fn read(file: &Path) -> io::Result<Self> {
        match std::fs::read(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            read => serde_json::from_slice(&read?).map_err(io::Error::other),
        }
    }

    fn used(&mut self, model: &str, used: Usage) {
        let sum = self.usage.entry(room(model, &self.usage)).or_default();
        sum.requests += used.requests;
        sum.input = sum.input.saturating_add(used.input);
        sum.output = sum.output.saturating_add(used.output);
        sum.cached = sum.cached.saturating_add(used.cached);
        sum.estimated += used.estimated;
    }

    fn refused(&mut self, destination: &str, why: &str) {
        let entry = self.refusals.entry(room(destination, &self.refusals)).or_default();
        entry.times += 1;
        if entry.why.is_empty() {
            entry.why = cut(why);
        }
    }
}

/// The name to count under.
fn room<T>(name: &str, known: &BTreeMap<String, T>) -> String {
    let name = cut(name);
    if known.contains_key(&name) || known.len() < MOST { name } else { REST.to_owned() }
}

fn cut(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

/// Takes part of the record and has it written.
#[derive(Debug, Clone)]
pub(crate) struct Recorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    record: Mutex<Record>,
    changed: Notify,
    /// Whether something changed since it was last written.
    unwritten: AtomicBool,
}

impl Recorder {
    /// Goes on with what is in `file`.
    pub(crate) fn over(file: Option<&Path>) -> Self {
        let record = file.and_then(|file| Record::read(file).ok()).unwrap_or_default();
        Self(Arc::new(Inner {
            record: Mutex::new(record),
            changed: Notify::new(),
            unwritten: AtomicBool::new(false),
        }))
    }

    pub(crate) fn used(&self, model: &str, used: Usage) {
        self.change(|record| record.used(model, used));
    }

    pub(crate) fn refused(&self, destination: &str, why: &str) {
        self.change(|record| record.refused(destination, why));
    }

    fn change(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.0.record.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.unwritten.store(true, Ordering::Release);
        self.0.changed.notify_one();
    }

    pub(crate) fn now(&self) -> Record {
        self.0.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes each change to `file`, soon after it was made, or at once when this is dropped. Never returns. What
    /// cannot be written is written with the next change.
    pub(crate) async fn keep(self, file: PathBuf) -> std::convert::Infallible {
        let last = Last { recorder: self, file };
        let (recorder, file) = (&last.recorder, &last.file);
        loop {
            recorder.0.changed.notified().await;
            tokio::time::sleep(GATHERS).await;
            recorder.0.unwritten.store(false, Ordering::Release);
            let (record, file) = (recorder.now(), file.clone());
            let _ = tokio::task::spawn_blocking(move || write(&record, &file)).await;
        }
    }
}

/// Writes what was not written yet when it is dropped: the process ends with the one whose requests it counts.
struct Last {
    recorder: Recorder,
    file: PathBuf,
}

impl Drop for Last {
    fn drop(&mut self) {
        if self.recorder.0.unwritten.swap(false, Ordering::AcqRel) {
            let _ = write(&self.recorder.now(), &self.file);
        }
    }
}

fn write(record: &Record, file: &Path) -> io::Result<()> {
    let mut beside = tempfile::NamedTempFile::new_in(file.parent().unwrap_or(Path::new(".")))?;
    beside.write_all(&serde_json::to_vec_pretty(record)?)?;
    beside.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_stays_small_whatever_is_asked_for() {
        let mut record = Record::default();
        for n in 0..10_000 {
            record.refused(&format!("host-{n}.example:443"), "it is not named");
            record.used(&format!("p/{}{n}", "m".repeat(10_000)), Usage { requests: 1, ..Usage::default() });
        }
        assert_eq!((record.refusals.len(), record.usage.len()), (MOST + 1, 1));
        assert_eq!(record.refusals[REST].times, 10_000 - MOST as u64);
        assert!(serde_json::to_vec(&record).unwrap().len() < 100_000);
    }

    #[tokio::test]
    async fn what_was_not_written_yet_is_when_nothing_more_comes() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("record");
        let recorder = Recorder::over(Some(&file));
        {
            let keeping = std::pin::pin!(recorder.clone().keep(file.clone()));
            assert!(tokio::time::timeout(Duration::ZERO, keeping).await.is_err());
        }
        assert!(!file.exists());
        {
            let mut keeping = std::pin::pin!(recorder.clone().keep(file.clone()));
            assert!(tokio::time::timeout(Duration::ZERO, keeping.as_mut()).await.is_err());
            recorder.refused("example.org:443", "it is not named");
        }
        assert_eq!(Record::read(&file).unwrap().refusals["example.org:443"].times, 1);
    }

    #[tokio::test]
    async fn what_is_written_is_gone_on_with() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("record");
        for times in 1..=2 {
            let recorder = Recorder::over(Some(&file));
            let keeping = tokio::spawn(recorder.clone().keep(file.clone()));
            recorder.used("a/b", Usage { requests: 1, input: 10, output: 3, cached: 4, estimated: 1 });
            recorder.refused("example.org:443", "it is not named");
            while Record::read(&file).unwrap().usage.get("a/b").is_none_or(|used| used.requests < times) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            keeping.abort();
        }
        let record = Record::read(&file).unwrap();
        assert_eq!(record.usage["a/b"], Usage { requests: 2, input: 20, output: 6, cached: 8, estimated: 2 });
        assert_eq!(record.refusals["example.org:443"].times, 2);
    }
}
