//! Prose as Telegram shows it: entities beside the text, in messages that are cut between blocks.
//!
//! Code that does not fit into a message is a file of its own. Where a block has to be cut all the
//! same, each piece of it keeps its styles, so that code goes on as code.

use connector_telegram::text::{MESSAGE, Style, Styled};

use crate::prose::{Block, Kind, Prose, Run, layout};

/// How wide a table is at most: what a phone shows without breaking lines.
const TABLE: usize = 48;

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
        if open.units() + gap.len() + shown.units() <= MESSAGE {
            open = std::mem::take(&mut open).plain(gap).then(&shown);
            continue;
        }
        close(&mut parts, &mut open);
        let mut pieces = shown.split(MESSAGE);
        open = pieces.pop().unwrap_or_default();
        parts.extend(pieces.into_iter().map(Part::Text));
    }
    close(&mut parts, &mut open);
    parts
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
            text.styled(Style::PreIn(language.clone()), code)
        }
        Kind::Code { language: None, text: code } => text.styled(Style::Pre, code),
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
