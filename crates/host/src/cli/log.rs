//! The log, on standard error.

use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, filter_fn};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

/// A log of what `filter` lets through. The MCP library's debug output holds whole
/// prompts: of it warnings and errors are written, whatever the filter says.
pub(super) fn subscriber<W>(filter: &str, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let quiet = filter_fn(|meta| !meta.target().starts_with("rmcp") || *meta.level() <= LevelFilter::WARN);
    let lines = fmt::layer().with_writer(writer).with_target(false);
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
        let log = subscriber("trace", move || to.clone());
        tracing::subscriber::with_default(log, || {
            tracing::debug!(target: "rmcp::service", "received: the prompt");
            tracing::warn!(target: "rmcp::service", "the connection broke");
            tracing::trace!("our own");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("the connection broke") && text.contains("our own"), "{text}");
        assert!(!text.contains("the prompt"), "{text}");
    }
}
