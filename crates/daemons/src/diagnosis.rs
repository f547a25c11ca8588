//! What is known of a program that failed, in our own words.
//!
//! What a program prints may hold anything: opencode prints a whole configuration file, keys
//! included, because of one comma. So nothing of it is ever shown: it is kept where its owner alone
//! reads it, and a [`Diagnosis`] tells the rest of the world which known cause was recognised, with
//! numbers, names of files that exist and words from lists of ours, and where the text is.

use std::fmt;
use std::path::{Path, PathBuf};

use connector_files::Log;

/// How many bytes of a path are believed to be one.
const PATH: usize = 1024;

/// Why a program failed, as far as its output shows, and where that output is.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Diagnosis(Box<Known>);

#[derive(Clone, Default, PartialEq, Eq)]
struct Known {
    cause: Option<Cause>,
    kept: Option<PathBuf>,
    printed: bool,
    /// To be kept by whoever has a place for it; shown by nobody.
    said: Vec<String>,
}

/// A known cause. Holds nothing that a program made up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// opencode's configuration does not parse.
    Syntax {
        /// The file.
        file: Option<PathBuf>,
        /// Line and column of the first mistake.
        at: Option<(u32, u32)>,
    },
    /// opencode's configuration parses, and is not what it takes.
    Invalid {
        /// The file.
        file: Option<PathBuf>,
        /// Which of its known settings.
        setting: Option<&'static str>,
    },
    /// opencode's configuration names a file that is not there.
    Reference {
        /// The configuration.
        file: Option<PathBuf>,
    },
    /// Something else, by its sentence.
    Known(&'static str),
}

/// The settings of opencode's configuration that are named; any other is not.
const SETTINGS: [&str; 30] = [
    "agent",
    "autoshare",
    "autoupdate",
    "command",
    "compaction",
    "default_agent",
    "disabled_providers",
    "enabled_providers",
    "enterprise",
    "experimental",
    "formatter",
    "instructions",
    "keybinds",
    "layout",
    "logLevel",
    "lsp",
    "mcp",
    "mode",
    "model",
    "permission",
    "plugin",
    "provider",
    "server",
    "share",
    "skills",
    "small_model",
    "snapshot",
    "theme",
    "tools",
    "watcher",
];

/// What is recognised, in lower case, and what is said of it. The first that is found counts.
const KNOWN: [(&[&str], &str); 24] = [
    (&["eaddrinuse", "serveerror", "address already in use"], "its port was taken"),
    (&["enospc", "no space left"], "the disk is full"),
    (&["edquot", "disk quota"], "the disk quota is used up"),
    (&["emfile", "enfile", "too many open files"], "there are no file descriptors left"),
    (&["erofs", "read-only file system"], "it must write to a file system that is read-only"),
    (&["glibc"], "its binary is made for another version of the system's libraries"),
    (
        &["exec format error", "ebadplatform", "cannot execute binary"],
        "its binary is made for another kind of machine",
    ),
    (&["ebadengine", "unsupported engine"], "it wants another version of Node.js"),
    (&["database disk image is malformed", "file is not a database"], "opencode's own database is damaged"),
    (&["database is locked"], "opencode's own database is in use by another process"),
    (&["e404", "etarget", "notarget"], "the registry has no such version of it"),
    (&["e401", "e403", "eneedauth", "eotp"], "the registry refuses the login; see npm's own configuration"),
    (&["eintegrity"], "what was downloaded is not what the registry promised"),
    (
        &["self_signed_cert", "unable_to_get_issuer", "unable_to_verify", "cert_has_expired", "certificate"],
        "a certificate was not accepted; behind a proxy with one of its own, set NODE_EXTRA_CA_CERTS",
    ),
    (&["enotfound", "eai_again", "getaddrinfo"], "a name could not be looked up; is there a network?"),
    (
        &["econnrefused", "unable to connect", "econnreset", "ehostunreach", "enetunreach"],
        "a server could not be reached",
    ),
    (&["etimedout", "err_socket_timeout", "network timeout"], "a server did not answer in time"),
    (
        &["root-owned files", "eacces", "eperm", "permission denied", "operation not permitted"],
        "it may not use a file that it needs",
    ),
    (
        &["cannot find module", "cannot find package", "err_module_not_found", "module not found"],
        "a module of it or of one of its plugins is missing",
    ),
    (
        &["no such provider", "providernotfounderror", "modelnotfounderror"],
        "its configuration names a provider or a model that it does not know",
    ),
    (&["out of memory", "enomem", "cannot allocate memory"], "there was not enough memory"),
    (
        &["syntaxerror", "referenceerror", "typeerror"],
        "a program of it or of one of its plugins has a mistake",
    ),
    (
        &["command not found", "enoent", "no such file or directory"],
        "a file or program that it needs is missing",
    ),
    (&["segmentation fault", "panic", "panicked", "illegal instruction"], "it crashed"),
];

