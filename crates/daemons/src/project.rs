//! What a repository brings of opencode's own configuration: plugins, MCP servers, permissions, agents,
//! commands and instructions. In a daemon some of it is code, and all of it has a say.
//!
//! A daemon reads none of it where its agent works, where a turn could have written it. It reads a copy,
//! out of the agent's reach, of what the workspace itself has ([`Brought`]); whoever approves a task is
//! told what that is, and approves it by its digest.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rustix::fd::OwnedFd;
use rustix::fs::{Dir, FileType, Mode, OFlags, fstat, openat};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::confine;
use crate::own_package;
use crate::place::Held;

/// Whether the configuration that a repository brings acts in its daemon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProjectConfig {
    /// It does not.
    Ignore,
    /// As the workspace has it, and as the card of a task shows it.
    #[default]
    Ask,
    /// As it is found where the agent works, whoever wrote it.
    Trust,
}

/// Where a daemon reads the configuration of its project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Project {
    /// Where its agent works.
    #[default]
    AsFound,
    /// Nowhere.
    Ignored,
    /// In a copy below this directory, which may change while the daemon runs.
    Copied(PathBuf),
}

/// opencode's switches, of 1.x and 2.x.
pub(crate) const SWITCHES: [&str; 2] = ["OPENCODE_DISABLE_PROJECT_CONFIG", "OPENCODE_CONFIG_PROJECT_DISABLE"];

/// The most that is copied, and of how many files.
const MOST: u64 = 4 << 20;
const FILES: usize = 1000;
const DEEPEST: usize = 8;

/// The directory of the present copy, by a link.
const NOW: &str = "now";
const SETTINGS: &str = "opencode.json";
/// What opencode calls its settings.
const SETTINGS_NAMES: [&str; 2] = [SETTINGS, "opencode.jsonc"];
/// How many digits of the digest are shown; an approval is bound to all of them.
const SHOWN: usize = 12;
const DIRECTORY: &str = "config";
const INSTRUCTIONS: &str = "instructions";

/// What a workspace has of opencode's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Brought {
    /// By where they are in the copy.
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// It is more than is copied, or cannot be read: nothing of it is used.
    too_much: bool,
}

impl Project {
    /// The settings that a daemon gets in its environment.
    pub(crate) fn variables(&self) -> Vec<(&'static str, PathBuf)> {
        let mut variables = Vec::new();
        if *self != Self::AsFound {
            variables.extend(SWITCHES.map(|switch| (switch, PathBuf::from("1"))));
        }
        if let Self::Copied(copies) = self {
            variables.push(("OPENCODE_CONFIG", copies.join(NOW).join(SETTINGS)));
            variables.push(("OPENCODE_CONFIG_DIR", copies.join(NOW).join(DIRECTORY)));
        }
        variables
    }

    /// What it is told to read as instructions.
    pub(crate) fn instructions(&self) -> Option<PathBuf> {
        let Self::Copied(copies) = self else { return None };
        Some(copies.join(NOW).join(INSTRUCTIONS).join("*.md"))
    }

    /// Makes what the daemon is to find, if nobody did.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        match self {
            Self::Copied(copies) if !copies.join(NOW).exists() => Brought::default().copy(copies).map(drop),
            _ => Ok(()),
        }
    }
}

impl Brought {
    /// What the directory `workspace` has, and those above it in its repository. No link is followed.
    pub fn of(workspace: &Path) -> Self {
        let top = confine::located(workspace).map(|found| found.top).ok();
        let Ok(here) = workspace.canonicalize() else { return Self::default() };
        let top = top.unwrap_or_else(|| here.clone());
        let mut levels: Vec<_> = here.ancestors().take_while(|level| level.starts_with(&top)).collect();
        levels.reverse();
        let mut found = Gathered::default();
        for (depth, level) in levels.into_iter().enumerate() {
            if found.level(level, depth).is_err() {
                return Self { files: BTreeMap::new(), too_much: true };
            }
        }
        Self { files: found.files, too_much: false }
    }

