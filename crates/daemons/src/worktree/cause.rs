//! Why git failed, in words of ours: each distinct cause has its own, and what git printed is not among them
//! where the cause is known.

use std::process::ExitStatus;

use super::WorktreeError;

/// What git says where it fails (`LC_ALL=C`), each with its cause. The first that is found counts.
const SAID: [(&str, Cause); 26] = [
    ("detected dubious ownership", Cause::NotOwned),
    ("cannot use bare repository", Cause::Bare),
    ("must be run in a work tree", Cause::Bare),
    ("not a git repository", Cause::NoRepository),
    (".lock': File exists", Cause::Locked),
    ("unable to lock", Cause::Locked),
    ("cannot lock ref", Cause::Locked),
    ("lazy fetching disabled", Cause::Missing),
    ("from promisor remote", Cause::Missing),
    ("missing blob", Cause::Missing),
    ("missing tree", Cause::Missing),
    ("invalid object ", Cause::Missing),
    ("unable to read tree", Cause::Missing),
    ("unable to read sha1 file", Cause::Missing),
    ("Could not read ", Cause::Missing),
    ("failed to read object", Cause::Missing),
    ("is corrupt", Cause::Damaged),
    ("object file is empty", Cause::Damaged),
    ("inflate: data stream error", Cause::Damaged),
    ("unknown repository extension", Cause::Format),
    ("Expected git repo version", Cause::Format),
    ("unknown hash algorithm", Cause::Format),
    ("invalid value for 'extensions.", Cause::Format),
    ("unknown ref storage format", Cause::Format),
    ("No space left on device", Cause::Full),
    ("bad config line", Cause::Settings),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    NotOwned,
    Bare,
    NoRepository,
    Locked,
    Missing,
    Damaged,
    Format,
    Full,
    Settings,
}

/// What is said of a patch that does not fit.
pub(super) const CONFLICT: &str = "what it changes is not there as it was";

/// What git says in lower case where nobody need know more than the reason, and what is told of it.
const KNOWN: [(&[&str], &str); 7] = [
    (&["permission denied", "read-only file system", "operation not permitted"], "it may not write there"),
    (
        &[
            "patch does not apply",
            "patch failed",
            "does not match index",
            "already exists in",
            "does not exist in index",
            "cannot apply binary patch",
        ],
        CONFLICT,
    ),
    (
        &[
            "unable to access",
            "could not read from remote",
            "could not read username",
            "could not resolve host",
        ],
        "it wanted something of another machine",
    ),
    (&["loose object", "bad object"], "the repository lacks an object, or has a damaged one"),
    (
        &["bad revision", "unknown revision", "not a valid object name", "needed a single revision"],
        "there is no such commit",
    ),
    (&["checked out at", "already used by worktree", "refusing to fetch into"], "that branch is in use"),
    (&["filter", "smudge"], "a filter of the repository failed"),
];

/// The error of a git that was to do `what`, ended with `status`, and `said` this. Git's own words may be
/// anybody's, and hold an address with its password: a known cause is told, and of what was said nothing
/// but the id of an object.
pub(super) fn of(what: &'static str, said: &[u8], status: ExitStatus) -> WorktreeError {
    let said = String::from_utf8_lossy(said);
    let found = said.lines().find_map(|line| {
        let (_, cause) = SAID.iter().find(|(words, _)| line.contains(words))?;
        Some((line, *cause))
    });
    let Some((line, cause)) = found else {
        let said = said.to_ascii_lowercase();
        let known = KNOWN.iter().find(|(words, _)| words.iter().any(|word| said.contains(word)));
        let reason = known.map_or_else(|| status.to_string(), |(_, told)| (*told).to_owned());
        return WorktreeError::Git { what, reason };
    };
    let there = || "the workspace".into();
    match cause {
        Cause::NotOwned => WorktreeError::NotOwned(there()),
        Cause::Bare => WorktreeError::Bare(there()),
        Cause::NoRepository => WorktreeError::NoRepository(there()),
        Cause::Locked => WorktreeError::Locked { what },
        Cause::Missing => WorktreeError::Missing { what, object: object(line) },
        Cause::Damaged => WorktreeError::Damaged { what, object: object(line) },
        Cause::Format => WorktreeError::Format,
        Cause::Full => WorktreeError::Full { what },
        Cause::Settings => WorktreeError::Settings,
    }
}

/// The id of an object in a line.
fn object(line: &str) -> String {
    let is_id = |word: &&str| super::is_id(word);
    let mut words = line.split(|c: char| !c.is_ascii_alphanumeric());
    words.find(is_id).map_or_else(|| "git names none".to_owned(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn what_git_says_is_told_by_its_known_cause_alone() {
        let id = "8baef1b4abc478178b004d62031cf7fe6db6f903";
        let rows = [
            (
                "fatal: detected dubious ownership in repository at '/hunter2'\nTo add an exception…",
                "belongs to somebody else",
            ),
            (
                "fatal: cannot use bare repository '/hunter2' (safe.bareRepository is 'explicit')",
                "is a bare repository",
            ),
            ("fatal: not a git repository (or any of the parent directories): .git", "no git repository"),
            (
                "fatal: Unable to create '/hunter2/index.lock': File exists.\n\nAnother git process…",
                "another git is at work",
            ),
            (&*format!("error: unable to read sha1 file of hunter2 ({id})"), id),
            (
                "fatal: could not fetch hunter2 from promisor remote",
                "objects that are not there (git names none)",
            ),
            (&*format!("fatal: loose object {id} (stored in hunter2) is corrupt"), "damaged"),
            ("fatal: unknown repository extension found:\n\thunter2", "another version of git"),
            ("fatal: write error: No space left on device", "the disk is full"),
            ("fatal: bad config line 3 in file hunter2", "cannot be read"),
            (
                "fatal: unable to access 'https://u:hunter2@host/': x",
                "it wanted something of another machine",
            ),
            ("error: patch failed: hunter2.txt:1\nerror: hunter2.txt: patch does not apply", CONFLICT),
            ("fatal: hunter2", "exit status: 1"),
        ];
        let mut all = std::collections::BTreeSet::new();
        for (said, words) in rows {
            let error = of("does it", said.as_bytes(), ExitStatus::from_raw(1 << 8)).to_string();
            assert!(error.contains(words), "{said}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
            all.insert(error);
        }
        assert_eq!(all.len(), rows.len(), "{all:#?}");
    }
}
