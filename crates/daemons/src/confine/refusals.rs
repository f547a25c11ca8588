//! What the walls refused to a command that failed: the agent is told in its output, and the person with the result.
//!
//! A command that failed and whose output speaks of a path as not permitted, read-only or not there is told which of these paths its
//! walls do not open: that is looked up in the walls, and not guessed of the words. That a path is closed is true; that the command failed
//! on it is what the output says, which is the agent's to print. So to the person nothing is [offered] but what is there and holds no
//! credentials. Nothing is said of a command that succeeded.

mod offered;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;

pub(crate) use offered::offered;

use super::Walls;

/// The file with what was refused, in the daemon's own temporary directory.
const FILE: &str = "refused";
/// How many paths are named at once.
const NAMED: usize = 5;
/// Lines longer than this are no path of anybody's.
const LONGEST: usize = 400;
/// How many different paths are looked up at most.
const LOOKED_UP: usize = 100;
/// How long a record gets.
const RECORDED: u64 = 64 << 10;
/// How far from what failed a path may stand: npm says both on lines of their own.
const NEAR: usize = 3;
/// What failed, in the words of the C library, of Node and of others.
const DENIED: [&str; 7] = [
    "permission denied",
    "eacces",
    "operation not permitted",
    "eperm",
    "read-only file system",
    "erofs",
    "not writeable",
];
const ABSENT: [&str; 3] = ["no such file or directory", "enoent", "not found"];

/// What a path is within walls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// It is not open at all.
    Whole,
    /// It may be read.
    ToWriting,
}

/// The paths that `output` says were not to be had, and `walls` do not open, for somebody with this home directory.
pub(super) fn in_output(output: &str, walls: &Doors, home: &Path) -> BTreeMap<PathBuf, Closed> {
    let lines: Vec<&str> = output.lines().collect();
    let lower: Vec<String> = lines.iter().map(|line| line.to_ascii_lowercase()).collect();
    let says = |line: &String, words: &[&str]| words.iter().any(|word| line.contains(word));
    let (mut closed, mut looked_up) = (BTreeMap::new(), BTreeSet::new());
    for (number, line) in lines.iter().enumerate() {
        let near = &lower[number.saturating_sub(NEAR)..(number + NEAR + 1).min(lower.len())];
        let denied = near.iter().any(|line| says(line, &DENIED));
        // What is not open is not there.
        let absent = says(&lower[number], &ABSENT);
        // A stack of calls names what was read; npm says what it wanted on a line of its own.
        let wanted = says(&lower[number], &DENIED) || lower[number].contains(" path ");
        for path in paths(line, home).into_iter().filter(|_| denied || absent) {
            let is_program =
                line.strip_prefix(&*path.to_string_lossy()).is_some_and(|rest| rest.starts_with(':'));
            if !looked_up.contains(&path) && looked_up.len() == LOOKED_UP {
                return closed;
            }
            looked_up.insert(path.clone());
            match walls.closed(&path) {
                Some(Closed::ToWriting) if denied && wanted && !is_program => {
                    closed.insert(path, Closed::ToWriting);
                }
                // Elsewhere, what is not there is not there for anybody.
                Some(Closed::Whole) if denied || path.starts_with(home) => {
                    closed.insert(path, Closed::Whole);
                }
                _ => {}
            }
        }
    }
    closed
}

/// The doors of walls, by their names and by where these lead.
pub(super) struct Doors {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
}

impl Doors {
    pub(super) fn of(walls: &Walls) -> Self {
        let both = |doors: &[PathBuf]| {
            let real = doors.iter().filter_map(|door| door.canonicalize().ok());
            doors.iter().cloned().chain(real).collect()
        };
        Self { read: both(&walls.read), write: both(&walls.write) }
    }

    /// Whether a path is closed.
    fn closed(&self, path: &Path) -> Option<Closed> {
        let leads = |door: &PathBuf| path.starts_with(door);
        match (self.write.iter().any(leads), self.read.iter().any(leads)) {
            (true, _) => None,
            (_, true) => Some(Closed::ToWriting),
            _ => Some(Closed::Whole),
        }
    }
}

