//! Text with styles, measured and cut as Telegram counts: in UTF-16 units.
//!
//! Styles are entities beside the text, never markup in it: whatever a prompt or
//! a reply contains is shown as it is. Cutting never breaks a character as
//! people see one (an emoji with its modifiers, a letter with its marks), and
//! each piece keeps the styles of what it holds.

use frankenstein::types::{MessageEntity, MessageEntityType};
use unicode_segmentation::UnicodeSegmentation as _;

/// The longest text of one message.
pub const MESSAGE: usize = 4_096;

/// How many styles one message shows; what comes after them, Telegram shows plain.
pub const ENTITIES: usize = 100;

/// The longest caption of a document.
pub const CAPTION: usize = 1_024;

/// The longest data of a button, in bytes.
pub const CALLBACK: usize = 64;

/// How a stretch of text looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Style {
    /// For names and headings.
    Bold,
    /// For asides.
    Italic,
    /// For what is no longer so.
    Struck,
    /// For what is to be read letter by letter.
    Code,
    /// The same, as a block.
    Pre,
    /// The same, in this language.
    PreIn(String),
    /// Leads to this address of the web.
    Link(String),
    /// Somebody else's words, as a block.
    Quote,
    /// The same, folded when long.
    FoldedQuote,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    style: Style,
    start: usize,
    end: usize,
}

/// A text and its styles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Styled {
    text: String,
    units: usize,
    spans: Vec<Span>,
}

/// How many UTF-16 units `text` has.
pub fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// The longest head of `text` with at most `limit` units that breaks no
/// character as people see one.
pub fn head(text: &str, limit: usize) -> &str {
    let mut used = 0;
    for (at, cluster) in text.grapheme_indices(true) {
        used += units(cluster);
        if used > limit {
            return &text[..at];
        }
    }
    text
}

impl Styled {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The text alone.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its length in UTF-16 units.
    pub fn units(&self) -> usize {
        self.units
    }

    /// Whether there is nothing to show.
    pub fn is_blank(&self) -> bool {
        self.text.trim().is_empty()
    }

    /// How many styles it has.
    pub fn styles(&self) -> usize {
        self.spans.len()
    }

    /// Whether it fits into one message with `more` before it and `gap` units between.
    pub fn fits_behind(&self, more: &Self, gap: usize) -> bool {
        more.units + gap + self.units <= MESSAGE && more.spans.len() + self.spans.len() <= ENTITIES
    }

    /// Adds text as it is.
    #[must_use]
    pub fn plain(mut self, text: &str) -> Self {
        self.push(text);
        self
    }

    /// Adds text in a style.
    #[must_use]
    pub fn styled(mut self, style: Style, text: &str) -> Self {
        let start = self.units;
        self.push(text);
        self.over(style, start)
    }

    /// Gives all from the unit `start` on a style, besides those that it has.
    #[must_use]
    pub fn over(mut self, style: Style, start: usize) -> Self {
        if self.units > start {
            self.spans.push(Span { style, start, end: self.units });
        }
        self
    }

    /// Adds another styled text.
    #[must_use]
    pub fn then(mut self, other: &Self) -> Self {
        let by = self.units;
        self.push(&other.text);
        let moved = other.spans.iter().map(|span| Span {
            style: span.style.clone(),
            start: span.start + by,
            end: span.end + by,
        });
        self.spans.extend(moved);
        self
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.units += units(text);
    }

