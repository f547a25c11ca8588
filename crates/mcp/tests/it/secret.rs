//! The configuration's secrets pass the pipe and nothing else.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::probe::{Bench, configure, manifest, try_pair};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_secret_reaches_the_connector_and_no_log_at_any_level() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing_subscriber::util::SubscriberInitExt::set_default(subscriber);
    // Another test may be the first to reach a place that logs, when nobody listens to it there.
    for _ in 0..10 {
        tracing::callsite::rebuild_interest_cache();
        let pair = try_pair(manifest(), configure(json!({ "password": "hunter2" }))).await.unwrap();
        Bench::default().call(&pair.connector, "report").await.unwrap();
        pair.connector.close().await;
        assert_eq!(pair.seen.config.lock().unwrap().as_ref().unwrap()["password"], "hunter2");
        if String::from_utf8_lossy(&log.0.lock().unwrap()).contains("ListToolsRequest") {
            break;
        }
    }
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("ListToolsRequest"), "the log shows the session: {text}");
    assert!(!text.contains("hunter2"), "{text}");
}