impl Diagnosis {
    /// What these printed lines come to.
    pub(crate) fn of(said: Vec<String>) -> Self {
        let cause = cause(&said.join("\n"));
        Self(Box::new(Known { cause, kept: None, printed: !said.is_empty(), said }))
    }

    /// A cause that is known without the program's word.
    pub(crate) fn known(sentence: &'static str, said: Vec<String>) -> Self {
        let mut diagnosis = Self::of(said);
        diagnosis.0.cause = Some(Cause::Known(sentence));
        diagnosis
    }

    /// Moves what was printed to `log`, if there is one; what cannot be kept is dropped.
    #[must_use]
    pub(crate) fn keep(mut self, log: Option<&Log>) -> Self {
        let said = std::mem::take(&mut self.0.said);
        let Some(log) = log.filter(|_| !said.is_empty()) else { return self };
        match log.append(&said) {
            Ok(()) => self.0.kept = Some(log.path().to_owned()),
            Err(error) => {
                tracing::warn!(path = %log.path().display(), %error, "a program's output cannot be kept");
            }
        }
        self
    }

    /// The known cause.
    pub fn cause(&self) -> Option<&Cause> {
        self.0.cause.as_ref()
    }

    /// Where what it printed can be read by its owner.
    pub fn kept(&self) -> Option<&Path> {
        self.0.kept.as_deref()
    }
}

/// As the end of a sentence.
impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(cause) = &self.0.cause {
            write!(f, ": {cause}")?;
        }
        match (&self.0.kept, self.0.printed) {
            (Some(kept), _) => write!(f, "; what it printed is in {}, for your eyes", kept.display()),
            (None, false) => f.write_str("; it printed nothing"),
            (None, true) => Ok(()),
        }
    }
}

/// Shows as little as [`Display`](fmt::Display).
impl fmt::Debug for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Diagnosis")
            .field("cause", &self.0.cause)
            .field("kept", &self.0.kept)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let configuration = |f: &mut fmt::Formatter<'_>, file: &Option<PathBuf>| match file {
            Some(file) => write!(f, "opencode's configuration {}", file.display()),
            None => f.write_str("opencode's configuration"),
        };
        match self {
            Self::Syntax { file, at } => {
                configuration(f, file)?;
                f.write_str(" is not valid")?;
                at.map_or(Ok(()), |(line, column)| write!(f, ": line {line}, column {column}"))
            }
            Self::Invalid { file, setting } => {
                configuration(f, file)?;
                f.write_str(" is not what opencode takes")?;
                setting.map_or(Ok(()), |setting| write!(f, ", at `{setting}`"))
            }
            Self::Reference { file } => {
                configuration(f, file)?;
                f.write_str(" names a file or a variable that is not there")
            }
            Self::Known(sentence) => f.write_str(sentence),
        }
    }
}

/// The cause that a text of a program's shows.
pub(crate) fn cause(text: &str) -> Option<Cause> {
    let lower = text.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| holds(&lower, word));
    let file = || configuration(text);
    if has(&["bad file reference", "bad variable reference"]) {
        return Some(Cause::Reference { file: file() });
    }
    if has(&["is not valid json", "jsonc input", "configjsonerror"]) {
        return Some(Cause::Syntax { file: file(), at: position(&lower) });
    }
    if has(&["configuration is invalid", "configinvaliderror", "invalid configuration", "config is invalid"])
    {
        return Some(Cause::Invalid { file: file(), setting: setting(text) });
    }
    KNOWN.iter().find(|(words, _)| has(words)).map(|(_, sentence)| Cause::Known(sentence))
}

/// Whether it has the word, or the phrase, and not as a part of another: keys hold all letters.
fn holds(text: &str, word: &str) -> bool {
    let apart = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    text.match_indices(word)
        .any(|(at, _)| apart(text[..at].chars().next_back()) && apart(text[at + word.len()..].chars().next()))
}

/// The first file of this disk that the text names and that may be a configuration.
fn configuration(text: &str) -> Option<PathBuf> {
    let starts = text.match_indices('/').map(|(at, _)| at);
    starts.filter(|at| !text[..*at].ends_with(|c: char| c.is_alphanumeric() || "._-/".contains(c))).find_map(
        |at| {
            let line = text[at..].lines().next().unwrap_or_default();
            let mut ends =
                [".jsonc", ".json", ".md"].into_iter().filter_map(|end| Some(line.find(end)? + end.len()));
            let path = Path::new(line.get(..ends.find(|end| *end < PATH)?)?);
            (path.is_file() && !line.contains('\u{1b}')).then(|| path.to_owned())
        },
    )
}

