//! Untrusted text made safe to show.
//!
//! Prompts, replies and names come from chats and from agents. On a screen they
//! must not move the cursor, hide, or read backwards: every character that could
//! is replaced by its visible escape.

use std::fmt::Write as _;

use connector_contract::deceptive::{is_deceptive, reads_backwards};
use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

/// `text` with every character that does not simply show itself written out,
/// such as `\u{202e}`. Line breaks stay; tabs become spaces. What is visible already stays as it is.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\n' => shown.push('\n'),
            '\t' => shown.push_str("    "),
            // After what is shown: what was written out makes no emoji.
            JOINER | EMOJI_STYLE
                if is_part_of_emoji(shown.chars().next_back(), character, characters.peek()) =>
            {
                shown.push(character);
            }
            hidden if is_deceptive(hidden) => {
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(hidden));
            }
            plain => shown.push(plain),
        }
    }
    shown
}

/// As [`visible`], for code: tabs stay.
pub fn visible_code(text: &str) -> String {
    text.split('\t').map(visible).collect::<Vec<_>>().join("\t")
}

/// As [`visible`], on one line.
pub fn one_line(text: &str) -> String {
    visible(text).replace('\n', "\\n")
}

/// `text`, which was made visible, so that it stands in one line with other text and changes the order
/// of nothing but itself: what reads backwards is isolated.
pub fn isolated(text: &str) -> String {
    if reads_backwards(text) { format!("\u{2066}{text}\u{2069}") } else { text.to_owned() }
}

/// JSON with every character that does not simply show itself as an escape: the same value, which a
/// terminal can be shown.
pub fn escaped_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for character in json.chars() {
        if character != '\n' && is_deceptive(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(character);
        }
    }
    shown
}

/// `text` made visible, in lines of at most `columns` columns, so that no
/// terminal breaks a line by itself and drops what stands before it.
pub fn folded(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in visible(text).split('\n') {
        let (mut part, mut width) = (String::new(), 0);
        for cluster in line.graphemes(true) {
            let wide = cluster.width();
            if width + wide > columns {
                lines.push(std::mem::take(&mut part));
                width = 0;
            }
            part.push_str(cluster);
            width += wide;
        }
        lines.push(part);
    }
    lines
}

/// `text`, visible already, in lines of at most `columns` columns, broken between words where that
/// is possible. A line's own indent is kept on its first line only.
pub fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(2);
    let mut lines = Vec::new();
    for line in text.split('\n') {
        let (mut part, mut width) = (String::new(), 0);
        for word in line.split_inclusive(' ') {
            let bare = word.trim_end();
            if width > 0 && width + bare.width() > columns {
                lines.push(part.trim_end().to_owned());
                (part, width) = (String::new(), 0);
            }
            for cluster in word.graphemes(true) {
                let wide = cluster.width();
                if width + wide > columns && cluster != " " {
                    lines.push(std::mem::take(&mut part));
                    width = 0;
                }
                if width + wide <= columns || width == 0 {
                    part.push_str(cluster);
                    width += wide;
                }
            }
        }
        lines.push(part.trim_end().to_owned());
    }
    lines
}

/// At most `limit` characters, with what was cut counted.
pub fn shortened(text: &str, limit: usize) -> String {
    let total = text.chars().count();
    if total <= limit {
        return text.to_owned();
    }
    let head: String = text.chars().take(limit).collect();
    format!("{head}… ({} more characters)", total - limit)
}

