//! What is wrong (or doubtful) in a rule file, and exactly where.
//!
//! A [`Diagnostic`] is data: loading, linting and testing produce the same shape, and one renderer
//! shows it (`render`) or hands it to a program ([`Diagnostic::to_json`]). Neither ever prints a
//! secret that the shown line holds: see `redact`.

mod render;

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::secret::redact;
use crate::source::{Position, SourceFile, Span};

/// How much a diagnostic matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A better way to write it exists; the rule does what it says.
    Advice,
    /// The rule works, and probably not as meant.
    Warning,
    /// The rule cannot be loaded, or cannot ever do what it says.
    Error,
}

/// What kind of thing a diagnostic reports; stable names for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The file is not TOML.
    Syntax,
    /// A key that the grammar does not have.
    UnknownKey,
    /// A key that must be there and is not.
    MissingKey,
    /// A value of another type than the key takes.
    WrongType,
    /// A value of the right type that the key refuses.
    InvalidValue,
    /// A `type = "…"` that is no trigger, condition or action.
    UnknownType,
    /// A template that cannot be read.
    Template,
    /// A reference that can never have a value.
    UnresolvableReference,
    /// Two rules, steps or tests of the same name.
    DuplicateName,
    /// A spelling of Springtale's that has one of ours.
    Alias,
    /// A connector that the host does not have.
    UnknownConnector,
    /// An action that the connector does not have.
    UnknownAction,
    /// An event that the connector does not report.
    UnknownEvent,
    /// A field that the event or output does not have.
    UnknownField,
    /// Input that the action's schema refuses.
    RefusedInput,
    /// Conditions that no event can meet.
    Unreachable,
    /// A command that is looked for anywhere in a message.
    BroadCommand,
    /// A rule that says the same as another.
    DuplicateRule,
    /// A rule whose every event also fires another that does the same.
    ShadowedRule,
    /// A chat trigger that anybody could fire.
    OpenTrigger,
    /// A mutating action that needs no approval.
    ExemptedAction,
    /// Approvals that can never be enough.
    Approvals,
    /// A chat that the host may not tell.
    Followers,
    /// A secret written into the file.
    Secret,
    /// A `[[tests]]` entry that does not hold.
    FailedTest,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The serialised name is the only name.
        self.serialize(f)
    }
}

/// One finding, with the place it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// What kind of finding it is.
    pub code: Code,
    /// What is wrong, as a fragment that names the thing.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// A second place that explains the first.
    pub related: Option<Related>,
    pub(crate) file: Arc<SourceFile>,
    pub(crate) span: Span,
}

/// A second place of a diagnostic, for example the first of two equal names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Related {
    /// What is there.
    pub label: String,
    pub(crate) file: Arc<SourceFile>,
    pub(crate) span: Span,
}

impl Diagnostic {
    pub(crate) fn new(
        severity: Severity,
        code: Code,
        file: &Arc<SourceFile>,
        span: Span,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            code,
            message: redact(&message.into()).into_owned(),
            help: None,
            related: None,
            file: Arc::clone(file),
            span,
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(redact(&help.into()).into_owned());
        self
    }

    pub(crate) fn maybe_help(self, help: Option<String>) -> Self {
        match help {
            Some(help) => self.help(help),
            None => self,
        }
    }

    pub(crate) fn related(mut self, label: impl Into<String>, file: &Arc<SourceFile>, span: Span) -> Self {
        self.related = Some(Related { label: label.into(), file: Arc::clone(file), span });
        self
    }

    /// The name of the file it is about.
    pub fn file(&self) -> &str {
        &self.file.name
    }

    /// Where the marked place starts.
    pub fn start(&self) -> Position {
        self.file.position(self.span.start)
    }

    /// Where the marked place ends (the first character after it).
    pub fn end(&self) -> Position {
        self.file.position(self.span.end)
    }

    /// The finding as a JSON object, for `--json`.
    pub fn to_json(&self) -> Value {
        let (start, end) = (self.start(), self.end());
        json!({
            "severity": self.severity,
            "code": self.code,
            "message": self.message,
            "help": self.help,
            "file": self.file(),
            "line": start.line,
            "column": start.column,
            "end_line": end.line,
            "end_column": end.column,
            "related": self.related.as_ref().map(Related::to_json),
            "text": redact(self.file.line_at(self.span.start)),
        })
    }
}

impl Related {
    fn to_json(&self) -> Value {
        let start = self.file.position(self.span.start);
        json!({
            "label": self.label,
            "file": self.file.name,
            "line": start.line,
            "column": start.column,
        })
    }
}

impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

/// `file:line:column: severity[code]: message`, on one line, for logs.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.start();
        let severity = match self.severity {
            Severity::Advice => "advice",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{}:{line}:{column}: {severity}[{}]: {}", self.file(), self.code, self.message)
    }
}

/// Findings in the order of their files and places.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    pub(crate) fn new(list: Vec<Diagnostic>) -> Self {
        Self(list)
    }

    /// The findings.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many findings there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The weight of the worst finding; `None` when there is none.
    pub fn worst(&self) -> Option<Severity> {
        self.iter().map(|diagnostic| diagnostic.severity).max()
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Vec<Diagnostic>> for Diagnostics {
    fn from(list: Vec<Diagnostic>) -> Self {
        Self(list)
    }
}

/// One line per finding; [`Diagnostics::render`] shows the lines of the file too.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
