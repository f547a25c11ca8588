//! What is said: events made of prose, each small enough for a server.
//!
//! A text goes out plain, and beside it as the HTML that clients show. Prose is clean before it comes here, what it is
//! made of is escaped, links lead to the web alone, and nobody is mentioned whatever the text says. What is too long for
//! one event is its beginning, and says so; the caller sends the whole of it as a file.

use std::fmt::Write as _;

use connector_surface::prose::{Block, Kind, Prose, Run, layout};
use connector_surface::text::{visible, visible_code};
use serde_json::{Value, json};

use crate::id::EventId;

/// How many bytes one event's content may have. Servers take 65,536 of the whole event, with what they add.
pub const EVENT: usize = 48 << 10;

/// How many characters of a longer text its event begins with.
const BEGINNING: usize = 4_000;

/// How many characters of an edit clients show that know of none.
const SHORT: usize = 1_000;

/// How wide a table is at most.
const TABLE: usize = 80;

/// What the beginning of a text ends with.
const CUT: &str = "… the whole of it is in the file beside this";

/// The content of the event that says `prose`; without its HTML where both would be too long.
pub fn content(prose: &Prose, kind: &str) -> Value {
    let plain = json!({ "msgtype": kind, "body": plain(prose), "m.mentions": {} });
    let mut both = plain.clone();
    both["format"] = "org.matrix.custom.html".into();
    both["formatted_body"] = html(prose).into();
    if both.to_string().len() <= EVENT { both } else { plain }
}

/// The content of the event that says a text in Markdown, and whether it only begins it.
pub fn markdown(text: &str, kind: &str) -> (Value, bool) {
    said(text, |text| content(&Prose::parse(text), kind))
}

/// The content of the event that says a text as it is, and whether it only begins it.
pub fn as_it_is(text: &str, kind: &str) -> (Value, bool) {
    said(text, |text| json!({ "msgtype": kind, "body": visible(text), "m.mentions": {} }))
}

fn said(text: &str, content: impl Fn(&str) -> Value) -> (Value, bool) {
    let text = text.trim();
    // Prose is never much shorter than what it was written as.
    let whole = (text.len() <= EVENT).then(|| content(text)).filter(|it| it.to_string().len() <= EVENT);
    let beginning = || {
        let begins: String = text.chars().take(BEGINNING).collect();
        content(&format!("{}\n\n{CUT}", begins.trim_end()))
    };
    whole.map_or_else(|| (beginning(), true), |whole| (whole, false))
}

/// The content of the event that shows a file that is kept at `url`.
pub fn file(name: &str, caption: &str, url: &str, size: usize) -> Value {
    json!({
        "msgtype": "m.file",
        "body": if caption.is_empty() { name } else { caption },
        "filename": name,
        "url": url,
        "info": { "mimetype": "text/plain", "size": size },
        "m.mentions": {},
    })
}

/// `content` in a thread, and as an answer to an event.
#[must_use]
pub fn related(mut content: Value, thread: Option<&EventId>, answered: Option<&EventId>) -> Value {
    if let Some(to) = answered.or(thread) {
        content["m.relates_to"] = json!({ "m.in_reply_to": { "event_id": to.as_str() } });
    }
    if let Some(thread) = thread {
        content["m.relates_to"]["rel_type"] = "m.thread".into();
        content["m.relates_to"]["event_id"] = thread.as_str().into();
        content["m.relates_to"]["is_falling_back"] = answered.is_none().into();
    }
    content
}

/// The content that replaces that of `target`, as clients show it that know of edits, and as others do.
#[must_use]
pub fn replacing(target: &EventId, new: &Value) -> Value {
    // Who knows of edits reads the new content, and the others what it begins with: an event has no room for it twice.
    let body: String = new["body"].as_str().unwrap_or_default().chars().take(SHORT).collect();
    let body = format!("* {body}");
    let relation = json!({ "rel_type": "m.replace", "event_id": target.as_str() });
    json!({ "msgtype": new["msgtype"], "body": body, "m.mentions": {}, "m.new_content": new, "m.relates_to": relation })
}

/// Prose as plain text: what is code has its lines marked, so that none can pass for another part.
pub(crate) fn plain(prose: &Prose) -> String {
    let mut text = String::new();
    for block in &prose.blocks {
        if !text.is_empty() {
            text.push_str(if block.tight { "\n" } else { "\n\n" });
        }
        let marked =
            |code: &str| code.split('\n').map(|line| format!("│ {line}")).collect::<Vec<_>>().join("\n");
        let shown = match &block.kind {
            Kind::Words { lead, runs } => runs.iter().fold(lead.clone(), |shown, run| shown + &run.text),
            Kind::Code { text, .. } => marked(&visible_code(text)),
            Kind::Table(rows) => marked(&layout(rows, TABLE).join("\n")),
            Kind::Rule => "———".to_owned(),
        };
        let before = if block.quoted { "> " } else { "" };
        let _ = write!(text, "{}{before}{shown}", "  ".repeat(block.indent));
    }
    text
}

fn html(prose: &Prose) -> String {
    let mut html = String::new();
    for block in &prose.blocks {
        if !html.is_empty() && block.tight {
            html.push_str("<br/>");
        }
        let shown = shown(block);
        let _ = if block.quoted {
            write!(html, "<blockquote>{shown}</blockquote>")
        } else {
            write!(html, "{shown}")
        };
    }
    html
}

