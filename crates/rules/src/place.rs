//! Where in its file something stands that was read long ago.
//!
//! Rules keep no positions: most are never asked for one. The linter reads the file's text again.

use toml::de::{DeTable, DeValue};

use crate::read::step_at;
use crate::rule::Rule;
use crate::source::Span;

impl Rule {
    /// The place of the value at `path` (keys and positions in lists), or of as much of the path
    /// as the file has; its first line if it has nothing of it.
    pub(crate) fn place(&self, path: &[&str]) -> Span {
        let text = &self.source.text;
        let first_line = 0..text.find('\n').unwrap_or(text.len());
        let Ok(table) = DeTable::parse(text) else {
            return first_line;
        };
        // Springtale writes the header's keys at the top.
        let path = match path {
            ["rule", rest @ ..] if !table.get_ref().contains_key("rule") => rest,
            path => path,
        };
        find(table.get_ref(), path).unwrap_or(first_line)
    }
}

fn find(table: &DeTable<'_>, path: &[&str]) -> Option<Span> {
    let (first, mut rest) = path.split_first()?;
    let mut here = table.get(*first)?;
    while let Some((key, deeper)) = rest.split_first() {
        let below = match here.get_ref() {
            DeValue::Table(table) => table.get(*key),
            // Steps stand where they are counted, or within one of Springtale's chains.
            DeValue::Array(items) => key.parse::<usize>().ok().and_then(|at| step_at(items, at)),
            _ => None,
        };
        rest = deeper;
        match below {
            Some(below) => here = below,
            // One condition may stand where a list of them can.
            None if *key == "0" => {}
            None => break,
        }
    }
    Some(here.span())
}
