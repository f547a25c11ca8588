//! The model proxy: a reverse proxy to the providers that are configured.
//!
//! `/SEGMENT/REST` goes to the provider's own address with `REST` appended, and nowhere else. A client
//! shows its token where the provider's protocol has the key, and the key takes its place there.
//! Answers are streamed as they come; what is read of them in passing is what they say was used. A
//! key that a provider repeats in an answer is blotted out. What asks no model is refused, and recorded.

mod blot;
mod request;
mod usage;

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connections::Proof;
use crate::plan::{ModelPlan, Provider, Secret};
use crate::record::Recorder;
use crate::server::{Body, BodyError, own_answer, without_hop_by_hop};
use blot::Blotter;
use request::Refused;
use usage::Meter;

/// How large a request may be: a long session with images.
const REQUEST_BYTES: usize = 64 << 20;
/// How large all requests together may be that are on their way.
const ALL_BYTES: usize = 256 << 20;
/// How long the body of a request may take.
const BODY_WITHIN: Duration = Duration::from_mins(1);
/// How long a connection to a provider may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// How long a provider may be silent in the middle of an answer, or before it.
const SILENT_WITHIN: Duration = Duration::from_mins(15);

/// The proxy of one plan.
pub(crate) struct ModelProxy {
    token: Secret,
    providers: BTreeMap<String, Provider>,
    client: reqwest::Client,
    recorder: Recorder,
    /// What is left of [`ALL_BYTES`].
    room: Arc<Semaphore>,
}

/// A request's body, and its part of the memory that all of them share.
struct Whole {
    bytes: Bytes,
    _room: Vec<OwnedSemaphorePermit>,
}

/// Why a request's body is not taken.
enum NoBody {
    Large,
    Crowded,
    Slow,
    Broken,
}

impl ModelProxy {
    pub(crate) fn new(plan: ModelPlan, recorder: Recorder) -> io::Result<Self> {
        // Fails only when another provider is installed, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        #[expect(clippy::disallowed_methods, reason = "the way out of daemons to their models")]
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .http1_only()
            .connect_timeout(CONNECT_WITHIN)
            .read_timeout(SILENT_WITHIN);
        // Plain http needs no certificates, which may not be there.
        let encrypted = plan.providers.iter().any(|provider| provider.upstream.scheme() == "https");
        let client = if encrypted { client } else { client.tls_certs_only([]) };
        let client = client.build().map_err(io::Error::other)?;
        let providers =
            plan.providers.into_iter().map(|provider| (provider.segment.clone(), provider)).collect();
        Ok(Self { token: plan.token, providers, client, recorder, room: Arc::new(Semaphore::new(ALL_BYTES)) })
    }

    /// Answers a request; `proof` is given as soon as it shows the token.
    pub(crate) async fn answer(&self, request: Request<Incoming>, proof: &Proof) -> Response<Body> {
        let (parts, body) = request.into_parts();
        if request::is_known(&parts, &self.token) {
            proof.give();
        }
        let (provider, url, headers) = match request::outgoing(&parts, &self.token, &self.providers) {
            Ok(outgoing) => outgoing,
            Err(refused) => {
                if refused == Refused::Endpoint {
                    let asked = format!("{} {}", parts.method, parts.uri.path());
                    self.recorder.refused(&asked, &refused.to_string());
                }
                return own_answer(refused.status(), &refused.to_string());
            }
        };
        let body =
            match tokio::time::timeout(BODY_WITHIN, self.whole(body)).await.unwrap_or(Err(NoBody::Slow)) {
                Ok(body) => body,
                Err(why) => return own_answer(why.status(), why.words()),
            };
        let asked = request::asked(&url, &body.bytes);
        let attempt = |body| {
            let (method, url, headers) = (parts.method.clone(), url.clone(), headers.clone());
            self.client.request(method, url).headers(headers).body(body).send()
        };
        let mut sent =
            attempt(asked.with_usage.clone().map_or_else(|| body.bytes.clone(), Bytes::from)).await;
        // One that does not know what was added gets what the client said.
        if asked.with_usage.is_some() && sent.as_ref().is_ok_and(|answer| is_not_understood(answer.status()))
        {
            sent = attempt(body.bytes.clone()).await;
        }
        match sent {
            Ok(answer) => self.pass_on(provider, (&asked.model, body.bytes.len()), answer),
            Err(error) => {
                let host = provider.upstream.host_str().unwrap_or_default();
                let reason = cause(&error.without_url());
                own_answer(
                    StatusCode::BAD_GATEWAY,
                    &format!("the model provider at {host} cannot be reached: {reason}"),
                )
            }
        }
    }

