//! A model that follows a script: an OpenAI-compatible server on loopback.
//!
//! It answers `POST /v1/chat/completions`, streamed or whole, from a [`Script`]: the first turn
//! that fits the latest user prompt and the number of tool results since then. A request without
//! tools is opencode's title generator and gets a fixed answer. What fits nothing is answered with
//! a text that says so, and is counted as a miss. Every request is kept for assertions.
//!
//! The server has a thread and a runtime of its own, so it serves tests of many runtimes, and is
//! not disturbed by paused time.

mod answer;
mod names;
mod script;
mod server;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

pub use script::{Answer, Call, Script, ScriptError, Turn};

/// One request that the model got.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The latest user prompt.
    pub prompt: String,
    /// How many tool results followed it.
    pub tools_done: usize,
    /// Whether it was the title generator's.
    pub title: bool,
    /// Whether no turn of the script fitted.
    pub missed: bool,
    /// The key it was sent with.
    pub key: Option<String>,
    /// The whole body.
    pub body: Value,
}

/// The running server. Dropping it ends it and cuts off every answer under way.
#[derive(Debug)]
pub struct ScriptedModel {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
    end: Option<oneshot::Sender<()>>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    script: Mutex<Script>,
    used: Mutex<Vec<u32>>,
    seen: watch::Sender<Vec<Seen>>,
    released: watch::Sender<bool>,
}

impl ScriptedModel {
    /// Starts a server on a free port of 127.0.0.1.
    pub fn start(script: Script) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            used: Mutex::new(vec![0; script.turns.len()]),
            script: Mutex::new(script),
            seen: watch::Sender::new(Vec::new()),
            released: watch::Sender::new(false),
        });
        let (end, ended) = oneshot::channel();
        let router = server::router(Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("scripted-model".into())
            .spawn(move || server::run(listener, router, ended))?;
        Ok(Self { address, shared, thread: Some(thread), end: Some(end) })
    }

    /// The base URL that an OpenAI-compatible client is given: `http://127.0.0.1:PORT/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// opencode's configuration for this model, as `scripted/scripted`.
    pub fn config(&self) -> Value {
        json!({
            "provider": { "scripted": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "Scripted",
                "options": { "baseURL": self.base_url(), "apiKey": "none" },
                "models": { "scripted": {
                    "name": "Scripted",
                    "tool_call": true,
                    "attachment": true,
                    "modalities": { "input": ["text", "image"], "output": ["text"] },
                    "limit": { "context": 100_000, "output": 8_000 },
                } },
            } },
            "model": "scripted/scripted",
            "small_model": "scripted/scripted",
        })
    }

    /// Adds turns behind those there are.
    pub fn add(&self, more: Script) {
        guard(&self.shared.used).extend(more.turns.iter().map(|_| 0));
        guard(&self.shared.script).turns.extend(more.turns);
    }

    /// Every request so far, in order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.borrow().clone()
    }

    /// Forgets the requests so far, for runs so long that they would fill the memory.
    pub fn forget(&self) {
        self.shared.seen.send_modify(Vec::clear);
    }

    /// The requests that no turn fitted, title requests aside.
    pub fn misses(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.missed).collect()
    }

    /// Waits until the requests satisfy a condition; `false` when the limit came first.
    pub async fn wait_for(&self, limit: Duration, condition: impl Fn(&[Seen]) -> bool) -> bool {
        let mut seen = self.shared.seen.subscribe();
        tokio::time::timeout(limit, seen.wait_for(|seen| condition(seen))).await.is_ok_and(|r| r.is_ok())
    }

    /// Lets every hanging answer go on, now and later.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// Makes hanging answers hang again.
    pub fn hold(&self) {
        self.shared.released.send_replace(false);
    }
}

impl Drop for ScriptedModel {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there was printed where it happened.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// The answer to a request, and a record of it.
    pub(crate) fn answer(&self, key: Option<String>, body: Value) -> Answer {
        let asked = script::Asked::read(&body);
        let chosen = if asked.title { Some(Answer::text("Scripted")) } else { self.choose(&asked) };
        let missed = chosen.is_none();
        let answer = chosen.unwrap_or_else(|| script::nothing_fits(&asked));
        let answer = if names::are_of_2(&body) { names::of_2(answer) } else { answer };
        let script::Asked { prompt, tools_done, title } = asked;
        self.seen.send_modify(|seen| seen.push(Seen { prompt, tools_done, title, missed, key, body }));
        answer
    }

    fn choose(&self, asked: &script::Asked) -> Option<Answer> {
        let script = guard(&self.script);
        let mut used = guard(&self.used);
        let (turn, used) =
            script.turns.iter().zip(used.iter_mut()).find(|(turn, used)| turn.fits(asked, **used))?;
        *used += 1;
        Some(turn.answer.clone())
    }

    /// Waits until hanging answers may go on.
    pub(crate) async fn released(&self) {
        let mut released = self.released.subscribe();
        // The sender lives in `self`, so this only ends when it says so.
        let _ = released.wait_for(|released| *released).await;
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