/// `line L, column C`, of the errors that follow the text itself where there is one.
fn position(lower: &str) -> Option<(u32, u32)> {
    let errors = lower.rfind("--- errors ---").map_or(lower, |at| &lower[at..]);
    errors.match_indices("line ").find_map(|(at, word)| {
        let (line, rest) = number(&errors[at + word.len()..])?;
        let (column, _) = number(rest.strip_prefix(", column ")?)?;
        Some((line, column))
    })
}

fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// The known setting that the first complaint is about: `↳ Expected …, got … SETTING.below`.
fn setting(text: &str) -> Option<&'static str> {
    let complaint = text.lines().find_map(|line| line.trim_start().strip_prefix('↳'))?;
    let last = complaint.split_whitespace().next_back()?;
    let first = last.split(['.', '[']).next()?;
    SETTINGS.into_iter().find(|setting| *setting == first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "acme-live-7f3a9c2b1d8e4f60";

    fn told(text: &str) -> String {
        let diagnosis = Diagnosis::of(text.lines().map(str::to_owned).collect());
        let (shown, debugged) = (diagnosis.to_string(), format!("{diagnosis:?}"));
        assert!(!shown.contains(SECRET) && !debugged.contains(SECRET), "{shown} {debugged}");
        shown
    }

    #[test]
    fn a_configuration_that_is_not_valid_is_told_by_its_file_and_the_place_of_the_mistake() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("opencode.json");
        std::fs::write(&file, "").unwrap();
        let file = file.display();
        let text = format!(
            "Error: Config file at {file} is not valid JSON(C): \n--- JSONC Input ---\n{{\"apiKey\":\"{SECRET}\"}}\n at line 9, column 9\n\
             --- Errors ---\nPropertyNameExpected at line 2, column 20\n   Line 2:  {SECRET},, }}\n--- End ---"
        );
        assert_eq!(told(&text), format!(": opencode's configuration {file} is not valid: line 2, column 20"));
        let text = format!(
            "Error: Configuration is invalid at {file}\n↳ Expected string | undefined, got \"{SECRET}\" model"
        );
        assert_eq!(
            told(&text),
            format!(": opencode's configuration {file} is not what opencode takes, at `model`")
        );
        let text = format!("Error: Configuration is invalid at {file}\n↳ Expected string, got 7 {SECRET}");
        assert_eq!(told(&text), format!(": opencode's configuration {file} is not what opencode takes"));
        let text = format!(
            "Configuration is invalid at {file}: bad file reference: \"{{file:/no/{SECRET}}}\" /no/{SECRET} does not exist"
        );
        assert_eq!(
            told(&text),
            format!(": opencode's configuration {file} names a file or a variable that is not there")
        );
        // A file that is not there is a program's invention.
        let text = format!("Config file at /no/{SECRET}/opencode.json is not valid JSON(C):");
        assert_eq!(told(&text), ": opencode's configuration is not valid");
    }

    #[test]
    fn known_causes_are_told_in_our_words_and_nothing_else_is() {
        for (text, words) in [
            (
                "npm error code ENOTFOUND\nnpm error request to https://x:acme-live-7f3a9c2b1d8e4f60@r/ failed",
                "name could not be looked up",
            ),
            ("npm error code E401 acme-live-7f3a9c2b1d8e4f60", "the registry refuses the login"),
            ("Your cache folder contains root-owned files acme-live-7f3a9c2b1d8e4f60", "may not use a file"),
            ("Error: Cannot find module 'acme-live-7f3a9c2b1d8e4f60'", "a module"),
            ("acme-live-7f3a9c2b1d8e4f60: No space left on device", "the disk is full"),
            ("Error: no such provider, password acme-live-7f3a9c2b1d8e4f60", "a provider or a model"),
        ] {
            assert!(told(text).contains(words), "{text}: {}", told(text));
        }
        assert_eq!(told(SECRET), "");
        assert_eq!(told(""), "; it printed nothing");
    }

    #[test]
    fn what_was_printed_is_kept_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::at(dir.path().join("daemons/app.printed.log"));
        let diagnosis = Diagnosis::of(vec![SECRET.to_owned()]).keep(Some(&log));
        assert_eq!(diagnosis.kept(), Some(log.path()));
        assert!(diagnosis.to_string().contains("app.printed.log"), "{diagnosis}");
        assert_eq!(log.tail(9).unwrap(), [SECRET]);
    }
}
