//! Lines in and lines out, below the SDK.
//!
//! One JSON-RPC message a line. What comes in passes, in this order: the limit on
//! a line's length, the [meter](meter), the question whether it is a message at
//! all, the question whether an answer answers anything, the [lane](lane) of the
//! extension, and only then the SDK. What goes out is queued whole and written by
//! one task, so that a dropped future never leaves half a line.
//!
//! A peer that breaks a limit ends the connection, with an [`End`] that says which;
//! rubbish is skipped, and ends it when there is too much. Progress beyond its rate
//! is dropped, since progress is for display.

mod lane;
mod meter;

use std::borrow::Cow;
use std::collections::HashSet;
use std::marker::PhantomData;
use std::sync::Arc;

use futures_util::StreamExt as _;
use rmcp::model::{JsonRpcMessage, RequestId};
use rmcp::service::{RxJsonRpcMessage, ServiceRole, TxJsonRpcMessage};
use rmcp::transport::Transport;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::codec::{AnyDelimiterCodec, AnyDelimiterCodecError, FramedRead};
use tokio_util::sync::CancellationToken;

pub(crate) use lane::{Lane, LaneError, Local, Refusal};
use meter::{Kind, Meter, Verdict};

/// Lines that wait for a peer that does not read.
const QUEUE: usize = 256;

/// How much a peer may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest message, in bytes. A longer one ends the connection.
    pub line_bytes: usize,
    /// Bytes a second over some time; four of the longest messages may come at
    /// once. More ends the connection.
    pub bytes_per_sec: u32,
    /// Progress updates a second; more are dropped.
    pub progress_per_sec: u32,
    /// Requests and other notifications a second over some time; eight times as
    /// many may come at once. More ends the connection.
    pub requests_per_sec: u32,
    /// Requests of the extension that are being answered; more are refused.
    pub open_requests: usize,
    /// Lines that are no message, and answers to nothing, that may come at once, and
    /// again every ten minutes. More ends the connection.
    pub rubbish: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line_bytes: 16 << 20,
            bytes_per_sec: 16 << 20,
            progress_per_sec: 200,
            requests_per_sec: 64,
            open_requests: 64,
            rubbish: 64,
        }
    }
}

/// Why a connection is at an end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// The other side closed it, or is gone.
    #[error("the connection was closed by the other side")]
    Closed,
    /// This side closed it.
    #[error("the connection was closed here")]
    Shut,
    /// It cannot be read.
    #[error("the connection cannot be read: {0}")]
    Unreadable(String),
    /// The other side broke a rule of the protocol or a limit.
    #[error("the connection was ended: the other side {0}")]
    Violation(String),
}

/// The outline of a message: enough to know whose it is.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(default, borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    id: Option<&'a RawValue>,
    #[serde(default, borrow)]
    params: Option<&'a RawValue>,
    #[serde(default, borrow)]
    result: Option<&'a RawValue>,
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
}

type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// The SDK's transport on one side of a connection.
pub(crate) struct Pipe<R: ServiceRole> {
    lines: FramedRead<Reader, AnyDelimiterCodec>,
    outbox: mpsc::Sender<String>,
    lane: Lane,
    meter: Meter,
    limits: Limits,
    /// Requests of the SDK that have no answer yet.
    asked: HashSet<String>,
    role: PhantomData<fn() -> R>,
}

/// The other side cannot be written to.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed for writing")]
pub(crate) struct Shut;

impl<R: ServiceRole> Pipe<R> {
    /// A pipe, the lane beside it, and the task that writes; the task ends once
    /// the pipe is closed and everything queued is written.
    pub(crate) fn open(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        limits: Limits,
        local: Arc<dyn Local>,
    ) -> (Self, Lane, tokio::task::JoinHandle<()>) {
        let (outbox, queue) = mpsc::channel(QUEUE);
        let closing = CancellationToken::new();
        let writing = tokio::spawn(write(writer, queue, closing.clone()));
        let lane = Lane::new(outbox.clone(), closing, local, limits.open_requests);
        let codec = AnyDelimiterCodec::new_with_max_length(b"\n".to_vec(), b"\n".to_vec(), limits.line_bytes);
        let pipe = Self {
            lines: FramedRead::new(Box::new(reader), codec),
            outbox,
            lane: lane.clone(),
            meter: Meter::new(&limits),
            limits,
            asked: HashSet::new(),
            role: PhantomData,
        };
        (pipe, lane, writing)
    }

    /// The next message for the SDK. Cancel safe: nothing is awaited once a line is taken.
    async fn next(&mut self) -> Result<RxJsonRpcMessage<R>, End> {
        loop {
            let line = match self.lines.next().await {
                Some(Ok(line)) => line,
                None => return Err(End::Closed),
                Some(Err(AnyDelimiterCodecError::MaxChunkLengthExceeded)) => {
                    let limit = self.limits.line_bytes;
                    return Err(End::Violation(format!("sent a message of more than {limit} bytes")));
                }
                Some(Err(AnyDelimiterCodecError::Io(error))) => {
                    return Err(End::Unreadable(error.to_string()));
                }
            };
            if let Some(message) = self.sort(&line)? {
                return Ok(message);
            }
        }
    }

