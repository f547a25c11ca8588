//! Links that say where they lead.

use url::Url;

use super::Run;
use crate::text::visible;

/// What else looks like the dot of a host's name.
const DOTS: [char; 5] = ['.', '․', '。', '．', '｡'];

/// Makes the runs from `from` on lead to `target`, and says where that is: by its host, or in full
/// where the words themselves look like another place.
pub(super) fn lead(runs: &mut Vec<Run>, from: usize, target: &str) {
    let from = from.min(runs.len());
    let words: String = runs[from..].iter().map(|run| run.text.as_str()).collect();
    match said(&words, target) {
        Said::Nothing => {}
        // In parts, none of them would be the address.
        Said::Itself(url) => {
            if let [only] = &mut runs[from..] {
                only.link = Some(url);
            }
        }
        Said::Host(url, host) => {
            runs[from..].iter_mut().for_each(|run| run.link = Some(url.clone()));
            runs.push(Run { text: format!(" ({host})"), ..Run::default() });
        }
        Said::Full(target) => runs.push(Run { text: format!(" ({target})"), ..Run::default() }),
    }
}

/// The same in a cell of a table, which has no links.
pub(super) fn in_cell(cell: &mut String, target: &str) {
    match said(cell, target) {
        Said::Nothing | Said::Itself(_) => {}
        Said::Host(_, host) => cell.push_str(&format!(" ({host})")),
        Said::Full(target) => cell.push_str(&format!(" ({target})")),
    }
}

enum Said {
    /// It leads nowhere else.
    Nothing,
    /// The words are the address.
    Itself(String),
    /// An address, and its host.
    Host(String, String),
    /// No address to lead to, or words that are not to be trusted: all of it, as text.
    Full(String),
}

fn said(words: &str, target: &str) -> Said {
    let words = words.trim();
    if words.is_empty() && target.is_empty() {
        return Said::Nothing;
    }
    let Some((url, host)) = address(target) else {
        // A file, an anchor, or a scheme that does more than show a page.
        let same = words == target || target.starts_with('#') || target.is_empty();
        return if same { Said::Nothing } else { Said::Full(target.to_owned()) };
    };
    if is_same(words, &url) {
        return Said::Itself(url);
    }
    if words.is_empty() || looks_like_a_place(words) || visible(words) != words {
        return Said::Full(url);
    }
    Said::Host(url, host)
}

/// An address of the web, as a browser reads it, and its host.
fn address(target: &str) -> Option<(String, String)> {
    let url = Url::parse(target.trim()).ok()?;
    let web = ["http", "https"].contains(&url.scheme());
    let host = url.host_str()?.to_owned();
    (web && !host.is_empty()).then(|| (url.to_string(), host))
}

/// Whether the words are this address, perhaps without its scheme or its last slash.
fn is_same(words: &str, url: &str) -> bool {
    let bare = |text: &str| {
        let text = text.trim_end_matches('/');
        text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text).to_owned()
    };
    bare(words) == bare(url)
}

/// Whether a part of the words could be taken for a host or an address.
fn looks_like_a_place(words: &str) -> bool {
    words.contains("://")
        || words.contains('@')
        || words.split(|it: char| it.is_whitespace() || "()[]<>,;\"'".contains(it)).any(|word| {
            let mut parts = word.split(DOTS);
            let first = parts.next().unwrap_or_default();
            let has_end = |part: &str| part.chars().next().is_some_and(char::is_alphanumeric);
            first.chars().next_back().is_some_and(char::is_alphanumeric) && parts.any(has_end)
        })
}
