//! File triggers: which changes a rule waits for, and the event that a burst of them makes.
//!
//! Nothing here looks at a file. The host sees what changed, asks [`FileWatch::takes`], and makes one
//! event of a burst with [`FileWatch::burst`].

use std::fmt;

use globset::{GlobBuilder, GlobMatcher};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use serde_json::json;

use crate::event::Event;

/// The connector name of events that changed files make; the event's name is the rule's.
pub const FILE_WATCH: &str = "file_watch";

/// What the payload of such an event holds.
pub(crate) const FILE_WATCH_FIELDS: [&str; 7] =
    ["path", "event", "filename", "extension", "files", "count", "left_out"];

/// How many files an event lists.
pub const LISTED: usize = 100;

/// Which changes of files fire a rule.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileWatch {
    /// The directory, with all below it, or the one file. A relative path starts where those of
    /// `host.toml` do, and `~` is the home directory.
    pub(crate) path: String,
    /// What must have happened to a file.
    #[serde(skip_serializing_if = "FileEvent::is_any")]
    #[schemars(default)]
    pub(crate) event: FileEvent,
    /// Which files count: a glob of their names, or, with a slash in it, of their paths below the
    /// directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub(crate) pattern: Option<FilePattern>,
}

/// What happens to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileEvent {
    /// Any of the others.
    #[default]
    Any,
    /// It is there, and was not.
    Create,
    /// It is another: written to, or replaced.
    Modify,
    /// It is gone.
    Delete,
}

impl FileEvent {
    /// All of them, as rules write them.
    pub(crate) const WORDS: [&str; 4] = ["any", "create", "modify", "delete"];

    /// The one that a rule writes so.
    pub(crate) fn named(word: &str) -> Option<Self> {
        Some(match word {
            "any" => Self::Any,
            "create" => Self::Create,
            "modify" => Self::Modify,
            "delete" => Self::Delete,
            _ => return None,
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Create => "create",
            Self::Modify => "modify",
            Self::Delete => "delete",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
    fn is_any(&self) -> bool {
        *self == Self::Any
    }
}

/// A glob; equal when its text is.
#[derive(Debug, Clone)]
pub(crate) struct FilePattern(GlobMatcher);

impl FilePattern {
    /// Reads a glob; the error says what is wrong with it.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let built = GlobBuilder::new(text).literal_separator(true).build();
        built.map(|glob| Self(glob.compile_matcher())).map_err(|error| error.kind().to_string())
    }

    fn fits(&self, below: &str) -> bool {
        let name = below.rsplit('/').next().unwrap_or(below);
        self.0.is_match(if self.0.glob().glob().contains('/') { below } else { name })
    }
}

impl PartialEq for FilePattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.glob() == other.0.glob()
    }
}

impl fmt::Display for FilePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.glob().glob())
    }
}

impl Serialize for FilePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One file that changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileChange {
    /// Its whole path.
    pub path: String,
    /// What happened to it.
    pub event: FileEvent,
}

impl FileWatch {
    /// The path, as written.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether a file at `below` the directory counts, which is `/` between its parts.
    pub fn counts(&self, below: &str) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| pattern.fits(below))
    }

    /// Whether it waits for what happened to a file that counts.
    pub fn takes(&self, event: FileEvent) -> bool {
        self.event == FileEvent::Any || self.event == event
    }

    /// The event of rule `rule` for what changed at once; nothing without a change. The first
    /// [`LISTED`] are listed, and the others counted.
    pub fn burst(&self, rule: &str, id: &str, changes: &[FileChange]) -> Option<Event> {
        let first = changes.first()?;
        let filename = first.path.rsplit('/').next().unwrap_or(&first.path);
        // A name that only begins with a dot has no extension.
        let extension = filename.rsplit_once('.').filter(|(stem, _)| !stem.is_empty());
        let files = changes.iter().take(LISTED);
        let files: Vec<_> =
            files.map(|one| json!({ "path": one.path, "event": one.event.as_str() })).collect();
        Some(Event {
            id: format!("{FILE_WATCH}:{rule}:{id}"),
            connector: FILE_WATCH.to_owned(),
            event: rule.to_owned(),
            payload: json!({
                "path": first.path,
                "event": first.event.as_str(),
                "filename": filename,
                "extension": extension.map_or("", |(_, extension)| extension),
                "count": changes.len(),
                "left_out": changes.len() - files.len(),
                "files": files,
            }),
            reply: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(event: FileEvent, pattern: Option<&str>) -> FileWatch {
        let pattern = pattern.map(|pattern| FilePattern::new(pattern).unwrap());
        FileWatch { path: "notes".to_owned(), event, pattern }
    }

    #[test]
    fn a_pattern_is_of_names_or_with_a_slash_of_paths() {
        for (pattern, fits, not) in [
            (Some("*.md"), ["a.md", "below/it/b.md"], ["a.txt", "a.md/b"]),
            (Some("in/*.md"), ["in/a.md", "in/.md"], ["a.md", "in/below/a.md"]),
            (Some("in/**/*.{md,txt}"), ["in/a/b.md", "in/a.txt"], ["in/a.rs", "out/a.md"]),
            (Some("[ab]?"), ["a1", "x/b2"], ["c1", "a"]),
        ] {
            let watch = watch(FileEvent::Any, pattern);
            assert!(fits.iter().all(|below| watch.counts(below)), "{pattern:?}");
            assert!(!not.iter().any(|below| watch.counts(below)), "{pattern:?}");
        }
        assert!(watch(FileEvent::Any, None).counts("any/thing"));
        assert!(FilePattern::new("a[").is_err());
    }

    #[test]
    fn a_burst_is_one_event_that_lists_so_many_and_counts_the_others() {
        let any = watch(FileEvent::Any, None);
        assert_eq!(any.burst("r", "1", &[]), None);
        let changes: Vec<_> = (0..LISTED + 7)
            .map(|at| FileChange { path: format!("/n/{at:04}.tar.gz"), event: FileEvent::Create })
            .collect();
        let event = any.burst("r", "1", &changes).unwrap();
        let payload = &event.payload;
        assert_eq!(payload["files"].as_array().unwrap().len(), LISTED);
        assert_eq!((&payload["count"], &payload["left_out"]), (&json!(107), &json!(7)));
        assert_eq!((&payload["path"], &payload["event"]), (&json!("/n/0000.tar.gz"), &json!("create")));
        assert_eq!((&payload["filename"], &payload["extension"]), (&json!("0000.tar.gz"), &json!("gz")));
        let fields: Vec<_> = payload.as_object().unwrap().keys().map(String::as_str).collect();
        assert!(FILE_WATCH_FIELDS.iter().all(|field| fields.contains(field)) && fields.len() == 7);
        let hidden = [FileChange { path: "/n/.env".to_owned(), event: FileEvent::Delete }];
        assert_eq!(any.burst("r", "2", &hidden).unwrap().payload["extension"], "");
    }

    #[test]
    fn a_watch_takes_what_it_waits_for() {
        use FileEvent::{Any, Create, Delete, Modify};
        for (wanted, takes) in
            [(Any, [true; 3]), (Create, [true, false, false]), (Delete, [false, false, true])]
        {
            assert_eq!([Create, Modify, Delete].map(|event| watch(wanted, None).takes(event)), takes);
        }
        for word in FileEvent::WORDS {
            assert_eq!(FileEvent::named(word).unwrap().as_str(), word);
        }
    }
}