/// A time in words, such as `2 min 5 s`.
pub fn duration(seconds: u64) -> String {
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// Joins emoji to one, such as a family.
const JOINER: char = '\u{200d}';

/// Shows the character before it as an emoji, such as a red heart.
const EMOJI_STYLE: char = '\u{fe0f}';

/// Whether an invisible character stands where it only makes an emoji: there it hides nothing.
fn is_part_of_emoji(before: Option<char>, character: char, after: Option<&char>) -> bool {
    let pictured = before.is_some_and(is_pictograph);
    if character == EMOJI_STYLE {
        // Or a digit as a key, which an enclosing keycap follows.
        return pictured || after == Some(&'\u{20e3}');
    }
    (pictured || before == Some(EMOJI_STYLE)) && after.copied().is_some_and(is_pictograph)
}

/// Whether emoji are made of it: the blocks of pictographs, and the few signs outside of them.
fn is_pictograph(character: char) -> bool {
    matches!(character,
        '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}' | '\u{2190}'..='\u{21ff}'
            | '\u{2300}'..='\u{23ff}' | '\u{25a0}'..='\u{27bf}' | '\u{2934}' | '\u{2935}'
            | '\u{2b00}'..='\u{2bff}' | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}'
            | '\u{1f000}'..='\u{1faff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_deceive_is_written_out() {
        for (text, shown) in [
            ("plain, ümlaut, 日本", "plain, ümlaut, 日本"),
            ("a\x1b[2Jb", "a\\u{1b}[2Jb"),
            ("a\rb", "a\\u{d}b"),
            ("rm -rf \u{202e}gnp.", "rm -rf \\u{202e}gnp."),
            ("zero\u{200b}width", "zero\\u{200b}width"),
            ("line\nbreak\ttab", "line\nbreak    tab"),
            ("\u{2028}", "\\u{2028}"),
            ("\u{34f}\u{180b}\u{2800}", "\\u{34f}\\u{180b}\\u{2800}"),
            ("a\u{fe01}\u{fe0f}\u{e0100}", "a\\u{fe01}\\u{fe0f}\\u{e0100}"),
            ("\u{1d173}\u{e0041}", "\\u{1d173}\\u{e0041}"),
            ("\u{fff0}\u{1bca0}\u{e01f0}", "\\u{fff0}\\u{1bca0}\\u{e01f0}"),
            // Emoji that are made of several characters stay one.
            ("👩\u{200d}👩\u{200d}👧", "👩\u{200d}👩\u{200d}👧"),
            (
                "🏳\u{fe0f}\u{200d}🌈 ❤\u{fe0f} 1\u{fe0f}\u{20e3}",
                "🏳\u{fe0f}\u{200d}🌈 ❤\u{fe0f} 1\u{fe0f}\u{20e3}",
            ),
            ("a\u{fe0f}\u{200d}👧", "a\\u{fe0f}\\u{200d}👧"),
            ("a\u{200d}b 👩\u{200d}b a\u{200d}👩", "a\\u{200d}b 👩\\u{200d}b a\\u{200d}👩"),
            ("👩\u{200d}\u{200d}👧 👩\u{fe0f}\u{fe0f}", "👩\\u{200d}\\u{200d}👧 👩\u{fe0f}\\u{fe0f}"),
        ] {
            assert_eq!(visible(text), shown);
            assert_eq!(visible(shown), shown, "it is visible already");
        }
        assert_eq!(one_line("a\nb"), "a\\nb");
        assert_eq!(visible_code("\tif a {\u{202e}\n\t}"), "\tif a {\\u{202e}\n\t}");
    }

    #[test]
    fn letters_that_read_backwards_reorder_no_line() {
        assert_eq!(isolated("plain"), "plain");
        assert_eq!(isolated("rule ש 1"), "\u{2066}rule ש 1\u{2069}");
    }

    #[test]
    fn json_for_a_terminal_is_the_same_value_without_raw_controls() {
        for text in ["plain ü 日本 👩", "\u{9b}2J", "a\u{202e}b", "\u{200b}\u{e0041}\u{fff0}", "\u{7f}\u{1b}"]
        {
            let value = serde_json::json!({ "text": text });
            let shown = escaped_json(&serde_json::to_string_pretty(&value).unwrap());
            assert!(!shown.chars().any(|it| it != '\n' && is_deceptive(it)), "{shown:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }
    }

    #[test]
    fn folded_lines_fit_and_lose_nothing() {
        let text = format!("{}\n\n{}", "x".repeat(25), "日本語".repeat(4));
        let lines = folded(&text, 10);
        assert_eq!(lines.concat(), text.replace('\n', ""));
        assert_eq!(lines.len(), 3 + 1 + 3);
        assert!(
            lines.iter().all(|line| line
                .chars()
                .filter_map(unicode_width::UnicodeWidthChar::width)
                .sum::<usize>()
                <= 10),
            "{lines:?}"
        );
    }

    #[test]
    fn a_cut_says_how_much_was_cut() {
        assert_eq!(shortened("héllo", 5), "héllo");
        assert_eq!(shortened("héllo", 2), "hé… (3 more characters)");
    }
}
