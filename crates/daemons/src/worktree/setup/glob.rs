//! Patterns of files below a directory, and the files that they match. No link is followed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, openat, statat};

use crate::place::{self, DIRECTORY};

/// How many entries of directories are looked at.
const LOOKED_AT: usize = 200_000;

/// How deep directories are looked into.
const DEPTH: usize = 64;

/// Parts of a path, of which one may be any number of directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// `**`: any directories, or none.
    Any,
    /// A name with `*` and `?` in it.
    Name(String),
}

/// Why a pattern is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no pattern of files below the workspace: it begins there, has no `.` or `..` in it, and is not in `.git`"
)]
pub struct PatternError(String);

impl Pattern {
    /// Reads a pattern: names that `/` parts, with `*`, `?`, and `**` for directories. As in `.gitignore`, `*` matches a
    /// leading dot.
    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
        let wrong = || PatternError(text.to_owned());
        let part = |part: &str| match part {
            "**" => Ok(Part::Any),
            "" | "." | ".." => Err(wrong()),
            name if name.eq_ignore_ascii_case(".git") || name.chars().any(char::is_control) => Err(wrong()),
            name => Ok(Part::Name(name.to_owned())),
        };
        let text = text.strip_suffix('/').unwrap_or(text);
        Ok(Self(text.split('/').map(part).collect::<Result<_, _>>()?))
    }
}

/// Where some patterns are on the way down a path: what each has left.
#[derive(Clone)]
struct Left<'a>(Vec<&'a [Part]>);

impl<'a> Left<'a> {
    fn of(patterns: &'a [Pattern]) -> Self {
        Self(patterns.iter().map(|pattern| pattern.0.as_slice()).collect()).opened()
    }

    /// The same, with each `**` also as nothing.
    fn opened(mut self) -> Self {
        let mut at = 0;
        while let Some(left) = self.0.get(at) {
            if let [Part::Any, rest @ ..] = left {
                self.0.push(rest);
            }
            at += 1;
        }
        self
    }

    fn after(&self, name: &[u8]) -> Self {
        let after = |left: &&'a [Part]| match *left {
            [Part::Any, ..] => Some(*left),
            [Part::Name(pattern), rest @ ..] if matches(pattern.as_bytes(), name) => Some(rest),
            _ => None,
        };
        Self(self.0.iter().filter_map(after).collect()).opened()
    }

    fn is_match(&self) -> bool {
        self.0.iter().any(|left| left.is_empty())
    }
}

/// Whether a name is of a pattern with `*` and `?`, bytes for letters.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut of, mut star) = (0, 0, None);
    while of < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, of));
                at += 1;
            }
            Some(letter) if *letter == b'?' || *letter == name[of] => (at, of) = (at + 1, of + 1),
            _ => match star {
                Some((back, taken)) => {
                    star = Some((back, taken + 1));
                    (at, of) = (back + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|letter| *letter == b'*')
}

/// The regular files below a directory that the patterns match, or that are in a directory that they match, with
/// their sizes. What is called `.git` is left out, and so are names that are no text.
pub(super) fn found(root: &OwnedFd, patterns: &[Pattern]) -> io::Result<BTreeMap<PathBuf, u64>> {
    let mut walk = Walk { found: BTreeMap::new(), looked_at: 0 };
    let root = openat(root, ".", DIRECTORY, Mode::empty())?;
    walk.walk(&root, Path::new(""), &Left::of(patterns), DEPTH)?;
    Ok(walk.found)
}

struct Walk {
    found: BTreeMap<PathBuf, u64>,
    looked_at: usize,
}

impl Walk {
    fn walk(&mut self, at: &OwnedFd, path: &Path, left: &Left<'_>, depth: usize) -> io::Result<()> {
        if depth == 0 || (left.0.is_empty()) {
            return Ok(());
        }
        let mut entries = Vec::new();
        place::each(at, |name, directory| {
            entries.push((name.to_owned(), directory));
            Ok(())
        })?;
        for (name, directory) in entries {
            self.looked_at += 1;
            if self.looked_at > LOOKED_AT {
                return Err(io::Error::other(format!(
                    "patterns had more than {LOOKED_AT} files looked at; name directories in them"
                )));
            }
            let after = left.after(name.as_os_str().as_bytes());
            if after.0.is_empty() || !is_text(name.as_os_str()) {
                continue;
            }
            let path = path.join(&name);
            if directory {
                // All of what is in it, once it is matched itself.
                let all = [Part::Any];
                let below = if after.is_match() { Left(vec![&all[..], &[]]) } else { after };
                if let Ok(inner) = openat(at, &name, DIRECTORY, Mode::empty()) {
                    self.walk(&inner, &path, &below, depth - 1)?;
                }
            } else if after.is_match()
                && let Ok(stat) = statat(at, &name, AtFlags::SYMLINK_NOFOLLOW)
                && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            {
                self.found.insert(path, u64::try_from(stat.st_size).unwrap_or(0));
            }
        }
        Ok(())
    }
}

fn is_text(name: &OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| !name.eq_ignore_ascii_case(".git") && !name.chars().any(char::is_control))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_pattern_matches_what_is_below_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        for file in [
            ".env",
            ".env.local",
            "config/local.toml",
            "config/deep/local.json",
            "a/b/c/key.pem",
            ".git/config",
            "src/main.rs",
        ] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "1234").unwrap();
        }
        symlink(outside.path(), root.path().join("linked")).unwrap();
        symlink(outside.path().join("secret"), root.path().join("link.pem")).unwrap();
        for (patterns, expected) in [
            (&[".env"][..], &[".env"][..]),
            (&[".env*"], &[".env", ".env.local"]),
            (&["config/local.*"], &["config/local.toml"]),
            (&["config"], &["config/deep/local.json", "config/local.toml"]),
            (&["config/"], &["config/deep/local.json", "config/local.toml"]),
            (&["**/*.pem"], &["a/b/c/key.pem"]),
            (&["**/local.*"], &["config/deep/local.json", "config/local.toml"]),
            (&["**/c/**"], &["a/b/c/key.pem"]),
            (&["?rc/m*n.rs"], &["src/main.rs"]),
            (&["linked/*", "linked", "missing", ".env/x"], &[]),
            (&[".env", ".env*"], &[".env", ".env.local"]),
        ] {
            let parsed: Vec<_> = patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect();
            let held = place::opened(root.path(), Path::new("")).unwrap();
            let found = found(&held, &parsed).unwrap();
            let names: Vec<_> = found.keys().map(|path| path.to_str().unwrap()).collect();
            assert_eq!(names, expected, "{patterns:?}");
            assert!(found.values().all(|size| *size == 4));
        }
        // All there is, but for the repository.
        let held = place::opened(root.path(), Path::new("")).unwrap();
        assert_eq!(found(&held, &[Pattern::parse("**").unwrap()]).unwrap().len(), 6);
    }

    #[test]
    fn a_pattern_that_leads_elsewhere_is_none() {
        for bad in
            ["", "/etc/passwd", "../x", "a/../b", "./a", ".git/config", "a//b", "sub/.GIT/hooks", "a\nb"]
        {
            assert!(Pattern::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_are_matched_as_shells_do() {
        for (pattern, name, is) in [
            ("*", "anything", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abcd", false),
            ("*.txt", ".txt", true),
            ("?", "", false),
            ("**a", "ba", true),
            ("local.*", "local", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), is, "{pattern} {name}");
        }
    }
}
