//! What is on record of daemons, for whoever is not their host: read without disturbing the host,
//! and ended only when no host holds them.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::Leader;
use crate::record::{Record, RecordFile};

/// How long a daemon may take to end after SIGTERM, before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// The daemon of one workspace, as its host wrote it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The workspace's name.
    pub workspace: String,
    /// The directory it serves.
    pub directory: PathBuf,
    /// Its port.
    pub port: u16,
    /// Its process, while that very process runs.
    pub pid: Option<u32>,
    /// Its version, if it ever answered.
    pub version: Option<String>,
}

/// What became of a daemon that was to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was ended, with everything it had started.
    Now,
    /// Nothing of it ran.
    Before,
    /// A host holds it; it goes on.
    Held,
}

/// Every daemon on record in the state directory `state` of a [`Pool`](crate::Pool), by name.
pub fn on_record(state: &Path) -> io::Result<Vec<Entry>> {
    let entries = match std::fs::read_dir(state) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let Some(workspace) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        if path.extension().is_some_and(|extension| extension == "json")
            && let Some(record) = Record::read(&path)?
        {
            found.push(of(workspace, record));
        }
    }
    found.sort_by(|one, other| one.workspace.cmp(&other.workspace));
    Ok(found)
}

/// Ends the daemon of `workspace` that is on record in `state`, unless a host holds it.
pub async fn end(state: &Path, workspace: &str) -> io::Result<Ended> {
    end_at(&state.join(format!("{workspace}.json"))).await
}

/// The same by the path of the record.
pub(crate) async fn end_at(path: &Path) -> io::Result<Ended> {
    if !path.exists() {
        return Ok(Ended::Before);
    }
    let file = match RecordFile::lock(path) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Ended::Held),
        file => file?,
    };
    let Some(record) = file.read()? else { return Ok(Ended::Before) };
    let family = record.family();
    let ran = !family.members().is_empty();
    let mut leader = record.process.map(Leader::Found);
    match &mut leader {
        Some(leader) => family.end(leader, GRACE).await,
        None => tokio::task::spawn_blocking(move || family.end_now()).await.map_err(io::Error::other)?,
    }
    file.remove();
    Ok(if ran { Ended::Now } else { Ended::Before })
}

fn of(workspace: &str, record: Record) -> Entry {
    let process = record.process.as_ref().filter(|process| process.is_alive());
    Entry {
        workspace: workspace.to_owned(),
        pid: process.map(|process| process.pid),
        directory: record.directory,
        port: record.port,
        version: record.version,
    }
}
