//! Reading paths.

use super::{Path, Root, StepRef, Theirs};

/// Why a text is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    #[error("a reference is empty")]
    Empty,
    #[error("`{0}` is no place to start a reference")]
    Root(String),
    #[error("{root} has no `{key}`; it has {known}")]
    Key { root: &'static str, key: String, known: &'static str },
    #[error("`{0}` needs what to take from it: {1}")]
    Bare(String, &'static str),
    #[error("a key is missing after `{0}`")]
    MissingKey(String),
    #[error("a quoted key does not end")]
    OpenQuote,
    #[error("`{0}` cannot stand in a reference")]
    Character(char),
}

/// What a step's outcome offers.
const STEP_KEYS: &[&str] = &["output", "error", "state"];

pub(super) fn is_bare(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

impl Path {
    /// Reads the path that `text` starts with; says how many bytes it took.
    pub(crate) fn parse_prefix(text: &str) -> Result<(Self, usize), PathError> {
        let (keys, taken) = split_keys(text)?;
        Ok((Self::from_keys(keys)?, taken))
    }

    /// Reads a condition's field. A field that starts at no root is relative to the payload, as
    /// Springtale writes it; the flag says so.
    pub(crate) fn parse_field(text: &str) -> Result<(Self, bool), PathError> {
        let (keys, taken) = split_keys(text)?;
        if let Some(rest) = text[taken..].chars().next() {
            return Err(PathError::Character(rest));
        }
        // A condition of Springtale's looks into the payload alone, which may well have a `run_id`.
        let root = keys.first().and_then(|first| root_of(first));
        let rooted = root.is_some_and(|root| root != Root::Theirs(Theirs::RunId));
        if rooted {
            return Ok((Self::from_keys(keys)?, false));
        }
        let root = Root::Trigger;
        Ok((Self { root, keys }, true))
    }

    fn from_keys(mut keys: Vec<String>) -> Result<Self, PathError> {
        let first = keys.remove(0);
        let Some(mut root) = root_of(&first) else {
            return Err(PathError::Root(first));
        };
        if root == Root::Step(StepRef::Name(String::new())) {
            if keys.is_empty() {
                return Err(PathError::Bare(first, "the name of a step"));
            }
            root = Root::Step(StepRef::Name(keys.remove(0)));
        }
        check_keys(&root, &keys)?;
        Ok(Self { root, keys })
    }
}

/// The root that a first key names; `step` alone is a step whose name follows.
fn root_of(key: &str) -> Option<Root> {
    match key {
        "trigger" => Some(Root::Trigger),
        "event" => Some(Root::Event),
        "run" => Some(Root::Run),
        "rule" => Some(Root::Rule),
        "now" => Some(Root::Now),
        "step" => Some(Root::Step(StepRef::Name(String::new()))),
        "last_connector_output" => Some(Root::Theirs(Theirs::LastConnectorOutput)),
        "last_connector_message" => Some(Root::Theirs(Theirs::LastConnectorMessage)),
        "run_id" => Some(Root::Theirs(Theirs::RunId)),
        _ => step_number(key).map(|number| Root::Step(StepRef::Number(number))),
    }
}

/// The number in `step7`; `None` for any other word.
pub(crate) fn step_number(key: &str) -> Option<usize> {
    let digits = key.strip_prefix("step")?;
    let canonical = !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    canonical.then(|| digits.parse().ok()).flatten()
}

fn check_keys(root: &Root, keys: &[String]) -> Result<(), PathError> {
    let (name, known, list): (_, &[&str], _) = match root {
        Root::Trigger | Root::Theirs(Theirs::LastConnectorOutput) => return Ok(()),
        Root::Theirs(Theirs::LastConnectorMessage) => {
            ("`last_connector_message`", &[], "nothing below it: it is a text")
        }
        Root::Theirs(Theirs::RunId) => ("`run_id`", &[], "nothing below it"),
        Root::Event => ("`event`", &["id", "connector", "event"], "`id`, `connector` and `event`"),
        Root::Run => ("`run`", &["id"], "`id`"),
        Root::Rule => ("`rule`", &["name"], "`name`"),
        Root::Now => ("`now`", &[], "nothing below it"),
        Root::Step(_) => ("a step", STEP_KEYS, "`output`, `error` and `state`"),
    };
    let deep = matches!(root, Root::Step(_)) && keys.first().is_some_and(|key| key == "output");
    match keys {
        [] if known.is_empty() => Ok(()),
        [] => Err(PathError::Bare(root.to_string(), list)),
        [key] if known.contains(&key.as_str()) => Ok(()),
        [_, ..] if deep => Ok(()),
        [key, rest @ ..] => {
            let key =
                if known.contains(&key.as_str()) { format!("{key}.{}", rest.join(".")) } else { key.clone() };
            Err(PathError::Key { root: name, key, known: list })
        }
    }
}

/// The keys at the start of `text` and the bytes they took; always at least one key.
fn split_keys(text: &str) -> Result<(Vec<String>, usize), PathError> {
    let mut keys = Vec::new();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let (key, taken) = if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').ok_or(PathError::OpenQuote)?;
            (&quoted[..end], end + 2)
        } else {
            let end = rest.find(|c| !is_bare(c)).unwrap_or(rest.len());
            (&rest[..end], end)
        };
        if taken == 0 {
            return Err(match (at, rest.chars().next()) {
                (0, None | Some('}' | '|')) => PathError::Empty,
                (0, Some(other)) => PathError::Character(other),
                _ => PathError::MissingKey(text[..at - 1].to_owned()),
            });
        }
        keys.push(key.to_owned());
        at += taken;
        if !text[at..].starts_with('.') {
            return Ok((keys, at));
        }
        at += 1;
    }
}
