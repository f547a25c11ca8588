//! The extension's own requests and notifications, beside the SDK.
//!
//! Its requests have ids of their own form, so that the two never answer for each
//! other. It exists for three reasons: the SDK prints what passes it when somebody
//! asks for its debug output, and a configuration holds secrets; it guesses the
//! type of an answer by its fields; and it handles notifications in any order.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{End, bare};
use crate::extension::PREFIX;

/// Ids of the lane begin with this.
const MINE: &str = "lane-";

/// This side's answers to the other side's requests.
#[async_trait]
pub(crate) trait Local: Send + Sync + 'static {
    /// Answers a request of the extension.
    async fn request(&self, method: &str, params: Value) -> Result<Value, Refusal>;

    /// Takes a notification, in order and without waiting; `false` leaves it to the SDK.
    fn notification(&self, method: &str, params: &RawValue) -> bool;
}

/// Why a request of the extension was refused.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) code: i64,
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) data: Option<Value>,
}

impl Refusal {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self { code: -32602, message: message.into(), data: None }
    }

    pub(crate) fn unknown(method: &str) -> Self {
        Self { code: -32601, message: format!("no method {method}"), data: None }
    }

    fn busy() -> Self {
        Self { code: -32000, message: "too many requests at once".to_owned(), data: None }
    }
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum LaneError {
    #[error("{}", .0.message)]
    Refused(Refusal),
    #[error("{0}")]
    Ended(End),
}

type Answer = Result<Value, Refusal>;

/// One side of the lane. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Lane(Arc<Inner>);

struct Inner {
    outbox: mpsc::Sender<String>,
    closing: CancellationToken,
    local: Arc<dyn Local>,
    open: Arc<Semaphore>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    next: AtomicU64,
    end: watch::Sender<Option<End>>,
}

impl Lane {
    pub(super) fn new(
        outbox: mpsc::Sender<String>,
        closing: CancellationToken,
        local: Arc<dyn Local>,
        open_requests: usize,
    ) -> Self {
        Self(Arc::new(Inner {
            outbox,
            closing,
            local,
            open: Arc::new(Semaphore::new(open_requests)),
            waiting: Mutex::default(),
            next: AtomicU64::default(),
            end: watch::Sender::new(None),
        }))
    }

    /// Asks the other side. Has no limit of its own; dropping it forgets the answer.
    pub(crate) async fn request(&self, method: &str, params: Value) -> Result<Value, LaneError> {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting().insert(id, sender);
        let _forget = Forget { lane: self, id };
        let line =
            json!({ "jsonrpc": "2.0", "id": format!("{MINE}{id}"), "method": method, "params": params });
        let asked = async {
            self.0.outbox.send(line.to_string()).await.ok()?;
            answer.await.ok()
        };
        tokio::select! {
            biased;
            answer = asked => match answer {
                Some(answer) => answer.map_err(LaneError::Refused),
                None => Err(LaneError::Ended(self.ended().unwrap_or(End::Closed))),
            },
            end = self.wait_end() => Err(LaneError::Ended(end)),
        }
    }

    /// Tells the other side, unless it reads so slowly that the queue is full.
    pub(crate) fn notify(&self, method: &str, params: &Value) {
        let line = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        if self.0.outbox.try_send(line.to_string()).is_err() {
            tracing::warn!(method, "the other side of a pipe does not read");
        }
    }

    /// Why the connection is at an end, if it is.
    pub(crate) fn ended(&self) -> Option<End> {
        self.0.end.borrow().clone()
    }

    /// Waits for the end.
    pub(crate) async fn wait_end(&self) -> End {
        let mut receiver = self.0.end.subscribe();
        match receiver.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or(End::Closed),
            Err(_) => End::Closed,
        }
    }

    /// Puts the connection at an end; the first reason stays.
    pub(crate) fn end(&self, end: End) {
        self.0.end.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(end);
            }
            first
        });
    }

    /// Ends the connection from this side: what is queued is written, then the
    /// writer is shut.
    pub(crate) fn close(&self) {
        self.end(End::Shut);
        self.0.closing.cancel();
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take_request(&self, method: &str, id: &RawValue, params: Option<&RawValue>) -> bool {
        if !method.starts_with(PREFIX) {
            return false;
        }
        let (lane, method, id) = (self.clone(), method.to_owned(), id.to_owned());
        let params = params.map_or(Ok(Value::Null), |raw| serde_json::from_str(raw.get()));
        let Ok(permit) = Arc::clone(&self.0.open).try_acquire_owned() else {
            let _ = self.0.outbox.try_send(answer_line(&id, &Err(Refusal::busy())));
            return true;
        };
        tokio::spawn(async move {
            let answer = match params {
                Ok(params) => lane.0.local.request(&method, params).await,
                Err(_) => Err(Refusal::invalid("params cannot be read")),
            };
            let _ = lane.0.outbox.send(answer_line(&id, &answer)).await;
            drop(permit);
        });
        true
    }

    pub(super) fn take_notification(&self, method: &str, params: Option<&RawValue>) -> bool {
        let params = params.unwrap_or(RawValue::NULL);
        self.0.local.notification(method, params) || method.starts_with(PREFIX)
    }

    pub(super) fn take_answer(
        &self,
        id: &RawValue,
        result: Option<&RawValue>,
        error: Option<&RawValue>,
    ) -> bool {
        let Some(id) = bare(id.get()).strip_prefix(MINE).and_then(|id| id.parse().ok()) else {
            return false;
        };
        let unreadable = || Refusal { code: -32603, message: "an unreadable answer".to_owned(), data: None };
        let answer = match (result, error) {
            (Some(result), None) => serde_json::from_str(result.get()).map_err(|_| unreadable()),
            (None, Some(error)) => Err(serde_json::from_str(error.get()).unwrap_or_else(|_| unreadable())),
            _ => Err(unreadable()),
        };
        // Whoever asked may have stopped waiting.
        if let Some(sender) = self.waiting().remove(&id) {
            let _ = sender.send(answer);
        }
        true
    }
}

fn answer_line(id: &RawValue, answer: &Answer) -> String {
    let body = match answer {
        Ok(result) => format!(r#""result":{result}"#),
        Err(refusal) => {
            let error = json!({ "code": refusal.code, "message": refusal.message, "data": refusal.data });
            format!(r#""error":{error}"#)
        }
    };
    format!(r#"{{"jsonrpc":"2.0","id":{},{body}}}"#, id.get())
}

/// Forgets a request whose future is dropped.
struct Forget<'a> {
    lane: &'a Lane,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.lane.waiting().remove(&self.id);
    }
}
