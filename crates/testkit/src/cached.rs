//! What tests fetch once for all processes, into the user's cache directory.
//!
//! It is fetched beside its place, under a lock, and renamed when it is whole: a killed fetch leaves
//! nothing half done, and of many processes that want it one fetches it and the others wait.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use opencode_daemons::{Environment, InstallError, Locate};

/// The directory `name` of the cache, where `proof` is a file of it; `fetch` fills it if it is not
/// there. Blocks. The flag says whether it was fetched now.
pub(crate) fn cached<E: From<io::Error> + From<InstallError>>(
    name: &str,
    proof: &str,
    fetch: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(PathBuf, bool), E> {
    let cache = opencode_daemons::install::cache(&Locate::new(Environment::of_this_process()))?;
    let place = cache.join(name);
    if place.join(proof).is_file() {
        return Ok((place, false));
    }
    std::fs::create_dir_all(&cache)?;
    let _lock = lock(&cache.join(format!("fetch-{name}.lock")))?;
    if place.join(proof).is_file() {
        return Ok((place, false));
    }
    let prefix = format!(".fetching-{name}-");
    clear_leftovers(&cache, &prefix, &place)?;
    let beside = tempfile::Builder::new().prefix(&prefix).tempdir_in(&cache)?;
    fetch(beside.path())?;
    std::fs::rename(beside.path(), &place)?;
    Ok((place, true))
}

/// Removes what killed fetches left, and a place that has lost its proof; only called under the lock.
fn clear_leftovers(cache: &Path, prefix: &str, place: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(cache)?.flatten() {
        let left = entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes());
        if left || entry.path() == place {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Held until it is dropped, or its process ends.
fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    file.lock()?;
    Ok(file)
}
