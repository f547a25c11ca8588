//! Styled texts as HTML, as Telegram's own export has them, and as pictures of a phone's screen.

use std::path::Path;

use connector_telegram::frankenstein::types::MessageEntityType as Kind;
use connector_telegram::text::Styled;
use unicode_width::UnicodeWidthStr as _;

/// A message on the screen.
pub(super) struct Bubble<'a> {
    pub(super) text: &'a Styled,
    pub(super) buttons: &'a [&'a [&'a str]],
    pub(super) answers: Option<&'a str>,
}

impl<'a> Bubble<'a> {
    pub(super) fn with(text: &'a Styled, buttons: &'a [&'a [&'a str]]) -> Self {
        Self { text, buttons, answers: None }
    }
}

/// A part of a text, and its styles.
type Piece = (Vec<Kind>, String);

fn pieces(styled: &Styled) -> Vec<Piece> {
    let text: Vec<u16> = styled.text().encode_utf16().collect();
    let words = |from: usize, to: usize| String::from_utf16(&text[from..to]).unwrap();
    let entities = styled.entities();
    let range = |at: usize| {
        let from = usize::from(entities[at].offset);
        from..from + usize::from(entities[at].length)
    };
    let mut cuts: Vec<usize> = (0..entities.len()).flat_map(|at| [range(at).start, range(at).end]).collect();
    cuts.extend([0, text.len()]);
    cuts.sort_unstable();
    cuts.dedup();
    let piece = |cut: &[usize]| {
        let around = (0..entities.len()).filter(|at| range(*at).contains(&cut[0]));
        (around.map(|at| entities[at].type_field).collect(), words(cut[0], cut[1]))
    };
    cuts.windows(2).map(piece).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

pub(super) fn html(styled: &Styled) -> String {
    let one = |(kinds, text): &Piece| {
        let tagged = |text, kind: &Kind| format!("<{0}>{text}</{0}>", tag(*kind));
        kinds.iter().rev().fold(escaped(text), tagged)
    };
    pieces(styled).iter().map(one).collect()
}

fn tag(kind: Kind) -> &'static str {
    match kind {
        Kind::Bold => "b",
        Kind::Italic => "i",
        Kind::Code => "code",
        Kind::Pre => "pre",
        Kind::Strikethrough => "s",
        Kind::TextLink => "a",
        Kind::Blockquote | Kind::ExpandableBlockquote => "blockquote",
        other => panic!("no style of ours: {other:?}"),
    }
}

const COLUMNS: usize = 46;
const LINE: usize = 21;
const WIDTH: usize = 420;

/// Lays the bubbles out, one below the other.
fn svg(bubbles: &[Bubble<'_>]) -> String {
    let (mut body, mut y) = (String::new(), 12);
    for bubble in bubbles {
        let lines = lines(bubble.text);
        let head = if bubble.answers.is_some() { 26 } else { 0 };
        let height = lines.len() * LINE + 18 + head;
        body.push_str(&format!(
            "<rect x=\"12\" y=\"{y}\" width=\"{}\" height=\"{height}\" rx=\"12\" fill=\"#fff\"/>\n",
            WIDTH - 24
        ));
        if let Some(answers) = bubble.answers {
            let (bar, text) = (y + 8, y + 23);
            body.push_str(&format!(
                "<rect x=\"22\" y=\"{bar}\" width=\"3\" height=\"20\" fill=\"#3390ec\"/>\
                 <text x=\"32\" y=\"{text}\" fill=\"#3390ec\">{}</text>\n",
                escaped(answers)
            ));
        }
        for (number, line) in lines.iter().enumerate() {
            body.push_str(&drawn(line, y + head + 8 + number * LINE));
        }
        y += height + 4;
        for row in bubble.buttons {
            let width = (WIDTH - 24 - 4 * (row.len() - 1)) / row.len();
            for (place, label) in row.iter().enumerate() {
                let x = 12 + place * (width + 4);
                body.push_str(&format!(
                    "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"36\" rx=\"8\" fill=\"#7b96ad\"/>\
                     <text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"#fff\">{}</text>\n",
                    x + width / 2,
                    y + 23,
                    escaped(label)
                ));
            }
            y += 40;
        }
        y += 6;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{}\" viewBox=\"0 0 {WIDTH} {}\" \
         font-family=\"system-ui, 'Noto Sans', sans-serif\" font-size=\"14\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#cfdde8\"/>\n{body}</svg>\n",
        y + 6,
        y + 6
    )
}

/// The pieces of each line, broken where it would not fit.
fn lines(styled: &Styled) -> Vec<Vec<Piece>> {
    let mut lines: Vec<Vec<Piece>> = vec![Vec::new()];
    let mut used = 0;
    for (kinds, text) in pieces(styled) {
        for (number, part) in text.split('\n').enumerate() {
            if number > 0 {
                lines.push(Vec::new());
                used = 0;
            }
            for word in part.split_inclusive(' ') {
                let wide = word.trim_end().width();
                if used > 0 && used + wide > COLUMNS {
                    lines.push(Vec::new());
                    used = 0;
                }
                used += word.width();
                lines.last_mut().unwrap().push((kinds.clone(), word.to_owned()));
            }
        }
    }
    lines
}

fn drawn(line: &[Piece], y: usize) -> String {
    let quoted = line
        .iter()
        .any(|(kinds, _)| kinds.iter().any(|it| matches!(it, Kind::Blockquote | Kind::ExpandableBlockquote)));
    let x = if quoted { 36 } else { 24 };
    let mut out = String::new();
    if quoted {
        out.push_str(&format!("<rect x=\"24\" y=\"{y}\" width=\"3\" height=\"{LINE}\" fill=\"#3390ec\"/>"));
    }
    out.push_str(&format!("<text x=\"{x}\" y=\"{}\" xml:space=\"preserve\">", y + 16));
    for (kinds, text) in line {
        let style = |kind: &Kind| match tag(*kind) {
            "b" => " font-weight=\"600\"",
            "i" => " font-style=\"italic\"",
            "s" => " text-decoration=\"line-through\"",
            "a" => " fill=\"#3390ec\"",
            "code" | "pre" => " font-family=\"ui-monospace, monospace\" font-size=\"13\" fill=\"#2b5d8a\"",
            _ => "",
        };
        let style: String = kinds.iter().map(style).collect();
        out.push_str(&format!("<tspan{style}>{}</tspan>", escaped(text)));
    }
    out + "</text>\n"
}

/// Whether the picture in `docs/telegram` shows these bubbles. The right one is written beside one that
/// does not, to be looked at and put there.
#[must_use]
pub(super) fn is_documented(name: &str, bubbles: &[Bubble<'_>]) -> bool {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/telegram/{name}.svg"));
    let drawn = svg(bubbles);
    let same = std::fs::read_to_string(&path).unwrap_or_default() == drawn;
    if !same {
        std::fs::write(path.with_extension("svg.new"), drawn).unwrap();
    }
    same
}
