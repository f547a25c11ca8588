//! Prose within the width of a terminal: plain lines, in which code and tables stand apart.

use connector_surface::prose::{Block, Kind, Prose, Run, layout};
use connector_surface::text::{folded, wrapped};

/// The narrowest that words are laid out in, however deep they stand.
const NARROWEST: usize = 20;

/// A text in Markdown as lines of at most `width` columns.
pub fn lines(markdown: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for block in &Prose::parse(markdown).blocks {
        if !lines.is_empty() && !block.tight {
            lines.push(String::new());
        }
        lines.extend(of_block(block, width));
    }
    lines
}

fn of_block(block: &Block, width: usize) -> Vec<String> {
    let quote = if block.quoted { "> " } else { "" };
    let indent = "  ".repeat(block.indent.min(width.saturating_sub(NARROWEST) / 2));
    let before = format!("{quote}{indent}");
    let room = width.saturating_sub(before.len()).max(2);
    let all = |lines: Vec<String>| {
        lines.into_iter().map(|line| format!("{before}{line}").trim_end().to_owned()).collect()
    };
    match &block.kind {
        Kind::Words { lead, runs } => {
            let hang = lead.chars().count();
            let text: String = runs.iter().map(words).collect();
            let lines = wrapped(&text, room.saturating_sub(hang));
            let shown = lines.into_iter().enumerate().map(|(at, line)| {
                if at == 0 { format!("{lead}{line}") } else { format!("{}{line}", " ".repeat(hang)) }
            });
            all(shown.collect())
        }
        Kind::Code { text, .. } => {
            all(folded(text, room.saturating_sub(2)).into_iter().map(|line| format!("│ {line}")).collect())
        }
        Kind::Table(rows) => all(layout(rows, room)),
        Kind::Rule => all(vec!["─".repeat(room.min(20))]),
    }
}

/// Words without a look but for code, whose marks are part of what is read.
fn words(run: &Run) -> String {
    if run.look.code && !run.text.contains('`') { format!("`{}`", run.text) } else { run.text.clone() }
}