    /// The styles as the Bot API takes them: those that begin first come first, and around others.
    pub fn entities(&self) -> Vec<MessageEntity> {
        let unit = |units: usize| u16::try_from(units).unwrap_or(u16::MAX);
        let entity = |span: &Span| {
            let kind = match &span.style {
                Style::Bold => MessageEntityType::Bold,
                Style::Italic => MessageEntityType::Italic,
                Style::Struck => MessageEntityType::Strikethrough,
                Style::Code => MessageEntityType::Code,
                Style::Pre | Style::PreIn(_) => MessageEntityType::Pre,
                Style::Link(_) => MessageEntityType::TextLink,
                Style::Quote => MessageEntityType::Blockquote,
                Style::FoldedQuote => MessageEntityType::ExpandableBlockquote,
            };
            let (offset, length) = (unit(span.start), unit(span.end - span.start));
            let mut entity = MessageEntity::builder().type_field(kind).offset(offset).length(length).build();
            match &span.style {
                Style::PreIn(language) => entity.language = Some(language.clone()),
                Style::Link(url) => entity.url = Some(url.clone()),
                _ => {}
            }
            entity
        };
        let mut spans: Vec<&Span> = self.spans.iter().collect();
        // Of several at the same place, what holds others stands around what holds text alone.
        let depth = |style: &Style| match style {
            Style::Quote | Style::FoldedQuote => 0,
            Style::Link(_) => 1,
            Style::Bold | Style::Italic | Style::Struck => 2,
            Style::Code | Style::Pre | Style::PreIn(_) => 3,
        };
        spans.sort_by_key(|span| (span.start, std::cmp::Reverse(span.end), depth(&span.style)));
        spans.into_iter().map(entity).collect()
    }

    /// Pieces of at most `limit` units and [`ENTITIES`] styles, cut where people would: after a
    /// paragraph, a line, a word, and only then between two characters. Nothing
    /// is lost but blanks at the cuts; pieces that would be blank are left out.
    pub fn split(&self, limit: usize) -> Vec<Self> {
        let mut pieces = Vec::new();
        let (mut at, mut start) = (0, 0);
        let mut spans: Vec<(usize, usize)> = self.spans.iter().map(|span| (span.start, span.end)).collect();
        spans.sort_unstable();
        while at < self.text.len() {
            let rest = &self.text[at..];
            spans.retain(|(_, end)| *end > start);
            // Up to where one style too many begins; many at one place cannot be told apart by a cut.
            let styled = spans.get(ENTITIES).map_or(limit, |(from, _)| from.saturating_sub(start));
            let cut = cut(rest, if styled == 0 { limit } else { limit.min(styled) });
            let (piece, taken) = (&rest[..cut], units(&rest[..cut]));
            let shown = piece.trim_end();
            if !shown.trim().is_empty() {
                pieces.push(self.slice(shown, start));
            }
            at += cut;
            start += taken;
        }
        pieces
    }

    /// The piece `text`, which begins at unit `start`, with its styles.
    fn slice(&self, text: &str, start: usize) -> Self {
        let end = start + units(text);
        let clip = |span: &Span| {
            let (from, to) = (span.start.max(start), span.end.min(end));
            (from < to).then(|| Span { style: span.style.clone(), start: from - start, end: to - start })
        };
        Self {
            text: text.to_owned(),
            units: end - start,
            spans: self.spans.iter().filter_map(clip).collect(),
        }
    }
}

