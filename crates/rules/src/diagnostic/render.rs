//! Diagnostics as text for people: the line, the mark under it, what to do.

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};

use super::{Diagnostic, Diagnostics, Severity};
use crate::secret::redact;
use crate::source::{SourceFile, Span};

impl Diagnostics {
    /// Every finding with its line shown, the way compilers do, ending in a newline.
    ///
    /// `colour` adds ANSI escapes; whoever prints decides whether the terminal wants them.
    pub fn render(&self, colour: bool) -> String {
        self.iter().fold(String::new(), |mut text, diagnostic| {
            text.push_str(&diagnostic.render(colour));
            text.push('\n');
            text
        })
    }
}

impl Diagnostic {
    /// The finding with its line shown, ending in a newline.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut text = renderer.render(&[self.group()]);
        text.push('\n');
        text
    }

    fn group(&self) -> Group<'_> {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Advice => Level::NOTE.with_name("advice"),
        };
        let primary = AnnotationKind::Primary.span(visible(&self.file, &self.span));
        let mut snippet = source_of(&self.file).annotation(primary);
        let mut second = None;
        if let Some(related) = &self.related {
            let mark = AnnotationKind::Context
                .span(visible(&related.file, &related.span))
                .label(related.label.as_str());
            if related.file == self.file {
                snippet = snippet.annotation(mark);
            } else {
                second = Some(source_of(&related.file).annotation(mark));
            }
        }
        let mut group = level.primary_title(self.message.as_str()).id(self.code.to_string()).element(snippet);
        if let Some(second) = second {
            group = group.element(second);
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        group
    }
}

fn source_of(file: &SourceFile) -> Snippet<'_, Annotation<'_>> {
    Snippet::source(redact(&file.text)).path(file.name.as_str())
}

/// A span that the renderer can mark: inside the text, on one line, and where the line has a
/// character left, at least that wide.
fn visible(file: &SourceFile, span: &Span) -> Span {
    let text = &file.text;
    let mut start = span.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = span.end.clamp(start, text.len());
    if let Some(newline) = text[start..].find('\n') {
        end = end.min(start + newline);
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    if start == end
        && let Some(next) = text[start..].chars().next()
        && next != '\n'
    {
        end += next.len_utf8();
    }
    start..end
}
