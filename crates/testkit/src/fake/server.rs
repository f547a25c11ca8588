//! HTTP/1.1 by hand, so that a connection can break at any byte.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::fault::Canned;
use super::generation::Generation;
use super::state::{Item, Shared};
use super::{v1, v2};

/// A request, read whole.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    query: String,
    pub(super) authorization: Option<String>,
    /// `x-opencode-directory`, decoded.
    pub(super) directory: Option<String>,
    pub(super) body: Value,
}

impl Request {
    pub(super) fn line(&self) -> String {
        let separator = if self.query.is_empty() { "" } else { "?" };
        format!("{} {}{separator}{}", self.method, self.path, self.query)
    }

    pub(super) fn query(&self, key: &str) -> Option<String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(name, _)| decode(name) == key).map(|(_, value)| decode(value)).next()
    }
}

fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let hex: String = bytes.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&hex, 16).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What is done with a connection.
#[derive(Debug)]
pub(super) enum Answer {
    Whole(Canned),
    /// The head and half of the body, then the connection breaks.
    Half(Canned),
    /// The connection breaks.
    Hangup,
    /// Nothing, and the connection stays.
    Never,
    Stream {
        first: Vec<u8>,
        items: broadcast::Receiver<Item>,
    },
}

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut closed = shared.closed.subscribe();
            tokio::select! {
                _ = closed.wait_for(|closed| *closed) => {}
                _ = connection(stream, &shared) => {}
            }
        });
    }
}

async fn connection(stream: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    while let Some(request) = request(&mut read).await? {
        let answering = async {
            match shared.generation() {
                Generation::V1 => v1::answer(shared, request).await,
                Generation::V2 => v2::answer(shared, request).await,
            }
        };
        let answer = tokio::select! {
            answer = answering => answer,
            // The client hung up; like the real daemon, the turn goes on.
            _ = read.fill_buf() => return Ok(()),
        };
        match answer {
            Answer::Whole(canned) => write.write_all(&whole(&canned)).await?,
            Answer::Half(canned) => {
                let bytes = whole(&canned);
                write.write_all(&bytes[..bytes.len() - canned.body.len() / 2]).await?;
                return write.shutdown().await;
            }
            Answer::Hangup => return write.shutdown().await,
            Answer::Never => {
                let _ = read.fill_buf().await;
                return Ok(());
            }
            Answer::Stream { first, items } => {
                shared.open_streams.fetch_add(1, Ordering::Relaxed);
                let gone = async { read.fill_buf().await.map(|_| ()) };
                let result = tokio::select! {
                    result = stream_out(&mut write, &first, items, shared) => result,
                    result = gone => result,
                };
                shared.open_streams.fetch_sub(1, Ordering::Relaxed);
                return result;
            }
        }
    }
    Ok(())
}

async fn stream_out(
    write: &mut tokio::net::tcp::OwnedWriteHalf,
    first: &[u8],
    mut items: broadcast::Receiver<Item>,
    shared: &Shared,
) -> io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    write.write_all(head.as_bytes()).await?;
    let size = shared.faults.split.unwrap_or(usize::MAX);
    chunks(write, first, size).await?;
    let every = shared.faults.heartbeat.unwrap_or(Duration::from_hours(1));
    let mut heart = tokio::time::interval_at(Instant::now() + every, every);
    loop {
        let item = tokio::select! {
            item = items.recv() => item,
            _ = heart.tick() => {
                chunks(write, b": heartbeat\n\n", size).await?;
                continue;
            }
        };
        match item {
            Ok(Item::Bytes(_)) if shared.faults.silent_stream => {}
            Ok(Item::Bytes(bytes)) => chunks(write, &bytes, size).await?,
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Ok(Item::Cut) | Err(broadcast::error::RecvError::Closed) => return write.shutdown().await,
        }
    }
}

/// Each piece is a chunk of its own, so the client sees the cuts.
async fn chunks(write: &mut tokio::net::tcp::OwnedWriteHalf, bytes: &[u8], size: usize) -> io::Result<()> {
    for piece in bytes.chunks(size.max(1)) {
        let mut framed = format!("{:x}\r\n", piece.len()).into_bytes();
        framed.extend_from_slice(piece);
        framed.extend_from_slice(b"\r\n");
        write.write_all(&framed).await?;
    }
    Ok(())
}

fn whole(canned: &Canned) -> Vec<u8> {
    let Canned { status, content_type, body } = canned;
    let length = body.len();
    // As a 2.x server that starts says it.
    let again = if *status == 503 { "retry-after: 1\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status} Fake\r\n{again}content-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

async fn request(read: &mut BufReader<tokio::net::tcp::OwnedReadHalf>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if read.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        authorization: None,
        directory: None,
        body: Value::Null,
    };
    let mut length = 0;
    loop {
        let mut header = String::new();
        read.read_line(&mut header).await?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "x-opencode-directory" => request.directory = Some(decode(value.trim())),
            "authorization" => request.authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    read.read_exact(&mut body).await?;
    request.body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(Some(request))
}