/// How many bytes of `text` the next piece takes. Never 0 for a text that is not empty.
fn cut(text: &str, limit: usize) -> usize {
    let fitting = head(text, limit);
    if fitting.len() == text.len() {
        return text.len();
    }
    if fitting.is_empty() {
        // One character with more marks than fit into a message.
        let mut used = 0;
        let first = text.char_indices().find(|(_, character)| {
            used += character.len_utf16();
            used > limit
        });
        let width = text.chars().next().map_or(1, char::len_utf8);
        return first.map_or(text.len(), |(at, _)| at).max(width);
    }
    let soonest = fitting.len() / 2;
    for mark in ["\n\n", "\n", " "] {
        if let Some(at) = fitting.rfind(mark)
            && at >= soonest
        {
            return at + mark.len();
        }
    }
    fitting.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_are_counted_as_telegram_counts() {
        for (text, count) in [("", 0), ("abc", 3), ("é", 1), ("日本", 2), ("👍", 2), ("👨‍👩‍👧", 8), ("🇩🇪", 4)]
        {
            assert_eq!(units(text), count, "{text}");
        }
    }

    #[test]
    fn a_text_at_the_limit_is_one_piece_and_one_more_makes_two() {
        for unit in ["a", "é", "日", "👍", "ש", "e\u{301}"] {
            let exact = unit.repeat(MESSAGE / units(unit));
            assert_eq!(Styled::new().plain(&exact).split(MESSAGE).len(), 1, "{unit}");
            let over = format!("{exact}{unit}");
            let pieces = Styled::new().plain(&over).split(MESSAGE);
            assert_eq!(pieces.len(), 2, "{unit}");
            assert_eq!(pieces[1].text(), unit, "the last character stays whole");
        }
    }

    #[test]
    fn a_family_is_not_torn_apart() {
        let text = format!("{}👨‍👩‍👧‍👦", "a".repeat(4_090));
        let pieces = Styled::new().plain(&text).split(MESSAGE);
        assert_eq!(pieces.len(), 2);
        assert_eq!(pieces[1].text(), "👨‍👩‍👧‍👦");
    }

    #[test]
    fn lines_and_words_are_kept_whole_where_that_is_possible() {
        let text = format!("{} second\nthird", "word ".repeat(10));
        let pieces: Vec<String> =
            Styled::new().plain(&text).split(30).iter().map(|piece| piece.text().to_owned()).collect();
        assert!(
            pieces.iter().all(|piece| !piece.starts_with("ord") && !piece.ends_with("wor")),
            "{pieces:?}"
        );
    }

    #[test]
    fn a_style_goes_on_in_the_next_piece() {
        let styled = Styled::new().plain("x ").styled(Style::Pre, &"a".repeat(100));
        let pieces = styled.split(60);
        assert_eq!(pieces.len(), 2);
        let lengths: Vec<(u16, u16)> =
            pieces.iter().flat_map(Styled::entities).map(|entity| (entity.offset, entity.length)).collect();
        assert_eq!(lengths, [(2, 58), (0, 42)]);
    }

    #[test]
    fn of_styles_at_one_place_a_quote_stands_around_the_others_and_code_holds_none() {
        use MessageEntityType::{Blockquote, Bold, Code};
        let quoted = Styled::new().styled(Style::Code, "ab").over(Style::Bold, 0).over(Style::Quote, 0);
        let kinds: Vec<MessageEntityType> = quoted.entities().into_iter().map(|it| it.type_field).collect();
        assert_eq!(kinds, [Blockquote, Bold, Code]);
    }

    #[test]
    fn a_character_with_too_many_marks_still_gets_through() {
        let text = format!("e{}", "\u{301}".repeat(50));
        let pieces = Styled::new().plain(&text).split(10);
        assert_eq!(pieces.iter().map(Styled::text).collect::<String>(), text);
        assert!(pieces.iter().all(|piece| piece.units() <= 10));
    }

    #[test]
    fn no_piece_has_more_styles_than_telegram_shows() {
        for (words, all) in [(99, 1), (100, 1), (101, 2), (450, 5)] {
            let text = (0..words).fold(Styled::new(), |text, _| text.styled(Style::Bold, "ab").plain(" "));
            // One around all of them takes a place in each piece.
            for text in [text.clone(), text.over(Style::Quote, 0)] {
                let pieces = text.split(MESSAGE);
                assert!(pieces.len() == all || pieces.len() == all + 1, "{words}: {}", pieces.len());
                assert!(pieces.iter().all(|piece| piece.styles() <= ENTITIES));
                assert_eq!(
                    pieces.iter().map(|piece| piece.text().matches("ab").count()).sum::<usize>(),
                    words
                );
            }
        }
    }

    proptest! {
        #[test]
        fn no_piece_is_too_long_and_nothing_is_lost(text in "[\\PC \n👍é日]{0,400}", limit in 1_usize..60) {
            let styled = Styled::new().styled(Style::Bold, &text);
            let pieces = styled.split(limit);
            let squeeze = |text: &str| text.chars().filter(|it| !it.is_whitespace()).collect::<String>();
            let joined: String = pieces.iter().map(Styled::text).collect();
            prop_assert_eq!(squeeze(&joined), squeeze(&text));
            for piece in &pieces {
                prop_assert!(piece.units() <= limit.max(2), "{:?}", piece);
                prop_assert_eq!(piece.units(), units(piece.text()));
                for entity in piece.entities() {
                    prop_assert!(usize::from(entity.offset + entity.length) <= piece.units());
                }
            }
        }
    }
}
