//! Connections of one proxy: few, and none held by who says nothing.
//!
//! Anybody on this machine can connect. A connection that sends no head of a request in time is closed, and
//! where there is no room for another, the oldest goes that has not shown that it may use the proxy.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};

use crate::server::Body;

/// How many connections each proxy holds at once.
const CONNECTIONS: usize = 256;
/// How long the first head of a request may take.
const FIRST_HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a later one may take: a client keeps its connection while its agent works, and must not find it
/// closed just as it goes on.
const HEAD_WITHIN: Duration = Duration::from_mins(5);
/// How large the head of a request may be, and how many headers it may have.
const HEAD_BYTES: usize = 64 * 1024;
const HEADERS: usize = 100;
/// How long to rest when no connection can be accepted.
const RESTS: Duration = Duration::from_millis(100);

/// Whether a connection may use the proxy, as far as it has shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proof(Arc<Shown>);

#[derive(Debug, Default)]
struct Shown {
    head: AtomicBool,
    proven: AtomicBool,
}

impl Proof {
    /// It has shown that it may.
    pub(crate) fn give(&self) {
        self.0.proven.store(true, Ordering::Relaxed);
    }

    fn is_given(&self) -> bool {
        self.0.proven.load(Ordering::Relaxed)
    }
}

struct Open {
    task: AbortHandle,
    proof: Proof,
}

/// Takes connections and hands their requests on. Never returns unless the listener cannot be used.
pub(crate) async fn accept<F>(
    listener: TcpListener,
    answer: impl Fn(Request<Incoming>, Proof) -> F + Clone + Send + Sync + 'static,
) -> io::Result<Infallible>
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    accept_within(listener, (CONNECTIONS, FIRST_HEAD_WITHIN), answer).await
}

pub(crate) async fn accept_within<F>(
    listener: TcpListener,
    (most, first): (usize, Duration),
    answer: impl Fn(Request<Incoming>, Proof) -> F + Clone + Send + Sync + 'static,
) -> io::Result<Infallible>
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (mut tasks, mut open) = (JoinSet::new(), VecDeque::<Open>::new());
    loop {
        let unproven = open.iter().position(|open| !open.proof.is_given());
        // With all of them in use, the next one waits to be taken.
        let takes = open.len() < most || unproven.is_some();
        let stream = tokio::select! {
            _ = tasks.join_next(), if !tasks.is_empty() => {
                open.retain(|open| !open.task.is_finished());
                continue;
            }
            accepted = listener.accept(), if takes => {
                let Ok((stream, _)) = accepted else {
                    // Out of descriptors, or a client that is gone already.
                    tokio::time::sleep(RESTS).await;
                    continue;
                };
                stream
            }
        };
        if open.len() >= most {
            // It may have shown something while the next one came.
            let oldest = open.iter().position(|open| !open.proof.is_given());
            match oldest.and_then(|oldest| open.remove(oldest)) {
                Some(oldest) => oldest.task.abort(),
                None => continue,
            }
        }
        let proof = Proof::default();
        let task = tasks.spawn(one(stream, answer.clone(), proof.clone(), first));
        open.push_back(Open { task, proof });
    }
}

async fn one<F>(
    stream: TcpStream,
    answer: impl Fn(Request<Incoming>, Proof) -> F + Send + Sync + 'static,
    proof: Proof,
    first: Duration,
) where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let _ = stream.set_nodelay(true);
    let shown = proof.clone();
    let service = service_fn(move |request| {
        shown.0.head.store(true, Ordering::Relaxed);
        let answered = answer(request, shown.clone());
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let silent = async {
        tokio::time::sleep(first).await;
        if proof.0.head.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        // What a client breaks off is its own affair.
        _ = connection => {}
        () = silent => {}
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http::StatusCode;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::server::own_answer;

    /// A proxy whose clients show that they may use it by their path.
    fn serving(most: usize, first: Duration) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer = |request: Request<Incoming>, proof: Proof| async move {
            if request.uri().path() == "/may" {
                proof.give();
                return own_answer(StatusCode::OK, "");
            }
            own_answer(StatusCode::UNAUTHORIZED, "")
        };
        (address, tokio::spawn(async move { drop(accept_within(listener, (most, first), answer).await) }))
    }

    #[expect(clippy::disallowed_methods, reason = "tests speak to what they started themselves")]
    async fn connected(to: SocketAddr) -> TcpStream {
        TcpStream::connect(to).await.unwrap()
    }

    /// The status that a request is answered with; nothing when the connection ends before.
    async fn asked(stream: &mut TcpStream, path: &str) -> Option<String> {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            if stream.read_buf(&mut answer).await.ok()? == 0 {
                return None;
            }
        }
        String::from_utf8(answer).ok()?.split(' ').nth(1).map(str::to_owned)
    }

    #[tokio::test]
    async fn connections_that_show_nothing_make_room_and_those_that_may_stay() {
        let (address, serving) = serving(4, Duration::from_mins(5));
        let (mut working, mut refused) = (connected(address).await, connected(address).await);
        assert_eq!(asked(&mut working, "/may").await.as_deref(), Some("200"));
        assert_eq!(asked(&mut refused, "/other").await.as_deref(), Some("401"));
        let mut idle = Vec::new();
        for _ in 0..40 {
            idle.push(connected(address).await);
        }
        let mut next = connected(address).await;
        assert_eq!(asked(&mut next, "/may").await.as_deref(), Some("200"), "there is room for it");
        assert_eq!(asked(&mut working, "/may").await.as_deref(), Some("200"), "it stays");
        assert_eq!(asked(&mut refused, "/may").await, None, "it made room");
        serving.abort();
    }

    #[tokio::test]
    async fn one_that_sends_no_head_in_time_is_closed_and_one_that_has_is_not() {
        let (address, serving) = serving(4, Duration::from_millis(200));
        let (mut working, mut silent, mut slow) =
            (connected(address).await, connected(address).await, connected(address).await);
        assert_eq!(asked(&mut working, "/may").await.as_deref(), Some("200"));
        slow.write_all(b"GET /may HTTP/1.1\r\n").await.unwrap();
        for stream in [&mut silent, &mut slow] {
            let mut rest = Vec::new();
            let closed = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut rest)).await;
            assert!(closed.is_ok() && rest.is_empty(), "{closed:?}");
        }
        assert_eq!(asked(&mut working, "/may").await.as_deref(), Some("200"));
        serving.abort();
    }
}
