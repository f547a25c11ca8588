//! The user's configuration of opencode as a daemon within walls gets it: without the keys in it.
//!
//! A directory beside the daemon's own data, made anew at each start and read by the daemon alone. Its
//! files of settings are copies; what opencode itself reads beside them (agents, commands, plugins) is a link to
//! the user's, and so is what the settings name by `{file:…}`. Whatever else people keep there stays closed:
//! earlier settings, `.env`, a repository.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use crate::confine::servers;
use crate::daemon::{Home, Spec};
use crate::environment::Environment;
use crate::providers::Providers;
use crate::{keys, own_package, worktree};

/// The variable that says where it is.
pub(crate) const VARIABLE: &str = "XDG_CONFIG_HOME";

/// What stands for [`VARIABLE`] in a daemon with data in `own`.
pub(crate) fn directory(own: &Path) -> PathBuf {
    own.with_extension("config")
}

/// The user's own directory.
pub(crate) fn of_user(spec: &Spec) -> Option<PathBuf> {
    in_environment(&spec.environment)
}

fn in_environment(environment: &Environment) -> Option<PathBuf> {
    let home = || environment.get("HOME").map(|home| Path::new(home).join(".config"));
    let base = environment.get(VARIABLE).map(PathBuf::from).or_else(home);
    base.map(|base| base.join("opencode"))
}

/// What decides about every daemon of this user, and where it is: opencode's configuration, which may name
/// files of the user's that the host reads and programs that opencode runs, stored logins, and git's settings.
pub fn decisive(environment: &Environment) -> Vec<(&'static str, PathBuf)> {
    let mut places = Vec::new();
    if let Some(directory) = in_environment(environment) {
        // Each by its own name: it may be a link.
        let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        places.extend(entries.map(|entry| ("opencode's configuration", entry.path())));
        places.insert(0, ("opencode's configuration", directory));
    }
    places.extend(keys::file(environment).map(|file| ("opencode's stored logins", file)));
    let settings = worktree::personal_settings(environment).into_iter();
    places.extend(settings.map(|file| ("git's settings", file)));
    places
}

/// What opencode reads in such a directory beside its settings.
const READ: [&str; 18] = [
    "agent",
    "agents",
    "command",
    "commands",
    "mode",
    "modes",
    "plugin",
    "plugins",
    "skill",
    "skills",
    "tool",
    "tools",
    "theme",
    "themes",
    "AGENTS.md",
    "package.json",
    "package-lock.json",
    "node_modules",
];

/// What the daemon reads of them, and its agent's commands do not.
pub(crate) fn doors(spec: &Spec) -> Vec<PathBuf> {
    let Home::Own(own) = &spec.home else { return Vec::new() };
    std::iter::once(directory(own)).chain(linked(spec)).chain(named_in_settings(spec)).collect()
}

/// What is linked as it is.
fn linked(spec: &Spec) -> Vec<PathBuf> {
    let Some(directory) = of_user(spec) else { return Vec::new() };
    READ.iter().map(|name| directory.join(name)).filter(|path| path.symlink_metadata().is_ok()).collect()
}

/// The files in the directory that the settings name, keys aside.
fn named_in_settings(spec: &Spec) -> Vec<PathBuf> {
    let Some(directory) = of_user(spec) else { return Vec::new() };
    let texts = Providers::FILES.iter().filter_map(|name| std::fs::read_to_string(directory.join(name)).ok());
    let kept = texts.filter_map(|text| Providers::without_keys(&text).ok());
    let named: Vec<_> =
        kept.flat_map(|text| Providers::files(&text, &spec.environment, &directory)).collect();
    let plain = |path: &PathBuf| {
        let below = path.strip_prefix(&directory);
        below.is_ok_and(|below| below.components().all(|part| matches!(part, Component::Normal(_))))
            && !Providers::FILES.iter().any(|name| *path == directory.join(name))
    };
    named.into_iter().filter(plain).filter(|path| path.is_file()).collect()
}

/// Makes it anew.
pub(crate) fn prepare(spec: &Spec, own: &Path) -> io::Result<()> {
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
    for path in named_in_settings(spec) {
        let Ok(below) = path.strip_prefix(&of_user) else { continue };
        let link = here.join(below);
        // What is in a directory that is linked is there already.
        if link.symlink_metadata().is_err() {
            std::fs::create_dir_all(link.parent().unwrap_or(&here))?;
            symlink(&path, link)?;
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
        let text = Providers::without_keys(&text).map_err(|error| named(&path, &error))?;
        std::fs::write(here.join(name), servers::text_without_password(text))?;
    }
    own_package::forgo_at(&here)
}

fn named(path: &Path, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}