    /// The message if it is for the SDK.
    fn sort(&mut self, line: &[u8]) -> Result<Option<RxJsonRpcMessage<R>>, End> {
        self.weigh(Kind::Bytes(line.len()))?;
        let Ok(line) = std::str::from_utf8(line) else {
            self.reply_error("null", -32700, "not UTF-8");
            return self.skip("a line that is not UTF-8");
        };
        if line.trim().is_empty() {
            return Ok(None);
        }
        let Ok(head) = serde_json::from_str::<Head<'_>>(line) else {
            self.reply_error("null", -32700, "not a JSON-RPC message");
            return self.skip("a line that is no message");
        };
        match (&head.method, head.id) {
            (Some(method), Some(id)) => {
                self.weigh(Kind::Request)?;
                if self.lane.take_request(method, id, head.params) {
                    return Ok(None);
                }
            }
            (Some(method), None) => {
                let progress = method == "notifications/progress";
                let kind = if progress { Kind::Progress } else { Kind::Notification };
                if !self.weigh(kind)? || self.lane.take_notification(method, head.params) {
                    return Ok(None);
                }
            }
            (None, Some(id)) => {
                if self.lane.take_answer(id, head.result, head.error) {
                    return Ok(None);
                }
                if !self.asked.remove(bare(id.get())) {
                    return self.skip("an answer to no request");
                }
            }
            (None, None) if head.error.is_some() => {}
            (None, None) => return self.skip("a line that is no message"),
        }
        if let Ok(message) = serde_json::from_str(line) {
            return Ok(Some(message));
        }
        match (head.method, head.id) {
            (Some(_), Some(id)) if head.params.is_some() => {
                self.reply_error(id.get(), -32602, "the params are not what the method takes");
            }
            (Some(_), Some(id)) => self.reply_error(id.get(), -32600, "not a valid request"),
            // Its asker must not wait for ever.
            (None, Some(_)) => return Err(End::Violation("answered with what is no answer".to_owned())),
            _ => {}
        }
        self.skip("a message that cannot be read")
    }

    /// Whether it may pass; an end when it may not even be dropped.
    fn weigh(&mut self, kind: Kind) -> Result<bool, End> {
        match self.meter.weigh(kind, tokio::time::Instant::now()) {
            Verdict::Pass => Ok(true),
            Verdict::Drop => Ok(false),
            Verdict::End(what) => Err(End::Violation(what.to_owned())),
        }
    }

    fn skip<T>(&mut self, what: &str) -> Result<Option<T>, End> {
        // Its text stays out of the log: it may be anything.
        tracing::warn!(what, "skipped what the other side of a pipe sent");
        self.weigh(Kind::Rubbish).map(|_| None)
    }

    fn reply_error(&self, id: &str, code: i32, message: &str) {
        // Only an id that is one is sent back.
        let id = if serde_json::from_str::<RequestId>(id).is_ok() { id } else { "null" };
        // A client's peer has nothing to learn from it, and may echo it for ever.
        if !R::IS_CLIENT || id != "null" {
            let line =
                format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#);
            let _ = self.outbox.try_send(line);
        }
    }
}

/// An id as a text: SDKs differ in whether `3` may be answered as `"3"`.
fn bare(id: &str) -> &str {
    id.trim_matches('"')
}

fn written(id: &RequestId) -> String {
    bare(&serde_json::to_string(id).unwrap_or_default()).to_owned()
}

impl<R: ServiceRole> Transport<R> for Pipe<R> {
    type Error = Shut;

    fn send(&mut self, item: TxJsonRpcMessage<R>) -> impl Future<Output = Result<(), Shut>> + Send + 'static {
        if let JsonRpcMessage::Request(request) = &item {
            self.asked.insert(written(&request.id));
        }
        let line = serde_json::to_string(&item);
        let outbox = self.outbox.clone();
        async move { outbox.send(line.map_err(|_| Shut)?).await.map_err(|_| Shut) }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<R>> {
        if self.lane.ended().is_some() {
            return None;
        }
        match self.next().await {
            Ok(message) => Some(message),
            Err(end) => {
                self.lane.end(end);
                None
            }
        }
    }

    async fn close(&mut self) -> Result<(), Shut> {
        self.lane.close();
        Ok(())
    }
}

impl<R: ServiceRole> Drop for Pipe<R> {
    fn drop(&mut self) {
        self.lane.close();
    }
}

/// Writes whole lines until the pipe is closed, then what is still queued.
async fn write(
    mut writer: impl AsyncWrite + Send + Unpin,
    mut queue: mpsc::Receiver<String>,
    closing: CancellationToken,
) {
    loop {
        let line = tokio::select! {
            biased;
            line = queue.recv() => line,
            () = closing.cancelled() => None,
        };
        let Some(mut line) = line else { break };
        line.push('\n');
        let sent = async {
            writer.write_all(line.as_bytes()).await?;
            writer.flush().await
        };
        if let Err(error) = sent.await {
            tracing::debug!(%error, "a pipe cannot be written to");
            break;
        }
    }
    let _ = writer.shutdown().await;
}
