//! A proxy before a homeserver, as many have one: it counts what is asked for, and fails as it is told.
//!
//! It has a thread of its own, so that it answers whatever the test waits for.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use connector_contract::OutboundHttp;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::sync::oneshot;

use super::{Synapse, SynapseError};

/// The longest answer that is passed on.
const ANSWER: usize = 64 << 20;

/// How many answers to `/sync` are kept to be given once more.
const KEPT: usize = 50;

/// What becomes of a request in place of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is refused for its rate, and may come again after so long.
    Throttled(Duration),
    /// The proxy finds no server behind it, and answers with a page.
    Gateway,
    /// The connection breaks before the server hears of it.
    CutBefore,
    /// The server does it, and the connection breaks before the answer.
    CutAfter,
}

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called {
    /// How.
    pub method: Method,
    /// Its path, percent-encoded, without the query.
    pub path: String,
    /// The status of the answer; nothing where the connection was broken.
    pub status: Option<u16>,
    /// When it was answered.
    pub at: Instant,
}

/// A proxy. Dropping it ends it, with every connection.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    http: OutboundHttp,
    base: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// For which requests, how often, and what.
    faults: Vec<(String, usize, Fault)>,
    is_down: bool,
    calls: Vec<Called>,
    /// The last answers to `/sync`.
    synced: VecDeque<Bytes>,
    /// The one that is given in place of the next.
    again: Option<Bytes>,
}

impl Proxy {
    /// Starts a proxy before `server`, on a free port of 127.0.0.1.
    pub fn before(server: &Synapse) -> Result<Self, SynapseError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (http, base, state) = (server.http()?, server.base_url(), Mutex::default());
        let shared = Arc::new(Shared { http, base, state });
        let (end, ended) = oneshot::channel();
        let serving = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("proxy".into()).spawn(move || run(listener, &serving, ended))?;
        Ok(Self { address, shared, end: Some(end), thread: Some(thread) })
    }

    /// What a client takes for its homeserver.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next `times` requests whose path holds `part` fail.
    pub fn fault(&self, part: &str, times: usize, fault: Fault) {
        self.shared.state().faults.push((part.to_owned(), times, fault));
    }

    /// From now on every connection breaks, or none does any more.
    pub fn be_down(&self, is_down: bool) {
        self.shared.state().is_down = is_down;
    }

    /// The answer to `/sync` that holds `part`, such as an event's id, comes once more. Whether there was one.
    pub fn repeat(&self, part: &str) -> bool {
        let mut state = self.shared.state();
        let holds = |answer: &&Bytes| answer.windows(part.len()).any(|window| window == part.as_bytes());
        state.again = state.synced.iter().rfind(holds).cloned();
        state.again.is_some()
    }

    /// Whether what is to come [once more](Self::repeat) has come.
    pub fn has_repeated(&self) -> bool {
        self.shared.state().again.is_none()
    }

    /// What was asked for.
    pub fn calls(&self) -> Vec<Called> {
        self.shared.state().calls.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // It breaks where a test does.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request; nothing where its connection breaks.
    async fn answer(&self, request: Request<Incoming>) -> Option<Response<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        let (method, path) = (head.method.clone(), head.uri.path().to_owned());
        let fault = self.state().fault(&path);
        let answer = match fault {
            Some(Fault::Throttled(after)) => Some(throttled(after)),
            Some(Fault::Gateway) => Some(page()),
            Some(Fault::CutBefore) => None,
            Some(Fault::CutAfter) => {
                self.pass_on(head, body).await;
                None
            }
            None => self.pass_on(head, body).await.map(|answer| self.state().synced(&path, answer)),
        };
        let mut state = self.state();
        let answer = answer.filter(|_| !state.is_down);
        let status = answer.as_ref().map(|answer| answer.status().as_u16());
        state.calls.push(Called { method, path, status, at: Instant::now() });
        answer
    }

    async fn pass_on(&self, head: http::request::Parts, body: Bytes) -> Option<Response<Bytes>> {
        let mut request = Request::builder().method(head.method).uri(format!("{}{}", self.base, head.uri));
        for name in [header::AUTHORIZATION, header::CONTENT_TYPE] {
            request = head.headers.get(&name).into_iter().fold(request, |it, value| it.header(&name, value));
        }
        let response = self.http.send(request.body(body).ok()?).await.ok()?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut answer = Response::new(response.bytes(ANSWER).await.ok()?);
        *answer.status_mut() = status;
        for name in [header::CONTENT_TYPE, header::RETRY_AFTER] {
            if let Some(value) = headers.get(&name) {
                answer.headers_mut().insert(name, value.clone());
            }
        }
        Some(answer)
    }
}

impl State {
    fn fault(&mut self, path: &str) -> Option<Fault> {
        if self.is_down {
            return Some(Fault::CutBefore);
        }
        let due = self.faults.iter_mut().find(|(part, left, _)| *left > 0 && path.contains(part.as_str()))?;
        due.1 -= 1;
        Some(due.2)
    }

    /// Keeps an answer to `/sync`, or gives one of them in its place.
    fn synced(&mut self, path: &str, answer: Response<Bytes>) -> Response<Bytes> {
        if !path.ends_with("/sync") || answer.status() != StatusCode::OK {
            return answer;
        }
        if let Some(again) = self.again.take() {
            return answer.map(|_| again);
        }
        self.synced.push_back(answer.body().clone());
        if self.synced.len() > KEPT {
            self.synced.pop_front();
        }
        answer
    }
}

fn throttled(after: Duration) -> Response<Bytes> {
    let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
    let body =
        json!({ "errcode": "M_LIMIT_EXCEEDED", "error": "Too Many Requests", "retry_after_ms": millis });
    answered(StatusCode::TOO_MANY_REQUESTS, body.to_string())
}

fn page() -> Response<Bytes> {
    answered(StatusCode::BAD_GATEWAY, "<html>502 Bad Gateway</html>".to_owned())
}

fn answered(status: StatusCode, body: String) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from(body));
    *answer.status_mut() = status;
    answer
}

/// Serves until `ended` resolves or its sender is dropped.
fn run(listener: TcpListener, shared: &Arc<Shared>, ended: oneshot::Receiver<()>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        tokio::select! {
            _ = ended => {}
            () = serve(&listener, shared) => {}
        }
    });
}

async fn serve(listener: &tokio::net::TcpListener, shared: &Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let shared = Arc::clone(&shared);
                // An error breaks the connection, and nothing is answered.
                async move {
                    let answer = shared.answer(request).await;
                    answer.map(|answer| answer.map(Full::new)).ok_or_else(|| io::Error::other("cut"))
                }
            });
            let serving =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // Whoever is cut off knows it.
            let _ = serving.await;
        });
    }
}
