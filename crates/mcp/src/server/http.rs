//! A connector over streamable HTTP: many clients at once, on this machine.
//!
//! Every connection of this machine reaches the port, and a page in a browser may try to. A request is looked at
//! before its body is read: its `Host` has to name this port on this machine, which a name that was rebound does
//! not; it must come from no page; and it carries the token. The SDK's own transport does the
//! rest: sessions, streams that can be resumed. Sessions are kept while they are used, and the one that was
//! used least recently and is not being answered makes room.

mod sessions;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use connector_connections::{Admission, Limits, Proven, Refusal};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::TcpListener;

use super::{STOP, ServeError, Server, Session, State, lock};
pub use connector_connections::{BearerToken, TokenError, loopback};
use sessions::Sessions;

/// Where the one endpoint is.
pub const PATH: &str = "/mcp";

/// A client holds a connection for each call, and one beside.
const CONNECTIONS: Limits = Limits { most: 256, head: Duration::from_secs(10) };

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// One endpoint, as its connections see it.
#[derive(Clone)]
struct Endpoint {
    admission: Arc<Admission>,
    sessions: Arc<Sessions>,
    service: StreamableHttpService<Session, sessions::Manager>,
}

impl Server {
    /// Serves at `listener` until it is [stopped](Self::stopped_by), whoever carries `token`; returns once every
    /// call has stopped, or its time to do so is over.
    pub async fn serve_http(self, listener: TcpListener, token: BearerToken) -> Result<(), ServeError> {
        let greeting = |error: std::io::Error| ServeError::Greeting(error.to_string());
        let admission = Arc::new(Admission::new(listener.local_addr().map_err(greeting)?, token));
        let state = Arc::new(self.state);
        let sessions = Arc::new(Sessions::default());
        let mut config = StreamableHttpServerConfig::default()
            .with_allowed_hosts(admission.authorities().iter().cloned())
            .enforce_origin_validation()
            .with_max_request_body_bytes(self.limits.line_bytes);
        config.cancellation_token = self.stop.child_token();
        let (template, count) = (Arc::clone(&state), AtomicU64::new(1));
        let session = move || Ok(Session(Arc::new(template.another(count.fetch_add(1, Ordering::Relaxed)))));
        let service = StreamableHttpService::new(session, sessions.manager(), config);
        let endpoint = Endpoint { admission, sessions, service };
        let service = |proven: Proven| {
            let endpoint = endpoint.clone();
            service_fn(move |request| {
                let (endpoint, proven) = (endpoint.clone(), proven.clone());
                async move { Ok::<_, Infallible>(endpoint.answer(request, &proven).await) }
            })
        };
        connector_connections::serve(listener, self.stop.clone(), CONNECTIONS, service).await;
        state.over.cancel();
        state.running.close();
        if tokio::time::timeout(STOP, state.running.wait()).await.is_err() {
            tracing::error!(calls = state.running.len(), "calls did not stop in time");
        }
        Ok(())
    }
}

impl Endpoint {
    async fn answer(&self, request: Request<Incoming>, proven: &Proven) -> Answer {
        if let Err(refusal) = self.admission.admits(request.uri(), request.headers()) {
            tracing::warn!(%refusal, "a request was refused");
            return refused(refusal);
        }
        proven.set();
        if request.uri().path() != PATH {
            return plain(StatusCode::NOT_FOUND, "not found");
        }
        let begins = request.method() == Method::POST && sessions::named(request.headers()).is_none();
        if begins && !self.sessions.has_room().await {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "too many sessions are at work; try again later");
        }
        let in_use = self.sessions.note(sessions::named(request.headers()));
        let ends = request.method() == Method::DELETE;
        let mut answer = self.service.handle(request).await;
        if ends && answer.status() == StatusCode::ACCEPTED {
            // Some clients take nothing else for an end.
            *answer.status_mut() = StatusCode::NO_CONTENT;
        }
        if begins {
            self.sessions.make_room().await;
        }
        // A call's answer is a stream that ends with it.
        answer.map(|body| {
            body.map_frame(move |frame| {
                let _in_use = &in_use;
                frame
            })
            .boxed()
        })
    }
}

impl State {
    /// The state of another connection to the same connector.
    fn another(&self, number: u64) -> Self {
        Self {
            manifest: self.manifest.clone(),
            instructions: self.instructions.clone(),
            extended: false,
            presenter: self.presenter.clone(),
            factory: None,
            equipped: std::sync::Mutex::new(lock(&self.equipped).clone()),
            settled: std::sync::Mutex::new(true),
            calls: std::sync::Mutex::default(),
            running: self.running.clone(),
            over: self.over.child_token(),
            lane: std::sync::OnceLock::new(),
            tasks: self.tasks.clone(),
            number,
        }
    }
}

fn refused(refusal: Refusal) -> Answer {
    let mut answer = plain(refusal.status(), refusal.as_str());
    if refusal == Refusal::Token {
        answer.headers_mut().insert(http::header::WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer"));
    }
    answer
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())).boxed());
    *answer.status_mut() = status;
    answer
}
