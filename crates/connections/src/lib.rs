//! The HTTP connections of one listener: whose they are, few, and not for long unless they carried its secret.
//!
//! A listener is a port of this machine, whose requests [`Admission`] looks at before anything of them is read, or
//! an [`OwnSocket`], at which processes of its owner alone are heard. Whoever reaches the port can connect, and every connection holds a descriptor of this process. So there is
//! a most of them; one that does not send the head of a request in time is closed; and when there is no room for
//! another, the oldest goes that has never carried the secret. Those that have make room for nobody, also once
//! their request is answered: then the new one is not taken.

mod admission;
mod listener;
mod own_socket;
mod token;

use std::collections::VecDeque;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

pub use admission::{Admission, Refusal};
pub use listener::Listener;
pub use own_socket::{OwnSocket, SocketError};
pub use token::{BearerToken, TokenError, loopback, secret_file};

/// How long after a connection could not be taken the next is tried.
const PAUSE: Duration = Duration::from_millis(200);

/// How long requests that were begun may take to end once all is stopped.
const GRACE: Duration = Duration::from_secs(2);

/// The most headers of a request.
const HEADERS: usize = 64;

/// What the connections of a listener may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many there are at most.
    pub most: usize,
    /// How long the head of a request may take, and the time until the next one begins.
    pub head: Duration,
}

/// Whether a connection has carried the secret. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Proven(Arc<AtomicBool>);

impl Proven {
    /// It carries the secret: from now on it makes room for nobody.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Answers requests at `listener` with what `service` makes for each connection, until `stop`; then lets requests
/// end that were begun, for two seconds at most. Dropping it ends every connection.
pub async fn serve<L, S, B>(
    mut listener: L,
    stop: CancellationToken,
    limits: Limits,
    service: impl Fn(Proven) -> S,
) where
    L: Listener,
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
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
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be taken");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        if tasks.len() >= limits.most {
            let Some(oldest) = open.iter().position(|(_, proven)| !proven.is_set()) else {
                tracing::warn!(most = limits.most, "a connection is not taken: there are too many");
                continue;
            };
            if let Some((unproven, _)) = open.remove(oldest) {
                unproven.abort();
            }
        }
        let proven = Proven::default();
        let task = tasks.spawn(one(stream, service(proven.clone()), stop.clone(), limits.head));
        open.push_back((task, proven));
    }
    let ended = async { while tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(GRACE, ended).await;
}

async fn one<C, S, B>(stream: C, service: S, stop: CancellationToken, head: Duration)
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_headers(HEADERS)
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::Empty;
    use hyper::body::Bytes;
    use hyper::service::service_fn;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const WITHIN: Duration = Duration::from_secs(20);

    /// A listener for which every request carries the secret.
    async fn started(most: usize) -> (std::net::SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let service = |proven: Proven| {
            service_fn(move |_: Request<Incoming>| {
                proven.set();
                async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
            })
        };
        let limits = Limits { most, head: Duration::from_mins(5) };
        tokio::spawn(serve(listener, stop.clone(), limits, service));
        (address, stop)
    }

    #[expect(clippy::disallowed_methods, reason = "the server under test is connected to")]
    async fn connected(address: std::net::SocketAddr) -> TcpStream {
        TcpStream::connect(address).await.unwrap()
    }

    /// Whether a request is answered, all of the answer read.
    async fn asks(stream: &mut TcpStream) -> bool {
        let asked = async {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await?;
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                answer.push(stream.read_u8().await?);
            }
            std::io::Result::Ok(answer.starts_with(b"HTTP/1.1 200"))
        };
        let asked = tokio::time::timeout(WITHIN, asked).await.expect("an answer or the end, in time");
        asked.unwrap_or_default()
    }

    /// Whether the server has ended it.
    async fn is_ended(stream: &mut TcpStream) -> bool {
        let read = tokio::time::timeout(WITHIN, stream.read(&mut [0; 1])).await;
        read.is_ok_and(|read| read.map_or(true, |bytes| bytes == 0))
    }

    #[tokio::test]
    async fn the_oldest_that_never_carried_the_secret_makes_room_and_the_others_do_not() {
        let (address, _stop) = started(2).await;
        let mut proven = connected(address).await;
        assert!(asks(&mut proven).await);
        let mut silent = connected(address).await;
        let mut next = connected(address).await;
        assert!(asks(&mut next).await);
        assert!(is_ended(&mut silent).await, "there is room for two");
        // Both carried it: another finds none.
        let mut another = connected(address).await;
        assert!(!asks(&mut another).await);
        assert!(asks(&mut proven).await, "it is still there");
    }

    #[tokio::test]
    async fn at_the_stop_nothing_is_left() {
        let (address, stop) = started(4).await;
        let mut idle = connected(address).await;
        assert!(asks(&mut idle).await);
        stop.cancel();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(WITHIN, idle.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "the connection ends");
    }
}
