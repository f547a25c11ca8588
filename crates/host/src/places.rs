//! Where what decides about the agent lies, and who may change it.
//!
//! `host.toml`, the rules, the packages, the host's state, its binary, opencode's, and the directories
//! in which programs are looked for must not be where an agent may write: it would decide what it may
//! do, or what the host runs outside all walls. Nor may another user of the machine be able to.

use std::fmt;
use std::path::{Path, PathBuf};

use connector_contract::chain;
use connector_files::owned::{self, Fault, State};
use opencode_daemons::pool::Confine;
use opencode_daemons::{Environment, PoolConfig};

use crate::managed::config::confine;

/// Something that decides about the agent, or that the host runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guarded {
    /// What it is.
    pub what: &'static str,
    /// Where it is, or would be made.
    pub path: PathBuf,
    /// Whether an agent may not read it either.
    pub secret: bool,
}

/// Where an agent may write, or read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// What opens it.
    pub what: String,
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is open for reading alone.
    pub read_only: bool,
}

/// Something that is where an agent may write, or read what is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misplaced {
    guarded: Guarded,
    door: Door,
}

/// Everything that is guarded for a host.
#[derive(Debug, Clone, Default)]
pub struct Places(Vec<Guarded>);

impl Places {
    /// The host's state, its own binary, the directories of `PATH`, and what the user configured of opencode and
    /// git: a daemon's configuration may name a file of the user's that the host reads for it.
    pub fn of_host(state: &Path, environment: &Environment) -> Self {
        let mut places = Self::default().with("the host's state", state);
        if let Ok(own) = std::env::current_exe() {
            places = places.with("the host's binary", own);
        }
        // Those that are relative are searched by nobody.
        for directory in environment.search_path() {
            places = places.with("a directory of PATH", directory);
        }
        opencode_daemons::decisive(environment)
            .into_iter()
            .fold(places, |all, (what, path)| all.with(what, path))
    }

    /// The same with one more.
    #[must_use]
    pub fn with(mut self, what: &'static str, path: impl Into<PathBuf>) -> Self {
        self.0.push(Guarded { what, path: path.into(), secret: false });
        self
    }

    /// The same with one more, which an agent may not read either.
    #[must_use]
    pub fn with_secret(mut self, what: &'static str, path: impl Into<PathBuf>) -> Self {
        self.0.push(Guarded { what, path: path.into(), secret: true });
        self
    }

    /// What of them is below one of `doors`, each once.
    pub fn misplaced(&self, doors: &[Door]) -> Vec<Misplaced> {
        let judge = |guarded: &Guarded| {
            // By its own name and by where that leads: who may write either changes it.
            let places = [real(&guarded.path), beside(&guarded.path)];
            let mut closed = doors.iter().filter(|door| guarded.secret || !door.read_only);
            let door = closed.find(|door| places.iter().any(|place| place.starts_with(real(&door.path))))?;
            Some(Misplaced { guarded: guarded.clone(), door: door.clone() })
        };
        self.0.iter().filter_map(judge).collect()
    }
}

impl fmt::Display for Misplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { guarded, door } = self;
        if door.read_only {
            let (what, path) = (guarded.what, guarded.path.display());
            let (of, opened) = (&door.what, door.path.display());
            return write!(
                f,
                "{what}, {path}, is below {of}, {opened}, where an agent may read: it could act with it; move it elsewhere"
            );
        }
        write!(
            f,
            "{}, {}, is below {}, {}, where an agent may write: it could change what it may do, or what the host runs; \
             {}",
            guarded.what,
            guarded.path.display(),
            door.what,
            door.path.display(),
            match guarded.what {
                "a directory of PATH" => "start the host without it in PATH",
                "the host's state" => "choose another with --state",
                "opencode's configuration" | "opencode's stored logins" | "git's settings" =>
                    "choose another workspace, or have no link lead there",
                _ => "move it elsewhere",
            }
        )
    }
}

/// The directories that agents of these workspaces may write in, or read.
pub fn doors(pool: &PoolConfig) -> Vec<Door> {
    let mut doors = Vec::new();
    for (name, workspace) in &pool.workspaces {
        let door = |what: &str, path: &Path, read_only: bool| {
            let (what, path) = (format!("{what}{name}"), path.to_owned());
            Door { what, path, read_only }
        };
        doors.push(door("the workspace ", &workspace.directory, false));
        // Without walls every place is open, which is said elsewhere.
        if confine(pool, name) != Confine::Off {
            let written = workspace.write.iter().chain(&pool.write);
            doors.extend(written.map(|path| door("a `write` door of ", path, false)));
            let read = workspace.read.iter().chain(&pool.read);
            doors.extend(read.map(|path| door("a `read` door of ", path, true)));
        }
    }
    doors
}

/// The path without links, as far as it exists.
pub(crate) fn real(path: &Path) -> PathBuf {
    let there = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    match there {
        Some((above, real)) => path.strip_prefix(above).map_or(real.clone(), |rest| real.join(rest)),
        None => path.to_owned(),
    }
}

/// Where its own name is, with the way there without links.
fn beside(path: &Path) -> PathBuf {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => real(parent).join(name),
        _ => path.to_owned(),
    }
}

/// Makes the state directory what only its owner enters, and says in words what had to be mended; an error
/// where it cannot be relied upon.
pub fn own_state(state: &Path) -> Result<Option<String>, String> {
    words("the host's state", state, owned::directory(state))
}

/// The same for what is read and decides; what is not there is left to whoever reads it.
pub fn own_decisive<'a>(
    what: &str,
    paths: impl IntoIterator<Item = &'a Path>,
) -> Result<Vec<String>, String> {
    let mut mended = Vec::new();
    for path in paths.into_iter().filter(|path| path.symlink_metadata().is_ok()) {
        mended.extend(words(what, path, owned::decisive(path))?);
    }
    Ok(mended)
}

