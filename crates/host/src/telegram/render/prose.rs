//! Prose as Telegram shows it: entities beside the text, in messages that are cut between blocks.
//!
//! Code that does not fit into a message is a file of its own. Where a block has to be cut all the
//! same, each piece of it keeps its styles, so that code goes on as code. A text that would take more
//! than a few messages is its beginning and a file with all of it: nobody's answer may keep a chat busy.

use connector_gate::ids::StepId;
use connector_surface::prose::{Block, Kind, Prose, Run, layout};
use connector_surface::text::visible_code;
use connector_telegram::text::{MESSAGE, Style, Styled, head, units};

/// How wide a table is at most: what a phone shows without breaking lines.
const TABLE: usize = 48;

/// How many messages a text takes at most.
const MESSAGES: usize = 8;

/// What the beginning of a text ends with that is sent as a file.
const IN_A_FILE: &str = "\n… the whole of it is in the file below";

/// A message's worth of prose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A text that fits into a message.
    Text(Styled),
    /// Code that does not.
    File {
        /// Its name.
        name: String,
        /// All of it.
        content: String,
    },
}

/// The messages of a text in Markdown.
pub fn parts(markdown: &str) -> Vec<Part> {
    let (mut parts, mut open, mut files) = (Vec::new(), Styled::new(), 0);
    for block in &Prose::parse(markdown).blocks {
        if parts.len() > MESSAGES {
            break;
        }
        let shown = styled(block);
        if let Kind::Code { language, text } = &block.kind
            && shown.units() > MESSAGE
        {
            close(&mut parts, &mut open);
            files += 1;
            let name = format!("code-{files}.{}", extension(language.as_deref()));
            parts.push(Part::File { name, content: format!("{text}\n") });
            continue;
        }
        let gap = match (open.is_blank(), block.tight) {
            (true, _) => "",
            (false, true) => "\n",
            (false, false) => "\n\n",
        };
        if shown.fits_behind(&open, gap.len()) {
            open = std::mem::take(&mut open).plain(gap).then(&shown);
            continue;
        }
        close(&mut parts, &mut open);
        let mut pieces = shown.split(MESSAGE);
        open = pieces.pop().unwrap_or_default();
        parts.extend(pieces.into_iter().map(Part::Text));
    }
    close(&mut parts, &mut open);
    if parts.len() > MESSAGES { in_a_file(markdown, &parts) } else { parts }
}

/// The beginning of a text that takes too many messages, and all of it as it was written.
fn in_a_file(markdown: &str, parts: &[Part]) -> Vec<Part> {
    let begins = parts.iter().find_map(|part| if let Part::Text(text) = part { Some(text) } else { None });
    let room = MESSAGE - units(IN_A_FILE);
    let begins = begins.and_then(|text| text.split(room).into_iter().next());
    let begins = begins.map(|text| Part::Text(text.plain(IN_A_FILE)));
    let all = Part::File { name: "answer.md".to_owned(), content: format!("{}\n", markdown.trim_end()) };
    begins.into_iter().chain([all]).collect()
}

/// What stands in a file that Telegram does not take, as far as a few messages show it.
pub(in crate::telegram) fn code(content: &str, step: Option<StepId>) -> Styled {
    let content = visible_code(content);
    let shown = head(&content, (MESSAGES - 1) * MESSAGE);
    let text = Styled::new().styled(Style::Pre, shown);
    if shown.len() == content.len() {
        return text;
    }
    let all =
        step.map_or_else(String::new, |step| format!("; all of it: connector-host runs show {}", step.run));
    text.styled(Style::Italic, &format!("\n… cut{all}"))
}

fn close(parts: &mut Vec<Part>, open: &mut Styled) {
    let text = std::mem::take(open);
    parts.extend(text.split(MESSAGE).into_iter().map(Part::Text));
}

fn styled(block: &Block) -> Styled {
    let indent = "  ".repeat(block.indent);
    let text = Styled::new();
    let text = match &block.kind {
        Kind::Words { lead, runs } => {
            let text = text.plain(&indent).plain(lead);
            let under = format!("\n{indent}{}", " ".repeat(lead.chars().count()));
            runs.iter().fold(text, |text, run| words(text, run, &under))
        }
        Kind::Code { language: Some(language), text: code } => {
            text.styled(Style::PreIn(language.clone()), &visible_code(code))
        }
        Kind::Code { language: None, text: code } => text.styled(Style::Pre, &visible_code(code)),
        Kind::Table(rows) => text.styled(Style::Pre, &layout(rows, TABLE).join("\n")),
        Kind::Rule => text.plain("———"),
    };
    let is_code = matches!(block.kind, Kind::Code { .. } | Kind::Table(_));
    if block.quoted && !is_code { text.over(Style::Quote, 0) } else { text }
}

/// Adds words in all of their styles; `under` stands for a line break within them.
fn words(text: Styled, run: &Run, under: &str) -> Styled {
    let from = text.units();
    let mut text = text.plain(&run.text.replace('\n', under));
    if run.look.code {
        // What is code is nothing else.
        return text.over(Style::Code, from);
    }
    let look = run.look;
    for (is_so, style) in
        [(look.bold, Style::Bold), (look.italic, Style::Italic), (look.struck, Style::Struck)]
    {
        if is_so {
            text = text.over(style, from);
        }
    }
    match &run.link {
        Some(url) => text.over(Style::Link(url.clone()), from),
        None => text,
    }
}

/// What a file with code in this language is called at its end.
fn extension(language: Option<&str>) -> &str {
    match language.unwrap_or_default() {
        "rust" | "rs" => "rs",
        "python" | "py" => "py",
        "javascript" | "js" | "jsx" => "js",
        "typescript" | "ts" | "tsx" => "ts",
        "bash" | "sh" | "shell" | "zsh" | "console" => "sh",
        "json" => "json",
        "toml" => "toml",
        "yaml" | "yml" => "yml",
        "diff" | "patch" => "diff",
        "html" => "html",
        "css" => "css",
        "go" => "go",
        "java" => "java",
        "c" => "c",
        "cpp" | "c++" => "cpp",
        "sql" => "sql",
        "xml" => "xml",
        "markdown" | "md" => "md",
        _ => "txt",
    }
}
