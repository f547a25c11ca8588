//! Characters that do not simply show themselves.
//!
//! What comes from a chat or an agent is put before people who decide about it. A
//! character that moves the cursor, hides, or turns the rest of a line around is
//! written out wherever such text is shown. Which those are is Unicode's to say.

use icu_properties::props::{BidiClass, DefaultIgnorableCodePoint, GeneralCategory};
use icu_properties::{CodePointMapData, CodePointSetData};

/// Whether `character` could deceive whoever reads it: a control, one that is ignored where it
/// cannot be shown, one that orders or joins what stands around it, or a blank that is no space.
pub fn is_deceptive(character: char) -> bool {
    character.is_control()
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character)
        || matches!(
            CodePointMapData::<GeneralCategory>::new().get(character),
            GeneralCategory::Format | GeneralCategory::LineSeparator | GeneralCategory::ParagraphSeparator
        )
        || character == '\u{2800}'
}

/// Whether `text` has letters or digits that are read from right to left, and so may stand in another
/// order than they were written in, together with what is beside them.
pub fn reads_backwards(text: &str) -> bool {
    let classes = CodePointMapData::<BidiClass>::new();
    text.chars().any(|character| {
        matches!(
            classes.get(character),
            BidiClass::RightToLeft | BidiClass::ArabicLetter | BidiClass::ArabicNumber
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_unicode_calls_ignorable_or_formatting_is_deceptive_and_what_is_seen_is_not() {
        let ranges = [
            '\u{0}'..='\u{1f}',
            '\u{7f}'..='\u{9f}',
            '\u{ad}'..='\u{ad}',
            '\u{34f}'..='\u{34f}',
            '\u{61c}'..='\u{61c}',
            '\u{115f}'..='\u{1160}',
            '\u{17b4}'..='\u{17b5}',
            '\u{180b}'..='\u{180f}',
            '\u{200b}'..='\u{200f}',
            '\u{2028}'..='\u{202e}',
            '\u{2060}'..='\u{206f}',
            '\u{2800}'..='\u{2800}',
            '\u{3164}'..='\u{3164}',
            '\u{fe00}'..='\u{fe0f}',
            '\u{feff}'..='\u{feff}',
            '\u{ffa0}'..='\u{ffa0}',
            '\u{fff0}'..='\u{fffb}',
            '\u{1bca0}'..='\u{1bca3}',
            '\u{1d173}'..='\u{1d17a}',
            '\u{e0000}'..='\u{e0fff}',
        ];
        for character in ranges.into_iter().flatten() {
            assert!(is_deceptive(character), "U+{:04X}", u32::from(character));
        }
        for character in "aZ09 .é日本שع👩❤1\u{301}\u{20e3}".chars() {
            assert!(!is_deceptive(character), "U+{:04X}", u32::from(character));
        }
    }

    #[test]
    fn letters_that_read_backwards_are_known() {
        for (text, backwards) in
            [("abc 123", false), ("日本 ümlaut", false), ("a ש", true), ("عربي", true), ("\u{660}", true)]
        {
            assert_eq!(reads_backwards(text), backwards, "{text}");
        }
    }
}
