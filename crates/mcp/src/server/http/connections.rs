//! Connections, few and not for long unless they carried the token.
//!
//! Everybody on this machine can connect. One that does not send the head of a request in time is closed, and
//! when there is no room for another, the oldest goes that has never carried the token.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::Answer;

/// How many connections there are at most. A client holds a stream for each call, and one beside.
const MOST: usize = 256;

/// How long the head of a request may take, and the time until the next one begins.
const HEAD: Duration = Duration::from_secs(10);

/// How long after a connection could not be taken the next is tried.
const PAUSE: Duration = Duration::from_millis(200);

/// How long requests that were begun may take to end once all is stopped.
const GRACE: Duration = Duration::from_secs(2);

/// Whether a connection has carried the token.
#[derive(Debug, Clone, Default)]
pub(super) struct Proven(Arc<AtomicBool>);

impl Proven {
    /// It carries the token: from now on it makes room for nobody.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Answers requests until `stop`.
pub(super) async fn serve<A, F>(listener: TcpListener, stop: CancellationToken, answer: A)
where
    A: Fn(Request<Incoming>, Proven) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    let mut open: VecDeque<(AbortHandle, Proven)> = VecDeque::new();
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            _ = tasks.join_next(), if !tasks.is_empty() => {
                open.retain(|(task, _)| !task.is_finished());
                continue;
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be taken");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        if tasks.len() >= MOST {
            // Where all of them carried the token, one more is not taken.
            let Some(oldest) = open.iter().position(|(_, proven)| !proven.is_set()) else { continue };
            if let Some((unproven, _)) = open.remove(oldest) {
                unproven.abort();
            }
        }
        let proven = Proven::default();
        let task = tasks.spawn(one(stream, answer.clone(), proven.clone(), stop.clone()));
        open.push_back((task, proven));
    }
    let ended = async { while tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(GRACE, ended).await;
}

async fn one<A, F>(stream: TcpStream, answer: A, proven: Proven, stop: CancellationToken)
where
    A: Fn(Request<Incoming>, Proven) -> F + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    // Small messages are to arrive at once.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let answering = answer(request, proven.clone());
        async move { Ok::<_, Infallible>(answering.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(64)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}