/// The absolute paths in a line.
fn paths(line: &str, home: &Path) -> Vec<PathBuf> {
    let ends = |c: char| c.is_whitespace() || c.is_control() || "\"'`‘’“”()[]{}<>|,;=".contains(c);
    let words = line.split(ends).map(|word| word.trim_end_matches([':', '.']));
    let path = |word: &str| {
        let path = match word.strip_prefix("~/") {
            Some(below) => home.join(below),
            None => PathBuf::from(word.strip_prefix("file://").unwrap_or(word)),
        };
        let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
        let is_one = path.is_absolute() && path.components().count() > 1 && path.components().all(plain);
        (is_one && word.len() <= LONGEST).then_some(path)
    };
    words.filter_map(path).collect()
}

/// How somebody with this home directory writes it, as far as a setting would open it: nothing smaller than what a
/// tool has for itself.
fn door_for(path: &Path, home: &Path) -> String {
    let Ok(below) = path.strip_prefix(home) else { return path.display().to_string() };
    let parts: Vec<_> = below.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    let shared = match parts.first().map(AsRef::as_ref) {
        Some(".local") => 3,
        Some(".config" | ".cache") => 2,
        _ => 1,
    };
    format!("~/{}", parts.into_iter().take(shared).collect::<Vec<_>>().join("/"))
}

/// What is said to the agent.
pub(super) fn words(closed: &BTreeMap<PathBuf, Closed>, home: &Path) -> String {
    let mut doors = BTreeMap::new();
    for (path, how) in closed {
        doors.entry(door_for(path, home)).or_insert(*how);
    }
    let mut said = String::new();
    for (door, how) in doors.iter().take(NAMED) {
        let (is, setting) = match how {
            Closed::Whole => ("is not open to commands here", "`read` or `write`"),
            Closed::ToWriting => ("may only be read here", "`write`"),
        };
        let _ = writeln!(
            said,
            "walls: {door} {is}; {setting} of the workspace, in the host's configuration, opens it"
        );
    }
    said
}

/// Where they are on record, for a daemon with this temporary directory.
pub(crate) fn record(tmp_of_daemon: &Path) -> PathBuf {
    tmp_of_daemon.join(FILE)
}

/// What is on record, a path each, after the name of the tree of its command. The daemon may have written there: no link is followed, and nothing is taken for more than words.
pub(crate) fn on_record(record: &Path) -> Vec<String> {
    let Some((directory, name)) = record.parent().zip(record.file_name()) else { return Vec::new() };
    let text = crate::place::read(directory, name.as_ref()).ok().flatten().unwrap_or_default();
    text.lines().filter(|line| !line.is_empty() && line.len() <= LONGEST).map(str::to_owned).collect()
}