fn words(what: &str, path: &Path, judged: Result<State, Fault>) -> Result<Option<String>, String> {
    match judged {
        Ok(State::Kept) => Ok(None),
        Ok(State::Mended(mode)) => Ok(Some(format!(
            "{what}, {}, was open to others (mode {mode:o}) and is closed now",
            path.display()
        ))),
        Err(fault) => Err(format!("{what}, {}, {}", path.display(), chain(&fault))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_where_an_agent_may_write_is_found_by_every_name_it_has() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for directory in ["ws/rules", "elsewhere/rules", "door"] {
            std::fs::create_dir_all(at(directory)).unwrap();
        }
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(at(to), at(name)).unwrap();
        link("ws", "ws-link");
        link("ws/rules", "elsewhere/linked");
        link("elsewhere/rules", "ws/out");
        let doors = [
            Door { what: "the workspace w".into(), path: at("ws-link"), read_only: false },
            Door { what: "a `write` door of w".into(), path: at("door"), read_only: false },
        ];
        for (path, found) in [
            ("ws", true),
            ("ws/rules", true),
            ("ws-link/host.toml", true),
            ("ws/not/there/yet", true),
            ("elsewhere/linked", true),
            ("ws/out", true),
            ("door/bin", true),
            ("elsewhere/rules", false),
            ("ws-two", false),
            ("", false),
        ] {
            let misplaced = Places::default().with("the rules", at(path)).misplaced(&doors);
            assert_eq!(!misplaced.is_empty(), found, "{path}: {misplaced:?}");
        }
    }

    #[test]
    fn what_is_secret_is_found_where_an_agent_may_read_and_the_rest_is_not() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        let config = format!(
            "read = ['{}']\n[workspaces.w]\ndirectory = '{}'\nread = ['{}']\nwrite = ['{}']",
            at("all").display(),
            at("ws").display(),
            at("own").display(),
            at("door").display()
        );
        let pool: PoolConfig = toml::from_str(&config).unwrap();
        for (path, read, written) in [
            ("all/token", true, false),
            ("own", true, false),
            ("own/below/token", true, false),
            ("door/token", true, true),
            ("ws/token", true, true),
            ("elsewhere/token", false, false),
        ] {
            let found = |places: Places| places.misplaced(&doors(&pool)).first().map(ToString::to_string);
            let (secret, other) = (
                found(Places::default().with_secret("the token", at(path))),
                found(Places::default().with("the rules", at(path))),
            );
            assert_eq!((secret.is_some(), other.is_some()), (read, written), "{path}: {secret:?} {other:?}");
            let says = secret.is_none_or(|said| said.contains("may read") != written);
            assert!(says, "{path}");
        }
    }

    #[test]
    fn what_the_user_configured_of_opencode_and_git_is_guarded_by_where_it_leads() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for directory in ["ws/dot/agent", "home/.config/opencode", "home/.local/share/opencode", "xdg"] {
            std::fs::create_dir_all(at(directory)).unwrap();
        }
        for file in ["ws/dot/opencode.json", "ws/dot/auth.json", "ws/dot/gitconfig", "ws/dot/ignore"] {
            std::fs::write(at(file), "{}").unwrap();
        }
        let environment = || {
            let names = ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"];
            names
                .iter()
                .zip([at("home"), at("home/.config"), at("home/.local/share")])
                .collect::<Environment>()
        };
        let found = |door: &str| {
            let doors = [Door { what: "the workspace w".into(), path: at(door), read_only: false }];
            let found = Places::of_host(&at("state"), &environment()).misplaced(&doors);
            found.iter().map(|one| one.guarded.what).collect::<std::collections::BTreeSet<_>>()
        };
        assert!(found("ws").is_empty());
        for (link, to, what) in [
            ("home/.config/opencode/opencode.jsonc", "ws/dot/opencode.json", "opencode's configuration"),
            ("home/.config/opencode/agent", "ws/dot/agent", "opencode's configuration"),
            ("home/.local/share/opencode/auth.json", "ws/dot/auth.json", "opencode's stored logins"),
            ("home/.gitconfig", "ws/dot/gitconfig", "git's settings"),
            ("home/.config/git/ignore", "ws/dot/ignore", "git's settings"),
        ] {
            std::fs::create_dir_all(at(link).parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(at(to), at(link)).unwrap();
            assert_eq!(found("ws").into_iter().collect::<Vec<_>>(), [what], "{link}");
            std::fs::remove_file(at(link)).unwrap();
        }
        for (door, all) in [
            ("home", vec!["git's settings", "opencode's configuration", "opencode's stored logins"]),
            ("home/.config", vec!["git's settings", "opencode's configuration"]),
            ("home/.config/opencode", vec!["opencode's configuration"]),
            ("home/.local", vec!["opencode's stored logins"]),
            ("xdg", vec![]),
        ] {
            assert_eq!(found(door).into_iter().collect::<Vec<_>>(), all, "{door}");
        }
    }

    #[test]
    fn every_directory_of_path_is_looked_at_and_a_refusal_says_what_to_do() {
        let environment = Environment::default().with("PATH", "/usr/bin:/ws/node_modules/.bin:relative::");
        let doors = [Door { what: "the workspace w".into(), path: "/ws".into(), read_only: false }];
        let found = Places::of_host(Path::new("/ws/state"), &environment).misplaced(&doors);
        let words: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(words.len(), 2, "{words:?}");
        assert!(words[0].contains("choose another with --state"), "{words:?}");
        assert!(
            words[1].contains("/ws/node_modules/.bin") && words[1].contains("without it in PATH"),
            "{words:?}"
        );
    }
}
