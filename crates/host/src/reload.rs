//! Rules are read again when their files change, without a restart.
//!
//! A [`Watch`] looks at the directory once a second and compares what the file
//! system says about each file: name, size, time of change, identity. It asks
//! rather than being told, because that sees every way of writing a file
//! (in place, by renaming, through a link, over the network) alike. A change is
//! taken in when it has rested for one look, so that a set of files being
//! written is read once and whole.
//!
//! A file that has a mistake, or that others could have changed, is left out
//! until it is mended: its rule is off, whoever wants something of it is told
//! so, and the other rules are in force. Where nothing at all can be made of
//! the directory the rules in force stay. Whoever watches is told why, once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use connector_contract::chain;
use connector_engine::{Engine, LeftOut};
use connector_rules::RuleSet;
use tokio::sync::Notify;

use crate::assemble::{self, RulesError};

/// How often the directory is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What the file system says about one file.
type Seen = (PathBuf, Option<(u64, Option<SystemTime>, [i64; 3])>);

/// Watches a directory of rules.
#[derive(Debug)]
pub struct Watch {
    directory: PathBuf,
    /// What was read last, or found wrong; nothing once it is to be read again in any case.
    taken: Option<Vec<Seen>>,
    /// What the last look saw.
    seen: Vec<Seen>,
}

/// What a change of the files came to.
#[derive(Debug)]
pub enum Change {
    /// The new rules, and the files that could not be used.
    Rules(RuleSet, Vec<LeftOut>),
    /// The rules in force stay.
    Kept(RulesError),
}

impl Watch {
    /// A watch over rules that were just read from `directory`.
    pub fn new(directory: &Path) -> Self {
        let seen = look(directory);
        Self { directory: directory.to_owned(), taken: Some(seen.clone()), seen }
    }

    /// Looks once; says something if there was a change and it has rested since the look before.
    pub fn look(&mut self) -> Option<Change> {
        let seen = look(&self.directory);
        let rests = seen == self.seen;
        self.seen = seen;
        if !rests || self.taken.as_ref() == Some(&self.seen) {
            return None;
        }
        self.taken = Some(self.seen.clone());
        Some(match assemble::usable_rules(&self.directory) {
            Ok((rules, left_out)) => Change::Rules(rules, left_out),
            Err(error) => Change::Kept(error),
        })
    }

    /// Takes whatever is there for new.
    fn forget(&mut self) {
        self.taken = None;
        self.seen = look(&self.directory);
    }

    /// Keeps the rules of `engine` those of the directory for as long as it is polled, and tells
    /// `tell` of every change in words, and whether it was taken. Whenever `again` is notified, they
    /// are read whether they changed or not. Dropping it stops it.
    pub async fn keep_current(
        mut self,
        engine: Engine,
        again: Arc<Notify>,
        tell: impl Fn(&str, bool) + Send,
    ) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = again.notified() => self.forget(),
            }
            let looked = tokio::task::spawn_blocking(move || (self.look(), self)).await;
            let Ok((change, watch)) = looked else { return };
            self = watch;
            match change {
                Some(Change::Rules(rules, left_out)) => {
                    let (rules, left_out) = engine.with_admitted_followers(&rules, left_out);
                    let text = words(&rules, &left_out);
                    if left_out.is_empty() {
                        tracing::info!(rules = rules.rules().len(), "{text}");
                    }
                    engine.set_usable_rules(rules, &left_out);
                    tell(&text, left_out.is_empty());
                }
                Some(Change::Kept(error)) => {
                    let text = format!("the rules in force stay: {}", chain(&error));
                    tell(&text, false);
                }
                None => {}
            }
        }
    }
}

fn words(rules: &RuleSet, left_out: &[LeftOut]) -> String {
    let mut text = match rules.rules().len() {
        1 => "the rules were read again: 1 rule is in force".to_owned(),
        count => format!("the rules were read again: {count} rules are in force"),
    };
    for left in left_out {
        let file = left.path.file_name().unwrap_or_default().to_string_lossy();
        text.push_str(&format!("; {file} is left out: {}", left.reason.trim_end()));
    }
    text
}

/// What is in `directory` now; nothing if it cannot be read, which the reading will say.
fn look(directory: &Path) -> Vec<Seen> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut seen: Vec<Seen> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| {
            // The target of a link is what counts.
            let about = std::fs::metadata(&path).ok();
            let facts = about.map(|about| (about.len(), about.modified().ok(), identity(&about)));
            (path, facts)
        })
        .collect();
    seen.sort();
    seen
}

#[cfg(unix)]
fn identity(about: &std::fs::Metadata) -> [i64; 3] {
    use std::os::unix::fs::MetadataExt as _;
    // Its owner or mode may have changed, and nothing else.
    [about.ino().cast_signed(), about.ctime(), about.ctime_nsec()]
}

