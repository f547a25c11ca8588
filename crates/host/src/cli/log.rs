//! The log, on standard error.

use std::io::IsTerminal as _;

use opencode_daemons::Environment;
use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, filter_fn};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

/// How each entry is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// A line for people, in colour.
    Coloured,
    /// A line for people.
    Plain,
    /// A JSON object on a line of its own.
    Json,
}

impl Style {
    /// That of standard error: in colour only where a person looks at a terminal and wants it.
    pub(super) fn of_standard_error(json: bool, environment: &Environment) -> Self {
        let unwanted = environment.get("NO_COLOR").is_some_and(|it| !it.is_empty());
        let dumb = environment.get("TERM").is_some_and(|it| it == "dumb");
        match (json, std::io::stderr().is_terminal()) {
            (true, _) => Self::Json,
            (false, true) if !unwanted && !dumb => Self::Coloured,
            (false, _) => Self::Plain,
        }
    }
}

/// A log of what `filter` lets through. The MCP library's debug output holds whole
/// prompts: of it warnings and errors are written, whatever the filter says.
pub(super) fn subscriber<W>(filter: &str, style: Style, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let quiet = filter_fn(|meta| !meta.target().starts_with("rmcp") || *meta.level() <= LevelFilter::WARN);
    let lines = fmt::layer().with_writer(writer).with_target(false);
    let lines = match style {
        Style::Coloured | Style::Plain => lines.with_ansi(style == Style::Coloured).boxed(),
        Style::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    };
    tracing_subscriber::registry().with(lines.with_filter(quiet)).with(EnvFilter::new(filter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn prompts_in_the_mcp_librarys_debug_output_are_not_logged() {
        let lines = Lines::default();
        let to = lines.clone();
        let log = subscriber("trace", Style::Plain, move || to.clone());
        tracing::subscriber::with_default(log, || {
            tracing::debug!(target: "rmcp::service", "received: the prompt");
            tracing::warn!(target: "rmcp::service", "the connection broke");
            tracing::trace!("our own");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("the connection broke") && text.contains("our own"), "{text}");
        assert!(!text.contains("the prompt"), "{text}");
    }

    #[test]
    fn an_entry_for_programs_is_an_object_on_a_line_of_its_own() {
        let lines = Lines::default();
        let to = lines.clone();
        let log = subscriber("info", Style::Json, move || to.clone());
        tracing::subscriber::with_default(log, || {
            tracing::info!(runs = 2, "two\nlines");
            tracing::warn!("another");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let entries: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(entries.len(), 2, "{text}");
        assert_eq!(
            (&entries[0]["message"], &entries[0]["runs"]),
            (&"two\nlines".into(), &2.into()),
            "{text}"
        );
        assert_eq!(entries[1]["level"], "WARN");
    }
}
