//! Finding the daemon of an earlier host again.

use std::collections::BTreeMap;
use std::path::Path;

use secrecy::SecretString;

use super::{Daemon, Spec, StartError, contain, start};
use crate::egress::Egress;
use crate::health::{self, HealthError};
use crate::keys::Keys;
use crate::process::{Leader, ProcessId};
use crate::record::{Record, RecordFile};
use crate::version;

/// How often a recorded daemon is asked before it counts as silent.
const QUESTIONS: usize = 3;

/// How [`Daemon::adopt_or_start`] came by its daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adopted {
    /// The earlier host's daemon goes on, with its sessions and its warm caches.
    Same,
    /// There was none.
    Fresh,
    /// There was one, which was ended, for this reason.
    Replaced(Unfit),
    /// The earlier host's daemon goes on with what it is in the middle of, though it was started with
    /// another configuration, program or environment.
    Outdated,
}

/// Why a recorded daemon was not reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Its process is gone.
    Gone,
    /// The process at which it finds its models is gone.
    Modelless,
    /// It serves another directory.
    OtherDirectory,
    /// It was started with another configuration, program or environment.
    OtherConfiguration,
    /// It does not listen on its port, or does not answer to its password.
    Silent,
    /// Its version is refused.
    Version,
}

/// What becomes of a daemon with another configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outdated {
    Ended,
    Kept,
}

/// What is on record.
enum Found {
    Daemon(Box<Daemon>, Adopted),
    /// Nothing of use; what there was has been ended.
    Nothing(RecordFile, Option<Unfit>),
}

pub(super) async fn adopt_or_start(
    spec: &Spec,
    path: &Path,
    outdated: Outdated,
) -> Result<(Daemon, Adopted), StartError> {
    match find(spec, path, outdated).await? {
        Found::Daemon(daemon, how) => Ok((*daemon, how)),
        Found::Nothing(file, unfit) => {
            let how = unfit.map_or(Adopted::Fresh, Adopted::Replaced);
            Ok((start::start(spec, Some(file)).await?, how))
        }
    }
}

pub(super) async fn adopt(
    spec: &Spec,
    path: &Path,
    outdated: Outdated,
) -> Result<Option<(Daemon, Adopted)>, StartError> {
    match find(spec, path, outdated).await? {
        Found::Daemon(daemon, how) => Ok(Some((*daemon, how))),
        Found::Nothing(file, unfit) => {
            tracing::debug!(path = %path.display(), ?unfit, "an earlier daemon is not taken over");
            file.remove();
            Ok(None)
        }
    }
}

async fn find(spec: &Spec, path: &Path, outdated: Outdated) -> Result<Found, StartError> {
    let failed = |source| StartError::Record { path: path.to_owned(), source };
    let file = RecordFile::lock(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => StartError::InUse { path: path.to_owned() },
        _ => failed(error),
    })?;
    let Some(record) = file.read().map_err(failed)? else { return Ok(Found::Nothing(file, None)) };
    match fit(spec, &record, outdated).await {
        Ok((process, version)) => {
            let how = if record.digest == spec.digest() { Adopted::Same } else { Adopted::Outdated };
            Ok(Found::Daemon(Box::new(taken_over(spec, (record, process), version, file).await?), how))
        }
        Err(unfit) => {
            let family = record.family();
            let ending = tokio::task::spawn_blocking(move || family.end_now());
            if ending.await.is_err() {
                tracing::warn!("the earlier daemon could not be ended");
            }
            Ok(Found::Nothing(file, Some(unfit)))
        }
    }
}

/// Asks the questions that need no trust first; the password goes out last, to a proven process.
async fn fit(spec: &Spec, record: &Record, outdated: Outdated) -> Result<(ProcessId, String), Unfit> {
    let process = record.process.as_ref().filter(|process| process.is_alive()).ok_or(Unfit::Gone)?;
    let directory = start::usable_directory(&spec.directory).map_err(|_| Unfit::OtherDirectory)?;
    if record.directory != directory || !process.runs_in(&directory) {
        return Err(Unfit::OtherDirectory);
    }
    if record.egress.as_ref().is_some_and(|egress| !egress.is_alive()) {
        return Err(Unfit::Modelless);
    }
    if outdated == Outdated::Ended && record.digest != spec.digest() {
        return Err(Unfit::OtherConfiguration);
    }
    let version = answers(record).await.ok_or(Unfit::Silent)?;
    let version = version::check_within(&version, spec.requires_walls()).map_err(|_| Unfit::Version)?;
    Ok((process.clone(), version.to_string()))
}

/// The version of one that listens. It may be busy, so once is not enough to call it silent.
async fn answers(record: &Record) -> Option<String> {
    let password = SecretString::from(record.password.as_str());
    for _ in 0..QUESTIONS {
        let (family, port) = (record.family(), record.port);
        if !tokio::task::spawn_blocking(move || family.listens_on(port)).await.unwrap_or(false) {
            return None;
        }
        match health::version(record.port, &password, record.version.as_deref()).await {
            Ok(version) => return Some(version),
            Err(HealthError::Silent) => {}
            Err(_) => return None,
        }
    }
    None
}

async fn taken_over(
    spec: &Spec,
    (record, process): (Record, ProcessId),
    version: String,
    file: RecordFile,
) -> Result<Daemon, StartError> {
    let password = SecretString::from(record.password.as_str());
    let egress = record.egress.clone().and_then(Egress::found);
    let limits = contain::limits_of_found(spec, &record).await;
    Ok(Daemon {
        leader: Leader::Found(process),
        family: record.family(),
        port: record.port,
        directory: record.directory.clone(),
        version,
        output_log: start::output_log(spec, &password)?,
        password,
        grace: spec.stop_grace,
        record: Some((file, record)),
        ends_on_drop: true,
        limits,
        asked: BTreeMap::new(),
        egress,
        logins: Keys::of(spec).into_copy(),
    })
}
