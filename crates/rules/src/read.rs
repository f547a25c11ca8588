//! From the text of a file to a rule, with everything wrong in it and where.
//!
//! The TOML parser keeps the place of every key and value; each function here takes one table and
//! reports into a [`Sink`] what it does not understand, so that one reading finds all mistakes and
//! not only the first. A value that could not be read is `None`, and the mistake is already
//! reported.

mod condition;
mod rule;
mod springtale;
mod step;
mod table;
mod template;
mod test_case;
mod value;

use std::cell::RefCell;
use std::sync::Arc;

use toml::de::DeTable;

pub(crate) use springtale::step_at;
pub(crate) use table::in_words;
pub use table::suggest;

use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::rule::Rule;
use crate::source::{SourceFile, Span};

/// Reads one file.
pub(crate) fn read(source: &Arc<SourceFile>) -> Result<Rule, Vec<Diagnostic>> {
    let sink = Sink::new(source);
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        sink.error(Code::Syntax, span, error.message());
    }
    // What a file with broken syntax seems to say is not worth a second complaint.
    let file = if sink.failed() { None } else { rule::read(table.get_ref(), table.span(), &sink) };
    let failed = sink.failed();
    let findings = sink.into_findings();
    match file {
        Some(file) if !failed => Ok(Rule::new(file, Arc::clone(source), findings)),
        _ => Err(findings),
    }
}

/// Where findings about one file go.
pub(crate) struct Sink<'a> {
    source: &'a Arc<SourceFile>,
    findings: RefCell<Vec<Diagnostic>>,
}

impl<'a> Sink<'a> {
    fn new(source: &'a Arc<SourceFile>) -> Self {
        Self { source, findings: RefCell::default() }
    }

    /// Reports what `shape` makes of a bare diagnostic.
    fn report(
        &self,
        severity: Severity,
        code: Code,
        span: Span,
        message: impl Into<String>,
        shape: impl FnOnce(Diagnostic) -> Diagnostic,
    ) {
        let bare = Diagnostic::new(severity, code, self.source, span, message);
        self.findings.borrow_mut().push(shape(bare));
    }

    fn error(&self, code: Code, span: Span, message: impl Into<String>) {
        self.report(Severity::Error, code, span, message, |bare| bare);
    }

    fn error_with(&self, code: Code, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.report(Severity::Error, code, span, message, |bare| bare.help(help));
    }

    /// Notes that Springtale's `theirs` was read as our `ours`.
    fn alias(&self, span: Span, theirs: &str, ours: &str) {
        let message = format!("`{theirs}` is Springtale's spelling");
        self.report(Severity::Advice, Code::Alias, span, message, |bare| bare.help(format!("write {ours}")));
    }

    fn failed(&self) -> bool {
        let findings = self.findings.borrow();
        findings.iter().any(|one| one.severity == Severity::Error)
    }

    fn into_findings(self) -> Vec<Diagnostic> {
        let mut findings = self.findings.into_inner();
        findings.sort_by_key(|one| one.span.start);
        findings
    }
}
