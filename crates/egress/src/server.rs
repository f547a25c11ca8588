//! The servers: connections are accepted, bounded, and handed to their proxy.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use http_body_util::combinators::UnsyncBoxBody;

use crate::connections::accept;
use crate::forward::ForwardProxy;
use crate::loopback;
use crate::model::ModelProxy;
use crate::plan::Plan;
use crate::record::Recorder;

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
    /// Those of the ports of loopback, in their order.
    pub loopback: Vec<TcpListener>,
}

/// Serves a plan until the future is dropped, which closes its listeners and connections.
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
        accept(listener, move |request, proof| {
            let proxy = Arc::clone(&proxy);
            async move { proxy.answer(request, &proof).await }
        })
        .await
    };
    let network = async {
        let Some((proxy, listener)) = network else { return std::future::pending().await };
        accept(listener, move |request, proof| {
            let proxy = Arc::clone(&proxy);
            // Who may connect there is decided by where it listens.
            proof.give();
            async move { proxy.answer(request).await }
        })
        .await
    };
    let loopback = loopback::pass_on(plan.loopback, listeners.loopback);
    tokio::select! {
        ended = models => ended,
        ended = network => ended,
        ended = loopback => ended,
        never = keeping => match never {},
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
