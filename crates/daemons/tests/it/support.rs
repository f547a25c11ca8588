//! Programs to start, and what they leave behind.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use opencode_daemons::{Environment, Spec};

/// A program beside these tests.
pub(crate) fn program(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/programs").join(name)
}

/// A daemon-to-be that runs one of these programs in `directory`.
pub(crate) fn spec(name: &str, directory: &std::path::Path) -> Spec {
    let mut spec = Spec::new(program(name), directory, Environment::of_this_process());
    spec.startup_limit = Duration::from_mins(1);
    spec.stop_grace = Duration::from_secs(10);
    spec
}

/// The same with a variable that the program gets.
pub(crate) fn with(mut spec: Spec, name: &str, value: &str) -> Spec {
    spec.pass.push(name.to_owned());
    spec.environment = spec.environment.with(name, value);
    spec
}

/// The running processes whose environment holds `NAME=value`.
pub(crate) fn processes_with(name: &str, value: &str) -> Vec<u32> {
    let wanted = format!("{name}={value}");
    let carries = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()))
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(carries).collect()
}

/// Waits for a condition, up to half a minute.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A listener that answers 200 to everything and remembers what it was told.
pub(crate) struct Stranger {
    pub(crate) port: u16,
    heard: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Stranger {
    pub(crate) async fn on(port: u16) -> Self {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = std::sync::Arc::<std::sync::Mutex<Vec<u8>>>::default();
        let memory = std::sync::Arc::clone(&heard);
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = [0; 4096];
                let read = stream.read(&mut buffer).await.unwrap_or(0);
                memory.lock().unwrap().extend_from_slice(&buffer[..read]);
                let body = r#"{"healthy":true,"version":"1.18.33"}"#;
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { port, heard, task }
    }

    pub(crate) fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap()).into_owned()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.task.abort();
    }
}