fn shown(block: &Block) -> String {
    let code = |class: &str, code: &str| format!("<pre><code{class}>{}</code></pre>", escaped(code));
    match &block.kind {
        Kind::Words { lead, runs } => {
            let indent = "&nbsp;&nbsp;".repeat(block.indent);
            let words: String = runs.iter().map(words).collect();
            let line = format!("{indent}{}{words}", escaped(lead));
            if block.tight { line } else { format!("<p>{line}</p>") }
        }
        Kind::Code { language: Some(language), text } => {
            code(&format!(" class=\"language-{}\"", escaped(language)), &visible_code(text))
        }
        Kind::Code { language: None, text } => code("", &visible_code(text)),
        Kind::Table(rows) => code("", &layout(rows, TABLE).join("\n")),
        Kind::Rule => "<hr/>".to_owned(),
    }
}

fn words(run: &Run) -> String {
    let mut html = escaped(&run.text).replace('\n', "<br/>");
    for (is_so, tag) in [
        (run.look.code, "code"),
        (run.look.bold, "strong"),
        (run.look.italic, "em"),
        (run.look.struck, "del"),
    ] {
        if is_so {
            html = format!("<{tag}>{html}</{tag}>");
        }
    }
    // A link to a person's page is shown as their name.
    let leads = |link: &&String| url::Url::parse(link).is_ok_and(|url| url.host_str() != Some("matrix.to"));
    match run.link.as_ref().filter(leads) {
        Some(link) => format!("<a href=\"{}\">{html}</a>", escaped(link)),
        None => html,
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn markdown_is_shown_and_what_it_smuggles_is_not_obeyed() {
        for (text, html) in [
            ("plain", "<p>plain</p>"),
            ("**bold** `code`", "<p><strong>bold</strong> <code>code</code></p>"),
            ("a\nb", "<p>a<br/>b</p>"),
            ("```rust\nfn\n```", "<pre><code class=\"language-rust\">fn</code></pre>"),
            ("<b>x</b> & \"y\"", "<p>&lt;b&gt;x&lt;/b&gt; &amp; &quot;y&quot;</p>"),
            ("[x](https://matrix.to/#/@anna:e.org)", "<p>x (matrix.to)</p>"),
            ("a\u{202e}b", "<p>a\\u{202e}b</p>"),
            ("```\n\u{1b}[2J</code>\n```", "<pre><code>\\u{1b}[2J&lt;/code&gt;</code></pre>"),
        ] {
            let (content, cut) = markdown(text, "m.text");
            assert_eq!((content["formatted_body"].as_str(), cut), (Some(html), false), "{text}");
            assert_eq!(content["m.mentions"], json!({}));
        }
        let (link, _) = markdown("[x](https://e.org/a\"b)", "m.text");
        assert!(
            link["formatted_body"].as_str().unwrap().contains("<a href=\"https://e.org/a%22b\">"),
            "{link}"
        );
        for evil in ["[x](javascript:alert(1))", "![x](mxc://e.org/a)"] {
            let (content, _) = markdown(evil, "m.text");
            assert!(!content["formatted_body"].as_str().unwrap().contains("href"), "{content}");
        }
    }

    #[test]
    fn code_is_marked_in_plain_text_so_that_nothing_passes_for_another_part() {
        let (content, _) = markdown("one\n\n```\nx\ntwo\n```\n> q", "m.text");
        assert_eq!(content["body"], "one\n\n│ x\n│ two\n\n> q");
    }

    #[test]
    fn an_edit_of_the_longest_event_is_taken_too() {
        let target: EventId = "$a".parse().unwrap();
        let mut text = "- \u{1f600} **x** <\n".repeat(4_000);
        while content(&Prose::parse(&text), "m.text").to_string().len() > EVENT {
            text.truncate(text.char_indices().map(|(at, _)| at).nth(text.chars().count() * 9 / 10).unwrap());
        }
        let whole = content(&Prose::parse(&text), "m.text");
        assert!(whole.to_string().len() > EVENT * 3 / 4);
        assert!(replacing(&target, &whole).to_string().len() <= EVENT + (8 << 10));
    }

    #[test]
    fn an_answer_in_a_thread_is_one_and_a_message_in_it_is_not() {
        let (thread, to): (EventId, EventId) = ("$root".parse().unwrap(), "$a".parse().unwrap());
        let relation = |thread, to| related(json!({}), thread, to)["m.relates_to"].clone();
        assert_eq!(relation(None, None), Value::Null);
        assert_eq!(relation(None, Some(&to)), json!({ "m.in_reply_to": { "event_id": "$a" } }));
        for (answered, falls_back) in [(Some(&to), false), (None, true)] {
            let relation = relation(Some(&thread), answered);
            assert_eq!(
                (&relation["rel_type"], &relation["is_falling_back"]),
                (&json!("m.thread"), &json!(falls_back))
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn no_event_is_too_large_and_one_that_is_cut_says_so(unit in "[\\PC\n👍é`*<&\u{1}]{1,20}", times in 1_usize..6_000) {
            let text = unit.repeat(times);
            for (content, cut) in [markdown(&text, "m.text"), as_it_is(&text, "m.text")] {
                prop_assert!(content.to_string().len() <= EVENT);
                let says_so = content["body"].as_str().unwrap().ends_with(CUT) ||
                    content["body"].as_str().unwrap().contains("whole of it");
                prop_assert_eq!(cut, says_so);
            }
        }
    }
}
