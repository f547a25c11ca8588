//! Markdown to blocks.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use super::{Block, Kind, Look, Prose, Run, definition, link};
use crate::text::visible;

/// How deep an indent is shown.
const DEEPEST: usize = 6;

/// How long the name of a language is at most.
const LANGUAGE: usize = 32;

pub(super) fn read(markdown: &str) -> Prose {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut reader = Reader::default();
    for event in Parser::new_ext(&definition::shown(markdown, options), options) {
        reader.take(event);
    }
    reader.flush();
    if reader.blocks.iter().all(is_blank) {
        reader.blocks = as_it_is(markdown);
    }
    Prose { blocks: reader.blocks }
}

/// Whether a block shows nothing.
fn is_blank(block: &Block) -> bool {
    let blank = |text: &str| text.trim().is_empty();
    match &block.kind {
        Kind::Words { lead, runs } => blank(lead) && runs.iter().all(|run| blank(&run.text)),
        Kind::Code { text, .. } => blank(text),
        Kind::Table(rows) => rows.iter().flatten().all(|cell| blank(cell)),
        Kind::Rule => false,
    }
}

/// What is left of a text of which Markdown shows nothing: the text itself.
fn as_it_is(markdown: &str) -> Vec<Block> {
    let text = visible(markdown.trim());
    if text.is_empty() {
        return Vec::new();
    }
    let kind = Kind::Words { lead: String::new(), runs: vec![Run { text, ..Run::default() }] };
    vec![Block { indent: 0, quoted: false, tight: false, kind }]
}

#[derive(Default)]
struct Reader {
    blocks: Vec<Block>,
    /// The open words, and what stands before them.
    open: Option<(String, Vec<Run>)>,
    /// The lists around, each with its next number if it counts.
    lists: Vec<Option<u64>>,
    /// What stands before the next words.
    lead: Option<String>,
    /// Whether the next block follows the one before it closely.
    tight: bool,
    quotes: usize,
    bold: usize,
    italic: usize,
    struck: usize,
    /// Where the open link leads, and the run it begins with.
    link: Option<(String, usize)>,
    code: Option<(Option<String>, String)>,
    table: Option<Vec<Vec<String>>>,
}