    /// A request's body, within its own limit and that of all.
    async fn whole(&self, mut body: Incoming) -> Result<Whole, NoBody> {
        let (mut bytes, mut room) = (BytesMut::new(), Vec::new());
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame.map_err(|_| NoBody::Broken)?.into_data() else { continue };
            if bytes.len() + piece.len() > REQUEST_BYTES {
                return Err(NoBody::Large);
            }
            let size = u32::try_from(piece.len()).map_err(|_| NoBody::Large)?;
            room.push(Arc::clone(&self.room).try_acquire_many_owned(size).map_err(|_| NoBody::Crowded)?);
            bytes.extend_from_slice(&piece);
        }
        Ok(Whole { bytes: bytes.freeze(), _room: room })
    }

    fn pass_on(
        &self,
        provider: &Provider,
        (model, asked): (&str, usize),
        answer: reqwest::Response,
    ) -> Response<Body> {
        let status = answer.status();
        let blotter = Blotter::over(provider);
        let mut headers = answer.headers().clone();
        passed_back(&mut headers, &blotter);
        let meter = status.is_success().then(|| {
            let name = format!("{}/{model}", provider.name);
            Meter::new(&headers, (name, asked), self.recorder.clone())
        });
        let body = Passing { inner: Box::pin(answer.bytes_stream()), blotter, meter, ended: false };
        let mut response = Response::new(StreamBody::new(body).boxed_unsync());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

impl NoBody {
    fn status(&self) -> StatusCode {
        match self {
            Self::Large => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Crowded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }

    fn words(&self) -> &'static str {
        match self {
            Self::Large => "the request is larger than 64 MiB",
            Self::Crowded => "too many large requests are on their way at once",
            Self::Slow => "the request did not come to its end in time",
            Self::Broken => "the request was cut off",
        }
    }
}

/// Whether a provider does not take a request as it is written.
fn is_not_understood(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY)
}

/// What a client gets to see of an answer's headers.
fn passed_back(headers: &mut HeaderMap, blotter: &Blotter) {
    without_hop_by_hop(headers);
    headers.remove(header::SET_COOKIE);
    headers.remove(header::ALT_SVC);
    for value in headers.values_mut() {
        if blotter.is_in(value.as_bytes()) {
            *value = http::HeaderValue::from_static("[secret]");
        }
    }
}

/// The innermost reason of an error.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// An answer's body on its way.
struct Passing {
    inner: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    blotter: Blotter,
    /// Records when it is dropped, so a turn that was broken off counts as well.
    meter: Option<Meter>,
    ended: bool,
}

impl Stream for Passing {
    type Item = Result<Frame<Bytes>, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !self.ended {
            let piece = match std::task::ready!(self.inner.poll_next_unpin(context)) {
                None => {
                    self.ended = true;
                    if let Some(meter) = &mut self.meter {
                        meter.ended();
                    }
                    self.blotter.rest()
                }
                Some(Err(error)) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(error.without_url().into())));
                }
                Some(Ok(piece)) => {
                    if let Some(meter) = &mut self.meter {
                        meter.read(&piece);
                    }
                    self.blotter.pass(piece)
                }
            };
            if !piece.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
        }
        Poll::Ready(None)
    }
}

/// The proxy is shared by all connections.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Arc<ModelProxy>>();
};
