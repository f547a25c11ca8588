//! The servers: connections are accepted, bounded, and handed to their proxy.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::Full;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;

use crate::forward::ForwardProxy;
use crate::model::ModelProxy;
use crate::plan::Plan;
use crate::record::Recorder;

/// How many connections each proxy holds at once; more wait to be accepted.
const CONNECTIONS: usize = 256;
/// How long the head of a request may take, and the next one after it: a client keeps its connection while
/// its agent works, and must not find it closed just as it goes on.
const HEAD_WITHIN: Duration = Duration::from_mins(5);
/// How large the head of a request may be, and how many headers it may have.
const HEAD_BYTES: usize = 64 * 1024;
const HEADERS: usize = 100;
/// How long to rest when no connection can be accepted.
const RESTS: Duration = Duration::from_millis(100);

/// The body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, BodyError>;
/// Why a body ended early.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Where the proxies of a plan listen; made by the caller, in whichever network it wants.
#[derive(Debug, Default)]
pub struct Listeners {
    /// The model proxy's.
    pub models: Option<TcpListener>,
    /// The egress proxy's.
    pub network: Option<TcpListener>,
}

/// Serves a plan until the future is dropped, which closes its listeners and lets connections go on.
///
/// # Errors
/// When a listener or the client cannot be used. A proxy without a listener is not served.
pub async fn serve(plan: Plan, listeners: Listeners) -> io::Result<Infallible> {
    let recorder = Recorder::over(plan.record.as_deref());
    let models = match (plan.models, listeners.models) {
        (Some(models), Some(listener)) => {
            Some((Arc::new(ModelProxy::new(models, recorder.clone())?), listener))
        }
        _ => None,
    };
    let network = match (plan.network, listeners.network) {
        (Some(network), Some(listener)) => {
            Some((Arc::new(ForwardProxy::new(network.policy, recorder.clone())), listener))
        }
        _ => None,
    };
    let keeping = async {
        match plan.record {
            Some(file) => recorder.keep(file).await,
            None => std::future::pending().await,
        }
    };
    let models = async {
        let Some((proxy, listener)) = models else { return std::future::pending().await };
        accept(listener, move |request| {
            let proxy = Arc::clone(&proxy);
            async move { proxy.answer(request).await }
        })
        .await
    };
    let network = async {
        let Some((proxy, listener)) = network else { return std::future::pending().await };
        accept(listener, move |request| {
            let proxy = Arc::clone(&proxy);
            async move { proxy.answer(request).await }
        })
        .await
    };
    tokio::select! {
        ended = models => ended,
        ended = network => ended,
        never = keeping => match never {},
    }
}

async fn accept<F>(
    listener: TcpListener,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
) -> io::Result<Infallible>
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return Err(io::Error::other("no connection is taken any more"));
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, or a client that is gone already.
            tokio::time::sleep(RESTS).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let answer = answer.clone();
        let service = service_fn(move |request| {
            let answered = answer(request);
            async move { Ok::<_, Infallible>(answered.await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::spawn(async move {
            // What a client breaks off is its own affair.
            let _ = connection.await;
            drop(permit);
        });
    }
}

/// An answer of a proxy's own, in the shape that clients of models show to their users.
pub(crate) fn own_answer(status: http::StatusCode, message: &str) -> Response<Body> {
    let body = serde_json::json!({ "error": { "type": "egress_proxy", "message": message } }).to_string();
    let mut response = Response::new(whole(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

pub(crate) fn whole(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}

/// The headers of one connection, which a proxy does not pass on (RFC 9110, 7.6.1).
pub(crate) fn without_hop_by_hop(headers: &mut http::HeaderMap) {
    let named: Vec<String> = headers
        .get_all(http::header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(|name| name.trim().to_ascii_lowercase()))
        .collect();
    let usual = [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    for name in usual.into_iter().chain(named.iter().map(String::as_str)) {
        headers.remove(name);
    }
}