#[cfg(not(unix))]
fn identity(_about: &std::fs::Metadata) -> [i64; 3] {
    [0; 3]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str) -> String {
        format!(
            "[rule]\nname = \"{name}\"\n[trigger]\ntype = \"ConnectorEvent\"\nconnector = \"c\"\n\
             event = \"e\"\n[[actions]]\ntype = \"Reply\"\ntext = \"hello\"\n"
        )
    }

    fn names(change: Option<Change>) -> Vec<String> {
        let Some(Change::Rules(rules, _)) = change else { panic!("no rules: {change:?}") };
        rules.rules().iter().map(|rule| rule.name().to_owned()).collect()
    }

    #[test]
    fn a_change_is_taken_in_once_and_when_it_rests() {
        let directory = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| std::fs::write(directory.path().join(file), text).unwrap();
        write("a.toml", &rule("a"));
        let mut watch = Watch::new(directory.path());
        assert!(watch.look().is_none(), "nothing changed");

        write("b.toml", &rule("b"));
        assert!(watch.look().is_none(), "it may still be written to");
        write("b.toml", &rule("longer"));
        assert!(watch.look().is_none(), "it was still written to");
        assert_eq!(names(watch.look()), ["a", "longer"]);
        assert!(watch.look().is_none());
    }

    #[test]
    fn every_way_of_changing_a_file_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = |file: &str| directory.path().join(file);
        std::fs::write(path("a.toml"), rule("a")).unwrap();
        let mut watch = Watch::new(directory.path());
        let mut after = |what: &str, names_now: &[&str]| {
            assert!(watch.look().is_none(), "{what}");
            assert_eq!(names(watch.look()), names_now, "{what}");
        };
        std::fs::write(path("a.tmp"), rule("b")).unwrap();
        std::fs::rename(path("a.tmp"), path("a.toml")).unwrap();
        after("a file of the same size was renamed over it", &["b"]);
        std::fs::write(path("c.toml"), rule("c")).unwrap();
        after("a file was added", &["b", "c"]);
        std::fs::remove_file(path("a.toml")).unwrap();
        after("a file was removed", &["c"]);
        std::fs::rename(path("c.toml"), path("d.toml")).unwrap();
        after("a file was renamed", &["c"]);
    }

    /// The names of the rules in force and what is said of the files that are left out.
    fn taken(change: Option<Change>) -> (Vec<String>, String) {
        let Some(Change::Rules(rules, left_out)) = change else { panic!("no rules: {change:?}") };
        let said = words(&rules, &left_out);
        (rules.rules().iter().map(|rule| rule.name().to_owned()).collect(), said)
    }

    #[test]
    fn a_file_that_cannot_be_used_is_left_out_and_told_once_and_the_others_are_taken() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        write(&rule("a"));
        std::fs::write(directory.path().join("b.toml"), rule("b")).unwrap();
        let mut watch = Watch::new(directory.path());
        let mut looked = || {
            assert!(watch.look().is_none(), "it rests first");
            let change = taken(watch.look());
            assert!(watch.look().is_none(), "it was told");
            change
        };
        write("[rule]\nnaem = \"a\"\n");
        let (names, said) = looked();
        assert!(
            names == ["b"] && said.contains("a.toml is left out: it has mistakes") && said.contains("naem"),
            "{said}"
        );
        write(&rule("mended"));
        assert_eq!(looked().0, ["mended", "b"]);
        mode(0o646);
        let (names, said) = looked();
        assert!(names == ["b"] && said.contains("can be changed by every user"), "{said}");
        mode(0o644);
        assert_eq!(looked().0, ["mended", "b"]);
        std::fs::remove_file(&path).unwrap();
        symlink(directory.path().join("b.toml"), &path).unwrap();
        let (names, said) = looked();
        assert!(names == ["b"] && said.contains("is a symbolic link"), "{said}");
    }

    #[test]
    fn a_directory_that_is_read_again_and_has_nothing_any_more_keeps_the_rules_in_force() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        std::fs::write(&path, rule("a")).unwrap();
        let mut watch = Watch::new(directory.path());
        watch.forget();
        assert_eq!(names(watch.look()), ["a"], "it is read though nothing changed");
        std::fs::remove_file(&path).unwrap();
        watch.forget();
        assert!(matches!(watch.look(), Some(Change::Kept(RulesError::None(_)))));
        assert!(watch.look().is_none(), "it was told");
    }

    #[test]
    fn two_rules_of_one_name_keep_the_rules_in_force() {
        let directory = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| std::fs::write(directory.path().join(file), text).unwrap();
        write("a.toml", &rule("a"));
        let mut watch = Watch::new(directory.path());
        write("b.toml", &rule("a"));
        watch.look();
        assert!(matches!(watch.look(), Some(Change::Kept(RulesError::Mistakes(_)))));
    }

    #[test]
    fn an_empty_or_missing_directory_keeps_the_rules() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("rules");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("a.toml"), rule("a")).unwrap();
        let mut watch = Watch::new(&inner);
        std::fs::remove_file(inner.join("a.toml")).unwrap();
        watch.look();
        assert!(matches!(watch.look(), Some(Change::Kept(RulesError::None(_)))));
    }
}
