//! Rules that are read again: a file that cannot be used is left out, and the others are not.

use std::path::Path;

use connector_contract::chain;
use connector_files::owned;
use connector_rules::{Diagnostics, RuleSet, Severity, SourceFile};

use connector_engine::LeftOut;

use super::{RulesError, cannot, rule_paths};

/// The rules of every `*.toml` in `directory` that can be used, and those files that cannot: they have
/// mistakes, cannot be read, or may be another's work.
pub fn usable_rules(directory: &Path) -> Result<(RuleSet, Vec<LeftOut>), RulesError> {
    let closed = |source| cannot(directory)(std::io::Error::other(chain(&source)));
    owned::decisive(directory).map_err(closed)?;
    let (mut files, mut left_out) = (Vec::new(), Vec::new());
    for path in rule_paths(directory)? {
        match usable(&path) {
            Ok(file) => files.push(file),
            Err(left) => left_out.push(left),
        }
    }
    let rules = RuleSet::parse(files).map_err(RulesError::Mistakes)?;
    Ok((rules, left_out))
}

fn usable(path: &Path) -> Result<SourceFile, LeftOut> {
    let left = |brief: String, reason: String| LeftOut { path: path.to_owned(), brief, reason };
    owned::decisive(path).map_err(|fault| {
        let reason = format!("{} {}", path.display(), chain(&fault));
        left("may be somebody else's work".to_owned(), reason)
    })?;
    let text = std::fs::read_to_string(path).map_err(|error| {
        left("cannot be read".to_owned(), format!("{} cannot be read: {error}", path.display()))
    })?;
    let file = SourceFile::new(path.display().to_string(), text);
    match RuleSet::parse([file.clone()]) {
        Ok(_) => Ok(file),
        Err(wrong) => Err(left(place(&wrong), format!("it has mistakes\n{}", wrong.render(false)))),
    }
}

fn place(wrong: &Diagnostics) -> String {
    let first = wrong.iter().find(|finding| finding.severity == Severity::Error);
    first.map_or_else(
        || "has a mistake".to_owned(),
        |finding| {
            format!("has a mistake in line {}, column {}", finding.start().line, finding.start().column)
        },
    )
}