/// Puts them on record, for the person, as a command's in a tree of this name if it has one. Commands cannot write there.
pub(super) fn keep(
    closed: &BTreeMap<PathBuf, Closed>,
    (home, tree): (&Path, &str),
    record: &Path,
) -> std::io::Result<()> {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits() | OFlags::NONBLOCK.bits()).unwrap_or_default();
    let mut file =
        OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(record)?;
    if file.metadata()?.len() >= RECORDED {
        return Ok(());
    }
    let line = |path: &PathBuf| format!("{tree}\t{}\n", door_for(path, home));
    let lines: String = closed.keys().take(NAMED).map(line).collect();
    file.write_all(lines.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walls() -> Doors {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect();
        let (read, write) = (paths(&["/usr", "/home/me/.cargo/registry"]), paths(&["/home/me/code", "/tmp"]));
        Doors::of(&Walls { read, write })
    }

    #[test]
    fn a_path_is_told_where_the_output_says_that_it_failed_and_the_walls_close_it() {
        for (output, told) in [
            ("cat: /home/me/.ssh/id: No such file or directory", "~/.ssh"),
            ("cat: /etc/shadow: Permission denied", "/etc/shadow"),
            (
                "npm error code EACCES\nnpm error syscall mkdir\nnpm error path /home/me/.npm/_cacache\nnpm error errno",
                "~/.npm",
            ),
            ("Error: EROFS: read-only file system, open '/home/me/.cargo/registry/x'", "~/.cargo"),
            (
                "failed to open `/home/me/.cargo/registry/cache/i/x.crate`: Permission denied (os error 13)",
                "~/.cargo",
            ),
            ("touch: cannot touch '/usr/x': Read-only file system", "/usr/x"),
            ("open ~/.config/gh/hosts.yml: permission denied", "~/.config/gh"),
            ("npm error code EACCES\nnpm error path /usr/lib/node_modules/x", "/usr/lib/node_modules/x"),
            ("/usr/bin/bash: line 1: /home/me/.cargo/registry/x: Permission denied", "~/.cargo"),
            // Not the walls': what is read as it fails, what is open, what is nowhere, and what did not fail.
            ("cat: /home/me/code/x: No such file or directory", ""),
            ("cat: /usr/none: No such file or directory", ""),
            ("cat: /nowhere/x: No such file or directory", ""),
            ("Error: EACCES\n    at mkdir (/usr/lib/node_modules/npm/x.js:1:2)", ""),
            ("reading /home/me/.ssh/id", ""),
            ("Permission denied\n\n\n\n\nsee /home/me/.ssh/id", ""),
            ("permission denied: ../../x /home/me/../you/x /", ""),
        ] {
            let closed = in_output(output, &walls(), Path::new("/home/me"));
            let doors: Vec<_> = closed.keys().map(|path| door_for(path, Path::new("/home/me"))).collect();
            assert_eq!(doors.join(" "), told, "{output}");
        }
    }

    #[test]
    fn what_is_told_says_how_it_is_closed_and_which_setting_opens_it() {
        let output =
            "mkdir: ‘/usr/x’: Read-only file system\n/home/me/.npm/a: EACCES\n/home/me/.npm/b: EACCES";
        let closed = in_output(output, &walls(), Path::new("/home/me"));
        assert_eq!(
            words(&closed, Path::new("/home/me")),
            "walls: /usr/x may only be read here; `write` of the workspace, in the host's configuration, opens it\n\
             walls: ~/.npm is not open to commands here; `read` or `write` of the workspace, in the host's configuration, opens it\n"
        );
        let directory = tempfile::tempdir().unwrap();
        let record = record(directory.path());
        keep(&closed, (Path::new("/home/me"), "t1"), &record).unwrap();
        assert_eq!(std::fs::read_to_string(&record).unwrap(), "t1\t~/.npm\nt1\t~/.npm\nt1\t/usr/x\n");
        assert_eq!(on_record(&record), ["t1\t~/.npm", "t1\t~/.npm", "t1\t/usr/x"]);
        std::fs::remove_file(&record).unwrap();
        assert_eq!(on_record(&record), [""; 0]);
        std::os::unix::fs::symlink(directory.path().join("elsewhere"), &record).unwrap();
        let home = (Path::new("/home/me"), "");
        assert!(keep(&closed, home, &record).is_err(), "no link is followed");
        std::fs::remove_file(&record).unwrap();
        for _ in 0..10_000 {
            keep(&closed, home, &record).unwrap();
        }
        let length = std::fs::metadata(&record).unwrap().len();
        assert!((RECORDED..RECORDED + 100).contains(&length), "{length}");
    }

    #[test]
    fn of_an_output_that_names_ever_more_paths_a_hundred_are_looked_up() {
        let line = |number: usize| format!("/home/me/closed/{number}: Permission denied\n");
        let output: String = (0..3000).map(line).collect();
        assert_eq!(in_output(&output, &walls(), Path::new("/home/me")).len(), LOOKED_UP);
    }
}
