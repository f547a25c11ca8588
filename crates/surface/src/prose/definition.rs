//! Link reference definitions, such as `[name]: address`, which Markdown does not show.
//!
//! An agent that writes `[Result]: success` means it to be read. So a definition that no link of the
//! text refers to is text: its bracket is escaped before the text is read.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use pulldown_cmark::{Event, LinkType, Options, Parser, Tag};

/// What may stand before a definition in its line: indents, quotes, and the marks of lists.
const BEFORE: [char; 9] = [' ', '\t', '>', '-', '*', '+', '.', ')', '\r'];

/// `markdown` with every definition as text that is not a link's.
pub(super) fn shown(markdown: &str, options: Options) -> Cow<'_, str> {
    if !markdown.contains("]:") {
        return Cow::Borrowed(markdown);
    }
    let parser = Parser::new_ext(markdown, options).into_offset_iter();
    let definitions: Vec<(String, usize)> = parser
        .reference_definitions()
        .iter()
        .map(|(label, definition)| (folded(label), definition.span.start))
        .collect();
    let (mut used, mut code) = (BTreeSet::new(), Vec::new());
    for (event, range) in parser {
        match event {
            Event::Start(Tag::Link { link_type, id, .. } | Tag::Image { link_type, id, .. })
                if matches!(link_type, LinkType::Reference | LinkType::Collapsed | LinkType::Shortcut) =>
            {
                used.insert(folded(&id));
            }
            Event::Start(Tag::CodeBlock(_) | Tag::HtmlBlock) | Event::Code(_) | Event::InlineHtml(_) => {
                code.push(range);
            }
            _ => {}
        }
    }
    let is_used = |(label, _): &(String, usize)| used.contains(label);
    let (kept, unused): (Vec<_>, Vec<_>) = definitions.into_iter().partition(is_used);
    let kept: BTreeSet<usize> = kept.into_iter().map(|(_, at)| at).collect();
    let mut text: BTreeSet<usize> = unused.into_iter().map(|(_, at)| at).collect();
    // Of several with one name Markdown knows the first alone.
    text.extend(candidates(markdown).filter(|at| !kept.contains(at)));
    text.retain(|at| markdown[*at..].starts_with('[') && !is_within(&code, *at));
    if text.is_empty() { Cow::Borrowed(markdown) } else { Cow::Owned(escaped(markdown, &text)) }
}

/// Where a line could begin with a definition.
fn candidates(markdown: &str) -> impl Iterator<Item = usize> {
    let mut next = 0;
    markdown.split_inclusive('\n').filter_map(move |line| {
        let at = next;
        next += line.len();
        let rest = line.trim_start_matches(|it: char| BEFORE.contains(&it) || it.is_ascii_digit());
        let label = rest.strip_prefix('[')?;
        let end = label.find(']')?;
        label[end..].starts_with("]:").then(|| at + line.len() - rest.len())
    })
}

/// Whether it is within one of these, which are in order and do not overlap.
fn is_within(ranges: &[Range<usize>], at: usize) -> bool {
    let after = ranges.partition_point(|range| range.start <= at);
    ranges[..after].last().is_some_and(|range| range.contains(&at))
}

fn escaped(markdown: &str, at: &BTreeSet<usize>) -> String {
    let mut result = String::with_capacity(markdown.len() + at.len());
    let mut from = 0;
    for at in at {
        result.push_str(&markdown[from..*at]);
        result.push('\\');
        from = *at;
    }
    result.push_str(&markdown[from..]);
    result
}

/// A label as labels are compared: without regard to case and to how many blanks there are.
fn folded(label: &str) -> String {
    let words: Vec<&str> = label.split_whitespace().collect();
    words.join(" ").to_lowercase()
}