impl Reader {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => match &mut self.code {
                Some((_, code)) => code.push_str(&text),
                None => self.say(&text, false),
            },
            Event::Code(text) => self.say(&text, true),
            Event::SoftBreak | Event::HardBreak => self.say("\n", false),
            Event::Html(text)
            | Event::InlineHtml(text)
            | Event::InlineMath(text)
            | Event::DisplayMath(text)
            | Event::FootnoteReference(text) => self.say(&text, false),
            Event::Rule => {
                self.flush();
                self.block(Kind::Rule);
            }
            Event::TaskListMarker(done) => {
                let mark = if done { "☑ " } else { "☐ " }.to_owned();
                match &mut self.open {
                    Some((lead, _)) => *lead = mark,
                    None => self.lead = Some(mark),
                }
            }
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph | Tag::HtmlBlock => self.flush(),
            Tag::Heading { .. } => {
                self.flush();
                self.bold += 1;
            }
            Tag::BlockQuote(_) => {
                self.flush();
                self.quotes += 1;
            }
            Tag::CodeBlock(kind) => {
                self.flush();
                let language = match kind {
                    CodeBlockKind::Fenced(info) => language(&info),
                    CodeBlockKind::Indented => None,
                };
                self.code = Some((language, String::new()));
            }
            Tag::List(first) => {
                self.flush();
                self.tight = !self.lists.is_empty();
                self.lists.push(first);
            }
            Tag::Item => {
                self.flush();
                self.lead = Some(match self.lists.last_mut() {
                    Some(Some(number)) => {
                        let lead = format!("{number}. ");
                        *number = number.saturating_add(1);
                        lead
                    }
                    _ => "• ".to_owned(),
                });
            }
            Tag::Table(_) => {
                self.flush();
                self.table = Some(Vec::new());
            }
            Tag::TableHead | Tag::TableRow => self.table.iter_mut().for_each(|rows| rows.push(Vec::new())),
            Tag::TableCell => {
                if let Some(row) = self.table.as_mut().and_then(|rows| rows.last_mut()) {
                    row.push(String::new());
                }
            }
            Tag::Emphasis => self.italic += 1,
            Tag::Strong => self.bold += 1,
            Tag::Strikethrough => self.struck += 1,
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } if self.link.is_none() => {
                let at = self.runs().map_or(0, |runs| runs.len());
                self.link = Some((dest_url.into_string(), at));
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::HtmlBlock => self.flush(),
            TagEnd::Heading(_) => {
                self.flush();
                self.bold = self.bold.saturating_sub(1);
            }
            TagEnd::BlockQuote(_) => {
                self.flush();
                self.quotes = self.quotes.saturating_sub(1);
            }
            TagEnd::CodeBlock => {
                if let Some((language, text)) = self.code.take() {
                    let text = text.trim_end_matches('\n').to_owned();
                    self.block(Kind::Code { language, text });
                }
            }
            TagEnd::List(_) => {
                self.flush();
                self.lists.pop();
                self.tight = !self.lists.is_empty();
            }
            TagEnd::Item => {
                if self.lead.is_some() {
                    self.runs();
                }
                self.flush();
                self.tight = true;
            }
            TagEnd::Table => {
                if let Some(rows) = self.table.take() {
                    self.block(Kind::Table(rows.iter().map(|row| row_text(row)).collect()));
                }
            }
            TagEnd::Emphasis => self.italic = self.italic.saturating_sub(1),
            TagEnd::Strong => self.bold = self.bold.saturating_sub(1),
            TagEnd::Strikethrough => self.struck = self.struck.saturating_sub(1),
            TagEnd::Link | TagEnd::Image => self.end_link(),
            _ => {}
        }
    }

    /// The runs of the open words, which are begun if there are none. None within a table.
    fn runs(&mut self) -> Option<&mut Vec<Run>> {
        if self.table.is_some() {
            return None;
        }
        let lead = &mut self.lead;
        let open = self.open.get_or_insert_with(|| (lead.take().unwrap_or_default(), Vec::new()));
        Some(&mut open.1)
    }

    fn say(&mut self, text: &str, code: bool) {
        if let Some(rows) = &mut self.table {
            if let Some(cell) = rows.last_mut().and_then(|row| row.last_mut()) {
                cell.push_str(text);
            }
            return;
        }
        let look = Look { bold: self.bold > 0, italic: self.italic > 0, struck: self.struck > 0, code };
        // The words of a link are runs of their own.
        let (in_link, from) = self.link.as_ref().map_or((false, 0), |(_, from)| (true, *from));
        let Some(runs) = self.runs() else { return };
        let apart = runs.len() <= from && in_link;
        match runs.last_mut() {
            Some(last) if last.look == look && last.link.is_none() && !apart => last.text.push_str(text),
            _ => runs.push(Run { text: text.to_owned(), look, link: None }),
        }
    }

    fn end_link(&mut self) {
        let Some((target, from)) = self.link.take() else { return };
        if let Some(rows) = &mut self.table {
            if let Some(cell) = rows.last_mut().and_then(|row| row.last_mut()) {
                link::in_cell(cell, &target);
            }
            return;
        }
        if let Some(runs) = self.runs() {
            link::lead(runs, from, &target);
        }
    }

    /// The open words are a block.
    fn flush(&mut self) {
        let Some((lead, mut runs)) = self.open.take() else { return };
        // A link over several blocks is none.
        self.link = None;
        for run in &mut runs {
            run.text = visible(&run.text);
        }
        if let Some(last) = runs.last_mut() {
            last.text.truncate(last.text.trim_end().len());
        }
        runs.retain(|run| !run.text.is_empty());
        if !runs.is_empty() || !lead.is_empty() {
            self.block(Kind::Words { lead, runs });
        }
    }

    fn block(&mut self, kind: Kind) {
        let is_item = matches!(&kind, Kind::Words { lead, .. } if !lead.is_empty());
        let within = self.lists.len().saturating_sub(usize::from(is_item)).min(DEEPEST);
        let indent = if is_item { within } else { self.lists.len().min(DEEPEST) };
        let tight = std::mem::take(&mut self.tight) || !is_item && !self.lists.is_empty();
        let tight = tight && !self.blocks.is_empty();
        self.blocks.push(Block { indent, quoted: self.quotes > 0, tight, kind });
    }
}

/// A row without the empty cells at its end, of which a short line may stand for thousands.
fn row_text(row: &[String]) -> Vec<String> {
    let mut cells: Vec<String> = row.iter().map(|cell| cell_text(cell)).collect();
    let end = cells.iter().rposition(|cell| !cell.is_empty()).map_or(0, |last| last + 1);
    cells.truncate(end);
    cells
}

fn cell_text(cell: &str) -> String {
    visible(cell).replace('\n', " ").trim().to_owned()
}

/// The first word of what stands behind a fence, if that is a name.
fn language(info: &str) -> Option<String> {
    let word = info.split([' ', ',', '{', ':']).next().unwrap_or_default();
    let plain = |it: char| it.is_ascii_alphanumeric() || "+-#_.".contains(it);
    let is_name = !word.is_empty() && word.len() <= LANGUAGE && word.chars().all(plain);
    is_name.then(|| word.to_ascii_lowercase())
}