    /// Its files, by where a daemon finds them below its copy.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        self.files.iter().map(|(path, bytes)| (path.as_path(), bytes.as_slice()))
    }

    /// What it is, in one line; nothing if there is nothing. Every file of the copy is told of.
    pub fn words(&self) -> Option<String> {
        if self.too_much {
            return Some("too much to be shown, so it is not used".to_owned());
        }
        let said: BTreeSet<String> =
            self.files.iter().flat_map(|(path, bytes)| words_of(path, bytes)).collect();
        let said: Vec<_> = said.into_iter().collect();
        (!said.is_empty()).then(|| format!("{} ({})", said.join(", "), &self.digest()[..SHOWN]))
    }

    /// The digest of all of it, by path and content.
    pub(crate) fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        for (path, bytes) in &self.files {
            for part in [path.as_os_str().as_bytes(), bytes] {
                hasher.update((part.len() as u64).to_be_bytes());
                hasher.update(part);
            }
        }
        HEXLOWER.encode(&hasher.finalize())
    }

    /// Makes this what a daemon finds below `copies`; says whether it found something else until now.
    pub fn copy(&self, copies: &Path) -> io::Result<bool> {
        let (digest, now) = (self.digest(), copies.join(NOW));
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(copies)?;
        // A daemon that starts and a task that begins may both come to it.
        let alone = std::fs::File::open(copies)?;
        alone.lock()?;
        let before = std::fs::read_link(&now).ok();
        if before.as_deref() == Some(Path::new(&digest)) {
            return Ok(false);
        }
        let draft = tempfile::Builder::new().prefix(".draft").tempdir_in(copies)?;
        for directory in [DIRECTORY, INSTRUCTIONS] {
            builder.create(draft.path().join(directory))?;
        }
        // opencode writes this one itself, where it can.
        std::fs::write(draft.path().join(DIRECTORY).join(".gitignore"), "node_modules\n")?;
        std::fs::write(draft.path().join(SETTINGS), "{}")?;
        for (path, bytes) in &self.files {
            let path = draft.path().join(path);
            path.parent().map(|parent| builder.create(parent)).transpose()?;
            let is_settings = SETTINGS_NAMES.iter().any(|name| path.ends_with(name));
            let text = if is_settings { confine::shell::without(bytes) } else { bytes.clone() };
            std::fs::write(path, text)?;
        }
        own_package::forgo_at(&draft.path().join(DIRECTORY))?;
        let place = copies.join(&digest);
        if !place.exists() {
            std::fs::rename(draft.path(), &place)?;
        }
        let link = copies.join(".now");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(&digest, &link)?;
        std::fs::rename(&link, &now)?;
        self.sweep(copies, before.as_deref());
        Ok(true)
    }

    /// Removes the copies that nobody reads any more: all but this and the one before.
    fn sweep(&self, copies: &Path, before: Option<&Path>) {
        let digest = self.digest();
        for entry in std::fs::read_dir(copies).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let kept = name == NOW || *name == *digest || Some(Path::new(&name)) == before;
            if !kept && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// What one file of the copy is called: settings by what they bring, instructions as such, everything else by
/// its name.
fn words_of(path: &Path, bytes: &[u8]) -> Vec<String> {
    if path.starts_with(INSTRUCTIONS) {
        return vec!["instructions".to_owned()];
    }
    // opencode reads its settings beside the repository's files and in `.opencode`, not below that.
    let below = path.strip_prefix(DIRECTORY).unwrap_or(path);
    match below.to_str() {
        Some(name) if SETTINGS_NAMES.contains(&name) => named(name, bytes),
        _ => vec![below.display().to_string()],
    }
}

/// What a settings file brings, by name. One that is not plain JSON brings it does not say what.
fn named(name: &str, text: &[u8]) -> Vec<String> {
    let Ok(Value::Object(settings)) = serde_json::from_slice(text) else {
        return vec!["settings that are not plain JSON".to_owned()];
    };
    let inner = |key: &str, value: &Value| match value {
        Value::Object(inner) => inner.keys().map(|name| format!("{key} {name}")).collect(),
        Value::Array(inner) => {
            inner.iter().map(|name| format!("{key} {}", name.as_str().unwrap_or("…"))).collect()
        }
        _ => vec![key.to_owned()],
    };
    let said = settings.iter().filter(|(key, _)| *key != "$schema");
    let said: Vec<String> = said.flat_map(|(key, value)| -> Vec<String> { inner(key, value) }).collect();
    // A file that says nothing is told of all the same: it may be opencode's that finds something in it.
    if said.is_empty() { vec![name.to_owned()] } else { said }
}

#[derive(Default)]
struct Gathered {
    files: BTreeMap<PathBuf, Vec<u8>>,
    bytes: u64,
}

impl Gathered {
    /// What one directory has; it goes before what those above it have.
    fn level(&mut self, level: &Path, depth: usize) -> io::Result<()> {
        let held = Held::of(level, Path::new(""))?;
        let here = held.below(Path::new(""))?;
        for name in SETTINGS_NAMES {
            if let Some(bytes) = self.read(&here, name)? {
                self.put(Path::new(SETTINGS), bytes)?;
            }
        }
        for name in ["AGENTS.md", "CLAUDE.md", "CONTEXT.md"] {
            if let Some(bytes) = self.read(&here, name)? {
                self.put(&Path::new(INSTRUCTIONS).join(format!("{depth}.md")), bytes)?;
                break;
            }
        }
        match held.below(Path::new(".opencode")) {
            Ok(directory) => self.all(&directory, Path::new(DIRECTORY), 0),
            Err(_) => Ok(()),
        }
    }

    fn all(&mut self, directory: &OwnedFd, to: &Path, depth: usize) -> io::Result<()> {
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            // `.gitignore` is written anew in the copy, and says nothing to opencode.
            if [".", "..", "node_modules", ".git", ".gitignore"].iter().any(|other| name == *other) {
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let Ok(opened) = openat(directory, name, flags, Mode::empty()) else { continue };
            match FileType::from_raw_mode(fstat(&opened)?.st_mode) {
                FileType::Directory if depth < DEEPEST => self.all(&opened, &to.join(name), depth + 1)?,
                FileType::RegularFile => {
                    let bytes = self.bytes_of(opened)?;
                    self.put(&to.join(name), bytes)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn read(&mut self, directory: &OwnedFd, name: &str) -> io::Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(opened) = openat(directory, name, flags, Mode::empty()) else { return Ok(None) };
        if FileType::from_raw_mode(fstat(&opened)?.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        self.bytes_of(opened).map(Some)
    }

    fn bytes_of(&mut self, file: OwnedFd) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::from(file).take(MOST + 1).read_to_end(&mut bytes)?;
        self.bytes += bytes.len() as u64;
        if self.bytes > MOST { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
    }

    fn put(&mut self, path: &Path, bytes: Vec<u8>) -> io::Result<()> {
        self.files.insert(path.to_owned(), bytes);
        if self.files.len() > FILES { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn of_many_that_copy_at_once_each_finds_a_whole_copy() {
        let (root, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let brought = [None, Some("one"), Some("two")].map(|text| {
            let workspace = root.path().join(text.unwrap_or("nothing"));
            std::fs::create_dir(&workspace).unwrap();
            write(&workspace, &text.map(|text| ("AGENTS.md", text)).into_iter().collect::<Vec<_>>());
            Brought::of(&workspace)
        });
        std::thread::scope(|scope| {
            for number in 0..12 {
                let (brought, copies) = (&brought[number % 3], copies.path());
                scope.spawn(move || {
                    for _ in 0..20 {
                        brought.copy(copies).unwrap();
                        assert!(copies.join(NOW).join(SETTINGS).is_file());
                    }
                });
            }
        });
        let left: Vec<_> =
            std::fs::read_dir(copies.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
    }

    #[test]
    fn what_a_repository_brings_is_told_by_name_and_by_digest() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Brought::of(root.path()).words(), None);
        write(
            root.path(),
            &[
                (
                    "opencode.json",
                    r#"{"$schema":"x","mcp":{"db":{}},"permission":{"bash":"allow"},"plugin":["evil"]}"#,
                ),
                (".opencode/plugin/e.js", "one"),
                (".opencode/node_modules/x/index.js", "left out"),
                (".opencode/agent/a.md", "an agent"),
                ("AGENTS.md", "Be good."),
            ],
        );
        std::os::unix::fs::symlink("/etc/passwd", root.path().join(".opencode/plugin/link.js")).unwrap();
        let brought = Brought::of(root.path());
        let words = brought.words().unwrap();
        let (said, digest) = words.rsplit_once(" (").unwrap();
        assert_eq!(said, "agent/a.md, instructions, mcp db, permission bash, plugin evil, plugin/e.js");
        write(root.path(), &[(".opencode/plugin/e.js", "two")]);
        let other = Brought::of(root.path()).words().unwrap();
        assert!(other.starts_with(said) && !other.ends_with(digest), "{other}");
        write(root.path(), &[("opencode.json", "// not JSON\n{}")]);
        assert!(Brought::of(root.path()).words().unwrap().contains("settings that are not plain JSON"));
        write(root.path(), &[(".opencode/big", &"x".repeat(5 << 20))]);
        assert!(Brought::of(root.path()).words().unwrap().contains("not used"));
        assert!(Brought::of(root.path()).files.is_empty());
    }

    #[test]
    fn a_copy_is_whole_at_once_and_stays_until_another_is_made() {
        let root = tempfile::tempdir().unwrap();
        let (workspace, copies) = (root.path().join("app"), root.path().join("copies"));
        write(&workspace, &[("opencode.json", r#"{"model":"a/b"}"#), (".opencode/plugin/e.js", "one")]);
        let project = Project::Copied(copies.clone());
        project.prepare().unwrap();
        let read = |name: &str| std::fs::read_to_string(copies.join(NOW).join(name)).ok();
        assert_eq!((read(SETTINGS).as_deref(), read("config/plugin/e.js")), (Some("{}"), None));
        assert!(Brought::of(&workspace).copy(&copies).unwrap());
        assert!(!Brought::of(&workspace).copy(&copies).unwrap(), "it is there");
        write(&workspace, &[(".opencode/plugin/e.js", "two")]);
        assert_eq!(read("config/plugin/e.js").as_deref(), Some("one"));
        project.prepare().unwrap();
        assert_eq!(read(SETTINGS).as_deref(), Some(r#"{"model":"a/b"}"#), "it is not made anew");
        std::fs::remove_dir_all(workspace.join(".opencode")).unwrap();
        assert!(Brought::of(&workspace).copy(&copies).unwrap());
        assert_eq!(read("config/plugin/e.js"), None);
        assert_eq!(std::fs::read_dir(&copies).unwrap().count(), 3, "this, the one before, and the link");
    }
}
