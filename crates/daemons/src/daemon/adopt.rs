//! Finding the daemon of an earlier host again.

use std::collections::BTreeMap;
use std::path::Path;

use secrecy::SecretString;

use super::{Daemon, Spec, StartError, start};
use crate::health;
use crate::process::{Leader, ProcessId};
use crate::record::{Record, RecordFile};
use crate::version;

/// How [`Daemon::adopt_or_start`] came by its daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adopted {
    /// The earlier host's daemon goes on, with its sessions and its warm caches.
    Same,
    /// There was none.
    Fresh,
    /// There was one, which was ended, for this reason.
    Replaced(Unfit),
}

/// Why a recorded daemon was not reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Its process is gone.
    Gone,
    /// It serves another directory.
    OtherDirectory,
    /// It was started with another configuration, program or environment.
    OtherConfiguration,
    /// It does not listen on its port, or does not answer to its password.
    Silent,
    /// Its version is refused.
    Version,
}

pub(super) async fn adopt_or_start(spec: &Spec, path: &Path) -> Result<(Daemon, Adopted), StartError> {
    start::usable_directory(&spec.directory)?;
    let failed = |source| StartError::Record { path: path.to_owned(), source };
    let file = RecordFile::lock(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => StartError::InUse { path: path.to_owned() },
        _ => failed(error),
    })?;
    let Some(record) = file.read().map_err(failed)? else {
        return Ok((start::start(spec, Some(file)).await?, Adopted::Fresh));
    };
    match fit(spec, &record).await {
        Ok((process, version)) => Ok((adopt(spec, (record, process), version, file)?, Adopted::Same)),
        Err(unfit) => {
            let family = record.family();
            let ending = tokio::task::spawn_blocking(move || family.end_now());
            if ending.await.is_err() {
                tracing::warn!("the earlier daemon could not be ended");
            }
            Ok((start::start(spec, Some(file)).await?, Adopted::Replaced(unfit)))
        }
    }
}

/// Asks the questions that need no trust first; the password goes out last, to a proven process.
async fn fit(spec: &Spec, record: &Record) -> Result<(ProcessId, String), Unfit> {
    let process = record.process.as_ref().filter(|process| process.is_alive()).ok_or(Unfit::Gone)?;
    let directory = start::usable_directory(&spec.directory).map_err(|_| Unfit::OtherDirectory)?;
    if record.directory != directory || !process.runs_in(&directory) {
        return Err(Unfit::OtherDirectory);
    }
    if record.digest != spec.digest() {
        return Err(Unfit::OtherConfiguration);
    }
    if !record.family().listens_on(record.port) {
        return Err(Unfit::Silent);
    }
    let password = SecretString::from(record.password.as_str());
    let known = record.version.as_deref();
    let version = health::version(record.port, &password, known).await.map_err(|_| Unfit::Silent)?;
    let version = version::check_within(&version, spec.requires_walls()).map_err(|_| Unfit::Version)?;
    Ok((process.clone(), version.to_string()))
}

fn adopt(
    spec: &Spec,
    (record, process): (Record, ProcessId),
    version: String,
    file: RecordFile,
) -> Result<Daemon, StartError> {
    let password = SecretString::from(record.password.as_str());
    Ok(Daemon {
        leader: Leader::Found(process),
        family: record.family(),
        port: record.port,
        directory: record.directory.clone(),
        version,
        spool: start::spool(spec, &password)?,
        password,
        grace: spec.stop_grace,
        record: Some((file, record)),
        ends_on_drop: true,
        asked: BTreeMap::new(),
    })
}
