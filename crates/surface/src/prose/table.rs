//! Tables as aligned text.

use unicode_width::UnicodeWidthStr as _;

use crate::text::wrapped;

/// What stands between two columns.
const GAP: &str = "  ";

/// The narrowest that a column becomes.
const NARROWEST: usize = 3;

/// The rows as lines of at most `width` columns: aligned, with cells that are broken where that is
/// needed; where not even that fits, each row as a list of its cells that are not empty.
pub fn layout(rows: &[Vec<String>], width: usize) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    if columns == 0 {
        return Vec::new();
    }
    match widths(rows, columns, width) {
        Some(widths) => aligned(rows, &widths),
        None => listed(rows, width),
    }
}

/// How wide each column is; `None` if they do not fit beside each other.
fn widths(rows: &[Vec<String>], columns: usize, width: usize) -> Option<Vec<usize>> {
    let room = width.checked_sub(GAP.len() * (columns - 1))?;
    if room < columns * NARROWEST {
        return None;
    }
    let widest = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.width()).max();
    let mut widths: Vec<usize> = (0..columns).map(|at| widest(at).unwrap_or(0).max(1)).collect();
    let needed: usize = widths.iter().sum();
    if needed > room {
        // The widest give way, down to a common width.
        let mut most = room;
        while widths.iter().map(|width| (*width).min(most)).sum::<usize>() > room {
            most -= 1;
        }
        for width in &mut widths {
            *width = (*width).min(most);
        }
    }
    Some(widths)
}

fn aligned(rows: &[Vec<String>], widths: &[usize]) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let empty = String::new();
        let cells: Vec<Vec<String>> = widths
            .iter()
            .enumerate()
            .map(|(at, width)| wrapped(row.get(at).unwrap_or(&empty), *width))
            .collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(0).max(1);
        for at in 0..height {
            let mut line = String::new();
            for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
                let part = cell.get(at).map_or("", String::as_str);
                if column > 0 {
                    line.push_str(GAP);
                }
                line.push_str(part);
                line.push_str(&" ".repeat(width.saturating_sub(part.width())));
            }
            lines.push(line.trim_end().to_owned());
        }
        if number == 0 && rows.len() > 1 {
            let bars: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
            lines.push(bars.join(GAP));
        }
    }
    lines
}

/// Each row as a list of its cells that are not empty; of a table without any, the names of its columns.
fn listed(rows: &[Vec<String>], width: usize) -> Vec<String> {
    let Some((names, rows)) = rows.split_first() else { return Vec::new() };
    let mut lines: Vec<String> = Vec::new();
    for row in rows {
        let before = lines.len();
        for (at, cell) in row.iter().enumerate().filter(|(_, cell)| !cell.is_empty()) {
            let name = names.get(at).map_or("", String::as_str);
            let text = if name.is_empty() { cell.clone() } else { format!("{name}: {cell}") };
            lines.extend(wrapped(&text, width));
        }
        if lines.len() > before {
            lines.push(String::new());
        }
    }
    if lines.pop().is_none() {
        lines.extend(names.iter().filter(|name| !name.is_empty()).flat_map(|name| wrapped(name, width)));
    }
    lines
}
