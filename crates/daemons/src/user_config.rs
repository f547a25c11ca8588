//! The user's configuration of opencode as a daemon within walls gets it: without the keys in it.
//!
//! A directory beside the daemon's own data, made anew at each start and read by the daemon alone. Its
//! files of settings are copies; everything else in it (agents, commands, plugins) is a link to the user's.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::daemon::{Home, Spec};
use crate::providers::Providers;

/// The variable that says where it is.
pub(crate) const VARIABLE: &str = "XDG_CONFIG_HOME";

/// What stands for [`VARIABLE`] in a daemon with data in `own`.
pub(crate) fn directory(own: &Path) -> PathBuf {
    own.with_extension("config")
}

/// The user's own directory.
pub(crate) fn of_user(spec: &Spec) -> Option<PathBuf> {
    let home = || spec.environment.get("HOME").map(|home| Path::new(home).join(".config"));
    let base = spec.environment.get(VARIABLE).map(PathBuf::from).or_else(home);
    base.map(|base| base.join("opencode"))
}

/// What the daemon reads of them, and its agent's commands do not.
pub(crate) fn doors(spec: &Spec) -> Vec<PathBuf> {
    let Home::Own(own) = &spec.home else { return Vec::new() };
    std::iter::once(directory(own)).chain(linked(spec)).collect()
}

/// What is of the user's directory, the files of settings aside.
fn linked(spec: &Spec) -> Vec<PathBuf> {
    let entries = of_user(spec).and_then(|directory| std::fs::read_dir(directory).ok());
    let entries = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    let settings = |path: &PathBuf| Providers::FILES.iter().any(|name| path.ends_with(name));
    entries.filter(|path| !settings(path)).collect()
}

/// Makes it anew.
pub(crate) fn prepare(spec: &Spec, own: &Path, providers: &Providers) -> io::Result<()> {
    let Some(of_user) = of_user(spec) else { return Ok(()) };
    let directory = directory(own);
    match std::fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let here = directory.join("opencode");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&here)?;
    for path in linked(spec) {
        if let Some(name) = path.file_name() {
            symlink(&path, here.join(name))?;
        }
    }
    // What the daemon's own git reads beside it.
    if let Some(git) = of_user.parent().map(|base| base.join("git")).filter(|git| git.is_dir()) {
        symlink(git, directory.join("git"))?;
    }
    for name in Providers::FILES {
        let path = of_user.join(name);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            text => text.map_err(|error| named(&path, &error))?,
        };
        let text = providers.without_keys(&text).map_err(|error| named(&path, &error))?;
        std::fs::write(here.join(name), text)?;
    }
    Ok(())
}

fn named(path: &Path, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}
